/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is asked for, and when: a row is read ahead for, random reads are not. Bytes are handed out where they
 * lie, and stay there until they are given back.
 *
 * Lock: chunk_lock (chunk.h), a leaf, for all readers; not held while bytes travel or are used.
 */
#include "reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "bucket.h"
#include "chunk.h"

enum {
	FIRST_AHEAD = 1 << 20,
	LEAST_CHUNK = 1 << 20,
	SLACK = 1 << 20, /* requests of the kernel come a little out of order */
	NEAR = 1 << 18,	 /* a second read so close behind the first begins a row */
	KEEP_BEHIND = 1 << 18,
};

struct reader {
	struct chunk_list list;
	uint64_t version, size;
	bool begun;	   /* asked for something */
	bool delivered;	   /* and got it */
	uint64_t next_off; /* where a sequential reader would go on */
	uint64_t ahead;	   /* 0: random */
};

static unsigned streams; /* readers that are read ahead for; chunk_lock */

/* --- what to ask for: chunk_lock held ------------------------------------------------------------------- */

static struct chunk *chunk_at(const struct reader *r, uint64_t off)
{
	for (struct chunk *c = r->list.first; c && c->off <= off; c = c->next) {
		if (off < c->off + c->len && !(c->state == CHUNK_FAILED && !c->users))
			return c;
	}
	return NULL;
}

static void drop_failed(struct reader *r)
{
	for (struct chunk *c = r->list.first, *next; c; c = next) {
		next = c->next;
		if (c->state == CHUNK_FAILED && !c->users)
			chunk_let_go(c);
	}
}

static void drop_outside(struct reader *r, uint64_t from, uint64_t to)
{
	for (struct chunk *c = r->list.first, *next; c; c = next) {
		next = c->next;
		if (!c->users && (c->off + c->len <= from || c->off >= to))
			chunk_let_go(c);
	}
}

/* Is `off` where this reader would go on? */
static bool is_sequential(const struct reader *r, uint64_t off)
{
	if (!r->ahead)
		return r->begun && off >= r->next_off && off <= r->next_off + NEAR;
	return off + SLACK >= r->next_off && off <= r->next_off + SLACK;
}

/* How far one reader may go, so that all that read have their share. */
static uint64_t share(void)
{
	return the_options.memory / (streams ? streams : 1);
}

static void set_ahead(struct reader *r, uint64_t ahead)
{
	if (!r->ahead && ahead)
		streams++;
	else if (r->ahead && !ahead)
		streams--;
	r->ahead = ahead;
}

static void read_ahead(struct reader *r, uint64_t off)
{
	uint64_t end = off, far;
	uint64_t ahead = MIN(r->ahead, MAX(share(), LEAST_CHUNK));
	bool more = false;

	/* What of it is there or on its way. */
	for (struct chunk *c = chunk_at(r, end); c; c = chunk_at(r, end))
		end = c->off + c->len;
	far = MIN(r->size, off + ahead);
	while (end < far) {
		uint64_t len = MIN(MAX(ahead / 4, LEAST_CHUNK), the_options.part_size);
		struct chunk *c = chunk_add(&r->list, end, MIN(len, r->size - end), false);

		if (!c)
			break;
		pool_submit(&c->job, end == off);
		end = c->off + c->len;
		more = true;
	}
	if (more)
		set_ahead(r, MIN(r->ahead * 2, the_options.readahead));
}

/* A read at `off` is about to happen: sequential or not? */
static void judge(struct reader *r, uint64_t off, size_t len)
{
	if (!r->begun && off == 0) {
		set_ahead(r, r->size > len ? FIRST_AHEAD : 0);
	} else if (is_sequential(r, off)) {
		if (!r->ahead)
			set_ahead(r, FIRST_AHEAD);
	} else {
		set_ahead(r, 0);
		drop_outside(r, off, off + len);
	}
	r->begun = true;
	drop_failed(r);
	if (r->ahead)
		read_ahead(r, off);
}

/* --- reading ---------------------------------------------------------------------------------------- */

/* chunk_lock held; let go while waiting. A piece of the chunk that is there now, and stays while it is held. */
static ssize_t hold(struct reader *r, struct chunk *c, uint64_t off, size_t len,
		    struct reader_bytes *bytes)
{
	uint64_t at = off - c->off;
	ssize_t n = (ssize_t)MIN(len, c->len - at);

	if (bytes->n == READER_PIECES)
		return -EAGAIN;
	c->users++;
	while (c->state == CHUNK_COMING && c->filled < at + n)
		pthread_cond_wait(&r->list.changed, &chunk_lock);
	if (c->state == CHUNK_FAILED && c->filled < at + n) {
		n = c->error;
		if (--c->users == 0)
			pthread_cond_broadcast(&r->list.changed);
		return n;
	}
	bytes->held[bytes->n] = c;
	bytes->at[bytes->n++] = (struct iovec){ .iov_base = c->data + at, .iov_len = (size_t)n };
	return n;
}

