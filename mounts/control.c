/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answering the keeper. What waits for the bucket (flush, end) is done by a thread of its own each, so
 * that the others are answered meanwhile. It must not say a secret. Lock: none; a packet goes out in
 * one piece, and the counts are atomic; asking.lock, a leaf, is for questions to the keeper.
 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "bucket.h"
#include "fs.h"
#include "guard.h"
#include "journal.h"
#include "keyreader.h"
#include "removals.h"
#include "session.h"
#include "status.h"

enum {
	TICK_MS = 2000,
	LOOK_MS = 20,
	SETTINGS_MS = 10000,
	HELD_PATIENCE_S = 1,
	MAX_WORK = 16,	   /* flushes and ends under way */
	CLOSING_MS = 1000, /* in which a file that was closed is let go of by the kernel */
	ORPHAN_MS = 5000,  /* in which the box of a keeper that is gone ends */
	STATUS_MAX = BUCKET_PACKET_MAX - 1024,
};

static atomic_int work_under_way;

/* --- packets -------------------------------------------------------------------------------------------- */

static void begin(struct text *t, const char *word)
{
	field_add(t, "say", word);
}

/* The keeper reads; if it is gone there is nobody to tell. */
static void say(const struct text *t)
{
	if (t->failed)
		log_error("out of memory: the keeper is not answered");
	else if (send(BUCKET_CONTROL_FD, t->data, t->len, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		log_error("answer the keeper: %s", strerror(errno));
}

static void add_error(struct text *t, int error, const char *why)
{
	field_add_u64(t, "error", (uint64_t)(error < 0 ? -error : error));
	if (error)
		field_add(t, "why", why && *why ? why : strerror(error < 0 ? -error : error));
}

static void answer(uint64_t tag, int error, const char *why)
{
	_cleanup_text_ struct text t = { 0 };

	begin(&t, BUCKET_SAY_ANSWER);
	field_add_u64(&t, "tag", tag);
	add_error(&t, error, why);
	say(&t);
}

void control_say_ready(void)
{
	_cleanup_text_ struct text t = { 0 };

	begin(&t, BUCKET_SAY_READY);
	say(&t);
}

void control_say_failed(int error, const char *why)
{
	_cleanup_text_ struct text t = { 0 };

	begin(&t, BUCKET_SAY_FAILED);
	add_error(&t, error, why);
	say(&t);
}

int control_receive_settings(char **fields, size_t *len)
{
	struct pollfd p = { .fd = BUCKET_CONTROL_FD, .events = POLLIN };
	char *packet = malloc(BUCKET_PACKET_MAX);
	const char *word;
	ssize_t n;

	if (!packet)
		return -ENOMEM;
	n = poll(&p, 1, SETTINGS_MS) == 1
		    ? recv(BUCKET_CONTROL_FD, packet, BUCKET_PACKET_MAX, MSG_DONTWAIT)
		    : -1;
	word = n > 0 ? field_get(packet, (size_t)n, "say") : NULL;
	if (!word || strcmp(word, BUCKET_SAY_SETTINGS)) {
		free(packet);
		return n < 0 ? -ETIMEDOUT : -EPROTO;
	}
	*fields = packet;
	*len = (size_t)n;
	return 0;
}

/* --- what waits for the bucket -------------------------------------------------------------------------- */

struct work {
	uint64_t tag;
	void (*run)(uint64_t tag);
};

static void run_flush(uint64_t tag)
{
	int r = fs_sync();

	answer(tag, r, r < 0 ? "not everything could be saved" : NULL);
}

static void run_end(uint64_t tag)
{
	size_t unsaved, writers;
	int r = removals_flush(NULL);

	for (int ms = 0; (writers = status_count_writers(&unsaved)) && ms < CLOSING_MS;
	     ms += LOOK_MS)
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
	if (unsaved)
		answer(tag, EBUSY, "something that was written is not in the bucket yet");
	else if (writers)
		answer(tag, EBUSY, "a program has a file open for writing");
	else
		answer(tag, r, "something that was removed is still in the bucket");
}

static void *work_main(void *arg)
{
	struct work *work = arg;

	work->run(work->tag);
	free(work);
	atomic_fetch_sub(&work_under_way, 1);
	return NULL;
}

static void start_work(uint64_t tag, void (*run)(uint64_t tag))
{
	struct work *work = NULL;
	pthread_t thread;
	int r = EAGAIN;

	if (atomic_fetch_add(&work_under_way, 1) < MAX_WORK) {
		work = malloc(sizeof(*work));
		r = ENOMEM;
	}
	if (work) {
		*work = (struct work){ tag, run };
		r = pthread_create(&thread, NULL, work_main, work);
	}
	if (r == 0) {
		pthread_detach(thread);
		return;
	}
	free(work);
	atomic_fetch_sub(&work_under_way, 1);
	answer(tag, r, NULL);
}

/* --- questions to the keeper ---------------------------------------------------------------------------- */

struct question {
	struct question *next;
	uint64_t tag;
	bool answered, held;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	struct question *first;
	uint64_t last_tag;
	atomic_bool served;
} asking = { .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER };

bool control_is_served(void)
{
	return atomic_load(&asking.served);
}

static void ask_held(uint64_t tag, pid_t pid, uint64_t ino)
{
	_cleanup_text_ struct text t = { 0 };

	begin(&t, BUCKET_SAY_HELD);
	field_add_u64(&t, "tag", tag);
	field_add_u64(&t, "pid", (uint64_t)pid);
	field_add_u64(&t, "ino", ino);
	say(&t);
}

bool control_is_held(pid_t pid, uint64_t ino)
{
	struct question question = { 0 }, **at = &asking.first;
	struct timespec until;

	if (pid <= 0)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += HELD_PATIENCE_S;
	pthread_mutex_lock(&asking.lock);
	question.tag = ++asking.last_tag;
	question.next = asking.first;
	asking.first = &question;
	pthread_mutex_unlock(&asking.lock);
	ask_held(question.tag, pid, ino);
	pthread_mutex_lock(&asking.lock);
	while (!question.answered &&
	       pthread_cond_clockwait(&asking.answered, &asking.lock, CLOCK_MONOTONIC, &until) == 0)
		;
	while (*at != &question)
		at = &(*at)->next;
	*at = question.next;
	pthread_mutex_unlock(&asking.lock);
	return question.held;
}

static void take_holders(uint64_t tag, const char *held)
{
	pthread_mutex_lock(&asking.lock);
	for (struct question *q = asking.first; q; q = q->next) {
		if (q->tag != tag)
			continue;
		q->answered = true;
		q->held = held && !strcmp(held, "yes");
	}
	pthread_cond_broadcast(&asking.answered);
	pthread_mutex_unlock(&asking.lock);
}

/* --- the end -------------------------------------------------------------------------------------------- */

static atomic_int saved; /* 1: not known yet */

static void *save_main(void *arg)
{
	int r = fs_sync();

	(void)arg;
	if (r == 0)
		r = fs_sync(); /* what was written meanwhile */
	atomic_store(&saved, r);
	return NULL;
}

static uint64_t bytes_sent(void)
{
	struct object_stats stats;

	object_store_stats(the_store, &stats);
	return stats.bytes_out;
}

/* 0, or -errno; -ETIMEDOUT: nothing has gone out for as long as a request is tried. */
static int save_all(void)
{
	int64_t until = monotonic_ms() + the_options.retry_for_ms + the_options.stall_timeout_ms;
	uint64_t sent = bytes_sent();
	pthread_t thread;
	int r;

	atomic_store(&saved, 1);
	r = -pthread_create(&thread, NULL, save_main, NULL);
	if (r < 0)
		return r;
	pthread_detach(thread);
	while ((r = atomic_load(&saved)) == 1) {
		uint64_t now_sent = bytes_sent();

		if (now_sent != sent)
			until = monotonic_ms() + the_options.retry_for_ms +
				the_options.stall_timeout_ms;
		else if (monotonic_ms() > until)
			return -ETIMEDOUT;
		sent = now_sent;
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
	}
	return r;
}

static _Noreturn void leave(uint64_t tag)
{
	int r = save_all();

	if (r < 0)
		log_error("not all that was written is in the bucket: %s", strerror(-r));
	if (tag)
		answer(tag, r, NULL);
	if (r == 0)
		journal_close();
	key_reader_stop();
	_exit(r < 0 ? 1 : 0);
}

/* The keeper was killed, and its box dies with it: what that still closes is waited for. */
static void leave_orphaned(void)
{
	log_warn("the keeper is gone");
	for (int ms = 0; ms < ORPHAN_MS && !session_has_ended(); ms += LOOK_MS)
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
	leave(0);
}

/* --- the thread ----------------------------------------------------------------------------------------- */

static void show_status(uint64_t tag)
{
	_cleanup_text_ struct text lines = { 0 }, t = { 0 };

	status_show(&lines, STATUS_MAX);
	begin(&t, BUCKET_SAY_ANSWER);
	field_add_u64(&t, "tag", tag);
	field_add_u64(&t, "error", lines.failed ? ENOMEM : 0);
	field_add(&t, "text", lines.data ? lines.data : "");
	say(&t);
}

static void handle(const char *fields, size_t len)
{
	const char *word = field_get(fields, len, "say");
	uint64_t tag = field_get_u64(fields, len, "tag", 0);

	if (!word)
		return;
	if (!strcmp(word, BUCKET_SAY_STATUS))
		show_status(tag);
	else if (!strcmp(word, BUCKET_SAY_FLUSH))
		start_work(tag, run_flush);
	else if (!strcmp(word, BUCKET_SAY_END))
		start_work(tag, run_end);
	else if (!strcmp(word, BUCKET_SAY_INSIDE))
		answer(tag, guard_set(fields, len), NULL);
	else if (!strcmp(word, BUCKET_SAY_HOLDERS))
		take_holders(tag, field_get(fields, len, "held"));
	else if (!strcmp(word, BUCKET_SAY_SAVE))
		leave(tag);
}

static void receive(void)
{
	static char packet[BUCKET_PACKET_MAX];
	ssize_t n = recv(BUCKET_CONTROL_FD, packet, sizeof(packet), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		leave_orphaned();
	if (n > 0)
		handle(packet, (size_t)n);
}

void *control_watch(void *signals)
{
	struct signalfd_siginfo info;
	struct pollfd p[] = {
		{ .fd = BUCKET_CONTROL_FD, .events = POLLIN },
		{ .fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN },
	};

	atomic_store(&asking.served, true);
	while (!session_has_ended()) {
		if (poll(p, ARRAY_SIZE(p), TICK_MS) == 0)
			session_tidy();
		if (p[0].revents)
			receive();
		if (p[1].revents && read(p[1].fd, &info, sizeof(info)) == sizeof(info) &&
		    info.ssi_signo == SIGTERM)
			leave(0);
	}
	close_fd(&p[1].fd);
	return NULL;
}
