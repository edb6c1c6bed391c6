/* SPDX-License-Identifier: MIT */
/*
 * The threads that answer requests. One leads: it reads a request, answers it, reads the next; so
 * a client that asks one thing after the other is always served by the same warm thread (waking
 * another one for each costs more than most requests). A watcher looks every few ms, only while
 * there are requests, whether the leader is still in the same one (a slow disk); if so, another
 * thread takes the lead and the slow one becomes a follower when it is done.
 *
 * Lock: lead.lock. The counters are atomics.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "daemon.h"
#include "files.h"
#include "remote.h"

enum { SLOW_MS = 3, MAX_THREADS = 64 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t vacant; /* somebody may lead */
	pthread_cond_t busy;   /* requests come: the watcher has to look */
	struct fuse_session *se;
	bool led, ended;
	unsigned int threads, idle;
	pthread_t all[MAX_THREADS];
	atomic_uint term;	   /* of the present leader */
	atomic_uint_fast64_t step; /* odd while the leader is in a request */
	atomic_bool watcher_sleeps;
} lead = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.vacant = PTHREAD_COND_INITIALIZER,
	.busy = PTHREAD_COND_INITIALIZER,
};

static void wake_watcher(void)
{
	if (!atomic_exchange(&lead.watcher_sleeps, false))
		return;
	pthread_mutex_lock(&lead.lock);
	pthread_cond_signal(&lead.busy);
	pthread_mutex_unlock(&lead.lock);
}

/* Leads until it is deposed or the session ends. */
static void lead_requests(unsigned int term, struct fuse_buf *buf)
{
	while (atomic_load(&lead.term) == term && !fuse_session_exited(lead.se)) {
		int n = fuse_session_receive_buf(lead.se, buf);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			return; /* unmounted */
		atomic_fetch_add(&lead.step, 1);
		if (atomic_load(&lead.watcher_sleeps))
			wake_watcher();
		remote_serve(lead.se, buf);
		/* A deposed leader has no part in the new one's count. */
		if (atomic_load(&lead.term) == term)
			atomic_fetch_add(&lead.step, 1);
	}
}

static void *worker(void *arg)
{
	struct fuse_buf buf = { 0 };

	(void)arg;
	pthread_mutex_lock(&lead.lock);
	while (!lead.ended) {
		unsigned int term;

		if (lead.led) {
			lead.idle++;
			pthread_cond_wait(&lead.vacant, &lead.lock);
			lead.idle--;
			continue;
		}
		lead.led = true;
		term = atomic_load(&lead.term);
		pthread_mutex_unlock(&lead.lock);
		lead_requests(term, &buf);
		pthread_mutex_lock(&lead.lock);
		if (atomic_load(&lead.term) == term) {
			/* Not deposed: the session has ended. */
			lead.ended = true;
			pthread_cond_broadcast(&lead.vacant);
			pthread_cond_broadcast(&lead.busy);
		}
	}
	pthread_mutex_unlock(&lead.lock);
	free(buf.mem);
	return NULL;
}

/* lead.lock held. */
static bool add_thread(void)
{
	if (lead.threads == MAX_THREADS)
		return false;
	if (pthread_create(&lead.all[lead.threads], NULL, worker, NULL) != 0)
		return false;
	lead.threads++;
	return true;
}

/* The leader is in a slow request: somebody else leads from now on. lead.lock held. */
static void depose(void)
{
	if (!lead.idle && !add_thread())
		return;
	atomic_fetch_add(&lead.term, 1);
	atomic_store(&lead.step, 0);
	lead.led = false;
	pthread_cond_signal(&lead.vacant);
}

static void watch(void)
{
	const struct timespec pause = { .tv_nsec = SLOW_MS * 1000000 };
	uint_fast64_t before = atomic_load(&lead.step), now;

	pthread_mutex_lock(&lead.lock);
	while (!lead.ended) {
		pthread_mutex_unlock(&lead.lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&lead.lock);
		now = atomic_load(&lead.step);
		if (now == before && now % 2) {
			depose();
			now = atomic_load(&lead.step);
		} else if (now == before && !lead.ended) {
			atomic_store(&lead.watcher_sleeps, true);
			/* A request may have come before the leader could see that we sleep. */
			if (atomic_load(&lead.step) == now)
				pthread_cond_wait(&lead.busy, &lead.lock);
			atomic_store(&lead.watcher_sleeps, false);
			now = atomic_load(&lead.step);
		}
		before = now;
	}
	pthread_mutex_unlock(&lead.lock);
}

void loop_run(struct fuse_session *se)
{
	pthread_mutex_lock(&lead.lock);
	lead.se = se;
	if (!add_thread())
		lead.ended = true;
	pthread_mutex_unlock(&lead.lock);
	watch();
	for (unsigned int i = 0; i < lead.threads; i++)
		pthread_join(lead.all[i], NULL);
}

void loop_interrupt(void)
{
	pthread_mutex_lock(&lead.lock);
	/* Once it has ended nobody reads any more, and threads may be gone. */
	for (unsigned int i = 0; !lead.ended && i < lead.threads; i++)
		pthread_kill(lead.all[i], SIGUSR1);
	pthread_mutex_unlock(&lead.lock);
}
