/* SPDX-License-Identifier: MIT */
/* A box that must run: starting, waking, waiting for it. Must not wait itself. Lock: box->lock. */
#include "wake.h"

#include <errno.h>

#include "box.h"
#include "keeper.h"

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

int box_wake(struct box *box)
{
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
	return 1;
}

int box_need_running(struct ctx *ctx, struct handle *h, const struct park_type *type,
		     const struct park_wait *wait)
{
	struct box *box = ctx->box;
	int r = box_wake(box);

	if (r <= 0)
		return r;
	r = park_add(&box->parks, &box->lock, type, ctx->req, h, box, wait);
	return r < 0 ? r : TREE_ANSWERED;
}

enum park_verdict reply_look(struct park *park)
{
	return park->done ? PARK_ANSWER : PARK_WAIT;
}

void write_go_on(struct park *park, int error,
		 int (*next)(struct ctx *ctx, struct handle *h, size_t size))
{
	const struct fuse_ctx *caller = fuse_req_ctx(park->req);
	struct ctx ctx = { .req = park->req,
			   .node = park->handle->node,
			   .box = park->box,
			   .uid = caller->uid,
			   .gid = caller->gid,
			   .pid = caller->pid };
	int r = error ? -error : next(&ctx, park->handle, park->wait.size);

	if (r < 0)
		fuse_reply_err(park->req, -r);
	else if (r == 0)
		fuse_reply_write(park->req, park->wait.size);
}
