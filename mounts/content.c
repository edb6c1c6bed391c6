/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing, reading and saving what is being written. It must not know FUSE, nor how parts are sent
 * (upload.c). Locks: content->lock, then tree_lock; the first is let go while bytes travel.
 */
#include "content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "names.h"
#include "removals.h"
#include "spool.h"

enum { FETCH_BYTES = 4 << 20 };

struct content *content_get(struct node *node, bool is_new, bool exclusive)
{
	struct content *c = node->content;

	if (c) {
		c->users++;
		return c;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	*c = (struct content){ .users = 1,
			       .node = node,
			       .fd = -1,
			       .is_new = is_new,
			       .exclusive = exclusive,
			       .dirty = is_new,
			       .size = is_new ? 0 : node->size,
			       .base_valid = is_new ? 0 : node->size,
			       .part_size = the_options.part_size };
	if (!is_new && node->etag)
		snprintf(c->base_etag, sizeof(c->base_etag), "%s", node->etag);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	node_ref(node);
	node->content = c;
	return c;
}

void content_lock(struct content *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->saving)
		pthread_cond_wait(&c->changed, &c->lock);
}

void content_unlock(struct content *c)
{
	pthread_mutex_unlock(&c->lock);
}

static void free_content(struct content *c)
{
	spool_give(c->held);
	spool_close(&c->fd);
	ranges_free(&c->have);
	ranges_free(&c->unsent);
	free(c->upload_key);
	free(c->upload_id);
	parts_free(c);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c);
}

/*
 * The last writer is gone. What it was told to have failed stays so; of another error only the log can
 * be told.
 */
static void save_last(struct content *c)
{
	int r = c->dirty && c->failed ? -EIO : content_save(c);

	if (r < 0) {
		char shown[200];

		log_error("%s: what was written is not in the bucket and is lost: %s",
			  text_escape(shown, sizeof(shown), c->node->name), strerror(-r));
	}
	parts_abort(c);
}

/* tree_lock held, the last writer is gone. */
static void leave_node(struct content *c)
{
	struct node *node = c->node;

	node->content = NULL;
	if (c->dirty && !node->gone) {
		names_forget(node->parent, node->name);
		node->fresh_until_ms = 0;
		if (c->is_new) /* what was never saved is no file any more */
			node_set_gone(node);
	}
	node_unref(node);
}

void content_put(struct content *c)
{
	bool last;

	pthread_mutex_lock(&tree_lock);
	last = c->users == 1;
	if (!last)
		c->users--;
	pthread_mutex_unlock(&tree_lock);
	if (!last)
		return;
	content_lock(c);
	save_last(c);
	content_unlock(c);
	pthread_mutex_lock(&tree_lock);
	last = --c->users == 0; /* somebody may have opened it while it was saved */
	if (last)
		leave_node(c);
	pthread_mutex_unlock(&tree_lock);
	if (last)
		free_content(c);
}

/* The size that stat shows is always the one written so far. */
static void show_size(struct content *c)
{
	pthread_mutex_lock(&tree_lock);
	node_set_attr(c->node, c->size, realtime_us(), NULL, 0);
	c->node->meta.mtime_ns = c->node->mtime_us * 1000;
	c->node->meta.mtime_set = false;
	pthread_mutex_unlock(&tree_lock);
}

/* --- the spool file --------------------------------------------------------------------------------- */

int content_make_room(struct content *c, uint64_t len)
{
	while (!spool_take(len)) {
		if (!parts_make_room(c)) {
			log_warn("the spool is full (spool_size)");
			return -ENOSPC;
		}
	}
	c->held += len;
	return 0;
}

void content_settle(struct content *c)
{
	spool_give(c->held - c->have.bytes); /* less than nothing takes */
	c->held = c->have.bytes;
}

/* Bytes of [from, from + len) that came from the base; those written meanwhile are left alone. */
static int keep_fetched(struct content *c, const char *bytes, uint64_t from, uint64_t len)
{
	struct range gap;
	uint64_t at = from;

	while (ranges_gap(&c->have, at, from + len, &gap)) {
		ssize_t n = pwrite(c->fd, bytes + (gap.from - from), gap.to - gap.from,
				   (off_t)gap.from);
		int r;

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		r = ranges_add(&c->have, gap.from, gap.from + n);
		if (r < 0)
			return r;
		at = gap.from + n;
	}
	return 0;
}

