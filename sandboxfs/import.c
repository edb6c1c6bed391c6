/* SPDX-License-Identifier: MIT */
/*
 * Imports at work. Must not wait: a write is parked while the importer's pipe is full, the close
 * until the importer has said how it ended; the event thread goes on with both. An import is given
 * up by closing the control pipe, as the daemon's own death does. Lock: import_lock.
 */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "caller.h"
#include "daemon.h"
#include "images.h"
#include "import_spawn.h"
#include "park.h"
#include "why.h"

enum {
	MAX_IMPORTS = 8, /* at a time */
	MAX_RESULT = 2 << 20,
};

struct import {
	struct import *next;
	uint32_t image;
	uid_t uid;
	const struct handle *writer; /* NULL: released */
	struct watch in, out;	     /* the archive's pipe, the result's; fd -1: closed */
	int control;
	struct park_list writes, closes;
	uint64_t position; /* bytes of the archive that were written, gaps included */
	uint64_t zeros;	   /* due before the next write */
	uint64_t size;	   /* of ftruncate(2), 0 none */
	bool ending;	   /* no more will be written */
	bool armed;	   /* the event thread will tell of room in the pipe */
	bool broken;	   /* the importer reads no more */
	bool finished;	   /* it has ended, and error says how */
	int error;
	struct text result;
};

static pthread_mutex_t import_lock = PTHREAD_MUTEX_INITIALIZER;
static struct import *imports;

/* import_lock held. */
static struct import *find(uint32_t image)
{
	struct import *i = imports;

	while (i && i->image != image)
		i = i->next;
	return i;
}

/* That of a handle which writes. import_lock held. */
static struct import *of_handle(const struct handle *h)
{
	struct import *i = find(h->node.item);

	return i && i->writer == h ? i : NULL;
}

/* --- the pipe ------------------------------------------------------------------------------------ */

/* import_lock held in this part. */

static void close_input(struct import *i)
{
	if (i->in.fd < 0)
		return;
	daemon_watch_remove(&i->in);
	close_fd(&i->in.fd);
}

