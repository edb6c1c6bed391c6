/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sending a content in parts. A part is a fixed range of the file; it is sent from the spool file, or
 * copied by the server from the object that was there if nothing in it has changed. Parts of a file
 * that grows from its beginning are sent while it is written; a part that is written to again is sent
 * again. When the spool is full, parts that were sent are given back.
 *
 * Lock: content->lock, held by every caller and let go while the server is asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "content.h"
#include "journal.h"
#include "spool.h"

/* Behind each so many parts they double, so that ten thousand of them are enough for 5 TiB. */
enum { PARTS_OF_A_SIZE = 1000 };

/* --- where parts lie -------------------------------------------------------------------------------- */

static bool all_equal(void)
{
	return the_options.equal_parts == EQUAL_PARTS_YES;
}

static uint64_t part_step(const struct content *c, unsigned index)
{
	uint64_t step = c->part_size << (all_equal() ? 0 : MIN(index / PARTS_OF_A_SIZE, 9));

	return MIN(step, OBJECT_PART_MAX);
}

uint64_t part_offset(const struct content *c, unsigned index)
{
	uint64_t off = 0;
	unsigned i = 0;

	if (all_equal())
		return index * c->part_size;
	for (; i + PARTS_OF_A_SIZE <= index; i += PARTS_OF_A_SIZE)
		off += PARTS_OF_A_SIZE * part_step(c, i);
	return off + (index - i) * part_step(c, i);
}

uint64_t part_length(const struct content *c, unsigned index)
{
	uint64_t off = part_offset(c, index);

	return off < c->size ? MIN(part_step(c, index), c->size - off) : 0;
}

unsigned part_index(const struct content *c, uint64_t off)
{
	unsigned i = 0;

	if (all_equal())
		return (unsigned)(off / c->part_size);
	while (i < OBJECT_PARTS_MAX && off >= PARTS_OF_A_SIZE * part_step(c, i)) {
		off -= PARTS_OF_A_SIZE * part_step(c, i);
		i += PARTS_OF_A_SIZE;
	}
	return i + (unsigned)(off / part_step(c, i));
}

static bool is_sent(const struct content *c, const struct part *p)
{
	return p->state == PART_SENT && p->writes == p->writes_sent &&
	       p->sent.size == part_length(c, p->index);
}

/* --- sending ---------------------------------------------------------------------------------------- */

static int send_part(struct content *c, struct part *p)
{
	uint64_t off = part_offset(c, p->index), len = part_length(c, p->index);
	struct object_body body = { .fd = c->fd, .offset = off, .length = len };
	char base[OBJECT_ETAG_SIZE];
	struct object_call call = { 0 };
	bool copy = c->base_etag[0] && off + len <= c->base_valid &&
		    ranges_count(&c->unsent, off, off + len) == 0;
	int r = copy ? 0 : content_fetch(c, off, off + len);

	if (r < 0)
		return r;
	p->writes_sent = p->writes;
	memcpy(base, c->base_etag, sizeof(base));
	pthread_mutex_unlock(&c->lock);
	if (copy)
		r = object_upload_part_copy(the_store, &call, c->upload_key, c->upload_id,
					    p->index + 1, c->upload_key, off, len, base, &p->sent);
	else
		r = object_upload_part(the_store, &call, c->upload_key, c->upload_id, p->index + 1,
				       &body, &p->sent);
	pthread_mutex_lock(&c->lock);
	return r < 0 ? bucket_failed("part", c->upload_key, r, &call) : 0;
}

