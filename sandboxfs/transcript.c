/* SPDX-License-Identifier: MIT */
/*
 * `log`: the transcript of a session, and the output of one run. A session's is what its index
 * (log_index.h) says, read from the runs' own files: it only grows at its end, so an offset means
 * the same byte for as long as it is open.
 *
 * Runs that are removed take their bytes away at the front, or in the middle. Who opens the log
 * then gets it without them. Who had it open has a node of its own (a view: how many bytes were
 * dropped when it was looked up), so its offsets and its size stay; what it reads of a removed run
 * is blanks that end in a newline.
 *
 * Never waits. Lock: handle->lock around the reader; disk is read under it, no box's lock is taken.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "log_index.h"
#include "merge.h"
#include "store.h"

enum { LOOKS = 100 };

static const char removed_note[] = "(removed)";

struct gap {
	uint64_t begin, length; /* in the log as the index counts */
};

struct log_reader {
	const struct box *box;		/* the handle's */
	char session[SESSION_KEY_SIZE]; /* "": the output of one run */
	uint64_t run;			/* that run; 0: there is none yet */
	struct gap *gaps;		/* what this reader does not see, ascending */
	size_t n_gaps;
	struct merge *merge; /* where the last read ended, of a run */
	uint64_t merge_run, merge_at;
};

/* Key of the session whose transcript a node shows; "": it is gone. */
static void session_key(const struct ctx *ctx, char key[SESSION_KEY_SIZE])
{
	const struct session *s;

	pthread_mutex_lock(&ctx->box->lock);
	s = session_of(ctx);
	snprintf(key, SESSION_KEY_SIZE, "%s", s ? s->key : "");
	pthread_mutex_unlock(&ctx->box->lock);
}

static uint64_t run_number(const struct ctx *ctx)
{
	uint64_t number;

	pthread_mutex_lock(&ctx->box->lock);
	number = run_of(ctx);
	pthread_mutex_unlock(&ctx->box->lock);
	return number;
}

/* --- the output of a run ----------------------------------------------------------------------- */

static void drop_merge(struct log_reader *r)
{
	if (r->merge)
		merge_close(take_ptr(r->merge));
}

/* Goes to an offset of both streams as one. */
static int seek_merge(struct log_reader *r, uint64_t run, uint64_t offset)
{
	if (r->merge && (r->merge_run != run || r->merge_at > offset))
		drop_merge(r);
	if (!r->merge) {
		r->merge = merge_open(r->box, run);
		if (!r->merge)
			return -ENOMEM;
		merge_set_keeps_offsets(r->merge);
		r->merge_run = run;
		r->merge_at = 0;
	}
	merge_skip(r->merge, offset - r->merge_at);
	r->merge_at = merge_position(r->merge, STREAM_OUT) + merge_position(r->merge, STREAM_ERR);
	return r->merge_at == offset ? 0 : -ENODATA;
}

/* Adds up to size bytes; fewer than asked at their end. */
static int read_run(struct log_reader *r, uint64_t run, uint64_t offset, size_t size,
		    struct text *out)
{
	int e = seek_merge(r, run, offset);
	char buf[65536];

	while (e == 0 && size) {
		ssize_t n = merge_read(r->merge, buf, MIN(sizeof(buf), size));

		if (n <= 0)
			return (int)n;
		text_add(out, buf, (size_t)n);
		r->merge_at += (uint64_t)n;
		size -= (size_t)n;
	}
	return e == -ENODATA ? 0 : e;
}

/* --- entries ------------------------------------------------------------------------------------ */

/*
 * Adds what stands where nothing is any more: a note, blanks, and a newline at the end of the
 * stretch. The bytes from `at` on, of a stretch of that length, until out has reached goal.
 */
static void fill(struct text *out, size_t goal, uint64_t at, uint64_t length)
{
	const char *note = length > strlen(removed_note) ? removed_note : "";
	const size_t note_len = strlen(note);

	for (; out->len < goal && !out->failed; at++)
		text_add_char(out, at == length - 1 ? '\n' : at < note_len ? note[at] : ' ');
}

