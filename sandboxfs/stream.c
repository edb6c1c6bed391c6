/* SPDX-License-Identifier: MIT */
/*
 * Streams of runs. Must not wait: a read that cannot be answered is parked on its run. Lock: box->lock;
 * data is read from disk without it.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "store.h"
#include "stream_private.h"

enum { MAX_READ = 1 << 20 };

/* --- binding a handle to a run -------------------------------------------------------------------- */

void stream_bind(struct handle *h, uint64_t number, bool to_command_end)
{
	struct box *box = h->box;
	struct run *run = box_live_run(box, number);
	struct run_record rec;

	h->run_number = number;
	h->run = run ? run_ref(run) : NULL;
	h->to_command_end = to_command_end;
	h->limit = UINT64_MAX;
	if (!run && number && to_command_end && store_run_read(box, number, &rec) == 0)
		h->limit = rec.end_size[h->stream];
}

static int open_stream(struct ctx *ctx, struct handle *h, enum stream stream, uint64_t number,
		       bool to_command_end)
{
	(void)ctx;
	h->stream = stream;
	stream_bind(h, number, to_command_end);
	return 0;
}

static int open_session(struct ctx *ctx, struct handle *h, enum stream stream)
{
	const struct session *s;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	box_load_runs(ctx->box);
	s = session_of(ctx);
	r = s ? open_stream(ctx, h, stream, s->last_run, true) : -ESTALE;
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static int open_run(struct ctx *ctx, struct handle *h, enum stream stream)
{
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = open_stream(ctx, h, stream, run_of(ctx), false);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

int stream_out_open(struct ctx *ctx, struct handle *h)
{
	return open_session(ctx, h, STREAM_OUT);
}

static int err_open(struct ctx *ctx, struct handle *h)
{
	return open_session(ctx, h, STREAM_ERR);
}

int stream_run_out_open(struct ctx *ctx, struct handle *h)
{
	return open_run(ctx, h, STREAM_OUT);
}

static int run_err_open(struct ctx *ctx, struct handle *h)
{
	return open_run(ctx, h, STREAM_ERR);
}

/* --- reading ---------------------------------------------------------------------------------------- */

/* Where the stream ends for this handle, UINT64_MAX while that is open. box->lock held. */
static uint64_t end_of(struct handle *h)
{
	if (h->run && h->to_command_end && h->run->ended)
		return h->run->end_size[h->stream];
	return h->limit;
}

/* Nothing can be added to what is on disk. box->lock held. */
static bool is_closed(struct handle *h)
{
	return !h->run || h->run->closed || (h->to_command_end && h->run->ended) || h->box->removed;
}

/* The stream's descriptor: of a live run all readers share one, of which there may be thousands. */
static int *file_of(struct handle *h)
{
	return h->run ? &h->run->files[h->stream] : &h->fd;
}

/* The descriptor or -errno. box->lock held. */
static int stream_file(struct handle *h)
{
	int *fd = file_of(h), r;

	if (h->run && !h->shares) {
		h->run->readers[h->stream]++;
		h->shares = true;
	}
	if (*fd < 0) {
		r = store_run_open(h->box, h->run_number,
				   h->stream == STREAM_OUT ? RUN_OUT : RUN_ERR);
		if (r < 0)
			return r;
		*fd = r;
	}
	return *fd;
}

/* What is missing of the first `end` bytes. box->lock held. */
static int find_gap(struct handle *h, int file, uint64_t end, struct output_gap *gap)
{
	*gap = (struct output_gap){ 0, 0 };
	if (end <= OUTPUT_WHOLE_BYTES)
		return 0;
	if (h->gaps < 0)
		h->gaps = store_run_open(h->box, h->run_number, RUN_GAPS);
	/* Of a run that was removed, the stream itself still tells. */
	if (h->gaps < 0) {
		output_gap_guess(file, end, gap);
		return 0;
	}
	return output_gap_read(h->gaps, (enum stream)h->stream, gap);
}

/* How much there was for this handle of a stream that was taken as a whole; else 0. box->lock held. */
static uint64_t gone_size(struct handle *h)
{
	/* What can still be written is not there yet. */
	if (h->run && !h->run->closed)
		return 0;
	return MIN(store_run_gone(h->box, h->run_number, (enum stream)h->stream), end_of(h));
}

/* Bytes at offset: how many are there, at most size; or -errno. box->lock held. */
static ssize_t available(struct handle *h, size_t size, off_t offset, struct stream_piece *piece)
{
	uint64_t end = end_of(h);
	int fd = stream_file(h);
	struct output_gap gap;
	struct stat st;
	int r;

	*piece = (struct stream_piece){ .len = 0 };
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd < 0) {
		end = gone_size(h);
		gap = (struct output_gap){ 0, end };
	} else {
		if (fstat(fd, &st) < 0)
			return -errno;
		end = MIN(end, (uint64_t)st.st_size);
		r = find_gap(h, fd, end, &gap);
		if (r < 0)
			return r;
	}
	stream_view_find(&h->view, gap, end, MIN(h->position, (uint64_t)offset), (uint64_t)offset,
			 size, piece);
	return (ssize_t)piece->len;
}

/* Asks the keeper to say when the stream grows beyond offset. box->lock held. */
static void watch_growth(struct handle *h, off_t offset)
{
	if (!h->run || h->run->watching[h->stream])
		return;
	if (keeper_run_request(h->box, MSG_WATCH, h->run_number, h->stream,
			       (int64_t)stream_view_offset(&h->view, (uint64_t)offset)) == 0)
		h->run->watching[h->stream] = true;
}

/* Is what was read of the stream its output, and not a hole that came to be meanwhile? */
static bool is_still_there(struct handle *h, const struct stream_piece *piece)
{
	struct output_gap gap = { 0, 0 };
	bool there;

	pthread_mutex_lock(&h->box->lock);
	there = find_gap(h, *file_of(h), piece->at + piece->len, &gap) == 0 &&
		(piece->at >= gap.tail || piece->at + piece->len <= gap.head);
	pthread_mutex_unlock(&h->box->lock);
	return there;
}

/* Through our memory: a line, blanks, or what may go at any time. -EAGAIN: it has gone. */
static int reply_copy(fuse_req_t req, struct handle *h, const struct stream_piece *piece)
{
	_cleanup_free_ char *buf = malloc(piece->len);
	ssize_t n = (ssize_t)piece->len;

	if (!buf)
		return -ENOMEM;
	if (piece->kind == PIECE_STREAM) {
		n = pread(*file_of(h), buf, piece->len, (off_t)piece->at);
		if (n < 0)
			return -errno;
		if (!is_still_there(h, piece))
			return -EAGAIN;
	} else {
		pthread_mutex_lock(&h->box->lock);
		stream_view_copy(&h->view, piece, buf);
		pthread_mutex_unlock(&h->box->lock);
	}
	fuse_reply_buf(req, buf, (size_t)n);
	return 0;
}

static void reply_file(fuse_req_t req, struct handle *h, size_t size, off_t offset)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = *file_of(h); /* once open it stays */
	data.buf[0].pos = offset;
	fuse_reply_data(req, &data, 0);
}

