/* SPDX-License-Identifier: MIT */
/*
 * Standard input of runs. Must not wait: writes are parked here while the pipe is full, and go on when
 * the event thread hears that it is not. Lock: box->lock.
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "keeper.h"
#include "keeper_private.h"
#include "named.h"
#include "stream.h"

enum { PIPE_BYTES = 1 << 20 };

struct input {
	struct watch watch; /* fd: the pipe, -1 not yet or not any more */
	struct box *box;    /* a reference */
	struct park_list parks;
	unsigned int writers;
	bool ended; /* no more can be written */
	bool armed; /* the event thread will tell of room */
};

/* --- the pipe ------------------------------------------------------------------------------------ */

static struct park *oldest(struct input *input)
{
	struct park *found = input->parks.first;

	for (struct park *p = found; p; p = p->next) {
		if (p->serial < found->serial)
			found = p;
	}
	return found;
}

/* Writes from data what fits: bytes, -EAGAIN, -EPIPE. */
static ssize_t put(const struct input *input, const char *data, size_t size)
{
	ssize_t n;

	if (input->ended)
		return -EPIPE;
	if (input->watch.fd < 0)
		return -EAGAIN;
	do {
		n = write(input->watch.fd, data, size);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Called once the event thread can no longer have the watch in its hands. */
static void watch_gone(struct watch *watch)
{
	struct input *input = container_of(watch, struct input, watch);

	box_put(input->box);
	free(input);
}

static void end(struct input *input)
{
	input->ended = true;
	if (input->watch.fd < 0)
		return;
	/* The event thread may be on its way to us: it finds that we have ended. */
	daemon_watch_remove(&input->watch);
	close_fd(&input->watch.fd);
}

static struct park *pump(struct input *input, struct park *ready)
{
	struct park *park;

	while ((park = oldest(input))) {
		ssize_t n = put(input, park->chunk->bytes + park->wait.offset,
				park->chunk->len - (size_t)park->wait.offset);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			end(input);
			ready = park_collect_one(park, EPIPE, ready);
			continue;
		}
		park->wait.offset += n;
		if ((size_t)park->wait.offset == park->chunk->len)
			ready = park_collect_one(park, 0, ready);
	}
	if (park && !input->armed && input->watch.fd >= 0)
		input->armed = daemon_watch_change(&input->watch, EPOLLOUT | EPOLLONESHOT) == 0;
	return ready;
}

static void input_ready(struct watch *watch, uint32_t events)
{
	struct input *input = container_of(watch, struct input, watch);
	struct box *box = box_ref(input->box);
	struct park *ready;

	pthread_mutex_lock(&box->lock);
	input->armed = false;
	if (events & EPOLLERR)
		end(input);
	ready = pump(input, NULL);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	stream_notify_polls(box);
	box_put(box);
}

struct park *input_take_fd(struct input *input, int fd, struct park *ready)
{
	if (input->ended || input->watch.fd >= 0 || set_nonblock(fd) < 0) {
		close(fd);
		return ready;
	}
	fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
	input->watch.fd = fd;
	if (daemon_watch_add(&input->watch, EPOLLOUT | EPOLLONESHOT) < 0) {
		close_fd(&input->watch.fd);
		input->ended = true;
	} else {
		input->armed = true;
	}
	return pump(input, ready);
}

struct park *input_refused(struct input *input, struct park *ready)
{
	end(input);
	return pump(input, ready);
}

struct park *input_close(struct run *run, int error, struct park *ready)
{
	struct input *input = take_ptr(run->input);

	if (!input)
		return ready;
	end(input);
	ready = park_collect(&input->parks, error, ready);
	daemon_watch_drop(&input->watch, watch_gone);
	return ready;
}

/* --- handles ------------------------------------------------------------------------------------- */

/* Becomes a writer of that run. box->lock held. */
static int bind(struct handle *h, struct run *run)
{
	struct input *input = run->input;

	if (run->session[0] || run->ended)
		return -EPIPE;
	if (!input) {
		input = calloc(1, sizeof(*input));
		if (!input)
			return -ENOMEM;
		input->watch = (struct watch){ .fd = -1, .ready = input_ready };
		input->box = box_ref(h->box);
		run->input = input;
		if (keeper_run_ask(h->box, MSG_INPUT, KEEPER_INPUT_TAG | run->number, run->number) <
		    0)
			input->ended = true;
	}
	input->writers++;
	h->run = run_ref(run);
	h->run_number = run->number;
	return 0;
}

/* The run that the handle's directory stands for: bound. -EAGAIN: the name has none yet. */
static int bind_now(struct handle *h)
{
	const struct named *named;
	struct run *run;
	uint64_t number = h->node.item;

	if (h->run)
		return 0;
	if (h->run_number)
		return -EPIPE;
	if (h->node.kind == DIR_NAMED) {
		named = named_by_id(h->box, h->node.item);
		if (!named)
			return -ESTALE;
		number = named->run;
		if (!number)
			return -EAGAIN;
	}
	run = box_live_run(h->box, number);
	return run ? bind(h, run) : -EPIPE;
}

static int input_open(struct ctx *ctx, struct handle *h)
{
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = bind_now(h);
	pthread_mutex_unlock(&ctx->box->lock);
	/* That nothing reads is for the write to say, as with a pipe. */
	return r == -EAGAIN || r == -EPIPE ? 0 : r;
}

static void write_answer(struct park *park, int error)
{
	/* Before it had to wait, and since. */
	size_t written = park->wait.size + (size_t)park->wait.offset;

	/* What has gone into the pipe cannot be taken back. */
	if (written)
		fuse_reply_write(park->req, written);
	else
		fuse_reply_err(park->req, error);
	chunk_free(park->chunk);
}

static enum park_verdict never(struct park *park)
{
	(void)park;
	return PARK_WAIT; /* pump() decides */
}

static const struct park_type write_park = { never, write_answer, NULL };

/* Writes, or with `wait` waits in line. box->lock held. */
static int write_or_wait(fuse_req_t req, struct handle *h, const char *data, size_t size, bool wait,
			 size_t *written)
{
	struct input *input = h->run->input;
	struct park_wait before = { 0 };
	struct chunk *chunk;
	ssize_t n;
	int r;

	if (!input) /* the run has ended since */
		return -EPIPE;
	n = input->parks.first ? -EAGAIN : put(input, data, size);
	if (n == -EPIPE)
		end(input);
	*written = n > 0 ? (size_t)n : 0;
	if (*written == size || (*written && !wait))
		return 0;
	if (n < 0 && (n != -EAGAIN || !wait))
		return (int)n;
	before.size = *written;
	chunk = chunk_copy(data + *written, size - *written);
	r = chunk ? park_add(&input->parks, &h->box->lock, &write_park, req, h, h->box, &before)
		  : -ENOMEM;
	if (r < 0) {
		chunk_free(chunk);
		return *written ? 0 : r;
	}
	input->parks.first->chunk = chunk;
	if (!input->armed && input->watch.fd >= 0)
		input->armed = daemon_watch_change(&input->watch, EPOLLOUT | EPOLLONESHOT) == 0;
	return TREE_ANSWERED;
}

/* A name without a run: the write waits until one is started under it. */
static enum park_verdict named_look(struct park *park)
{
	int r = bind_now(park->handle);

	if (r == -EAGAIN)
		return PARK_WAIT;
	park->error = -r;
	return PARK_ANSWER;
}

static void named_answer(struct park *park, int error)
{
	struct handle *h = park->handle;
	size_t written = 0;
	int r = -error;

	if (r == 0) {
		pthread_mutex_lock(&h->box->lock);
		r = write_or_wait(park->req, h, park->chunk->bytes, park->chunk->len, true,
				  &written);
		pthread_mutex_unlock(&h->box->lock);
	}
	if (r < 0)
		fuse_reply_err(park->req, -r);
	else if (r == 0)
		fuse_reply_write(park->req, written);
	chunk_free(park->chunk);
}

static const struct park_type named_park = { named_look, named_answer, NULL };

static int wait_for_run(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	struct chunk *chunk;
	int r;

	if (ctx->flags & O_NONBLOCK)
		return -EAGAIN;
	chunk = chunk_copy(data, size);
	r = chunk ? park_add(&h->box->parks, &h->box->lock, &named_park, ctx->req, h, h->box, NULL)
		  : -ENOMEM;
	if (r == 0)
		h->box->parks.first->chunk = chunk;
	else
		chunk_free(chunk);
	return r < 0 ? r : TREE_ANSWERED;
}

static int input_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	size_t written = 0;
	int r;

	pthread_mutex_lock(&h->box->lock);
	r = h->box->removed ? -ESTALE : bind_now(h);
	if (r == 0)
		r = write_or_wait(ctx->req, h, data, size, !(ctx->flags & O_NONBLOCK), &written);
	else if (r == -EAGAIN)
		r = wait_for_run(ctx, h, data, size);
	pthread_mutex_unlock(&h->box->lock);
	if (r != 0)
		return r;
	fuse_reply_write(ctx->req, written);
	return TREE_ANSWERED;
}

