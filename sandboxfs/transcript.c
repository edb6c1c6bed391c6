/* SPDX-License-Identifier: MIT */
/*
 * `log`: the transcript of a session, and of one run. It is not stored: it is put together from the
 * runs' scripts and streams. Each run of the session gives four parts:
 *
 *	[N] $ the script      the command
 *	its output            both streams in the order in which they came, to the command's end
 *	[N] exit 0            or the word of its state
 *	what came later       of background jobs
 *
 * Never waits. Lock: box->lock while runs are looked at; disk is read under it, too, since a log is
 * read rarely and its parts must fit together.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "dirs.h"
#include "merge.h"
#include "store.h"

enum part { PART_HEAD, PART_BODY, PART_TAIL, PART_LATER, N_PARTS };

struct segment {
	uint64_t run;
	uint64_t length[N_PARTS];
	uint64_t end[N_STREAMS]; /* of the body */
	bool ended;
	bool fixed; /* nothing of it can change any more */
	char tail[64];
};

struct log_reader {
	struct box *box;
	bool session; /* all runs of the session with heads and tails, else one run's body */
	uint64_t only;
	char key[SESSION_KEY_SIZE]; /* of the session */
	struct segment *segments;
	size_t n;
};

/* --- what a run contributes ------------------------------------------------------------------------ */

static uint64_t file_size(const struct box *box, uint64_t run, const char *name)
{
	_cleanup_close_ int fd = store_run_open(box, run, name);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void make_head(const struct box *box, uint64_t run, struct text *out)
{
	_cleanup_close_ int fd = store_run_open(box, run, RUN_SCRIPT);
	char buf[65536];
	ssize_t n;

	text_printf(out, "[%llu] $ ", (unsigned long long)run);
	while (fd >= 0 && (n = read_full(fd, buf, sizeof(buf))) > 0)
		text_add(out, buf, (size_t)n);
	if (out->len && out->data[out->len - 1] != '\n')
		text_add_char(out, '\n');
}

static bool ends_line(const struct box *box, const struct segment *s)
{
	struct merge *m;
	char last = '\n';

	if (!s->length[PART_BODY])
		return true;
	m = merge_open(box, s->run);
	if (!m)
		return true;
	merge_set_limit(m, s->end);
	merge_skip(m, s->length[PART_BODY] - 1);
	if (merge_read(m, &last, 1) != 1)
		last = '\n';
	merge_close(m);
	return last == '\n';
}

static void make_tail(const struct box *box, struct segment *s, enum run_state state, int code)
{
	const char *gap = ends_line(box, s) ? "" : "\n";

	if (state == RUN_EXITED)
		snprintf(s->tail, sizeof(s->tail), "%s[%llu] exit %d\n", gap,
			 (unsigned long long)s->run, code);
	else
		snprintf(s->tail, sizeof(s->tail), "%s[%llu] %s\n", gap, (unsigned long long)s->run,
			 run_state_word(state));
	s->length[PART_TAIL] = strlen(s->tail);
}

/* Measures a run. False: it is not of this session, or gone. box->lock held. */
static bool measure(const struct log_reader *r, uint64_t number, struct segment *s)
{
	const struct run *run = box_live_run(r->box, number);
	uint64_t size[N_STREAMS];
	struct run_record rec;
	bool ended;

	if (store_run_read(r->box, number, &rec) < 0)
		return false;
	if (r->session && strcmp(run ? run->session : rec.session, r->key))
		return false;
	ended = run ? run->ended : true;
	if (run) {
		rec.state = run->state;
		rec.code = run->code;
		rec.end_size[STREAM_OUT] = run->end_size[STREAM_OUT];
		rec.end_size[STREAM_ERR] = run->end_size[STREAM_ERR];
	}
	*s = (struct segment){ .run = number, .ended = ended, .fixed = !run || run->closed };
	size[STREAM_OUT] = file_size(r->box, number, RUN_OUT);
	size[STREAM_ERR] = file_size(r->box, number, RUN_ERR);
	for (int i = 0; i < N_STREAMS; i++) {
		s->end[i] = ended && r->session ? MIN(rec.end_size[i], size[i]) : size[i];
		s->length[PART_BODY] += s->end[i];
		s->length[PART_LATER] += size[i] - s->end[i];
	}
	if (r->session) {
		_cleanup_text_ struct text head = { 0 };

		make_head(r->box, number, &head);
		s->length[PART_HEAD] = head.len;
		if (ended)
			make_tail(r->box, s, rec.state, rec.code);
	}
	return true;
}

static bool add_segment(struct log_reader *r, uint64_t number)
{
	struct segment *bigger = realloc(r->segments, (r->n + 1) * sizeof(*bigger));

	if (!bigger)
		return false;
	r->segments = bigger;
	r->n += measure(r, number, &r->segments[r->n]);
	return true;
}

/* Brings the list up to date: what is fixed stays as it is. box->lock held. */
static int refresh(struct log_reader *r)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	uint64_t after = 0;
	size_t n = 0, keep = 0;
	int e;

	if (!r->session) {
		r->n = 0;
		return add_segment(r, r->only) ? 0 : -ENOMEM;
	}
	while (keep < r->n && r->segments[keep].fixed)
		after = r->segments[keep++].run;
	r->n = keep;
	e = store_run_numbers(r->box, &numbers, &n);
	if (e < 0)
		return e == -ENOENT ? 0 : e;
	for (size_t i = 0; i < n; i++) {
		if (numbers[i] <= after)
			continue;
		if (!add_segment(r, numbers[i]))
			return -ENOMEM;
		/* One command after the other: those queued behind it come when it has ended. */
		if (r->n && r->segments[r->n - 1].run == numbers[i] && !r->segments[r->n - 1].ended)
			break;
	}
	return 0;
}

