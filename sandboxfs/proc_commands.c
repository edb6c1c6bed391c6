/* SPDX-License-Identifier: MIT */
/*
 * Reads /proc/PID/cmdline of many processes on a thread that is left behind when one of them does not
 * answer; another one goes on with the next. There are MAX_THREADS at a time, beyond which nothing is
 * read. A thread that is left behind ends when its process does, or is answered.
 *
 * Lock: batch->lock, of one call.
 */
#include "proc_commands.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum { MAX_THREADS = 16, PATIENCE_MS = 250 };

static atomic_uint threads;

/* One call's work; freed by who has it last. */
struct batch {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned int refs;
	unsigned int reader; /* the thread whose turn it is; those before are left behind */
	size_t next, n;
	bool done;
	struct proc_command commands[];
};

static void batch_put(struct batch *b)
{
	bool last;

	pthread_mutex_lock(&b->lock);
	last = --b->refs == 0;
	pthread_mutex_unlock(&b->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->moved);
	free(b);
}

static ssize_t read_command(pid_t pid, char *text)
{
	char path[64];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? 0 : read_full(fd, text, PROC_COMMAND_BYTES);
}

static void *read_batch(void *arg)
{
	struct batch *b = arg;
	unsigned int me;

	pthread_mutex_lock(&b->lock);
	me = b->reader;
	while (b->reader == me && b->next < b->n) {
		struct proc_command got = { .pid = b->commands[b->next].pid };
		ssize_t len;

		pthread_mutex_unlock(&b->lock);
		len = got.pid ? read_command(got.pid, got.text) : 0;
		pthread_mutex_lock(&b->lock);
		if (b->reader != me)
			break;
		got.len = len > 0 ? (size_t)len : 0;
		b->commands[b->next++] = got;
	}
	if (b->reader == me) {
		b->done = true;
		pthread_cond_signal(&b->moved);
	}
	pthread_mutex_unlock(&b->lock);
	atomic_fetch_sub(&threads, 1);
	batch_put(b);
	return NULL;
}

/* b->lock held. */
static bool start_reader(struct batch *b)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (atomic_fetch_add(&threads, 1) >= MAX_THREADS) {
		atomic_fetch_sub(&threads, 1);
		return false;
	}
	b->refs++;
	b->reader++;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, read_batch, b);
	pthread_attr_destroy(&attr);
	if (r != 0) {
		b->refs--;
		atomic_fetch_sub(&threads, 1);
	}
	return r == 0;
}

/* The moment from now on until which one process may take. */
static struct timespec patience(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += PATIENCE_MS * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

void proc_commands_read(struct proc_command *commands, size_t n)
{
	struct batch *b = calloc(1, sizeof(*b) + n * sizeof(*commands));
	bool going;

	if (!b)
		return;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->moved, NULL);
	b->refs = 1;
	b->n = n;
	for (size_t i = 0; i < n; i++)
		b->commands[i].pid = commands[i].pid;
	pthread_mutex_lock(&b->lock);
	going = start_reader(b);
	while (going && !b->done) {
		struct timespec until = patience();
		size_t before = b->next;

		if (pthread_cond_timedwait(&b->moved, &b->lock, &until) == 0 || b->next != before)
			continue;
		b->next++; /* that one is left out, and its reader left behind */
		going = start_reader(b);
	}
	b->reader++;
	for (size_t i = 0; i < MIN(b->next, n); i++)
		commands[i] = b->commands[i];
	pthread_mutex_unlock(&b->lock);
	batch_put(b);
}