static int fetch_gap(struct content *c, const struct range *gap, char *buffer)
{
	uint64_t len = MIN(gap->to - gap->from, FETCH_BYTES);
	char key[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE];
	struct object_get get = { .key = key, .offset = gap->from, .length = len };
	struct object_call call = { 0 };
	int64_t got;
	int r = content_make_room(c, len);

	if (r < 0)
		return r;
	get.buffer = buffer;
	memcpy(etag, c->base_etag, sizeof(etag));
	get.if_match = etag[0] ? etag : NULL;
	pthread_mutex_lock(&tree_lock);
	r = c->node->gone ? -ESTALE : node_key(c->node, key);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0) {
		pthread_mutex_unlock(&c->lock);
		got = object_get(the_store, &call, &get, NULL);
		pthread_mutex_lock(&c->lock);
		if (got < 0)
			r = bucket_failed("get", key, got == -ENOENT ? -ESTALE : (int)got, &call);
		else if ((uint64_t)got < len)
			r = -ESTALE; /* shorter than it was */
	}
	/* Cut, or given a new base, while we were away? Then the caller looks again. */
	if (r == 0 && !strcmp(etag, c->base_etag) && gap->from < c->base_valid)
		r = keep_fetched(c, buffer, gap->from, MIN(len, c->base_valid - gap->from));
	content_settle(c);
	return r;
}

int content_fetch(struct content *c, uint64_t from, uint64_t to)
{
	_cleanup_free_ char *buffer = NULL;
	struct range gap;
	int r = 0;

	while (r == 0 && from < MIN(to, c->base_valid) &&
	       ranges_gap(&c->have, from, MIN(to, c->base_valid), &gap)) {
		if (!buffer)
			buffer = malloc(FETCH_BYTES);
		r = buffer ? fetch_gap(c, &gap, buffer) : -ENOMEM;
	}
	return r;
}

/* --- writing -------------------------------------------------------------------------------------- */

static int need_file(struct content *c)
{
	int fd = c->fd >= 0 ? c->fd : spool_open();

	if (fd < 0) {
		log_error("cannot make a file in %s: %s", the_options.spool_dir, strerror(-fd));
		/* No program's own file is missing or forbidden. */
		return fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES || fd == -EROFS ? -EIO : fd;
	}
	c->fd = fd;
	return 0;
}

/* What was sent ahead and is not here any more has to become an object before it can be changed. */
static int bring_back(struct content *c, uint64_t from, uint64_t to)
{
	return parts_are_away(c, from, to) ? content_save(c) : 0;
}

int content_begin_write(struct content *c, uint64_t off, uint64_t len)
{
	int r;

	if (off + len > OBJECT_SIZE_MAX || off + len < off)
		return -EFBIG;
	r = need_file(c);
	/* A hole counts as well: it will be sent. */
	if (r == 0)
		r = content_make_room(c, len + (off > c->size ? off - c->size : 0));
	if (r == 0)
		r = bring_back(c, off, off + len);
	return r;
}

/* Bytes that now stand in the spool file and are not as in the base. */
static int now_written(struct content *c, uint64_t from, uint64_t to)
{
	int r = ranges_add(&c->have, from, to);

	if (r == 0)
		r = ranges_add(&c->unsent, from, to);
	return r;
}

int content_end_write(struct content *c, uint64_t off, uint64_t len)
{
	uint64_t from = MIN(off, c->size), to = off + len;
	bool sequential = off == c->last_end;
	int r = 0;

	if (len) {
		r = now_written(c, from, to);
		c->size = MAX(c->size, to);
		c->last_end = to;
		c->dirty = c->written = true;
		c->failed = false;
	}
	content_settle(c);
	show_size(c);
	return r == 0 && len ? parts_written(c, from, to, sequential) : r;
}

int64_t content_begin_read(struct content *c, uint64_t off, uint64_t len)
{
	int r = need_file(c);

	if (off >= c->size)
		return 0;
	len = MIN(len, c->size - off);
	if (r == 0)
		r = bring_back(c, off, off + len);
	if (r == 0)
		r = content_fetch(c, off, off + len);
	if (r == 0 && off + len > c->size)
		len = off < c->size ? c->size - off : 0; /* cut meanwhile */
	return r < 0 ? r : (int64_t)len;
}

static int grow_to(struct content *c, uint64_t size)
{
	uint64_t from = c->size;
	int r = content_make_room(c, size - from);

	if (r == 0)
		r = now_written(c, from, size);
	if (r == 0)
		c->size = MAX(c->size, size);
	content_settle(c);
	return r == 0 ? parts_written(c, from, size, false) : r;
}

static int shrink_to(struct content *c, uint64_t size)
{
	int r = ranges_remove(&c->have, size, UINT64_MAX);

	if (r == 0)
		r = ranges_remove(&c->unsent, size, UINT64_MAX);
	if (r < 0)
		return r;
	c->base_valid = MIN(c->base_valid, size);
	c->size = size;
	c->last_end = MIN(c->last_end, size);
	parts_truncate(c, size);
	content_settle(c);
	return 0;
}