static void part_run(struct job *job)
{
	struct part *p = container_of(job, struct part, job);
	struct content *c = p->content;

	pthread_mutex_lock(&c->lock);
	p->error = part_length(c, p->index) ? send_part(c, p) : 0;
	p->state = p->error == 0 && p->writes == p->writes_sent ? PART_SENT : PART_HERE;
	if (p->error < 0 && !c->stream_error)
		c->stream_error = p->error;
	c->queued--;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static struct part *need_part(struct content *c, unsigned index)
{
	while (c->n_parts <= index) {
		struct part *p;

		if (c->n_parts == c->room_parts) {
			unsigned room = c->room_parts ? c->room_parts * 2 : 16;
			struct part **parts = reallocarray(c->parts, room, sizeof(*parts));

			if (!parts)
				return NULL;
			c->parts = parts;
			c->room_parts = room;
		}
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		*p = (struct part){ .job.run = part_run, .content = c, .index = c->n_parts };
		c->parts[c->n_parts++] = p;
	}
	return c->parts[index];
}

static int start_upload(struct content *c, const char *key)
{
	struct object_upload upload = { .key = key };
	_cleanup_text_ struct text meta = { 0 };
	struct object_call call = { 0 };
	char *id = NULL;
	int r;

	if (c->upload_id)
		return 0;
	c->upload_meta = content_meta(c, false, &meta);
	if (meta.failed)
		return -ENOMEM;
	upload.meta = meta.data;
	upload.meta_len = meta.len;
	journal_starting(key);
	r = object_upload_start(the_store, &call, &upload, &id);
	if (r < 0)
		return bucket_failed("start of upload", key, r, &call);
	journal_started(key, id);
	c->upload_id = id;
	return string_replace(&c->upload_key, key);
}

static int queue_part(struct content *c, unsigned index)
{
	struct part *p = need_part(c, index);

	if (!p)
		return -ENOMEM;
	if (p->state == PART_QUEUED || is_sent(c, p))
		return 0;
	p->state = PART_QUEUED;
	p->error = 0;
	c->queued++;
	pool_submit(&p->job, false);
	return 0;
}

static void wait_queued(struct content *c, unsigned at_most)
{
	while (c->queued > at_most)
		pthread_cond_wait(&c->changed, &c->lock);
}

/* --- while it is written ------------------------------------------------------------------------------ */

/* A file that grows from its beginning: its next part, if that is whole. */
static bool next_is_whole(const struct content *c)
{
	uint64_t off = part_offset(c, c->streamed), len = part_step(c, c->streamed);

	return c->streamed < OBJECT_PARTS_MAX && off + len <= c->size &&
	       ranges_count(&c->have, off, off + len) == len;
}

static int stream(struct content *c)
{
	char key[OBJECT_KEY_MAX + 1];
	int r;

	if (!c->upload_id && c->size < 2 * c->part_size)
		return 0;
	pthread_mutex_lock(&tree_lock);
	r = c->node->gone ? 1 : node_key(c->node, key);
	pthread_mutex_unlock(&tree_lock);
	if (r != 0)
		return r < 0 ? r : 0;
	while (next_is_whole(c)) {
		r = start_upload(c, key);
		if (r == 0)
			r = queue_part(c, c->streamed);
		if (r < 0)
			return r;
		c->streamed++;
		wait_queued(c, (unsigned)the_options.jobs);
	}
	return c->stream_error;
}

int parts_written(struct content *c, uint64_t from, uint64_t to, bool sequential)
{
	for (unsigned i = part_index(c, from); from < to && i < c->n_parts; i++) {
		if (part_offset(c, i) >= to)
			break;
		c->parts[i]->writes++;
	}
	return sequential && c->base_valid == 0 && !c->saving ? stream(c) : 0;
}

void parts_truncate(struct content *c, uint64_t size)
{
	unsigned keep = size ? part_index(c, size - 1) + 1 : 0;

	wait_queued(c, 0);
	while (c->n_parts > keep)
		free(c->parts[--c->n_parts]);
	if (keep && c->n_parts == keep)
		c->parts[keep - 1]->writes++;
	c->streamed = MIN(c->streamed, keep ? keep - 1 : 0);
}

bool parts_are_away(const struct content *c, uint64_t from, uint64_t to)
{
	for (unsigned i = part_index(c, from); from < to && i < c->n_parts; i++) {
		uint64_t off = part_offset(c, i), len = part_length(c, i);

		if (off >= to)
			break;
		if (c->parts[i]->state == PART_SENT && off + len > c->base_valid &&
		    ranges_count(&c->have, off, off + len) < len)
			return true;
	}
	return false;
}

/* --- spool room ---------------------------------------------------------------------------------------- */

static bool give_back(struct content *c, uint64_t from, uint64_t to)
{
	if (ranges_count(&c->have, from, to) == 0 || ranges_remove(&c->have, from, to) < 0)
		return false;
	spool_punch(c->fd, from, to);
	return true;
}

/* What is in the spool file just as it is in the bucket. */
static bool give_clean_back(struct content *c)
{
	bool gave = false;

	for (size_t i = c->have.n; i-- > 0;) {
		struct range here = c->have.at[i], gap;

		while (ranges_gap(&c->unsent, here.from, MIN(here.to, c->base_valid), &gap)) {
			gave = give_back(c, gap.from, gap.to) || gave;
			here.from = gap.to;
		}
	}
	return gave;
}

bool parts_make_room(struct content *c)
{
	bool gave = false;

	for (unsigned i = 0; i < c->n_parts; i++) {
		uint64_t off = part_offset(c, i);

		if (is_sent(c, c->parts[i]))
			gave = give_back(c, off, off + part_length(c, i)) || gave;
	}
	if (!gave && !c->saving && c->queued == 0)
		gave = give_clean_back(c);
	if (gave) {
		content_settle(c);
		return true;
	}
	if (c->queued > c->starved) { /* a part is under way that needs no room itself */
		c->starved++;
		pthread_cond_wait(&c->changed, &c->lock);
		c->starved--;
		return true;
	}
	return spool_used() > c->held && spool_wait();
}

/* --- saving -------------------------------------------------------------------------------------------- */

static int send_all(struct content *c, unsigned n)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		wait_queued(c, (unsigned)the_options.jobs - 1);
		r = c->stream_error ? c->stream_error : queue_part(c, i);
	}
	wait_queued(c, 0);
	if (r == 0)
		r = c->stream_error;
	for (unsigned i = 0; i < n && r == 0; i++) {
		if (!is_sent(c, c->parts[i]))
			r = -EIO;
	}
	return r;
}