static uint64_t total(const struct log_reader *r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n; i++) {
		for (int p = 0; p < N_PARTS; p++)
			sum += r->segments[i].length[p];
	}
	return sum;
}

/* --- reading ------------------------------------------------------------------------------------------ */

static void read_streams(const struct log_reader *r, const struct segment *s, enum part part,
			 uint64_t offset, size_t size, struct text *out)
{
	struct merge *m = merge_open(r->box, s->run);
	const size_t goal = out->len + size;
	char buf[65536];

	if (!m)
		return;
	if (part == PART_BODY)
		merge_set_limit(m, s->end);
	else
		offset += s->length[PART_BODY];
	merge_skip(m, offset);
	while (out->len < goal) {
		ssize_t n = merge_read(m, buf, MIN(sizeof(buf), goal - out->len));

		if (n <= 0)
			break;
		text_add(out, buf, (size_t)n);
	}
	merge_close(m);
}

static void read_part(const struct log_reader *r, const struct segment *s, enum part part,
		      uint64_t offset, size_t size, struct text *out)
{
	_cleanup_text_ struct text head = { 0 };

	switch (part) {
	case PART_HEAD:
		make_head(r->box, s->run, &head);
		if (offset + size <= head.len)
			text_add(out, head.data + offset, size);
		break;
	case PART_TAIL:
		text_add(out, s->tail + offset, size);
		break;
	default:
		read_streams(r, s, part, offset, size, out);
	}
}

static void read_log(const struct log_reader *r, uint64_t offset, size_t size, struct text *out)
{
	for (size_t i = 0; i < r->n && out->len < size; i++) {
		const struct segment *s = &r->segments[i];

		for (int p = 0; p < N_PARTS && out->len < size; p++) {
			uint64_t length = s->length[p];
			size_t want;

			if (offset >= length) {
				offset -= length;
				continue;
			}
			want = MIN(length - offset, size - out->len);
			read_part(r, s, p, offset, want, out);
			offset = 0;
		}
	}
}

static void reader_init(struct log_reader *r, struct ctx *ctx, bool session)
{
	const struct session *s;

	*r = (struct log_reader){ .box = ctx->box, .session = session };
	pthread_mutex_lock(&ctx->box->lock);
	s = session ? session_of(ctx) : NULL;
	if (s)
		memcpy(r->key, s->key, sizeof(r->key));
	if (!session)
		r->only = run_of(ctx);
	pthread_mutex_unlock(&ctx->box->lock);
}

static int reader_open(struct ctx *ctx, struct handle *h, bool session)
{
	struct log_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	reader_init(r, ctx, session);
	h->log = r;
	return 0;
}

static int log_open(struct ctx *ctx, struct handle *h)
{
	return reader_open(ctx, h, true);
}

static int run_log_open(struct ctx *ctx, struct handle *h)
{
	return reader_open(ctx, h, false);
}

static int log_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text out = { 0 };
	int e;

	if (offset < 0)
		return -EINVAL;
	pthread_mutex_lock(&ctx->box->lock);
	e = refresh(h->log);
	if (e == 0)
		read_log(h->log, (uint64_t)offset, size, &out);
	pthread_mutex_unlock(&ctx->box->lock);
	if (e < 0 || out.failed)
		return e < 0 ? e : -ENOMEM;
	fuse_reply_buf(ctx->req, out.data, out.len);
	return TREE_ANSWERED;
}

static void log_release(struct handle *h)
{
	free(h->log->segments);
	free(take_ptr(h->log));
}

static uint64_t size_now(struct ctx *ctx, bool session)
{
	struct log_reader r;
	uint64_t size = 0;

	reader_init(&r, ctx, session);
	pthread_mutex_lock(&ctx->box->lock);
	if (refresh(&r) == 0)
		size = total(&r);
	pthread_mutex_unlock(&ctx->box->lock);
	free(r.segments);
	return size;
}

uint64_t log_size(struct ctx *ctx)
{
	return size_now(ctx, true);
}

uint64_t run_log_size(struct ctx *ctx)
{
	return size_now(ctx, false);
}

const struct row_ops log_ops = { .open = log_open, .read = log_read, .release = log_release };
const struct row_ops run_log_ops = { .open = run_log_open,
				     .read = log_read,
				     .release = log_release };
