/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The transfer threads. Two queues, urgent first. Lock: pool.lock, a leaf; a job runs without it.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { IDLE_SECONDS = 10 };

struct queue {
	struct job *first, **end;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, gone;
	struct queue queues[2];		      /* 0: urgent */
	unsigned threads, idle, waiting, max; /* waiting: jobs in the queues */
	bool stopping, any_dead;
	pthread_t dead; /* the thread that ended last; joined by the next one that does */
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.gone = PTHREAD_COND_INITIALIZER,
};

void pool_init(unsigned max_threads)
{
	pool.max = max_threads;
	for (int i = 0; i < 2; i++)
		pool.queues[i].end = &pool.queues[i].first;
}

/* pool.lock held. */
static struct job *take_job(void)
{
	for (int i = 0; i < 2; i++) {
		struct queue *q = &pool.queues[i];
		struct job *job = q->first;

		if (!job)
			continue;
		q->first = job->next;
		if (!q->first)
			q->end = &q->first;
		job->queued = false;
		pool.waiting--;
		return job;
	}
	return NULL;
}

/* pool.lock held. False: nothing came for a while. */
static bool wait_for_work(void)
{
	struct timespec until;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	pool.idle++;
	r = pthread_cond_clockwait(&pool.work, &pool.lock, CLOCK_MONOTONIC, &until);
	pool.idle--;
	return r != ETIMEDOUT;
}

static void *worker(void *arg)
{
	pthread_t before;
	bool join;

	(void)arg;
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct job *job = take_job();

		if (job) {
			pthread_mutex_unlock(&pool.lock);
			job->run(job);
			pthread_mutex_lock(&pool.lock);
		} else if (pool.stopping || (!wait_for_work() && !pool.waiting)) {
			break;
		}
	}
	join = pool.any_dead;
	before = pool.dead;
	pool.any_dead = true;
	pool.dead = pthread_self();
	if (--pool.threads == 0)
		pthread_cond_broadcast(&pool.gone);
	pthread_mutex_unlock(&pool.lock);
	if (join)
		pthread_join(before, NULL);
	return NULL;
}

void pool_submit(struct job *job, bool urgent)
{
	struct queue *q = &pool.queues[urgent ? 0 : 1];
	bool here = false;

	pthread_mutex_lock(&pool.lock);
	job->next = NULL;
	job->queued = true;
	*q->end = job;
	q->end = &job->next;
	pool.waiting++;
	if (pool.waiting <= pool.idle) {
		pthread_cond_signal(&pool.work);
	} else if (pool.threads < pool.max) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, worker, NULL) == 0) {
			pool.threads++;
		} else if (pool.threads == 0) {
			here = true; /* no thread to be had: do it ourselves */
		}
	}
	if (here)
		job = take_job();
	pthread_mutex_unlock(&pool.lock);
	if (here && job)
		job->run(job);
}

bool pool_cancel(struct job *job)
{
	bool found = false;

	pthread_mutex_lock(&pool.lock);
	for (int i = 0; i < 2 && job->queued && !found; i++) {
		struct queue *q = &pool.queues[i];

		for (struct job **p = &q->first; *p; p = &(*p)->next) {
			if (*p != job)
				continue;
			*p = job->next;
			if (!*p)
				q->end = p;
			job->queued = false;
			pool.waiting--;
			found = true;
			break;
		}
	}
	pthread_mutex_unlock(&pool.lock);
	return found;
}

struct each {
	void (*fn)(void *ctx, size_t i);
	void *ctx;
	size_t n;
	atomic_size_t next;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned running;
};

struct each_job {
	struct job job;
	struct each *each;
};

static void each_run(struct job *job)
{
	struct each *each = ((struct each_job *)job)->each;

	for (size_t i; (i = atomic_fetch_add(&each->next, 1)) < each->n;)
		each->fn(each->ctx, i);
	pthread_mutex_lock(&each->lock);
	if (--each->running == 0)
		pthread_cond_signal(&each->ended);
	pthread_mutex_unlock(&each->lock);
}

void pool_each(size_t n, void (*fn)(void *ctx, size_t i), void *ctx)
{
	enum { HELPERS = 15 };
	struct each each = { .fn = fn,
			     .ctx = ctx,
			     .n = n,
			     .lock = PTHREAD_MUTEX_INITIALIZER,
			     .ended = PTHREAD_COND_INITIALIZER };
	struct each_job helpers[HELPERS];
	unsigned n_helpers = n > HELPERS ? HELPERS : n > 1 ? (unsigned)n - 1 : 0, withdrawn = 0;

	each.running = n_helpers;
	for (unsigned i = 0; i < n_helpers; i++) {
		helpers[i] = (struct each_job){ .job.run = each_run, .each = &each };
		pool_submit(&helpers[i].job, true);
	}
	/* We work as well, so that it goes on also when all threads are busy elsewhere. */
	for (size_t i; (i = atomic_fetch_add(&each.next, 1)) < n;)
		fn(ctx, i);
	for (unsigned i = 0; i < n_helpers; i++)
		withdrawn += pool_cancel(&helpers[i].job);
	pthread_mutex_lock(&each.lock);
	each.running -= withdrawn;
	while (each.running > 0)
		pthread_cond_wait(&each.ended, &each.lock);
	pthread_mutex_unlock(&each.lock);
}

void pool_stop(void)
{
	pthread_mutex_lock(&pool.lock);
	pool.stopping = true;
	pthread_cond_broadcast(&pool.work);
	while (pool.threads > 0)
		pthread_cond_wait(&pool.gone, &pool.lock);
	if (pool.any_dead)
		pthread_join(pool.dead, NULL);
	pool.any_dead = false;
	pthread_mutex_unlock(&pool.lock);
}
