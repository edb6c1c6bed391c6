/* SPDX-License-Identifier: MIT */
/*
 * Commands: from writes to `cmd` to a run, and the close that waits for it. Must not wait itself:
 * opens wait parked on the box, closes and reads on the run. The rule when a command is complete is
 * in complete(); what tells the cases apart was found by experiment, see CONTRIBUTING in README.
 * Lock: box->lock; /proc is read without it.
 */
#include "submit.h"

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
#include "daemon.h"
#include "keeper.h"
#include "merge.h"
#include "perm.h"
#include "store.h"

enum { MAX_COLLECTED = 64 << 20 }; /* of all open handles of a box */

/* --- a box that must run ------------------------------------------------------------------------- */

enum park_verdict start_look(struct park *park)
{
	struct box *box = park->box;

	switch (box->state) {
	case BOX_RUNNING:
		park->error = 0;
		return PARK_ANSWER;
	case BOX_FAILED:
		if (box->after_stop_start)
			return PARK_WAIT;
		park->error = box_failed_errno(box);
		return PARK_ANSWER;
	case BOX_STOPPED:
		/* Somebody stopped it while it started. */
		if (box->after_stop_start || box->after_stop_reset)
			return PARK_WAIT;
		park->error = EIO;
		return PARK_ANSWER;
	default:
		return PARK_WAIT;
	}
}

int box_need_running(struct ctx *ctx, struct handle *h, const struct park_type *type,
		     const struct park_wait *wait)
{
	struct box *box = ctx->box;
	int r;

	if (box->removed)
		return -ESTALE;
	switch (box->state) {
	case BOX_RUNNING:
		return 0;
	case BOX_FROZEN:
		keeper_request(box, MSG_THAW, 0, 0, NULL);
		break;
	case BOX_STOPPING:
		box->after_stop_start = true;
		break;
	case BOX_STARTING:
		break;
	default:
		if (box->keeper || box->cleaning) /* a failed one of which something is left */
			box->after_stop_start = true;
		else if (!box->after_stop_reset)
			keeper_start(box);
		else
			box->after_stop_start = true;
		if (box->state == BOX_FAILED && !box->after_stop_start)
			return -box_failed_errno(box);
	}
	r = park_add(&box->parks, &box->lock, type, ctx->req, h, box, wait);
	return r < 0 ? r : TREE_ANSWERED;
}

static void open_answer(struct park *park, int error)
{
	if (error)
		handle_abandon(park->req, park->handle, error);
	else
		handle_reply_open(park->req, park->handle);
}

static const struct park_type open_park = { start_look, open_answer, NULL };

static int cmd_open(struct ctx *ctx, struct handle *h)
{
	struct caller opener;
	int r;

	if (caller_read(ctx->pid, &opener) == 0) {
		h->opener = opener.tgid;
		h->opener_started = opener.started;
	}
	pthread_mutex_lock(&ctx->box->lock);
	r = box_need_running(ctx, h, &open_park, NULL);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

/* --- collecting and submitting ------------------------------------------------------------------- */

static void transaction_end(struct handle *h)
{
	if (h->merge)
		merge_close(take_ptr(h->merge));
	if (h->run)
		run_put(take_ptr(h->run));
	h->submitted = false;
}

static int cmd_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	bool transaction = (h->flags & O_ACCMODE) == O_RDWR;
	int r = 0;

	pthread_mutex_lock(&ctx->box->lock);
	if (ctx->box->removed)
		r = -ESTALE;
	else if (h->submitted && transaction && (h->merge || (h->run && h->run->refused)))
		transaction_end(h); /* the next command begins */
	if (r == 0 && h->submitted)
		r = -EPIPE;
	if (r == 0 && h->refused)
		r = -h->refused;
	if (r == 0 && h->text.len + size > MAX_SCRIPT_BYTES) {
		h->refused = EFBIG; /* never half a script: the close records it as a failed run */
		r = -EFBIG;
	}
	if (r == 0 && ctx->box->collected + size > MAX_COLLECTED)
		r = -EDQUOT;
	if (r == 0) {
		text_add(&h->text, data, size);
		if (h->text.failed)
			r = -ENOMEM;
		else
			ctx->box->collected += size;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EFBIG)
		tree_refuse(
			ctx,
			"a script may be 1 MiB at most; put it into files/ and run it from there");
	return r;
}

