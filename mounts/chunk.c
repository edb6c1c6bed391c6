/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory of all that is read. Chunks that nobody waits for make room for others, oldest first; the
 * buffers of some that went are kept for those that come, as filling fresh pages costs more than
 * the bytes that go into them. It must not know who reads what, and why.
 *
 * Lock: chunk_lock, a leaf; not held while bytes travel.
 */
#include "chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "bucket.h"

enum {
	IDLE_MS = 5000,
	SPARE_BYTES = 16 << 20, /* of buffers kept for the next chunks */
	SPARE_MIN = 1 << 20,	/* smaller ones are as quickly made anew */
};

pthread_mutex_t chunk_lock = PTHREAD_MUTEX_INITIALIZER;

/* A chunk's memory that waits for another one of that size: filling new pages costs more than the bytes. */
struct spare {
	struct spare *next;
	uint64_t len;
};

static struct {
	pthread_cond_t room;
	uint64_t used;
	unsigned coming;
	struct chunk *newest, *oldest;
	struct spare *spares; /* each at the beginning of its buffer */
	uint64_t spare_bytes;
	int64_t spare_ms; /* when one was wanted last */
} cache = { .room = PTHREAD_COND_INITIALIZER };

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

static void free_spares(void)
{
	while (cache.spares) {
		struct spare *s = cache.spares;

		cache.spares = s->next;
		free(s);
	}
	cache.spare_bytes = 0;
}

/* Room for it has been taken. */
static char *take_buffer(uint64_t len)
{
	cache.spare_ms = monotonic_ms();
	for (struct spare **p = &cache.spares; *p; p = &(*p)->next) {
		struct spare *s = *p;

		if (s->len != len)
			continue;
		*p = s->next;
		cache.spare_bytes -= len;
		return (char *)s;
	}
	if (cache.used + cache.spare_bytes > the_options.memory)
		free_spares();
	return malloc(len);
}

/* Is there room for one more spare buffer? */
static bool spare_fits(uint64_t len)
{
	return cache.spare_bytes + len <= SPARE_BYTES &&
	       cache.used + cache.spare_bytes + len <= the_options.memory;
}

static void give_buffer(char *data, uint64_t len)
{
	struct spare *s = (struct spare *)(void *)data;

	if (data && len >= SPARE_MIN && !spare_fits(len))
		free_spares(); /* those of yesterday's sizes */
	if (!data || len < SPARE_MIN || !spare_fits(len)) {
		free(data);
		return;
	}
	*s = (struct spare){ .next = cache.spares, .len = len };
	cache.spares = s;
	cache.spare_bytes += len;
}

static void free_chunk(struct chunk *c)
{
	cache.used -= c->len;
	pthread_cond_broadcast(&cache.room);
	give_buffer(c->data, c->len);
	free(c->key);
	free(c->etag);
	free(c);
}

void chunk_let_go(struct chunk *c)
{
	struct chunk **p = &c->list->first;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->list = NULL;
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
			chunk_let_go(c);
		else if (!must)
			return false;
		else if (cache.coming)
			pthread_cond_wait(&cache.room, &chunk_lock);
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
	pthread_mutex_lock(&chunk_lock);
	c->filled = offset + len - c->off;
	if (c->list && c->users)
		pthread_cond_broadcast(&c->list->changed);
	pthread_mutex_unlock(&chunk_lock);
	return 0;
}

void chunk_transfer(struct chunk *c)
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
	pthread_mutex_lock(&chunk_lock);
	cache.coming--;
	c->error = r < 0 ? (int)r : 0;
	c->state = r < 0 ? CHUNK_FAILED : CHUNK_HERE;
	pthread_cond_broadcast(&cache.room);
	if (c->list) {
		pthread_cond_broadcast(&c->list->changed);
		lru_in(c);
	} else {
		free_chunk(c);
	}
	pthread_mutex_unlock(&chunk_lock);
}

static void chunk_run(struct job *job)
{
	chunk_transfer(container_of(job, struct chunk, job));
}

struct chunk *chunk_add(struct chunk_list *list, uint64_t off, uint64_t len, bool must)
{
	struct chunk *c, **p = &list->first;

	if (!take_room(len, must))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (c) {
		*c = (struct chunk){ .job.run = chunk_run, .off = off, .len = len };
		c->data = take_buffer(len);
		c->key = strdup(list->key);
		c->etag = list->etag ? strdup(list->etag) : NULL;
	}
	if (!c || !c->data || !c->key || (list->etag && !c->etag)) {
		if (c)
			free_chunk(c);
		else
			cache.used -= len;
		return NULL;
	}
	c->list = list;
	cache.coming++;
	while (*p && (*p)->off < off)
		p = &(*p)->next;
	c->next = *p;
	*p = c;
	return c;
}

void chunks_trim(void)
{
	int64_t limit = monotonic_ms() - IDLE_MS;

	pthread_mutex_lock(&chunk_lock);
	for (struct chunk *c = cache.oldest, *newer; c; c = newer) {
		newer = c->newer;
		if (!c->users && c->used_ms < limit)
			chunk_let_go(c);
	}
	if (cache.spare_ms < limit)
		free_spares();
	pthread_mutex_unlock(&chunk_lock);
}

uint64_t chunks_memory(void)
{
	uint64_t used;

	pthread_mutex_lock(&chunk_lock);
	used = cache.used;
	pthread_mutex_unlock(&chunk_lock);
	return used;
}