static int complete(struct content *c, const char *key, unsigned n, char etag[OBJECT_ETAG_SIZE])
{
	_cleanup_free_ struct object_part *parts = calloc(n, sizeof(*parts));
	struct object_complete what = { .key = key, .id = c->upload_id, .parts = parts, .n = n };
	struct object_call call = { 0 };
	int r;

	if (!parts)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		parts[i] = c->parts[i]->sent;
	what.if_none_match = c->exclusive || (the_options.conditional && c->is_new);
	if (the_options.conditional && c->base_etag[0])
		what.if_match = c->base_etag;
	pthread_mutex_unlock(&c->lock);
	r = object_upload_complete(the_store, &call, &what, etag);
	pthread_mutex_lock(&c->lock);
	return r < 0 ? bucket_failed("end of upload", key, r, &call) : 0;
}

/* The upload is over, one way or the other: what is to be sent next time begins from nothing. */
static void forget_upload(struct content *c)
{
	if (c->upload_id)
		journal_ended(c->upload_id);
	free(take_ptr(c->upload_id));
	free(take_ptr(c->upload_key));
	while (c->n_parts)
		free(c->parts[--c->n_parts]);
	c->streamed = 0;
	c->stream_error = 0;
}

/* Without an upload under way the size is known: the parts are made to fit. */
static void choose_part_size(struct content *c)
{
	uint64_t mib = 1 << 20, least = (c->size + OBJECT_PARTS_MAX - 1) / OBJECT_PARTS_MAX;

	c->part_size = the_options.part_size;
	if (all_equal() && least > c->part_size)
		c->part_size = (least + mib - 1) / mib * mib;
}

int parts_save(struct content *c, const char *key, char etag[OBJECT_ETAG_SIZE])
{
	unsigned n;
	int r;

	wait_queued(c, 0);
	c->stream_error = 0;
	if (!c->upload_id)
		choose_part_size(c);
	n = part_index(c, c->size - 1) + 1;
	if (n > OBJECT_PARTS_MAX)
		return -EFBIG;
	r = start_upload(c, key);
	if (r == 0)
		r = send_all(c, n);
	if (r == 0)
		r = complete(c, key, n, etag);
	c->stream_error = 0;
	if (r == 0 || r == -ENOENT) /* done, or somebody ended it: to be sent again */
		forget_upload(c);
	return r == -ENOENT ? -EIO : r;
}

void parts_abort(struct content *c)
{
	struct object_call call = { 0 };

	wait_queued(c, 0);
	if (c->upload_id && object_upload_abort(the_store, &call, c->upload_key, c->upload_id) < 0)
		log_warn("an unfinished upload stays on the server: %s", call.error.text);
	forget_upload(c);
}

void parts_free(struct content *c)
{
	while (c->n_parts)
		free(c->parts[--c->n_parts]);
	free(take_ptr(c->parts));
}