static int read_script(const struct log_reader *r, const struct log_entry *entry, uint64_t offset,
		       size_t size, struct text *out)
{
	const size_t start = out->len;
	int e = store_run_script(r->box, entry->run, offset, size, out);

	if (e < 0)
		return e == -ENOENT ? 0 : e;
	/* Every head ends in a newline, whether its script does or not. */
	if (out->len - start < size)
		text_add_char(out, '\n');
	return 0;
}

static int read_text(const struct log_reader *r, const struct log_entry *entry, uint64_t at,
		     size_t size, struct text *out)
{
	const size_t start = out->len;
	char text[LOG_TEXT_SIZE];
	size_t len = log_entry_text(entry, text), n = 0;
	int e;

	if (at < len) {
		n = MIN(len - at, size);
		text_add(out, text + at, n);
	}
	if (n == size)
		return 0;
	e = read_script(r, entry, at + n - len, size - n, out);
	fill(out, start + size, at + (out->len - start) - len, entry->text - len);
	return e;
}

/* Adds the bytes [at, at + size) of an entry, all within its length. */
static int read_entry(struct log_reader *r, const struct log_entry *entry, uint64_t length,
		      uint64_t at, size_t size, struct text *out)
{
	const size_t goal = out->len + size;
	size_t n = 0, start;
	int e = 0;

	if (entry->kind == LOG_GAP) {
		fill(out, goal, at, length);
		return 0;
	}
	if (at < entry->text) {
		n = (size_t)MIN(size, entry->text - at);
		e = read_text(r, entry, at, n, out);
	}
	if (e < 0 || n == size)
		return e;
	start = out->len;
	at = at + n - entry->text;
	e = read_run(r, entry->run, entry->from + at, size - n, out);
	fill(out, goal, at + (out->len - start), length - entry->text);
	return e;
}

/* --- the index ------------------------------------------------------------------------------------ */

static int open_index(const struct box *box, const char *session, struct log_index *index)
{
	_cleanup_close_ int dir = store_box_dir(box);

	index->fd = -1;
	return dir < 0 ? dir : log_index_open(index, dir, session);
}

/*
 * Where entry i ends now. -EAGAIN: the index has gone on since it was opened, so what the run has
 * written may belong to a later entry.
 */
static int find_end(const struct box *box, const char *session, const struct log_index *index,
		    uint64_t i, const struct log_entry *entry, uint64_t *end)
{
	_cleanup_close_ int dir = -1;
	struct log_entry next;
	uint64_t size;
	int r;

	if (i + 1 < index->n) {
		r = log_index_entry(index, i + 1, &next);
		*end = next.begin;
		return r;
	}
	dir = store_box_dir(box);
	if (dir < 0)
		return dir;
	size = entry->run ? log_run_size(dir, entry->run) : 0;
	if (!log_index_is_current(index, dir, session))
		return -EAGAIN;
	*end = log_entry_end(entry, size);
	return 0;
}

/* Where the log ends, and how much of it was dropped. */
static int measure(const struct box *box, const char *session, uint64_t *end, uint64_t *dropped)
{
	int r = -EAGAIN;

	*end = 0;
	for (int i = 0; i < LOOKS && r == -EAGAIN; i++) {
		struct log_entry last;
		struct log_index index;

		r = open_index(box, session, &index);
		if (r == 0 && index.n) {
			r = log_index_entry(&index, index.n - 1, &last);
			if (r == 0)
				r = find_end(box, session, &index, index.n - 1, &last, end);
		}
		*dropped = index.fd >= 0 ? index.dropped : 0;
		log_index_close(&index);
	}
	return r;
}

/* --- gaps ------------------------------------------------------------------------------------------- */

