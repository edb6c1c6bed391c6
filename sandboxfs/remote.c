/* SPDX-License-Identifier: MIT */
/*
 * Requests are told by their bytes, as they come: by what node they are about (files_remote_key()),
 * before libfuse sees them. One that leads to a bucket only by the name that it looks up says so itself
 * (files_ask_again()), and is served again by a thread that may wait.
 *
 * A lane is a bucket as one box sees it. It has up to LANE_THREADS threads, made when they are needed;
 * all lanes together have MAX_THREADS, beyond which a lane gets one.
 *
 * Must not know what a request does. Lock: remote.lock, a leaf: not held while a request is served or
 * /proc is read.
 */
#include "remote.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "caller.h"
#include "daemon.h"
#include "files.h"
#include "fuse_wire.h"

enum {
	LANE_THREADS = 8,
	MAX_THREADS = 256,
	LANE_QUEUE = 1024, /* requests, and bytes of them, that may wait */
	LANE_QUEUE_BYTES = 16 << 20,
	IDLE_SECONDS = 5,
	LOOK_AGAIN_MS = 20,
	END_MS = 5000,
	WAKE_SIGNAL = SIGURG, /* files_wait.c has a handler for it */
};

struct lane {
	UT_hash_handle hh; /* by key */
	struct files_remote_key key;
	struct request *first, **end; /* that wait */
	unsigned int queued, threads, idle;
	unsigned int orphans; /* answered before they were done: what they use must stay */
	size_t bytes;
	pthread_cond_t work;
};

struct request {
	UT_hash_handle hh; /* by unique */
	uint64_t unique;
	pid_t tid; /* of who asked */
	uint32_t opcode;
	struct request *next; /* in its lane's queue */
	struct lane *lane;
	bool running, answered, interrupted;
	pthread_t thread; /* while running */
	size_t size;
	char bytes[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a thread has */
	struct fuse_session *se;
	struct lane *lanes;
	struct request *requests;
	unsigned int threads, interrupted;
	bool ending;
} remote = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

/* --- threads -------------------------------------------------------------------------------------------- */

/* Nobody waits for it, and the kernel has few places for such: it is answered before it is done. */
static bool is_release(uint32_t opcode)
{
	return opcode == FUSE_RELEASE || opcode == FUSE_RELEASEDIR;
}

/* All of these: remote.lock held. */
static void unqueue(struct request *r)
{
	struct request **at = &r->lane->first;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->lane->end == &r->next)
		r->lane->end = at;
	r->lane->queued--;
	r->lane->bytes -= r->size;
}

/*
 * The first that may be served. No file is released while a request that was answered for its asker's end
 * is under way: to the kernel it is over, so that the file it uses may be released next.
 */
static struct request *find_work(const struct lane *lane)
{
	struct request *r = lane->first;

	while (r && lane->orphans && is_release(r->opcode))
		r = r->next;
	return r;
}

static void drop(struct request *r)
{
	HASH_DELETE(hh, remote.requests, r);
	remote.interrupted -= r->interrupted;
	if (r->answered && !is_release(r->opcode) && --r->lane->orphans == 0)
		pthread_cond_broadcast(&r->lane->work);
	free(r);
}

static void serve_one(struct request *r)
{
	struct fuse_buf buf = { .size = r->size, .mem = r->bytes };

	r->running = true;
	r->thread = pthread_self();
	pthread_mutex_unlock(&remote.lock);
	fuse_session_process_buf(remote.se, &buf);
	pthread_mutex_lock(&remote.lock);
	drop(r);
}

/* Until it has been idle for long. */
static bool wait_for_work(struct lane *lane)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_SECONDS;
	lane->idle++;
	while (!find_work(lane) && !remote.ending && r == 0)
		r = pthread_cond_timedwait(&lane->work, &remote.lock, &until);
	lane->idle--;
	return find_work(lane) || (lane->first && !remote.ending);
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;
	struct request *r;
	sigset_t mask;

	sigfillset(&mask);
	sigdelset(&mask, WAKE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	files_may_wait();
	pthread_mutex_lock(&remote.lock);
	do {
		while ((r = find_work(lane))) {
			unqueue(r);
			serve_one(r);
		}
	} while (wait_for_work(lane));
	remote.threads--;
	if (--lane->threads == 0) {
		HASH_DELETE(hh, remote.lanes, lane);
		pthread_cond_destroy(&lane->work);
		free(lane);
	}
	pthread_cond_signal(&remote.ended);
	pthread_mutex_unlock(&remote.lock);
	return NULL;
}

/* Somebody sees to the lane's queue: false, nobody can. */
static bool lane_call(struct lane *lane)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (lane->idle) {
		pthread_cond_signal(&lane->work);
		return true;
	}
	if (lane->threads == LANE_THREADS || (remote.threads >= MAX_THREADS && lane->threads))
		return true;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, lane_thread, lane);
	pthread_attr_destroy(&attr);
	if (r != 0)
		return lane->threads;
	lane->threads++;
	remote.threads++;
	return true;
}

static struct lane *lane_find(const struct files_remote_key *key)
{
	struct lane *lane;

	HASH_FIND(hh, remote.lanes, key, sizeof(*key), lane);
	if (lane)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->key = *key;
	lane->end = &lane->first;
	pthread_cond_init(&lane->work, NULL);
	HASH_ADD(hh, remote.lanes, key, sizeof(lane->key), lane);
	return lane;
}

/* --- requests ------------------------------------------------------------------------------------------- */

static bool is_full(const struct lane *lane, const struct request *r)
{
	return !is_release(r->opcode) && r->opcode != FUSE_FLUSH &&
	       (lane->queued >= LANE_QUEUE || lane->bytes + r->size > LANE_QUEUE_BYTES);
}