/* A submission that reached no keeper: a run that failed, for the record. box->lock held. */
static void record_refused(struct handle *h, struct run *run, int error)
{
	run->refused = error;
	run->state = RUN_FAILED;
	run->answered = run->ended = run->closed = true;
	store_run_refused(h->box, run->number, run->session, h->text.data, h->text.len);
	why_add(&h->box->why, h->box->uid, "run %llu was not started: %s",
		(unsigned long long)run->number, strerror(error));
	box_run_forget(h->box, run);
}

static void drop_text(struct handle *h)
{
	h->box->collected -= h->text.len;
	text_free(&h->text);
}

static int take_refusal(struct handle *h)
{
	int error = h->refused;

	h->refused = 0;
	return error;
}

/* Makes a run of the collected text. box->lock held. 0, or -errno when it was refused. */
static int submit(struct handle *h)
{
	struct box *box = h->box;
	struct run *run = box_run_new(box, DEFAULT_SESSION);
	int error = 0;

	h->submitted = true;
	if (!run)
		return -ENOMEM;
	h->run = run_ref(run);
	h->run_number = run->number;
	run->script = malloc(h->text.len + 1);
	if (run->script) {
		memcpy(run->script, h->text.data, h->text.len);
		run->script_len = h->text.len;
	}
	if (h->refused)
		error = take_refusal(h);
	else if (box->removed)
		error = ESTALE;
	else if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	else if (box->state != BOX_RUNNING)
		error = EIO; /* it died or was stopped since the open */
	if (!error)
		error = -keeper_submit(box, run, h->text.data, h->text.len);
	if (error)
		record_refused(h, run, error);
	drop_text(h);
	return -error;
}

/* --- the close that waits -------------------------------------------------------------------------- */

static int close_error(const struct run *run)
{
	if (run->refused)
		return run->refused;
	return run->state == RUN_LOST ? EIO : 0;
}

static enum park_verdict close_look(struct park *park)
{
	const struct run *run = park->handle->run;

	if (!run->ended)
		return PARK_WAIT;
	park->error = close_error(run);
	return PARK_ANSWER;
}

/* With O_NONBLOCK only whether it was taken is waited for. */
static enum park_verdict taken_look(struct park *park)
{
	const struct run *run = park->handle->run;

	if (!run->answered)
		return PARK_WAIT;
	park->error = run->refused;
	return PARK_ANSWER;
}

static void close_answer(struct park *park, int error)
{
	fuse_reply_err(park->req, error);
}

/* The waiting writer got a signal: pass on what means something to a command. */
static enum park_verdict close_interrupted(struct park *park)
{
	struct run *run = park->handle->run;
	int sig = caller_signal(park->tid);

	switch (sig) {
	case 0:
		return PARK_WAIT;
	case SIGTSTP:
	case SIGSTOP:
		park->error = 0;
		return PARK_ANSWER; /* the command goes on */
	case SIGKILL:
		sig = SIGHUP;
		break;
	default:
		break;
	}
	if (run->state == RUN_QUEUED)
		keeper_run_request(park->box, MSG_CANCEL, run->number, 0, 0);
	else
		keeper_run_request(park->box, MSG_SIGNAL, run->number, sig, 0);
	park->error = EINTR;
	return PARK_ANSWER;
}

static const struct park_type close_park = { close_look, close_answer, close_interrupted };
static const struct park_type taken_park = { taken_look, close_answer, close_interrupted };

/* Is this the close that completes the command? wait: may it be waited for? */
static bool complete(struct ctx *ctx, struct handle *h, bool *wait)
{
	struct caller closer;

	*wait = true;
	if (caller_read(ctx->pid, &closer) < 0)
		return !h->opener || ctx->pid == 0; /* outside our pid namespace */
	if (closer.tgid != h->opener || closer.started != h->opener_started)
		return false;
	if (closer.signalled) {
		h->killed = true;
		return false;
	}
	/* A close inside exit cannot be interrupted, not even by SIGKILL. */
	*wait = !closer.exiting;
	return !caller_holds(closer.tgid, h->ino);
}

/* In a transaction the write itself has told, and nothing else reads the result. */
static bool void_transaction(const struct handle *h)
{
	return h->refused && (h->flags & O_ACCMODE) == O_RDWR;
}

