/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ranges of objects in memory. A chunk is one range, asked for by one request; it is filled by a
 * transfer thread (read ahead) or by the reader's own (random reads), and can be read as far as it has
 * come. Chunks that nobody waits for make room for others, oldest first.
 *
 * Lock: cache.lock, a leaf, for all readers and chunks; not held while bytes travel or are copied.
 */
#include "reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "bucket.h"
#include "pool.h"

enum {
	FIRST_AHEAD = 1 << 20,
	LEAST_CHUNK = 1 << 20,
	SLACK = 1 << 20, /* requests of the kernel come a little out of order */
	NEAR = 1 << 18,	 /* a second read so close behind the first begins a row */
	KEEP_BEHIND = 1 << 18,
	IDLE_MS = 5000,
};

enum chunk_state { CHUNK_COMING, CHUNK_HERE, CHUNK_FAILED };

struct chunk {
	struct job job;
	struct reader *reader;	     /* NULL: let go, and freed by its transfer */
	struct chunk *next;	     /* of the reader, by offset */
	struct chunk *newer, *older; /* of all that are here */
	uint64_t off, len, filled;
	enum chunk_state state;
	int error;
	unsigned users; /* waiting for it or copying from it */
	int64_t used_ms;
	atomic_bool cancel;
	char *key, *etag;
	char *data;
};

struct reader {
	pthread_cond_t changed;
	struct chunk *chunks;
	uint64_t version, size;
	char *key, *etag;
	bool begun;	   /* asked for something */
	bool delivered;	   /* and got it */
	uint64_t next_off; /* where a sequential reader would go on */
	uint64_t ahead;	   /* 0: random */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t room;
	uint64_t used;
	unsigned coming, streams;
	struct chunk *newest, *oldest;
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER };

/* --- chunks: cache.lock held -------------------------------------------------------------------------- */

static void lru_out(struct chunk *c)
{
	if (c->newer)
		c->newer->older = c->older;
	else if (cache.newest == c)
		cache.newest = c->older;
	if (c->older)
		c->older->newer = c->newer;
	else if (cache.oldest == c)
		cache.oldest = c->newer;
	c->newer = c->older = NULL;
}

static void lru_in(struct chunk *c)
{
	c->used_ms = monotonic_ms();
	c->newer = NULL;
	c->older = cache.newest;
	if (cache.newest)
		cache.newest->newer = c;
	else
		cache.oldest = c;
	cache.newest = c;
}

static void free_chunk(struct chunk *c)
{
	cache.used -= c->len;
	pthread_cond_broadcast(&cache.room);
	free(c->data);
	free(c->key);
	free(c->etag);
	free(c);
}

/* The reader has no use for it any more. It has no users. */
static void let_go(struct chunk *c)
{
	struct chunk **p = &c->reader->chunks;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->reader = NULL;
	if (c->state == CHUNK_COMING && !pool_cancel(&c->job)) {
		atomic_store(&c->cancel, true); /* its transfer frees it */
		return;
	}
	if (c->state == CHUNK_COMING)
		cache.coming--;
	else
		lru_out(c);
	free_chunk(c);
}

/* Makes room; with `must` it waits for it, and takes it anyway when there is nothing to wait for. */
static bool take_room(uint64_t len, bool must)
{
	while (cache.used + len > the_options.memory) {
		struct chunk *c = cache.oldest;

		while (c && c->users)
			c = c->newer;
		/* To read ahead, only what has lain there for a while is given up. */
		if (c && (must || c->used_ms + IDLE_MS < monotonic_ms()))
			let_go(c);
		else if (!must)
			return false;
		else if (cache.coming)
			pthread_cond_wait(&cache.room, &cache.lock);
		else
			break;
	}
	cache.used += len;
	return true;
}

static int sink(void *arg, const void *bytes, size_t len, uint64_t offset)
{
	struct chunk *c = arg;

	if (offset < c->off || offset + len > c->off + c->len)
		return -EPROTO;
	memcpy(c->data + (offset - c->off), bytes, len);
	pthread_mutex_lock(&cache.lock);
	c->filled = offset + len - c->off;
	if (c->reader && c->users)
		pthread_cond_broadcast(&c->reader->changed);
	pthread_mutex_unlock(&cache.lock);
	return 0;
}