/* Puts it into its lane; -errno, and it is still the caller's. remote.lock held. */
static int queue(struct request *r, const struct files_remote_key *key)
{
	struct lane *lane = lane_find(key);

	if (!lane)
		return -ENOMEM;
	if (is_full(lane, r))
		return -EBUSY;
	r->lane = lane;
	*lane->end = r;
	lane->end = &r->next;
	lane->queued++;
	lane->bytes += r->size;
	HASH_ADD(hh, remote.requests, unique, sizeof(r->unique), r);
	if (lane_call(lane))
		return 0;
	HASH_DELETE(hh, remote.requests, r);
	HASH_DELETE(hh, remote.lanes, lane); /* no thread, so nothing else is in it */
	pthread_cond_destroy(&lane->work);
	free(lane);
	return -EAGAIN;
}

static void hand_over(struct fuse_session *se, const struct fuse_buf *buf,
		      const struct files_remote_key *key)
{
	const struct fuse_in_header *head = buf->mem;
	struct request *r = malloc(sizeof(*r) + buf->size);
	uint64_t unique = head->unique;
	int error = -ENOMEM;

	if (r) {
		*r = (struct request){ .unique = unique,
				       .tid = (pid_t)head->pid,
				       .opcode = head->opcode,
				       .size = buf->size };
		memcpy(r->bytes, buf->mem, buf->size);
		pthread_mutex_lock(&remote.lock);
		remote.se = se;
		r->answered = is_release(head->opcode);
		error = queue(r, key);
		pthread_mutex_unlock(&remote.lock);
	}
	if (error < 0)
		free(r);
	if (error < 0 || is_release(head->opcode))
		fuse_wire_answer(unique, error);
}

/* A signal for who waits for one of ours: true. */
static bool note_interrupt(const struct fuse_buf *buf)
{
	const struct fuse_in_header *head = buf->mem;
	const struct fuse_interrupt_in *in = (const void *)(head + 1);
	struct request *r;

	if (head->opcode != FUSE_INTERRUPT || buf->size < sizeof(*head) + sizeof(*in))
		return false;
	pthread_mutex_lock(&remote.lock);
	HASH_FIND(hh, remote.requests, &in->unique, sizeof(in->unique), r);
	if (r && !r->interrupted && !r->answered) {
		r->interrupted = true;
		remote.interrupted++;
	}
	pthread_mutex_unlock(&remote.lock);
	if (r)
		daemon_kick();
	return r;
}

void remote_serve(struct fuse_session *se, const struct fuse_buf *buf)
{
	struct files_remote_key key;

	if (note_interrupt(buf))
		return;
	if (files_remote_key(buf->mem, buf->size, &key)) {
		hand_over(se, buf, &key);
		return;
	}
	fuse_session_process_buf(se, buf);
	if (files_ask_again(&key))
		hand_over(se, buf, &key);
}

/* --- interrupts ------------------------------------------------------------------------------------------ */

/* A signal that ends a program, most likely; others change nothing. */
static bool ends_waiting(pid_t tid)
{
	int sig = caller_signal(tid);

	return sig && sig != SIGTSTP && sig != SIGSTOP;
}

/* Its asker goes. The thread in it is woken: what it asks may end earlier then. */
static void let_go(uint64_t unique)
{
	struct request *r;

	pthread_mutex_lock(&remote.lock);
	HASH_FIND(hh, remote.requests, &unique, sizeof(unique), r);
	if (r && r->interrupted) {
		remote.interrupted--;
		r->interrupted = false;
		r->answered = true;
		r->lane->orphans++;
		if (r->running)
			pthread_kill(r->thread, WAKE_SIGNAL);
		fuse_wire_answer(unique, -EINTR);
		if (!r->running && r->opcode != FUSE_FLUSH) {
			unqueue(r);
			drop(r);
		}
	}
	pthread_mutex_unlock(&remote.lock);
}

int remote_run_interrupts(void)
{
	struct asker {
		uint64_t unique;
		pid_t tid;
	} askers[64];
	struct request *r, *next;
	size_t n = 0;
	bool again;

	pthread_mutex_lock(&remote.lock);
	if (remote.interrupted) {
		HASH_ITER (hh, remote.requests, r, next) {
			if (r->interrupted && n < ARRAY_SIZE(askers))
				askers[n++] = (struct asker){ r->unique, r->tid };
		}
	}
	pthread_mutex_unlock(&remote.lock);
	for (size_t i = 0; i < n; i++) {
		if (ends_waiting(askers[i].tid))
			let_go(askers[i].unique);
	}
	pthread_mutex_lock(&remote.lock);
	again = remote.interrupted;
	pthread_mutex_unlock(&remote.lock);
	return again ? LOOK_AGAIN_MS : -1;
}

/* --- the end --------------------------------------------------------------------------------------------- */

static void wake_all(void)
{
	struct lane *lane, *next_lane;
	struct request *r, *next;

	HASH_ITER (hh, remote.lanes, lane, next_lane)
		pthread_cond_broadcast(&lane->work);
	HASH_ITER (hh, remote.requests, r, next) {
		if (r->running)
			pthread_kill(r->thread, WAKE_SIGNAL);
	}
}

bool remote_end(void)
{
	int64_t deadline = monotonic_ms() + END_MS;
	bool all;

	pthread_mutex_lock(&remote.lock);
	remote.ending = true;
	while (remote.threads && monotonic_ms() < deadline) {
		struct timespec until;

		wake_all();
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&remote.ended, &remote.lock, &until);
	}
	all = !remote.threads;
	if (!all)
		log_warn("%u requests to buckets have not come back", remote.threads);
	pthread_mutex_unlock(&remote.lock);
	return all;
}