/* Something may take what a live run has written; of others who has it open keeps all. box->lock held. */
static bool is_shrinking(struct box *box)
{
	if (box_limit(box, LIMIT_OUTPUT) != LIMIT_NONE ||
	    box_limit(box, LIMIT_OUTPUT_TOTAL) != LIMIT_NONE)
		box->output_shrinks = true;
	return box->output_shrinks;
}

/* Looks, and answers with what is there. Once answered, the handle may be gone. */
static void reply_stream(fuse_req_t req, struct handle *h, size_t size, off_t offset)
{
	_cleanup_box_ struct box *box = box_ref(h->box);
	struct stream_piece piece;
	bool may_go, whole;
	ssize_t n;
	int r = -EAGAIN;

	while (r == -EAGAIN) {
		pthread_mutex_lock(&box->lock);
		n = available(h, MIN(size, (size_t)MAX_READ), offset, &piece);
		may_go = is_shrinking(box) && h->run && !h->run->closed &&
			 piece.at + piece.len > OUTPUT_WHOLE_BYTES;
		if (n >= 0)
			h->position = (uint64_t)offset + (size_t)n;
		whole = n > 0 && piece.kind == PIECE_STREAM && !may_go;
		if (whole)
			pthread_rwlock_rdlock(&box->whole_output);
		pthread_mutex_unlock(&box->lock);
		r = 0;
		if (n < 0) {
			r = (int)n;
		} else if (!n) {
			fuse_reply_buf(req, NULL, 0);
		} else if (whole) {
			reply_file(req, h, piece.len, (off_t)piece.at);
			pthread_rwlock_unlock(&box->whole_output);
		} else {
			r = reply_copy(req, h, &piece);
		}
	}
	if (r < 0)
		fuse_reply_err(req, -r);
}

static enum park_verdict stream_look(struct park *park)
{
	struct handle *h = park->handle;
	struct stream_piece piece;

	/* An error is told by the answer. */
	if (available(h, 1, park->wait.offset, &piece) != 0 || is_closed(h))
		return PARK_ANSWER;
	watch_growth(h, park->wait.offset);
	return PARK_WAIT;
}