int content_truncate(struct content *c, uint64_t size)
{
	int r = need_file(c);

	if (size > OBJECT_SIZE_MAX)
		return -EFBIG;
	if (r < 0 || size == c->size)
		return r;
	if (size < c->size && size > 0) { /* its last part becomes another one */
		unsigned last = part_index(c, size - 1);

		r = bring_back(c, part_offset(c, last), size);
	}
	if (r == 0)
		r = size > c->size ? grow_to(c, size) : shrink_to(c, size);
	if (r == 0 && ftruncate(c->fd, (off_t)size) < 0)
		r = -errno;
	c->dirty = true;
	c->failed = false;
	show_size(c);
	return r;
}

/* --- saving --------------------------------------------------------------------------------------- */

struct meta content_meta(struct content *c, bool with_mtime, struct text *fields)
{
	struct meta meta;

	pthread_mutex_lock(&tree_lock);
	meta = c->node->meta;
	pthread_mutex_unlock(&tree_lock);
	if (meta.known)
		meta_add(fields, &meta, with_mtime || meta.mtime_set);
	return meta;
}

static int put_whole(struct content *c, const char *key, char etag[OBJECT_ETAG_SIZE])
{
	struct object_put put = { .key = key, .if_none_match = c->exclusive };
	_cleanup_text_ struct text meta = { 0 };
	struct object_call call = { 0 };
	int r = content_fetch(c, 0, c->size);

	if (r < 0)
		return r;
	content_meta(c, true, &meta);
	if (meta.failed)
		return -ENOMEM;
	put.meta = meta.data;
	put.meta_len = meta.len;
	put.body = (struct object_body){ .fd = c->fd, .length = c->size };
	if (!c->size)
		put.body.bytes = "";
	if (the_options.conditional && c->base_etag[0])
		put.if_match = c->base_etag;
	put.if_none_match = put.if_none_match || (the_options.conditional && c->is_new);
	pthread_mutex_unlock(&c->lock);
	r = object_put(the_store, &call, &put, etag);
	pthread_mutex_lock(&c->lock);
	return r < 0 ? bucket_failed("put", key, r, &call) : 0;
}

/*
 * An upload in parts is given its metadata when it begins. What was set since then comes by a copy of the
 * object onto itself.
 */
static int settle_meta(struct content *c, const char *key, char etag[OBJECT_ETAG_SIZE])
{
	_cleanup_text_ struct text unused = { 0 };
	struct meta now = content_meta(c, true, &unused);
	const struct meta *then = &c->upload_meta;
	int r;

	if (!now.known || (now.mode == then->mode && now.uid == then->uid && now.gid == then->gid &&
			   (!now.mtime_set || (then->mtime_set && now.mtime_ns == then->mtime_ns))))
		return 0;
	pthread_mutex_unlock(&c->lock);
	r = meta_write(key, false, &now, etag);
	pthread_mutex_lock(&c->lock);
	return r;
}

/* The object is there: that is what is shown, and what further changes start from. */
static void now_saved(struct content *c, const char *etag)
{
	struct node *node = c->node;

	c->dirty = c->is_new = c->exclusive = false;
	c->base_valid = c->size;
	snprintf(c->base_etag, sizeof(c->base_etag), "%s", etag);
	ranges_free(&c->unsent);
	pthread_mutex_lock(&tree_lock);
	node->version++;
	node_set_attr(node, c->size, realtime_us(), etag, monotonic_ms() + the_options.ttl_ms);
	node->meta.stamp_us = 0;
	(void)string_replace(&node->page_etag, etag);
	if (!node->gone)
		names_changed(node->parent, node->name, CHANGE_FILE, false, c->size, node->mtime_us,
			      etag);
	pthread_mutex_unlock(&tree_lock);
}

int content_save(struct content *c)
{
	char key[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE] = "";
	bool large;
	int r, settled;

	while (c->saving)
		pthread_cond_wait(&c->changed, &c->lock);
	if (!c->dirty)
		return 0;
	pthread_mutex_lock(&tree_lock);
	r = c->node->gone ? 1 : node_key(c->node, key);
	pthread_mutex_unlock(&tree_lock);
	if (r != 0)
		return r < 0 ? r : 0; /* removed while open: it goes nowhere */
	c->saving = true;
	if (c->size == 0)
		parts_abort(c);
	large = c->upload_id || c->size >= 2 * c->part_size;
	r = removals_wait(key);
	if (r == 0)
		r = large ? parts_save(c, key, etag) : put_whole(c, key, etag);
	settled = r == 0 && large ? settle_meta(c, key, etag) : 0;
	if (r == 0)
		now_saved(c, etag);
	if (settled < 0)
		r = settled; /* the data is there; what was set with it is not */
	c->failed = r < 0;
	c->saving = false;
	pthread_cond_broadcast(&c->changed);
	return r;
}
