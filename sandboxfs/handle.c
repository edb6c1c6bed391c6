/* SPDX-License-Identifier: MIT */
/*
 * Open files of the control tree: their life, and rendering. All of them are in one list: what a
 * client still holds when the mount goes is never released by the kernel, and `status` counts them.
 *
 * Locks: handle->lock and all.lock, leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "box.h"
#include "fuse_ops.h"
#include "fuse_wire.h"

static struct {
	pthread_mutex_t lock;
	LIST_HEAD(, handle) open;
	uint64_t count;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void enlist(struct handle *h)
{
	pthread_mutex_lock(&all.lock);
	LIST_INSERT_HEAD(&all.open, h, among_open);
	all.count++;
	pthread_mutex_unlock(&all.lock);
}

static void strike_off(struct handle *h)
{
	pthread_mutex_lock(&all.lock);
	LIST_REMOVE(h, among_open);
	all.count--;
	pthread_mutex_unlock(&all.lock);
}

uint64_t handles_open(void)
{
	uint64_t count;

	pthread_mutex_lock(&all.lock);
	count = all.count;
	pthread_mutex_unlock(&all.lock);
	return count;
}

/* Of cmd, in, tty and the like: while it is open the box is in use. */
static bool handle_asks(const struct handle *h)
{
	return h->box && h->row->ops && h->row->ops->stream && (h->flags & O_ACCMODE) != O_RDONLY;
}

struct handle *handle_new(const struct ctx *ctx, uint64_t ino, const struct row *row, int flags)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	atomic_init(&h->refs, 1);
	h->node = ctx->node;
	h->ino = ino;
	h->row = row;
	h->box = ctx->box ? box_ref(ctx->box) : NULL;
	h->flags = flags;
	if (handle_asks(h))
		atomic_fetch_add(&h->box->writers, 1);
	h->fd = h->gaps = -1;
	h->limit = UINT64_MAX;
	pthread_mutex_init(&h->lock, NULL);
	enlist(h);
	return h;
}

struct handle *handle_ref(struct handle *h)
{
	atomic_fetch_add(&h->refs, 1);
	return h;
}

void handle_put(struct handle *h)
{
	if (atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	strike_off(h);
	if (h->row->ops && h->row->ops->release)
		h->row->ops->release(h);
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	if (h->run)
		run_put(h->run);
	if (handle_asks(h))
		atomic_fetch_sub(&h->box->writers, 1);
	if (h->box)
		box_put(h->box);
	text_free(&h->text);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void handle_reply_open(fuse_req_t req, struct handle *h)
{
	struct fuse_file_info fi = { .flags = h->flags,
				     .direct_io = 1,
				     .fh = (uint64_t)(uintptr_t)h };
	/* What is shown has offsets, also where what is written is a stream. */
	bool shown = h->row->show && (h->flags & O_ACCMODE) == O_RDONLY;
	int r;

	if (h->row->ops && h->row->ops->stream && !shown)
		r = fuse_wire_reply_open_stream(req, &fi);
	else
		r = fuse_reply_open(req, &fi);
	if (r == -ENOENT)
		handle_put(h); /* the opener was killed: there will be no release */
}

void handle_abandon(fuse_req_t req, struct handle *h, int error)
{
	fuse_reply_err(req, error);
	handle_put(h);
}

/* h->lock held. */
static int render(struct ctx *ctx, struct handle *h)
{
	int r;

	if (h->rendered)
		return 0;
	text_reset(&h->text);
	r = h->row->show(ctx, &h->text);
	if (r == 0 && h->text.failed)
		r = -ENOMEM;
	h->rendered = r == 0;
	return r;
}

int handle_reply_rendered(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text part = { 0 };
	int r;

	/* A copy: another thread may write to this handle meanwhile. */
	pthread_mutex_lock(&h->lock);
	r = render(ctx, h);
	if (r == 0 && (size_t)offset < h->text.len)
		text_add(&part, h->text.data + offset, MIN(size, h->text.len - (size_t)offset));
	pthread_mutex_unlock(&h->lock);
	if (r < 0 || part.failed)
		return r < 0 ? r : -ENOMEM;
	fuse_reply_buf(ctx->req, part.data, part.len);
	return TREE_ANSWERED;
}
