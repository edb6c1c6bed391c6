/* SPDX-License-Identifier: MIT */
/*
 * Open files of the control tree. A file of a row with `show` is rendered once per open and then
 * sliced; one with `store` takes what was written so far as its value at each write. The others
 * have operations of their own. Lock: handle->lock around its text.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "box.h"
#include "fuse_ops.h"
#include "perm.h"
#include "stream.h"
#include "submit.h"

enum { MAX_VALUE = 1 << 20 };

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* mask asks for more than bits. */
static void refuse_direction(struct ctx *ctx, const struct row *row, int mask, int bits)
{
	if (mask & ~bits & PERM_W)
		tree_refuse(ctx, "%s can only be read", row->name);
	else
		tree_refuse(ctx, "%s can only be written%s", row->name,
			    row->ops == &cmd_ops ? "; a command's text is in procs/last/cmd" : "");
}

/* A row's bits are what anybody may, root included; then the caller's own rights count. */
static int may_open(struct ctx *ctx, const struct row *row, int flags)
{
	int mask = (flags & O_ACCMODE) == O_RDONLY   ? PERM_R
		   : (flags & O_ACCMODE) == O_WRONLY ? PERM_W
						     : PERM_R | PERM_W;
	int bits = row->mode >> 6 & 7;

	if (row->flags & ROW_RIGHTS)
		return 0;
	/* Opened for both, a file that can only be written is a transaction. */
	if (mask == (PERM_R | PERM_W) && bits == PERM_W && row->ops && row->ops->read)
		mask = PERM_W;
	if ((bits & mask) != mask) {
		refuse_direction(ctx, row, mask, bits);
		return -EACCES;
	}
	if (ctx->box)
		return perm_entry(ctx, bits, mask);
	return perm_mode(ctx->uid, ctx->gid, ctx->pid, 0, 0, row->mode, mask) ? 0 : -EACCES;
}

int node_open(struct ctx *ctx, uint64_t ino, int flags, struct handle **made)
{
	const struct row *row = tree_row(ctx->node);
	struct handle *h;
	int r;

	if (!row)
		return node_is_dir(ctx->node) ? -EISDIR : -ESTALE;
	if (!S_ISREG(row->mode))
		return -ELOOP;
	r = may_open(ctx, row, flags);
	if (r < 0)
		return r;
	h = handle_new(ctx, tree_ino(ino), row, flags);
	if (!h)
		return -ENOMEM;
	*made = h;
	r = row->ops && row->ops->open ? row->ops->open(ctx, h) : 0;
	if (r < 0)
		handle_put(h);
	return r;
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = NULL;
	struct ctx ctx;
	int r;

	if (files_owns(ino)) {
		files_ops.open(req, ino, fi);
		return;
	}
	r = ctx_begin(&ctx, req, ino);
	if (r == 0)
		r = node_open(&ctx, ino, fi->flags, &h);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (r == 0)
		handle_reply_open(req, h);
	ctx_end(&ctx);
}

/* The request's view of an open file. Its box may have been removed meanwhile: that is for the
 * operation to say, since what was read so far can be read again. */
static void ctx_of_handle(struct ctx *ctx, fuse_req_t req, struct handle *h,
			  const struct fuse_file_info *fi)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);

	*ctx = (struct ctx){ .req = req,
			     .node = h->node,
			     .box = h->box,
			     .uid = caller->uid,
			     .gid = caller->gid,
			     .flags = fi->flags,
			     .pid = caller->pid };
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct ctx ctx;
	int r = 0;

	if (files_owns(ino)) {
		files_ops.read(req, ino, size, offset, fi);
		return;
	}
	/* Read for the page cache, by sendfile or splice: only a true read may wait and is exact. */
	if (!fi->lock_owner) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	ctx_of_handle(&ctx, req, h, fi);
	if (h->row->ops)
		r = h->row->ops->read ? h->row->ops->read(&ctx, h, size, offset) : -EACCES;
	else
		r = handle_reply_rendered(&ctx, h, size, offset);
	if (r < 0)
		fuse_reply_err(req, -r);
}