/* Writes what fits: bytes, or -EAGAIN, -EPIPE. */
static ssize_t put(struct import *i, const char *data, size_t size)
{
	ssize_t n;

	if (i->in.fd < 0 || i->broken)
		return -EPIPE;
	do {
		n = write(i->in.fd, data, size);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		i->broken = true;
	return n < 0 ? -errno : n;
}

static ssize_t put_zeros(struct import *i)
{
	static const char zeros[64 << 10];
	ssize_t n = 0;

	while (i->zeros && n >= 0) {
		n = put(i, zeros, (size_t)MIN(i->zeros, sizeof(zeros)));
		if (n > 0)
			i->zeros -= (uint64_t)n;
	}
	return MIN(n, 0);
}

static struct park *oldest(const struct import *i)
{
	struct park *found = i->writes.first;

	for (struct park *p = found; p; p = p->next) {
		if (p->serial < found->serial)
			found = p;
	}
	return found;
}

static void arm(struct import *i)
{
	if (!i->armed && i->in.fd >= 0 && !i->broken)
		i->armed = daemon_watch_change(&i->in, EPOLLOUT | EPOLLONESHOT) == 0;
}

/* Writes what waits. One that finds the pipe broken waits on, for the importer's reason. */
static struct park *pump(struct import *i, struct park *ready)
{
	ssize_t n = put_zeros(i);
	struct park *park;

	while (n >= 0 && (park = oldest(i))) {
		n = put(i, park->chunk->bytes + park->wait.offset,
			park->chunk->len - (size_t)park->wait.offset);
		if (n > 0)
			park->wait.offset += n;
		if ((size_t)park->wait.offset == park->chunk->len)
			ready = park_collect_one(park, 0, ready);
	}
	if (n == -EAGAIN)
		arm(i);
	else if (i->ending && !i->writes.first)
		close_input(i);
	return ready;
}

static void in_ready(struct watch *watch, uint32_t events)
{
	struct import *i = container_of(watch, struct import, in);
	struct park *ready = NULL;

	pthread_mutex_lock(&import_lock);
	i->armed = false;
	if (events & EPOLLERR)
		i->broken = true;
	if (!i->finished)
		ready = pump(i, NULL);
	pthread_mutex_unlock(&import_lock);
	park_answer(ready);
}

/* --- the end -------------------------------------------------------------------------------------- */

/* Called when the event thread can no longer have it in its hands. */
static void import_gone(struct watch *watch)
{
	struct import *i = container_of(watch, struct import, in);

	text_free(&i->result);
	free(i);
}

/* Nobody has the handle and the importer has ended. import_lock held. */
static void maybe_free(struct import *i)
{
	struct import **at = &imports;

	if (i->writer || !i->finished)
		return;
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	daemon_watch_drop(&i->in, import_gone);
}

struct verdict {
	int error;
	char *why;
};

static int verdict_line(void *ctx, const char *key, const char *value)
{
	struct verdict *v = ctx;
	uint64_t error;

	if (!strcmp(key, "error") && parse_u64(value, 1, 4095, &error) == 0)
		v->error = (int)error;
	if (!strcmp(key, "why")) {
		free(v->why);
		v->why = strdup(value);
	}
	return 0;
}

/* What the importer said: 0, or the errno, and why tells about it. */
static int judge(struct import *i)
{
	_cleanup_free_ char *copy = i->result.data ? strdup(i->result.data) : NULL;
	struct verdict v = { 0 };
	char name[64];
	int line;

	images_name(i->image, name);
	if (!copy || record_parse(copy, verdict_line, &v, &line) < 0)
		v.error = EIO;
	if (!v.error)
		v.error = -images_commit(i->image, i->result.data);
	if (v.error)
		why_add(&root_why, i->uid, "images/%s was not imported: %s", name,
			v.why	? v.why
			: !copy ? "the importer died"
				: strerror(v.error));
	free(v.why);
	images_drop(i->image);
	return v.error;
}

static struct park *collect_all(struct park_list *list, int error, struct park *ready)
{
	while (list->first)
		ready = park_collect_one(list->first, error, ready);
	return ready;
}

/* The importer has ended. Event thread. */
static struct park *finish(struct import *i)
{
	struct park *ready;

	daemon_watch_remove(&i->out);
	close_fd(&i->out.fd);
	close_fd(&i->control);
	close_input(i);
	i->error = judge(i);
	i->finished = true;
	ready = collect_all(&i->writes, i->error ? i->error : EPIPE, NULL);
	ready = collect_all(&i->closes, i->error, ready);
	maybe_free(i);
	return ready;
}

static void out_ready(struct watch *watch, uint32_t events)
{
	struct import *i = container_of(watch, struct import, out);
	struct park *ready = NULL;
	bool ended;
	char buf[4096];
	ssize_t n;

	(void)events;
	pthread_mutex_lock(&import_lock);
	n = read(i->out.fd, buf, sizeof(buf));
	if (n > 0 && i->result.len < MAX_RESULT)
		text_add(&i->result, buf, (size_t)n);
	ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	if (ended)
		ready = finish(i);
	pthread_mutex_unlock(&import_lock);
	park_answer(ready);
	if (ended)
		daemon_run_later(images_tidy);
}

/* Gives it up: the importer removes what it made, and its end is told as that of any other. */
static void give_up(struct import *i)
{
	close_fd(&i->control);
	i->ending = true;
}

/* --- starting ------------------------------------------------------------------------------------ */

static int start(struct import *i)
{
	int r = import_spawn(&i->in.fd, &i->out.fd, &i->control);

	if (r == 0)
		r = daemon_watch_add(&i->in, EPOLLONESHOT);
	if (r == 0)
		r = daemon_watch_add(&i->out, EPOLLIN);
	return r;
}

int import_open(struct ctx *ctx, struct handle *h)
{
	struct import *i = calloc(1, sizeof(*i)), *other;
	struct caller opener;
	size_t n = 0;
	int r = i ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	*i = (struct import){ .image = h->node.item,
			      .uid = ctx->uid,
			      .writer = h,
			      .in = { .fd = -1, .ready = in_ready },
			      .out = { .fd = -1, .ready = out_ready },
			      .control = -1 };
	if (caller_read(ctx->pid, &opener) == 0) {
		h->opener = opener.tgid;
		h->opener_started = opener.started;
	}
	pthread_mutex_lock(&import_lock);
	for (other = imports; other; other = other->next)
		n++;
	r = n >= MAX_IMPORTS ? -EAGAIN : start(i);
	if (r == 0) {
		i->next = imports;
		imports = i;
	}
	pthread_mutex_unlock(&import_lock);
	if (r == 0)
		return 0;
	if (r == -EAGAIN)
		tree_refuse(ctx, "images: %d imports are at work, which is the most at a time",
			    MAX_IMPORTS);
	close_fd(&i->control);
	close_input(i);
	close_fd(&i->out.fd);
	free(i);
	return r;
}

/* --- writing -------------------------------------------------------------------------------------- */

static enum park_verdict never(struct park *park)
{
	(void)park;
	return PARK_WAIT; /* pump() and finish() decide */
}

/* Only a signal that means to end the writer does. */
static enum park_verdict interrupted(struct park *park)
{
	return caller_signal(park->tid) ? PARK_ANSWER : PARK_WAIT;
}

static void write_answer(struct park *park, int error)
{
	if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_write(park->req, park->chunk->len);
	free(park->chunk);
}

static const struct park_type write_park = { never, write_answer, interrupted };

static struct chunk *copy(const char *data, size_t size)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + size);

	if (!chunk)
		return NULL;
	chunk->len = size;
	memcpy(chunk->bytes, data, size);
	return chunk;
}

/* import_lock held. */
static int write_or_wait(struct import *i, struct ctx *ctx, struct handle *h, const char *data,
			 size_t size)
{
	struct chunk *chunk;
	ssize_t n = i->writes.first ? -EAGAIN : put_zeros(i);
	size_t done = 0;
	int r;

	if (n >= 0)
		n = put(i, data, size);
	if (n > 0)
		done = (size_t)n;
	if (done == size)
		return 0;
	chunk = copy(data, size);
	r = chunk ? park_add(&i->writes, &import_lock, &write_park, ctx->req, h, NULL, NULL)
		  : -ENOMEM;
	if (r < 0) {
		free(chunk);
		return r;
	}
	i->writes.first->chunk = chunk;
	i->writes.first->wait.offset = (off_t)done;
	arm(i);
	return TREE_ANSWERED;
}

