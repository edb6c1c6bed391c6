/* SPDX-License-Identifier: MIT */
/*
 * Exit codes of runs. Must not wait: a read that cannot be answered yet is parked on its run. Lock:
 * box->lock.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "store.h"
#include "stream.h"
#include "stream_private.h"

/* The code's text, or the errno that stands for it. box->lock held. */
static int exit_text(struct handle *h, char text[16])
{
	struct run_record rec;
	enum run_state state;
	int code;

	if (h->run) {
		state = h->run->state;
		code = h->run->code;
	} else {
		if (store_run_read(h->box, h->run_number, &rec) < 0)
			return -ESTALE;
		state = rec.state;
		code = rec.code;
	}
	if (state == RUN_FAILED || state == RUN_LOST)
		return -EIO;
	snprintf(text, 16, "%d\n", code);
	return 0;
}

static bool exit_is_known(struct handle *h)
{
	return !h->run_number || !h->run || h->run->ended || h->box->removed;
}

static void exit_reply(fuse_req_t req, struct handle *h, size_t size, off_t offset)
{
	char text[16] = "";
	int r = 0;

	pthread_mutex_lock(&h->box->lock);
	if (h->box->removed)
		r = -ESTALE; /* also where a command was ended by that: 137 is no result of its own */
	else if (h->run_number)
		r = exit_text(h, text);
	pthread_mutex_unlock(&h->box->lock);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if ((size_t)offset >= strlen(text))
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, text + offset, MIN(size, strlen(text) - (size_t)offset));
}

static enum park_verdict exit_look(struct park *park)
{
	return exit_is_known(park->handle) ? PARK_ANSWER : PARK_WAIT;
}

static void exit_answer(struct park *park, int error)
{
	if (error)
		fuse_reply_err(park->req, error);
	else
		exit_reply(park->req, park->handle, park->wait.size, park->wait.offset);
}

static const struct park_type exit_park = { exit_look, exit_answer, NULL };

static int exit_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = size, .offset = offset };
	struct box *box = h->box;
	int r = 0;

	if (offset < 0)
		return -EINVAL;
	pthread_mutex_lock(&box->lock);
	if (!exit_is_known(h)) {
		r = ctx->flags & O_NONBLOCK ? -EAGAIN
					    : park_add(&h->run->parks, &box->lock, &exit_park,
						       ctx->req, h, box, &wait);
		pthread_mutex_unlock(&box->lock);
		return r < 0 ? r : TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	exit_reply(ctx->req, h, size, offset);
	return TREE_ANSWERED;
}

static unsigned int exit_poll(struct ctx *ctx, struct handle *h)
{
	bool known;

	pthread_mutex_lock(&ctx->box->lock);
	known = exit_is_known(h);
	pthread_mutex_unlock(&ctx->box->lock);
	return known ? POLLIN : 0;
}

const struct row_ops exit_ops = { .open = stream_out_open, .read = exit_read, .poll = exit_poll };
const struct row_ops run_exit_ops = { .open = stream_run_out_open,
				      .read = exit_read,
				      .poll = exit_poll };

/* 0 while it would wait, and where there is no code. */
static uint64_t code_size(struct ctx *ctx, bool of_session)
{
	struct handle h = { .box = ctx->box, .fd = -1, .gaps = -1 };
	const struct session *s = NULL;
	char text[16] = "";

	pthread_mutex_lock(&ctx->box->lock);
	if (of_session) {
		box_load_runs(ctx->box);
		s = session_of(ctx);
		stream_bind(&h, s ? s->last_run : 0, true);
	} else {
		stream_bind(&h, run_of(ctx), false);
	}
	if (h.run_number && exit_is_known(&h))
		exit_text(&h, text);
	pthread_mutex_unlock(&ctx->box->lock);
	if (h.run)
		run_put(h.run);
	return strlen(text);
}

uint64_t exit_size(struct ctx *ctx)
{
	return code_size(ctx, true);
}

uint64_t run_exit_size(struct ctx *ctx)
{
	return code_size(ctx, false);
}
