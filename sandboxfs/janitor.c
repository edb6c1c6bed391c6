/* SPDX-License-Identifier: MIT */
/*
 * The janitor: one thread for work on disk that may take long (deleting, resetting, last closes), in
 * the order in which it came. Must not be waited for. Lock: jobs_lock, a leaf.
 */
#include "janitor.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "box.h"
#include "daemon.h"
#include "image.h"

struct job {
	struct job *next;
	struct box *box; /* for fn */
	void (*fn)(struct box *box);
	void (*plain)(void);
	int fd; /* to be closed, -1 none */
};

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_come = PTHREAD_COND_INITIALIZER;
static struct job *jobs, **jobs_tail = &jobs;
static bool janitor_ends, trash_due, images_due;
static pthread_t janitor_thread;

static void add_job(struct job *job)
{
	pthread_mutex_lock(&jobs_lock);
	*jobs_tail = job;
	jobs_tail = &job->next;
	pthread_cond_signal(&jobs_come);
	pthread_mutex_unlock(&jobs_lock);
}

void daemon_later(struct box *box, void (*fn)(struct box *box))
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		log_error("out of memory: work on box %u is not done", box->id);
		return;
	}
	*job = (struct job){ .box = box_ref(box), .fn = fn, .fd = -1 };
	add_job(job);
}

void daemon_close_later(int fd)
{
	struct job *job = fd < 0 ? NULL : calloc(1, sizeof(*job));

	if (job) {
		job->fd = fd;
		add_job(job);
	} else if (fd >= 0) {
		close(fd);
	}
}

void daemon_run_later(void (*fn)(void))
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return;
	*job = (struct job){ .plain = fn, .fd = -1 };
	add_job(job);
}

static void do_job(struct job *job)
{
	if (job->box) {
		job->fn(job->box);
		box_put(job->box);
	}
	if (job->plain)
		job->plain();
	close_fd(&job->fd);
	free(job);
}

static void *janitor(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&jobs_lock);
	while (!janitor_ends || jobs) {
		struct job *job = jobs;
		bool trash = trash_due, images = images_due;

		if (job) {
			jobs = job->next;
			if (!jobs)
				jobs_tail = &jobs;
		} else if (!trash) {
			pthread_cond_wait(&jobs_come, &jobs_lock);
			continue;
		} else {
			trash_due = images_due = false;
		}
		pthread_mutex_unlock(&jobs_lock);
		if (job) {
			do_job(job);
		} else {
			boxes_empty_trash(realtime_us());
			if (images)
				image_sweep();
		}
		pthread_mutex_lock(&jobs_lock);
	}
	pthread_mutex_unlock(&jobs_lock);
	return NULL;
}

void janitor_look_at_trash(void)
{
	pthread_mutex_lock(&jobs_lock);
	trash_due = true;
	pthread_cond_signal(&jobs_come);
	pthread_mutex_unlock(&jobs_lock);
}

void janitor_look_at_images(void)
{
	pthread_mutex_lock(&jobs_lock);
	trash_due = images_due = true;
	pthread_cond_signal(&jobs_come);
	pthread_mutex_unlock(&jobs_lock);
}

int janitor_start(void)
{
	return -pthread_create(&janitor_thread, NULL, janitor, NULL);
}

void janitor_stop(void)
{
	pthread_mutex_lock(&jobs_lock);
	janitor_ends = true;
	pthread_cond_signal(&jobs_come);
	pthread_mutex_unlock(&jobs_lock);
	pthread_join(janitor_thread, NULL);
}