/* The value so far: what one would read back. */
static int store_value(struct ctx *ctx, struct handle *h, const char *data, size_t size,
		       off_t offset)
{
	_cleanup_free_ char *value = NULL;
	size_t len;
	int r = 0;

	pthread_mutex_lock(&h->lock);
	if (h->rendered || offset == 0 || (size_t)offset > h->text.len)
		text_reset(&h->text);
	h->rendered = false;
	if (h->text.len + size > MAX_VALUE)
		r = -EFBIG;
	else
		text_add(&h->text, data, size);
	len = h->text.len;
	value = r == 0 && !h->text.failed ? strndup(h->text.data, len) : NULL;
	pthread_mutex_unlock(&h->lock);
	if (r < 0)
		return r;
	if (!value)
		return -ENOMEM;
	if (strlen(value) != len) {
		tree_refuse(ctx, "%s: a value may hold anything but NUL",
			    *h->row->name ? h->row->name : "env");
		return -EINVAL;
	}
	if (len && value[len - 1] == '\n')
		value[len - 1] = '\0';
	return h->row->store(ctx, value);
}

static int write_to(struct ctx *ctx, struct handle *h, const char *data, size_t size, off_t offset)
{
	if (ctx->box && ctx->box->removed)
		return -ESTALE;
	/* Rights may have changed since the open. */
	if (ctx->box && perm_entry(ctx, h->row->mode >> 6 & 7, PERM_W) < 0)
		return -EACCES;
	if (h->row->ops && h->row->ops->write_at)
		return h->row->ops->write_at(ctx, h, data, size, offset);
	if (h->row->ops)
		return h->row->ops->write ? h->row->ops->write(ctx, h, data, size) : -EACCES;
	return h->row->store ? store_value(ctx, h, data, size, offset) : -EACCES;
}

void ops_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
		   struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	_cleanup_free_ char *copy = NULL;
	size_t size;
	struct ctx ctx;
	int r = 0;

	if (files_owns(ino)) {
		files_ops.write_buf(req, ino, in, offset, fi);
		return;
	}
	size = fuse_buf_size(in);
	copy = malloc(size + 1);
	if (copy) {
		struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);
		ssize_t n;

		out.buf[0].mem = copy;
		n = fuse_buf_copy(&out, in, 0);
		r = n < 0 ? (int)n : 0;
		size = n < 0 ? 0 : (size_t)n;
	}
	if (!copy) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ctx_of_handle(&ctx, req, h, fi);
	if (r == 0)
		r = write_to(&ctx, h, copy, size, offset);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (r == 0)
		fuse_reply_write(req, size);
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct ctx ctx;
	int r = 0;

	if (files_owns(ino)) {
		files_ops.flush(req, ino, fi);
		return;
	}
	ctx_of_handle(&ctx, req, h, fi);
	if (h->row->ops && h->row->ops->flush)
		r = h->row->ops->flush(&ctx, h);
	if (r <= 0)
		fuse_reply_err(req, -r);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;

	if (files_owns(ino)) {
		files_ops.release(req, ino, fi);
		return;
	}
	h = handle_of(fi);
	/* A poll that is still to be told must not keep it: its end may be an end of file. */
	if (h->box)
		stream_drop_poll(h);
	handle_put(h);
	fuse_reply_err(req, 0);
}

void ops_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct handle *h = files_owns(ino) ? NULL : handle_of(fi);
	unsigned int mask = POLLIN | POLLOUT;
	struct ctx ctx;

	if (h && h->row->ops && h->row->ops->poll) {
		ctx_of_handle(&ctx, req, h, fi);
		/* Registered first: what moves from here on is told. */
		if (ph && h->row->ops->add_poll) {
			h->row->ops->add_poll(h, ph);
			ph = NULL;
		} else if (ph && h->box) {
			pthread_mutex_lock(&h->box->lock);
			stream_add_poll(h, ph);
			pthread_mutex_unlock(&h->box->lock);
			ph = NULL;
		}
		h->poll_events = fi->poll_events;
		mask = h->row->ops->poll(&ctx, h);
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, mask);
}

/* Only requests come whose number says how much they carry (the kernel's restriction). */
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
	       struct fuse_file_info *fi, unsigned int flags, const void *in, size_t in_size,
	       size_t out_size)
{
	struct handle *h = files_owns(ino) || flags & FUSE_IOCTL_DIR ? NULL : handle_of(fi);
	bool write = _IOC_DIR(cmd) & _IOC_WRITE, read = _IOC_DIR(cmd) & _IOC_READ;
	_cleanup_text_ struct text out = { 0 };
	struct ctx ctx;
	int r = -ENOTTY;

	(void)arg;
	if (h && h->row->ops && h->row->ops->ioctl && (!write || in_size == _IOC_SIZE(cmd)) &&
	    (!read || out_size == _IOC_SIZE(cmd))) {
		ctx_of_handle(&ctx, req, h, fi);
		r = h->row->ops->ioctl(&ctx, h, cmd, in, &out);
	}
	if (r == 0 && out.failed)
		r = -ENOMEM;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_ioctl(req, 0, out.data, out.len);
}