static void input_release(struct handle *h)
{
	struct input *input;

	pthread_mutex_lock(&h->box->lock);
	input = h->run ? h->run->input : NULL;
	if (input && --input->writers == 0 && !input->ended) {
		end(input);
		keeper_run_request(h->box, MSG_INPUT_END, h->run_number, 0, 0);
	}
	pthread_mutex_unlock(&h->box->lock);
}

static unsigned int input_poll(struct ctx *ctx, struct handle *h)
{
	struct pollfd p = { .fd = -1, .events = POLLOUT };
	unsigned int mask = 0;
	struct input *input;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = ctx->box->removed ? -ESTALE : bind_now(h);
	input = h->run ? h->run->input : NULL;
	if (r == -EAGAIN) {
		mask = 0; /* told when a run starts under the name */
	} else if (!input || input->ended) {
		mask = POLLOUT | POLLERR;
	} else if (input->watch.fd >= 0 && !input->parks.first) {
		p.fd = input->watch.fd;
		if (poll(&p, 1, 0) > 0)
			mask = POLLOUT | (unsigned int)(p.revents & POLLERR);
	}
	if (!mask && input && !input->armed && input->watch.fd >= 0)
		input->armed = daemon_watch_change(&input->watch, EPOLLOUT | EPOLLONESHOT) == 0;
	pthread_mutex_unlock(&ctx->box->lock);
	return mask;
}

const struct row_ops input_ops = {
	.open = input_open,
	.write = input_write,
	.release = input_release,
	.poll = input_poll,
	.stream = true,
};