static int cmd_flush(struct ctx *ctx, struct handle *h)
{
	struct box *box = ctx->box;
	bool pending, wait;
	int r = 0;

	pthread_mutex_lock(&box->lock);
	pending = h->text.len && !h->submitted && !void_transaction(h);
	pthread_mutex_unlock(&box->lock);
	if (!pending || !complete(ctx, h, &wait))
		return 0;
	pthread_mutex_lock(&box->lock);
	if (!h->submitted && h->text.len)
		r = submit(h);
	if (r == 0 && h->run && wait && !h->run->ended) {
		r = park_add(&h->run->parks, &box->lock,
			     h->flags & O_NONBLOCK ? &taken_park : &close_park, ctx->req, h, box,
			     NULL);
		if (r == 0)
			r = TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

/* The last descriptor is gone, closed by anyone: nobody can wait any more. */
static void cmd_release(struct handle *h)
{
	pthread_mutex_lock(&h->box->lock);
	if (h->text.len && !h->submitted && !h->killed && !void_transaction(h))
		submit(h);
	drop_text(h);
	transaction_end(h);
	pthread_mutex_unlock(&h->box->lock);
}

/* --- transactions ---------------------------------------------------------------------------------- */

/* Fills buf: > 0 bytes, 0 end, -EAGAIN must wait, -errno. box->lock held. */
static ssize_t transaction_fill(struct handle *h, char *buf, size_t size)
{
	struct run *run = h->run;
	ssize_t n;

	if (!run)
		return 0;
	if (run->refused)
		return -run->refused;
	if (!h->merge) {
		h->merge = merge_open(h->box, run->number);
		if (!h->merge)
			return -ENOMEM;
	}
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

	*chunk = malloc(sizeof(**chunk) + size);
	if (!*chunk)
		return -ENOMEM;
	n = transaction_fill(h, (*chunk)->bytes, size);
	if (n < 0) {
		free(*chunk);
		*chunk = NULL;
		return (int)n;
	}
	(*chunk)->len = (size_t)n;
	return 0;
}

static enum park_verdict transaction_look(struct park *park)
{
	int r = transaction_take(park->handle, park->wait.size, &park->chunk);

	if (r == -EAGAIN)
		return PARK_WAIT;
	park->error = -r;
	return PARK_ANSWER;
}

static void transaction_answer(struct park *park, int error)
{
	if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_buf(park->req, park->chunk->bytes, park->chunk->len);
	free(park->chunk);
}

static enum park_verdict transaction_interrupted(struct park *park)
{
	int sig = caller_signal(park->tid);

	if (!sig)
		return PARK_WAIT;
	if (sig != SIGTSTP && sig != SIGSTOP)
		keeper_run_request(park->box, MSG_SIGNAL, park->handle->run_number,
				   sig == SIGKILL ? SIGHUP : sig, 0);
	park->error = EINTR;
	return PARK_ANSWER;
}

static const struct park_type transaction_park = { transaction_look, transaction_answer,
						   transaction_interrupted };

static int cmd_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = MIN(size, (size_t)256 << 10) };
	struct chunk *chunk = NULL;
	struct box *box = ctx->box;
	int r = 0;

	(void)offset;
	pthread_mutex_lock(&box->lock);
	if (!h->submitted && h->text.len)
		r = submit(h);
	if (r == 0)
		r = transaction_take(h, wait.size, &chunk);
	if (r == -EAGAIN && !(h->flags & O_NONBLOCK)) {
		r = park_add(&h->run->parks, &box->lock, &transaction_park, ctx->req, h, box,
			     &wait);
		pthread_mutex_unlock(&box->lock);
		return r < 0 ? r : TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	if (r < 0)
		return r;
	fuse_reply_buf(ctx->req, chunk->bytes, chunk->len);
	free(chunk);
	return TREE_ANSWERED;
}

static unsigned int cmd_poll(struct ctx *ctx, struct handle *h)
{
	unsigned int mask = POLLOUT;
	uint64_t left;

	pthread_mutex_lock(&ctx->box->lock);
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

const struct row_ops cmd_ops = {
	.open = cmd_open,
	.read = cmd_read,
	.write = cmd_write,
	.flush = cmd_flush,
	.release = cmd_release,
	.poll = cmd_poll,
	.stream = true,
};