static int add_gap(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length)
{
	struct log_reader *r = ctx;
	struct gap *last = r->n_gaps ? &r->gaps[r->n_gaps - 1] : NULL;
	struct gap *bigger;

	(void)i;
	(void)length;
	if (entry->gone <= 1)
		return 0;
	if (last && last->begin + last->length == entry->begin) {
		last->length += entry->gone - 1;
		return 0;
	}
	/* Doubled at each power of two. */
	if (!(r->n_gaps & (r->n_gaps - 1))) {
		bigger = reallocarray(r->gaps, r->n_gaps ? r->n_gaps * 2 : 1, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		r->gaps = bigger;
	}
	r->gaps[r->n_gaps++] = (struct gap){ entry->begin, entry->gone - 1 };
	return 0;
}

/*
 * The gaps of a view: those of the index, less what was dropped since. (Entries are marked before
 * the sum is, so there are never fewer.) Old runs go first, so that is the end of the first gap.
 */
static void fit_gaps(struct log_reader *r, uint64_t view)
{
	uint64_t sum = 0, excess;
	size_t first = 0;

	for (size_t i = 0; i < r->n_gaps; i++)
		sum += r->gaps[i].length;
	excess = MAX(sum, view) - view;
	while (first < r->n_gaps && excess) {
		uint64_t n = MIN(excess, r->gaps[first].length);

		r->gaps[first].length -= n;
		excess -= n;
		first += r->gaps[first].length == 0;
	}
	r->n_gaps -= first;
	if (first && r->n_gaps)
		memmove(r->gaps, r->gaps + first, r->n_gaps * sizeof(*r->gaps));
}

/* The index's offset of what the reader sees at `offset`; *left: how much follows before a gap. */
static uint64_t to_index(const struct log_reader *r, uint64_t offset, uint64_t *left)
{
	for (size_t i = 0; i < r->n_gaps; i++) {
		if (offset < r->gaps[i].begin) {
			*left = r->gaps[i].begin - offset;
			return offset;
		}
		offset += r->gaps[i].length;
	}
	*left = UINT64_MAX;
	return offset;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* Adds what follows at one place of the log. 1: something, 0: that is the end, -EAGAIN, -errno. */
static int read_at(struct log_reader *r, const struct log_index *index, uint64_t at, uint64_t size,
		   struct text *out)
{
	struct log_entry entry;
	uint64_t i, end;
	int e = log_index_find(index, at, &i);

	if (e == 0)
		e = log_index_entry(index, i, &entry);
	if (e == 0)
		e = find_end(r->box, r->session, index, i, &entry, &end);
	if (e < 0)
		return e == -ENODATA ? 0 : e;
	if (at >= end)
		return 0;
	e = read_entry(r, &entry, end - entry.begin, at - entry.begin, (size_t)MIN(size, end - at),
		       out);
	return e < 0 ? e : 1;
}

static int read_session(struct log_reader *r, uint64_t offset, size_t size, struct text *out)
{
	struct log_index index;
	int e = open_index(r->box, r->session, &index), looks = 0;

	while (e >= 0 && out->len < size && !out->failed) {
		uint64_t left, at = to_index(r, offset + out->len, &left);

		e = read_at(r, &index, at, MIN(left, size - out->len), out);
		if (e == 0)
			break;
		if (e == -EAGAIN && ++looks < LOOKS) {
			log_index_close(&index);
			e = open_index(r->box, r->session, &index);
		}
	}
	log_index_close(&index);
	/* What is there is an answer, and so is nothing yet. */
	return out->len || e == -EAGAIN ? 0 : e;
}

static int log_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text out = { 0 };
	struct log_reader *r = h->log;
	int e;

	if (offset < 0)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	e = *r->session ? read_session(r, (uint64_t)offset, size, &out)
			: read_run(r, r->run, (uint64_t)offset, size, &out);
	pthread_mutex_unlock(&h->lock);
	if (e < 0 || out.failed)
		return e < 0 ? e : -ENOMEM;
	fuse_reply_buf(ctx->req, out.data, out.len);
	return TREE_ANSWERED;
}

static void log_release(struct handle *h)
{
	if (!h->log)
		return;
	drop_merge(h->log);
	free(h->log->gaps);
	free(take_ptr(h->log));
}

static int log_open(struct ctx *ctx, struct handle *h)
{
	struct log_index index;
	int e;

	h->log = calloc(1, sizeof(*h->log));
	if (!h->log)
		return -ENOMEM;
	h->log->box = ctx->box;
	session_key(ctx, h->log->session);
	if (!*h->log->session)
		return -ESTALE;
	e = open_index(ctx->box, h->log->session, &index);
	if (e == 0)
		e = log_index_each(&index, 0, add_gap, h->log);
	log_index_close(&index);
	fit_gaps(h->log, ctx->view);
	return e == -ENODATA ? 0 : e;
}

static int run_log_open(struct ctx *ctx, struct handle *h)
{
	h->log = calloc(1, sizeof(*h->log));
	if (!h->log)
		return -ENOMEM;
	h->log->box = ctx->box;
	h->log->run = run_number(ctx);
	return 0;
}

uint64_t log_view(struct ctx *ctx)
{
	char key[SESSION_KEY_SIZE];
	struct log_index index;
	uint64_t dropped = 0;

	session_key(ctx, key);
	if (open_index(ctx->box, key, &index) == 0 && index.fd >= 0)
		dropped = index.dropped;
	log_index_close(&index);
	return dropped;
}

uint64_t log_size(struct ctx *ctx)
{
	char key[SESSION_KEY_SIZE];
	uint64_t end, dropped;

	session_key(ctx, key);
	if (measure(ctx->box, key, &end, &dropped) < 0)
		return 0;
	return MAX(end, ctx->view) - ctx->view;
}

uint64_t run_log_size(struct ctx *ctx)
{
	_cleanup_close_ int dir = store_box_dir(ctx->box);

	return dir < 0 ? 0 : log_run_size(dir, run_number(ctx));
}

const struct row_ops log_ops = { .open = log_open, .read = log_read, .release = log_release };
const struct row_ops run_log_ops = { .open = run_log_open,
				     .read = log_read,
				     .release = log_release };

/* --- what the daemon itself has to write down ------------------------------------------------------- */

static bool is_run(const void *ctx, uint64_t run)
{
	return run == *(const uint64_t *)ctx;
}

void log_drop_run(struct box *box, const char *session, uint64_t number)
{
	_cleanup_close_ int dir = store_box_dir(box);
	uint64_t end, dropped;
	struct log_index index;

	if (dir < 0 || !*session || measure(box, session, &end, &dropped) < 0 ||
	    log_index_open_drop(&index, dir, session) < 0)
		return;
	/* If it fails, the run's stretch shows as blanks. */
	if (index.fd >= 0)
		log_index_drop(&index, dir, session, end, is_run, &number, false);
	log_index_close(&index);
}

/* Nobody runs the box, so that the log is ours to write. */
static void write_refused(struct box *box, const char *session, uint64_t number, size_t script_len,
			  bool ends_line)
{
	_cleanup_close_ int dir = store_box_dir(box);
	struct log_entry entries[2] = { { .run = number }, { .run = number } }, last;
	struct log_index index;
	int r;

	if (dir < 0 || log_index_open_append(&index, dir, session) < 0)
		return;
	r = index.n ? log_index_entry(&index, index.n - 1, &last) : 0;
	if (r == 0 && index.n) {
		uint64_t size = log_run_size(dir, last.run);

		entries[0].begin = log_entry_end(&last, size);
		entries[0].newline =
			!last.gone && size > last.from && !log_run_ends_line(dir, last.run);
	}
	log_entry_set_head(&entries[0], script_len, ends_line);
	entries[1].begin = entries[0].begin + entries[0].text;
	log_entry_set_tail(&entries[1], RUN_FAILED, 0);
	if (r == 0)
		log_index_append(&index, entries, 2);
	log_index_close(&index);
}

void log_add_refused(struct box *box, const char *session, uint64_t number, const char *script,
		     size_t len)
{
	bool ends_line = len && script[len - 1] == '\n';
	_cleanup_text_ struct text fields = { 0 };

	if (!*session)
		return;
	if (!box->keeper) {
		write_refused(box, session, number, len, ends_line);
		return;
	}
	field_add(&fields, "session", session);
	field_add_u64(&fields, "script", len);
	field_add(&fields, "newline", ends_line ? "yes" : "no");
	if (!fields.failed)
		keeper_request(box, MSG_REFUSED, 0, (int64_t)number, &fields);
}

/* Opening it does that. */
static void end_lost(void *ctx, const char *session)
{
	struct log_index index;

	if (log_index_open_append(&index, *(const int *)ctx, session) == 0)
		log_index_close(&index);
}

void log_end_lost(struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);

	if (dir >= 0 && !box->keeper && !store_keeper_lives(box))
		log_index_sessions(dir, end_lost, &dir);
}