static void stream_answer(struct park *park, int error)
{
	if (error && error != ESTALE)
		fuse_reply_err(park->req, error);
	else
		reply_stream(park->req, park->handle, park->wait.size, park->wait.offset);
}

static const struct park_type stream_park = { stream_look, stream_answer, NULL };

/* poll has no offset: what was read last tells where the reader is. */
static int stream_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = size, .offset = offset };
	struct stream_piece piece;
	struct box *box = h->box;
	ssize_t n;
	int r = 0;

	if (offset < 0)
		return -EINVAL;
	pthread_mutex_lock(&box->lock);
	n = h->run_number ? available(h, MIN(size, (size_t)MAX_READ), offset, &piece) : 0;
	if (!n && h->run_number && !is_closed(h)) {
		if (ctx->flags & O_NONBLOCK)
			r = -EAGAIN;
		else
			r = park_add(&h->run->parks, &box->lock, &stream_park, ctx->req, h, box,
				     &wait);
		if (r == 0)
			watch_growth(h, offset);
		pthread_mutex_unlock(&box->lock);
		return r < 0 ? r : TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	if (n < 0)
		return (int)n;
	if (n)
		reply_stream(ctx->req, h, size, offset);
	else
		fuse_reply_buf(ctx->req, NULL, 0);
	return TREE_ANSWERED;
}

static unsigned int stream_poll(struct ctx *ctx, struct handle *h)
{
	struct stream_piece piece;
	struct box *box = ctx->box;
	unsigned int mask = 0;

	pthread_mutex_lock(&box->lock);
	if (!h->run_number || is_closed(h))
		mask = POLLIN;
	else if (available(h, 1, (off_t)h->position, &piece) != 0)
		mask = POLLIN;
	else
		watch_growth(h, (off_t)h->position);
	pthread_mutex_unlock(&box->lock);
	return mask;
}

static void stream_release(struct handle *h)
{
	close_fd(&h->fd);
	close_fd(&h->gaps);
	if (!h->shares)
		return;
	pthread_mutex_lock(&h->box->lock);
	if (--h->run->readers[h->stream] == 0)
		close_fd(&h->run->files[h->stream]);
	pthread_mutex_unlock(&h->box->lock);
}

const struct row_ops out_ops = {
	.open = stream_out_open, .read = stream_read, .poll = stream_poll, .release = stream_release
};
const struct row_ops err_ops = {
	.open = err_open, .read = stream_read, .poll = stream_poll, .release = stream_release
};
const struct row_ops run_out_ops = { .open = stream_run_out_open,
				     .read = stream_read,
				     .poll = stream_poll,
				     .release = stream_release };
const struct row_ops run_err_ops = {
	.open = run_err_open, .read = stream_read, .poll = stream_poll, .release = stream_release
};

/* --- stat ------------------------------------------------------------------------------------------ */

/* Of the session's newest command, or of the directory's run. */
static uint64_t size_on_disk(struct ctx *ctx, enum stream stream, bool to_command_end)
{
	struct handle h = { .box = ctx->box, .fd = -1, .gaps = -1, .stream = stream };
	uint64_t size = 0, number;
	struct output_gap gap = { 0, 0 };
	struct stat st;

	pthread_mutex_lock(&ctx->box->lock);
	if (to_command_end) {
		const struct session *s;

		box_load_runs(ctx->box);
		s = session_of(ctx);
		number = s ? s->last_run : 0;
	} else {
		number = run_of(ctx);
	}
	if (number) {
		stream_bind(&h, number, to_command_end);
		if (is_closed(&h) && stream_file(&h) == -ENOENT)
			gap.tail = size = gone_size(&h);
		else if (is_closed(&h) && *file_of(&h) >= 0 && fstat(*file_of(&h), &st) == 0)
			size = MIN((uint64_t)st.st_size, end_of(&h));
		if (gap.tail || find_gap(&h, *file_of(&h), size, &gap) == 0)
			size = stream_view_size(gap, size);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	stream_release(&h);
	if (h.run)
		run_put(h.run);
	return size;
}

uint64_t out_size(struct ctx *ctx)
{
	return size_on_disk(ctx, STREAM_OUT, true);
}

uint64_t err_size(struct ctx *ctx)
{
	return size_on_disk(ctx, STREAM_ERR, true);
}

uint64_t run_out_size(struct ctx *ctx)
{
	return size_on_disk(ctx, STREAM_OUT, false);
}

uint64_t run_err_size(struct ctx *ctx)
{
	return size_on_disk(ctx, STREAM_ERR, false);
}