/* chunk_lock held. */
static void let_all_go(struct reader *r, struct reader_bytes *bytes)
{
	while (bytes->n) {
		struct chunk *c = bytes->held[--bytes->n];

		c->used_ms = monotonic_ms();
		if (--c->users == 0)
			pthread_cond_broadcast(&r->list.changed); /* reader_set() may wait for it */
	}
}

/* chunk_lock held; let go meanwhile. Exactly [at, at + len), whether others have some of it or not. */
static struct chunk *fetch(struct reader *r, uint64_t at, uint64_t len)
{
	struct chunk *c = chunk_add(&r->list, at, len, true);

	if (!c)
		return NULL;
	c->users++;
	pthread_mutex_unlock(&chunk_lock);
	chunk_transfer(c);
	pthread_mutex_lock(&chunk_lock);
	c->users--;
	return c;
}

/* The same up to what there is behind `at`. */
static struct chunk *fetch_gap(struct reader *r, uint64_t at, uint64_t len)
{
	const struct chunk *c = r->list.first;

	while (c && c->off <= at)
		c = c->next;
	return fetch(r, at, c && c->off < at + len ? c->off - at : len);
}

static ssize_t hold_all(struct reader *r, uint64_t off, size_t len, struct reader_bytes *bytes)
{
	size_t done = 0;

	while (done < len) {
		struct chunk *c = chunk_at(r, off + done);
		ssize_t n;

		if (!c)
			c = fetch_gap(r, off + done, len - done);
		n = c ? hold(r, c, off + done, len - done, bytes) : -ENOMEM;
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t reader_take(struct reader *r, uint64_t off, size_t len, struct reader_bytes *bytes)
{
	ssize_t n;

	bytes->n = 0;
	pthread_mutex_lock(&chunk_lock);
	len = off < r->size ? MIN(len, r->size - off) : 0;
	if (len)
		judge(r, off, len);
	n = hold_all(r, off, len, bytes);
	if (n == -EAGAIN) { /* in many small pieces: in one, then */
		struct chunk *c;

		let_all_go(r, bytes);
		c = fetch(r, off, len);
		n = c ? hold(r, c, off, len, bytes) : -ENOMEM;
	}
	/* Never fewer bytes than there are: the kernel would take that for the end of the file. */
	if (n < 0)
		let_all_go(r, bytes);
	bytes->off = off;
	if (n > 0) {
		r->delivered = true;
		r->next_off = off + (size_t)n;
	}
	pthread_mutex_unlock(&chunk_lock);
	return n;
}

void reader_give(struct reader *r, struct reader_bytes *bytes)
{
	uint64_t end = bytes->off;

	if (!bytes->n)
		return;
	pthread_mutex_lock(&chunk_lock);
	for (int i = 0; i < bytes->n; i++)
		end += bytes->at[i].iov_len;
	let_all_go(r, bytes);
	drop_outside(r, r->ahead ? bytes->off - MIN(bytes->off, KEEP_BEHIND) : end, UINT64_MAX);
	pthread_mutex_unlock(&chunk_lock);
}

struct reader *reader_new(void)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (r)
		pthread_cond_init(&r->list.changed, NULL);
	return r;
}

static bool is_used(const struct reader *r)
{
	for (const struct chunk *c = r->list.first; c; c = c->next) {
		if (c->users)
			return true;
	}
	return false;
}

/* chunk_lock held; nobody reads from it now. */
static void forget(struct reader *r)
{
	while (r->list.first)
		chunk_let_go(r->list.first);
	set_ahead(r, 0);
	free(take_ptr(r->list.key));
	free(take_ptr(r->list.etag));
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&chunk_lock);
	while (is_used(r))
		pthread_cond_wait(&r->list.changed, &chunk_lock);
	forget(r);
	pthread_mutex_unlock(&chunk_lock);
	pthread_cond_destroy(&r->list.changed);
	free(r);
}

int reader_is_of(struct reader *r, uint64_t version, const char *etag)
{
	int is;

	pthread_mutex_lock(&chunk_lock);
	is = r->list.key && r->version == version;
	if (is && r->list.etag && etag && strcmp(r->list.etag, etag))
		is = r->delivered ? -ESTALE : 0;
	pthread_mutex_unlock(&chunk_lock);
	return is;
}

bool reader_has_begun(struct reader *r)
{
	bool begun;

	pthread_mutex_lock(&chunk_lock);
	begun = r->delivered;
	pthread_mutex_unlock(&chunk_lock);
	return begun;
}

int reader_set(struct reader *r, const char *key, const char *etag, uint64_t size, uint64_t version)
{
	int error = 0;

	pthread_mutex_lock(&chunk_lock);
	while (is_used(r))
		pthread_cond_wait(&r->list.changed, &chunk_lock);
	forget(r);
	r->list.key = strdup(key);
	r->list.etag = etag && *etag ? strdup(etag) : NULL;
	if (!r->list.key || (etag && *etag && !r->list.etag))
		error = -ENOMEM;
	r->size = size;
	r->version = version;
	r->next_off = 0;
	r->begun = r->delivered = false;
	pthread_mutex_unlock(&chunk_lock);
	return error;
}