/* Without the lock. */
static void transfer(struct chunk *c)
{
	struct object_call call = { .cancel = &c->cancel };
	struct object_get get = { .key = c->key,
				  .offset = c->off,
				  .length = c->len,
				  .if_match = c->etag,
				  .sink = sink,
				  .sink_arg = c };
	int64_t r = object_get(the_store, &call, &get, NULL);

	if (r >= 0 && (uint64_t)r < c->len)
		r = -ESTALE; /* it ends earlier than it did */
	if (r < 0 && !atomic_load(&c->cancel))
		r = bucket_failed("get", c->key, (int)r, &call);
	pthread_mutex_lock(&cache.lock);
	cache.coming--;
	c->error = r < 0 ? (int)r : 0;
	c->state = r < 0 ? CHUNK_FAILED : CHUNK_HERE;
	pthread_cond_broadcast(&cache.room);
	if (c->reader) {
		pthread_cond_broadcast(&c->reader->changed);
		lru_in(c);
	} else {
		free_chunk(c);
	}
	pthread_mutex_unlock(&cache.lock);
}

static void chunk_run(struct job *job)
{
	transfer(container_of(job, struct chunk, job));
}

/* One more chunk of the reader, coming. NULL: no room, or no memory. */
static struct chunk *add_chunk(struct reader *r, uint64_t off, uint64_t len, bool must)
{
	struct chunk *c, **p = &r->chunks;

	if (!take_room(len, must))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (c) {
		*c = (struct chunk){ .job.run = chunk_run, .off = off, .len = len };
		c->data = malloc(len);
		c->key = strdup(r->key);
		c->etag = r->etag ? strdup(r->etag) : NULL;
	}
	if (!c || !c->data || !c->key || (r->etag && !c->etag)) {
		if (c)
			free_chunk(c);
		else
			cache.used -= len;
		return NULL;
	}
	c->reader = r;
	cache.coming++;
	while (*p && (*p)->off < off)
		p = &(*p)->next;
	c->next = *p;
	*p = c;
	return c;
}

/* --- what to ask for: cache.lock held ------------------------------------------------------------------- */

static struct chunk *chunk_at(const struct reader *r, uint64_t off)
{
	for (struct chunk *c = r->chunks; c && c->off <= off; c = c->next) {
		if (off < c->off + c->len && !(c->state == CHUNK_FAILED && !c->users))
			return c;
	}
	return NULL;
}

static void drop_failed(struct reader *r)
{
	for (struct chunk *c = r->chunks, *next; c; c = next) {
		next = c->next;
		if (c->state == CHUNK_FAILED && !c->users)
			let_go(c);
	}
}

