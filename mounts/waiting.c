/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The requests under way. Who sets `answered` answers; the other one must not touch the request any
 * more. An entry of the list is never freed, as libfuse may call on_interrupt() with it late: it is
 * then another request's, or nobody's, which `req` tells (the request that libfuse holds is not freed
 * before that call returns, so that none can have its address).
 *
 * Lock: waiting.lock, a leaf; not held across an answer or the reading of files.
 */
#include "waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum { TASK_SIGNALED = 0x400, MAX_PROC_FILE = 1 << 14 }; /* PF_SIGNALED of linux/sched.h */

struct waiter {
	struct waiter *next, *next_free;
	fuse_req_t req;	 /* NULL: free */
	uint64_t number; /* of the request, as an address may come again */
	pid_t pid;
	bool interrupted, answered;
};

static struct {
	pthread_mutex_t lock;
	struct waiter *all, *free;
} waiting = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local struct waiter *mine;

/* --- processes -------------------------------------------------------------------------------- */

static char *read_proc(pid_t pid, const char *name)
{
	char path[64], *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return pid > 0 && read_file_at(AT_FDCWD, path, MAX_PROC_FILE, &text, NULL) == 0 ? text
											: NULL;
}

static uint64_t signal_set(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

/* A signal is pending that will end it. */
static bool is_dying(pid_t pid)
{
	/* By default these do not end a process. */
	static const int harmless[] = { SIGCHLD, SIGCONT, SIGURG,  SIGWINCH,
					SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
	_cleanup_free_ char *status = read_proc(pid, "status");
	uint64_t pending;

	if (!status)
		return false;
	pending = signal_set(status, "\nSigPnd:") | signal_set(status, "\nShdPnd:");
	pending &= ~(signal_set(status, "\nSigBlk:") | signal_set(status, "\nSigIgn:") |
		     signal_set(status, "\nSigCgt:"));
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		pending &= ~(1ull << (harmless[i] - 1));
	return pending != 0;
}

bool waiting_is_killed(pid_t pid)
{
	_cleanup_free_ char *text = read_proc(pid, "stat");
	/* pid (name) state ppid pgrp session tty tpgid flags; the name may hold anything */
	char *field = text ? strrchr(text, ')') : NULL;

	for (int i = 0; i < 7 && field; i++)
		field = strchr(field + 1, ' ');
	return field && (strtoul(field, NULL, 10) & TASK_SIGNALED);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Is it still this request, and unanswered? Then it is the caller's to answer. */
static bool claim(struct waiter *w, uint64_t number)
{
	bool ours;

	pthread_mutex_lock(&waiting.lock);
	ours = w->req && w->number == number && !w->answered;
	if (ours)
		w->answered = true;
	pthread_mutex_unlock(&waiting.lock);
	return ours;
}

static void on_interrupt(fuse_req_t req, void *data)
{
	struct waiter *w = data;
	uint64_t number = 0;
	pid_t pid = 0;

	pthread_mutex_lock(&waiting.lock);
	if (w->req == req && !w->answered) {
		w->interrupted = true;
		number = w->number;
		pid = w->pid;
	}
	pthread_mutex_unlock(&waiting.lock);
	if (is_dying(pid) && claim(w, number))
		fuse_reply_err(req, EINTR);
}

/* waiting.lock held. NULL: no memory. */
static struct waiter *new_waiter(void)
{
	struct waiter *w = waiting.free;

	if (w) {
		waiting.free = w->next_free;
		return w;
	}
	w = calloc(1, sizeof(*w));
	if (w) {
		w->next = waiting.all;
		waiting.all = w;
	}
	return w;
}

void waiting_begin(fuse_req_t req)
{
	static uint64_t numbers;
	struct waiter *w;

	pthread_mutex_lock(&waiting.lock);
	w = new_waiter();
	if (w) {
		w->req = req;
		w->number = ++numbers;
		w->pid = fuse_req_ctx(req)->pid;
		w->interrupted = w->answered = false;
	}
	pthread_mutex_unlock(&waiting.lock);
	mine = w;
	if (w) /* else it cannot be interrupted */
		fuse_req_interrupt_func(req, on_interrupt, w);
}

/* False: it has been answered; nothing is to be said any more. */
static bool is_asked(fuse_req_t req)
{
	struct waiter *w = take_ptr(mine);
	bool ours;

	if (!w)
		return true;
	ours = claim(w, w->number);
	/* From here on libfuse does not call for it. */
	if (ours)
		fuse_req_interrupt_func(req, NULL, NULL);
	pthread_mutex_lock(&waiting.lock);
	w->req = NULL;
	w->next_free = waiting.free;
	waiting.free = w;
	pthread_mutex_unlock(&waiting.lock);
	return ours;
}

void waiting_look(void)
{
	enum { AT_A_TIME = 64 };
	struct waiter *found[AT_A_TIME], copies[AT_A_TIME];
	size_t n = 0;

	pthread_mutex_lock(&waiting.lock);
	for (struct waiter *w = waiting.all; w && n < AT_A_TIME; w = w->next) {
		if (!w->req || !w->interrupted || w->answered)
			continue;
		copies[n] = *w;
		found[n++] = w;
	}
	pthread_mutex_unlock(&waiting.lock);
	for (size_t i = 0; i < n; i++) {
		if (is_dying(copies[i].pid) && claim(found[i], copies[i].number))
			fuse_reply_err(copies[i].req, EINTR);
	}
}

/* --- answers ---------------------------------------------------------------------------------- */

int fs_reply_err(fuse_req_t req, int error)
{
	return is_asked(req) ? fuse_reply_err(req, error) : -ENOENT;
}

int fs_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	return is_asked(req) ? fuse_reply_entry(req, e) : -ENOENT;
}

int fs_reply_attr(fuse_req_t req, const struct stat *st, double timeout)
{
	return is_asked(req) ? fuse_reply_attr(req, st, timeout) : -ENOENT;
}

int fs_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	return is_asked(req) ? fuse_reply_open(req, fi) : -ENOENT;
}

int fs_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
		    const struct fuse_file_info *fi)
{
	return is_asked(req) ? fuse_reply_create(req, e, fi) : -ENOENT;
}

int fs_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	return is_asked(req) ? fuse_reply_buf(req, buf, size) : -ENOENT;
}

int fs_reply_iov(fuse_req_t req, const struct iovec *at, int n)
{
	return is_asked(req) ? fuse_reply_iov(req, at, n) : -ENOENT;
}

int fs_reply_data(fuse_req_t req, struct fuse_bufvec *data)
{
	return is_asked(req) ? fuse_reply_data(req, data, 0) : -ENOENT;
}

int fs_reply_write(fuse_req_t req, size_t size)
{
	return is_asked(req) ? fuse_reply_write(req, size) : -ENOENT;
}

int fs_reply_readlink(fuse_req_t req, const char *target)
{
	return is_asked(req) ? fuse_reply_readlink(req, target) : -ENOENT;
}
