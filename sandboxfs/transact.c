/* SPDX-License-Identifier: MIT */
/*
 * A handle of `cmd` opened read-write: after the text is written, reads submit it and give the
 * command's output to end of file; the next write begins the next command. Of a run of its own, its
 * number is read instead. Must not wait: reads are parked on the run. Lock: box->lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "caller.h"
#include "keeper.h"
#include "merge.h"
#include "submit.h"

void transaction_end(struct handle *h)
{
	if (h->merge)
		merge_close(take_ptr(h->merge));
	if (h->run)
		run_put(take_ptr(h->run));
	h->submitted = h->read_back = false;
	h->position = 0;
}

bool transaction_may_begin(const struct handle *h)
{
	return h->merge || h->read_back || (h->run && h->run->refused) || !h->run;
}

/* Of a run of its own the number is read, once it has started. */
static ssize_t number_fill(struct handle *h, char *buf, size_t size)
{
	char text[24];
	size_t len;

	if (!run_has_started(h->run))
		return h->box->removed ? 0 : -EAGAIN;
	if (h->run->state == RUN_FAILED) {
		h->read_back = true;
		return -EIO;
	}
	len = (size_t)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)h->run_number);
	len -= MIN(len, h->position);
	size = MIN(size, len);
	memcpy(buf, text + h->position, size);
	h->position += size;
	h->read_back = true;
	return (ssize_t)size;
}

/* Fills buf: > 0 bytes, 0 end, -EAGAIN must wait, -errno. box->lock held. */
static ssize_t transaction_fill(struct handle *h, char *buf, size_t size)
{
	struct run *run = h->run;
	ssize_t n;

	if (!run)
		return 0;
	if (run->refused)
		return -run->refused;
	if (submit_is_own(h))
		return number_fill(h, buf, size);
	if (!h->merge) {
		h->merge = merge_open(h->box, run->number);
		if (!h->merge)
			return -ENOMEM;
	}
	if (run->state == RUN_FAILED)
		return -EIO; /* it never started: no empty output that looks like its own */
	if (run->ended)
		merge_set_limit(h->merge, run->end_size);
	n = merge_read(h->merge, buf, size);
	if (n || run->ended || h->box->removed)
		return n;
	for (int s = 0; s < N_STREAMS; s++) {
		if (!run->watching[s] &&
		    keeper_run_request(h->box, MSG_WATCH, run->number, s,
				       (int64_t)merge_position(h->merge, s)) == 0)
			run->watching[s] = true;
	}
	return -EAGAIN;
}

static int transaction_take(struct handle *h, size_t size, struct chunk **chunk)
{
	ssize_t n;

	*chunk = chunk_new(size);
	if (!*chunk)
		return -ENOMEM;
	n = transaction_fill(h, (*chunk)->bytes, size);
	if (n < 0) {
		chunk_free(*chunk);
		*chunk = NULL;
		return (int)n;
	}
	(*chunk)->len = (size_t)n;
	return 0;
}

static enum park_verdict transaction_look(struct park *park)
{
	int r;

	if (park->handle->run != park->wait.run)
		return PARK_ANSWER; /* somebody has begun the next command: nothing more of this one */
	r = transaction_take(park->handle, park->wait.size, &park->chunk);
	if (r == -EAGAIN)
		return PARK_WAIT;
	park->error = -r;
	return PARK_ANSWER;
}

static void transaction_answer(struct park *park, int error)
{
	if (error)
		fuse_reply_err(park->req, error);
	else if (!park->chunk)
		fuse_reply_buf(park->req, NULL, 0);
	else
		fuse_reply_buf(park->req, park->chunk->bytes, park->chunk->len);
	chunk_free(park->chunk);
}

static enum park_verdict transaction_interrupted(struct park *park)
{
	int sig = caller_signal(park->tid);

	if (!sig)
		return PARK_WAIT;
	if (sig != SIGTSTP && sig != SIGSTOP && !submit_is_own(park->handle))
		keeper_run_request(park->box, MSG_SIGNAL, park->wait.run->number,
				   sig == SIGKILL ? SIGHUP : sig, 0);
	park->error = EINTR;
	return PARK_ANSWER;
}

static const struct park_type transaction_park = { transaction_look, transaction_answer,
						   transaction_interrupted };

int transaction_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	struct park_wait wait = { .size = MIN(size, (size_t)256 << 10) };
	struct chunk *chunk = NULL;
	struct box *box = ctx->box;
	int r = 0;

	(void)offset;
	pthread_mutex_lock(&box->lock);
	if (!h->submitted && h->text.len)
		r = submit(h);
	if (r == 0)
		r = transaction_take(h, wait.size, &chunk);
	if (r == -EAGAIN && !(ctx->flags & O_NONBLOCK)) {
		wait.run = h->run;
		r = park_add(&h->run->parks, &box->lock, &transaction_park, ctx->req, h, box,
			     &wait);
		pthread_mutex_unlock(&box->lock);
		return r < 0 ? r : TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	if (r < 0)
		return r;
	fuse_reply_buf(ctx->req, chunk->bytes, chunk->len);
	chunk_free(chunk);
	return TREE_ANSWERED;
}

unsigned int transaction_poll(struct ctx *ctx, struct handle *h)
{
	unsigned int mask = POLLOUT;
	uint64_t left;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return POLLIN; /* its text is there */
	pthread_mutex_lock(&ctx->box->lock);
	/* Whoever waits for output has said all: many look before they read. */
	if (h->poll_events & POLLIN && !h->submitted && h->text.len)
		submit(h);
	if (submit_is_own(h)) {
		if (h->run && run_has_started(h->run))
			mask |= POLLIN;
		pthread_mutex_unlock(&ctx->box->lock);
		return mask;
	}
	left = h->run ? merge_pending(h->merge, ctx->box, h->run_number) : 0;
	if (left || (h->run && h->run->ended))
		mask |= POLLIN;
	for (int s = 0; h->run && !h->run->ended && !left && s < N_STREAMS; s++) {
		if (!h->run->watching[s] &&
		    keeper_run_request(h->box, MSG_WATCH, h->run_number, s,
				       h->merge ? (int64_t)merge_position(h->merge, s) : 0) == 0)
			h->run->watching[s] = true;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return mask;
}
