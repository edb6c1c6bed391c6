/* SPDX-License-Identifier: MIT */
/*
 * Requests that must wait: for a lock, for a lease to be given up. Each has a thread of its own,
 * with a cap per volume, so that no thread that serves requests ever waits for a box.
 *
 * A wait is ended by SIGURG, which has a handler that does nothing but make the call return EINTR.
 * A signal that comes just before the call is lost; so it is sent until the thread says that it
 * has ended. The thread tells libfuse to forget about interrupts before it answers, and that waits
 * for an interrupt that is being delivered: nobody touches a waiter that is gone.
 *
 * Locks: files.lock for the list; none while waiting. libfuse calls wait_interrupted() with the
 * request's lock held.
 */
#include "files_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

enum {
	MAX_WAITING = 512,
	MAX_WAITING_PER_VOLUME = 64,
	STACK_BYTES = 128 << 10,
	WAIT_SIGNAL = SIGURG,
};

struct waiter {
	struct files_volume *vol;
	fuse_req_t req;
	int (*run)(struct waiter *w, void *arg);
	void (*answer)(fuse_req_t req, void *arg, int result);
	void *arg;
	pthread_t thread; /* (const) once it is in the list */
	atomic_int over;  /* the errno to end with, 0: go on */
	atomic_bool ended;
	LIST_ENTRY(waiter) link;
};

static LIST_HEAD(, waiter) waiters;

static void on_signal(int sig)
{
	(void)sig;
}

int wait_init(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	return sigaction(WAIT_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

int wait_is_over(struct waiter *w)
{
	bool dropped;

	pthread_mutex_lock(&files.lock);
	dropped = w->vol->dropped;
	pthread_mutex_unlock(&files.lock);
	return dropped ? -ESTALE : -atomic_load(&w->over);
}

static void pause_briefly(void)
{
	const struct timespec t = { .tv_nsec = 200000 };

	nanosleep(&t, NULL);
}

static void wait_interrupted(fuse_req_t req, void *data)
{
	struct waiter *w = data;

	(void)req;
	atomic_store(&w->over, EINTR);
	if (pthread_equal(pthread_self(), w->thread))
		return; /* it was interrupted before it began */
	while (!atomic_load(&w->ended)) {
		pthread_kill(w->thread, WAIT_SIGNAL);
		pause_briefly();
	}
}

static void list_add(struct waiter *w)
{
	w->thread = pthread_self();
	pthread_mutex_lock(&files.lock);
	LIST_INSERT_HEAD(&waiters, w, link);
	pthread_mutex_unlock(&files.lock);
}

static void list_remove(struct waiter *w)
{
	pthread_mutex_lock(&files.lock);
	LIST_REMOVE(w, link);
	pthread_mutex_unlock(&files.lock);
}

static int count_waiting(struct files_volume *vol)
{
	int r = -ENOLCK;

	pthread_mutex_lock(&files.lock);
	if (files.waiting < MAX_WAITING && vol->waiting < MAX_WAITING_PER_VOLUME) {
		files.waiting++;
		vol->waiting++;
		vol->refs++;
		r = 0;
	}
	pthread_mutex_unlock(&files.lock);
	return r;
}

static void uncount_waiting(struct files_volume *vol)
{
	pthread_mutex_lock(&files.lock);
	files.waiting--;
	vol->waiting--;
	volume_put_locked(vol);
	pthread_mutex_unlock(&files.lock);
}

static void *wait_thread(void *data)
{
	struct waiter *w = data;
	sigset_t mask;
	int r;

	sigfillset(&mask);
	sigdelset(&mask, WAIT_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	list_add(w);
	fuse_req_interrupt_func(w->req, wait_interrupted, w);
	r = w->run(w, w->arg);
	atomic_store(&w->ended, true);
	fuse_req_interrupt_func(w->req, NULL, NULL);
	list_remove(w);
	w->answer(w->req, w->arg, r);
	uncount_waiting(w->vol);
	free(w);
	return NULL;
}

static int thread_start(struct waiter *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, wait_thread, w);
	pthread_attr_destroy(&attr);
	return -r;
}

int wait_start(struct files_volume *vol, fuse_req_t req, int (*run)(struct waiter *w, void *arg),
	       void (*answer)(fuse_req_t req, void *arg, int result), void *arg)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w || count_waiting(vol) < 0) {
		free(w);
		return -ENOLCK;
	}
	*w = (struct waiter){
		.vol = vol,
		.req = req,
		.run = run,
		.answer = answer,
		.arg = arg,
	};
	if (thread_start(w) < 0) {
		uncount_waiting(vol);
		free(w);
		return -ENOLCK;
	}
	return 0;
}

void wait_end_volume(struct files_volume *vol)
{
	struct waiter *w;
	bool some;

	do {
		some = false;
		pthread_mutex_lock(&files.lock);
		LIST_FOREACH(w, &waiters, link)
		{
			if (w->vol != vol)
				continue;
			some = true;
			atomic_store(&w->over, ESTALE);
			if (!atomic_load(&w->ended))
				pthread_kill(w->thread, WAIT_SIGNAL);
		}
		pthread_mutex_unlock(&files.lock);
		if (some)
			pause_briefly();
	} while (some);
}