static void drop_outside(struct reader *r, uint64_t from, uint64_t to)
{
	for (struct chunk *c = r->chunks, *next; c; c = next) {
		next = c->next;
		if (!c->users && (c->off + c->len <= from || c->off >= to))
			let_go(c);
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
	return the_options.memory / (cache.streams ? cache.streams : 1);
}

static void set_ahead(struct reader *r, uint64_t ahead)
{
	if (!r->ahead && ahead)
		cache.streams++;
	else if (r->ahead && !ahead)
		cache.streams--;
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
		struct chunk *c = add_chunk(r, end, MIN(len, r->size - end), false);

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

/* cache.lock held; let go while waiting and copying. Bytes copied, or -errno. */
static ssize_t copy_from(struct reader *r, struct chunk *c, uint64_t off, size_t len, char *out)
{
	uint64_t at = off - c->off;
	ssize_t n;

	c->users++;
	while (c->state == CHUNK_COMING && c->filled < MIN(at + len, c->len))
		pthread_cond_wait(&r->changed, &cache.lock);
	n = (ssize_t)MIN(len, c->len - at);
	if (c->state == CHUNK_FAILED && c->filled < at + n)
		n = c->error;
	if (n > 0) {
		pthread_mutex_unlock(&cache.lock);
		memcpy(out, c->data + at, n);
		pthread_mutex_lock(&cache.lock);
	}
	c->used_ms = monotonic_ms();
	if (--c->users == 0)
		pthread_cond_broadcast(&r->changed); /* reader_set() may wait for it */
	return n;
}

ssize_t reader_read(struct reader *r, uint64_t off, size_t len, char *out)
{
	ssize_t done = 0, n = 0;

	pthread_mutex_lock(&cache.lock);
	len = off < r->size ? MIN(len, r->size - off) : 0;
	if (len)
		judge(r, off, len);
	while ((size_t)done < len) {
		uint64_t at = off + done;
		struct chunk *c = chunk_at(r, at);

		if (!c) { /* ours to fetch, and no more than that */
			struct chunk *next = r->chunks;
			uint64_t want = len - done;

			while (next && next->off <= at)
				next = next->next;
			if (next && next->off < at + want)
				want = next->off - at;
			c = add_chunk(r, at, want, true);
			if (!c) {
				n = -ENOMEM;
				break;
			}
			c->users++;
			pthread_mutex_unlock(&cache.lock);
			transfer(c);
			pthread_mutex_lock(&cache.lock);
			c->users--;
		}
		n = copy_from(r, c, at, len - done, out + done);
		if (n <= 0)
			break;
		done += n;
	}
	if (done) {
		r->delivered = true;
		r->next_off = off + done;
		drop_outside(r, r->ahead ? off - MIN(off, KEEP_BEHIND) : off + done, UINT64_MAX);
	}
	pthread_mutex_unlock(&cache.lock);
	/* Never fewer bytes than there are: the kernel would take that for the end of the file. */
	return n < 0 ? n : done;
}

struct reader *reader_new(void)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (r)
		pthread_cond_init(&r->changed, NULL);
	return r;
}

/* cache.lock held; nobody reads from it now. */
static void forget(struct reader *r)
{
	while (r->chunks)
		let_go(r->chunks);
	set_ahead(r, 0);
	free(take_ptr(r->key));
	free(take_ptr(r->etag));
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&cache.lock);
	forget(r);
	pthread_mutex_unlock(&cache.lock);
	pthread_cond_destroy(&r->changed);
	free(r);
}

int reader_is_of(struct reader *r, uint64_t version, const char *etag)
{
	int is;

	pthread_mutex_lock(&cache.lock);
	is = r->key && r->version == version;
	if (is && r->etag && etag && strcmp(r->etag, etag))
		is = r->delivered ? -ESTALE : 0;
	pthread_mutex_unlock(&cache.lock);
	return is;
}

bool reader_has_begun(struct reader *r)
{
	bool begun;

	pthread_mutex_lock(&cache.lock);
	begun = r->delivered;
	pthread_mutex_unlock(&cache.lock);
	return begun;
}

static bool is_used(const struct reader *r)
{
	for (const struct chunk *c = r->chunks; c; c = c->next) {
		if (c->users)
			return true;
	}
	return false;
}

int reader_set(struct reader *r, const char *key, const char *etag, uint64_t size, uint64_t version)
{
	int error = 0;

	pthread_mutex_lock(&cache.lock);
	while (is_used(r))
		pthread_cond_wait(&r->changed, &cache.lock);
	forget(r);
	r->key = strdup(key);
	r->etag = etag && *etag ? strdup(etag) : NULL;
	if (!r->key || (etag && *etag && !r->etag))
		error = -ENOMEM;
	r->size = size;
	r->version = version;
	r->next_off = 0;
	r->begun = r->delivered = false;
	pthread_mutex_unlock(&cache.lock);
	return error;
}

void readers_trim(void)
{
	int64_t limit = monotonic_ms() - IDLE_MS;

	pthread_mutex_lock(&cache.lock);
	for (struct chunk *c = cache.oldest, *newer; c; c = newer) {
		newer = c->newer;
		if (!c->users && c->used_ms < limit)
			let_go(c);
	}
	pthread_mutex_unlock(&cache.lock);
}

uint64_t readers_memory(void)
{
	uint64_t used;

	pthread_mutex_lock(&cache.lock);
	used = cache.used;
	pthread_mutex_unlock(&cache.lock);
	return used;
}