int import_write(struct ctx *ctx, struct handle *h, const char *data, size_t size, off_t offset)
{
	struct import *i;
	int r = 0;

	pthread_mutex_lock(&import_lock);
	i = of_handle(h);
	if (!i || (i->ending && !i->finished))
		r = -EPIPE;
	else if (i->finished)
		r = i->error ? -i->error : -EPIPE;
	else if ((uint64_t)offset < i->position)
		r = -ESPIPE;
	if (r == 0) {
		i->zeros += (uint64_t)offset - i->position;
		i->position = (uint64_t)offset + size;
		r = write_or_wait(i, ctx, h, data, size);
		if (r < 0)
			give_up(i); /* a piece of the archive is missing from now on */
	}
	pthread_mutex_unlock(&import_lock);
	if (r == -ESPIPE)
		tree_refuse(ctx,
			    "images: an archive is written from its beginning to its end, as cp "
			    "and cat do");
	if (r == 0)
		fuse_reply_write(ctx->req, size);
	return r == 0 ? TREE_ANSWERED : r;
}

void import_extend(uint32_t image, uint64_t size)
{
	struct import *i;

	pthread_mutex_lock(&import_lock);
	i = find(image);
	if (i && !i->ending)
		i->size = MAX(i->size, size);
	pthread_mutex_unlock(&import_lock);
}

/* --- closing -------------------------------------------------------------------------------------- */

/* The archive has been written. import_lock held. */
static struct park *end_input(struct import *i)
{
	if (i->ending)
		return NULL;
	i->ending = true;
	if (i->size > i->position)
		i->zeros += i->size - i->position;
	return i->finished ? NULL : pump(i, NULL);
}

static void close_answer(struct park *park, int error)
{
	fuse_reply_err(park->req, error);
}

static enum park_verdict close_interrupted(struct park *park)
{
	int sig = caller_signal(park->tid);
	struct import *i;

	if (!sig)
		return PARK_WAIT;
	i = of_handle(park->handle);
	/* Ctrl-Z ends the wait, and the import goes on. */
	if (i && sig != SIGTSTP && sig != SIGSTOP)
		give_up(i);
	return PARK_ANSWER;
}

static const struct park_type close_park = { never, close_answer, close_interrupted };

/* As for cmd (submit.c): is this the close that completes the archive? */
static bool complete(struct ctx *ctx, struct handle *h, bool *wait)
{
	struct caller closer;

	*wait = true;
	if (caller_read(ctx->pid, &closer) < 0)
		return !h->opener || ctx->pid == 0;
	if (closer.tgid != h->opener || closer.started != h->opener_started)
		return false;
	if (closer.signalled) {
		h->killed = true;
		return false;
	}
	*wait = !closer.exiting;
	return !caller_holds(closer.tgid, h->ino);
}

int import_flush(struct ctx *ctx, struct handle *h)
{
	struct park *ready = NULL;
	struct import *i;
	bool wait;
	int r = 0;

	pthread_mutex_lock(&import_lock);
	i = of_handle(h);
	if (!i || i->ending)
		r = i && i->finished ? -i->error : 0;
	pthread_mutex_unlock(&import_lock);
	if (!i || r < 0 || !complete(ctx, h, &wait))
		return r;
	pthread_mutex_lock(&import_lock);
	i = of_handle(h);
	if (i)
		ready = end_input(i);
	if (i && i->finished) {
		r = -i->error;
	} else if (i && wait) {
		r = park_add(&i->closes, &import_lock, &close_park, ctx->req, h, NULL, NULL);
		if (r == 0)
			r = TREE_ANSWERED;
	}
	pthread_mutex_unlock(&import_lock);
	park_answer(ready);
	return r;
}

void import_release(struct handle *h)
{
	struct park *ready = NULL;
	struct import *i;

	pthread_mutex_lock(&import_lock);
	i = of_handle(h);
	if (i) {
		if (h->killed && !i->ending)
			give_up(i);
		ready = end_input(i);
		i->writer = NULL;
		maybe_free(i);
	}
	pthread_mutex_unlock(&import_lock);
	park_answer(ready);
}

void imports_leave(void)
{
	struct park *ready = NULL;

	pthread_mutex_lock(&import_lock);
	for (struct import *i = imports; i; i = i->next) {
		give_up(i);
		ready = collect_all(&i->writes, ESTALE, ready);
		ready = collect_all(&i->closes, ESTALE, ready);
	}
	pthread_mutex_unlock(&import_lock);
	park_answer(ready);
}

void imports_free(void)
{
	struct import *i;

	while ((i = imports)) {
		imports = i->next;
		close_fd(&i->in.fd);
		close_fd(&i->out.fd);
		import_gone(&i->in);
	}
}
