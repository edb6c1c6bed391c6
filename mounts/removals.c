/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The queue of keys to delete, and the one thread that deletes them.
 *
 * Locks: removals.lock, a leaf: tree_lock and content->lock are never taken under it.
 */
#include "removals.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "content.h"
#include "listing.h"
#include "names.h"
#include "pool.h"

enum {
	ROW_MS = 1000,
	GATHER_MS = 5,
	MAX_QUEUED = 20000,
	/* A server works through one request key by key: a batch goes in several at a time. */
	SHARES = 8,
	SHARE_LEAST = 32,
};

struct removal {
	struct removal *next;
	struct node *dir; /* referenced */
	char *name;
	char key[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct removal *first, **end, *under_way;
	size_t queued;
	unsigned hurry; /* somebody waits */
	bool running, stopping;
	pthread_t thread;
	int error; /* of any, until somebody was told */
} removals = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER,
	.end = &removals.first,
};

/* --- the thread -------------------------------------------------------------------------------------- */

/* removals.lock held. Takes a batch out of the queue, once there is one or somebody waits. */
static struct removal *take_batch(size_t *n)
{
	struct removal *batch, **p = &batch;

	while (!removals.first && !removals.stopping)
		pthread_cond_wait(&removals.work, &removals.lock);
	if (removals.first && !removals.hurry && !removals.stopping &&
	    removals.queued < OBJECT_PAGE_MAX) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += GATHER_MS * 1000000l;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (removals.queued < OBJECT_PAGE_MAX && !removals.hurry &&
		       pthread_cond_clockwait(&removals.work, &removals.lock, CLOCK_MONOTONIC,
					      &until) == 0)
			;
	}
	for (*n = 0; *n < OBJECT_PAGE_MAX && removals.first; (*n)++) {
		*p = removals.first;
		removals.first = (*p)->next;
		p = &(*p)->next;
	}
	*p = NULL;
	if (!removals.first)
		removals.end = &removals.first;
	return batch;
}

/* tree_lock held. */
static void finish(struct removal *r, int error)
{
	const struct change *c = r->dir->dir ? change_find(&r->dir->dir->changes, r->name) : NULL;

	if (c && c->kind == CHANGE_GONE && c->pending) {
		if (error < 0) {
			change_drop(&r->dir->dir->changes, r->name);
			listing_remove(r->dir);
		} else {
			names_changed(r->dir, r->name, CHANGE_GONE, false, 0, 0, NULL);
		}
	}
	if (error < 0 && r->dir->dir)
		r->dir->dir->remove_error = error;
	node_unref(r->dir);
	free(r->name);
	free(r);
}

/* A batch on its way: keys and what became of each. */
struct batch {
	const char **keys;
	int *errors;
	size_t n, share;
	atomic_int error; /* of any */
};

static void delete_share(void *ctx, size_t i)
{
	struct batch *batch = ctx;
	size_t from = i * batch->share, n = MIN(batch->share, batch->n - from);
	struct object_call call = { 0 };
	int error =
		object_delete_many(the_store, &call, batch->keys + from, n, batch->errors + from);

	if (error < 0)
		atomic_store(&batch->error,
			     bucket_failed("delete", batch->keys[from], error, &call));
}

static int delete_batch(struct removal *first, size_t n)
{
	_cleanup_free_ const char **keys = calloc(n, sizeof(*keys));
	_cleanup_free_ int *errors = calloc(n, sizeof(*errors));
	struct batch batch = { .keys = keys,
			       .errors = errors,
			       .n = n,
			       .share = MAX(n / SHARES + 1, (size_t)SHARE_LEAST) };
	size_t i = 0;
	int error = -ENOMEM;

	if (keys && errors) {
		for (struct removal *r = first; r; r = r->next)
			keys[i++] = r->key;
		pool_each((n + batch.share - 1) / batch.share, delete_share, &batch);
		error = atomic_load(&batch.error);
	}
	pthread_mutex_lock(&tree_lock);
	i = 0;
	for (struct removal *r = first, *next; r; r = next, i++) {
		next = r->next;
		finish(r, errors && keys ? errors[i] : error);
	}
	pthread_mutex_unlock(&tree_lock);
	return error;
}

static void *remover(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&removals.lock);
	for (;;) {
		size_t n;
		struct removal *batch = take_batch(&n);
		int error;

		if (!batch)
			break;
		removals.under_way = batch;
		pthread_mutex_unlock(&removals.lock);
		error = delete_batch(batch, n);
		pthread_mutex_lock(&removals.lock);
		if (error < 0)
			removals.error = error;
		removals.under_way = NULL;
		removals.queued -= n;
		pthread_cond_broadcast(&removals.done);
	}
	pthread_mutex_unlock(&removals.lock);
	return NULL;
}

/* --- what others call --------------------------------------------------------------------------------- */

static int enqueue(struct removal *r)
{
	int error = 0;

	pthread_mutex_lock(&removals.lock);
	while (removals.queued >= MAX_QUEUED)
		pthread_cond_wait(&removals.done, &removals.lock);
	if (!removals.running) {
		error = -pthread_create(&removals.thread, NULL, remover, NULL);
		removals.running = error == 0;
	}
	if (error == 0) {
		*removals.end = r;
		removals.end = &r->next;
		removals.queued++;
		if (removals.queued == 1 || removals.queued >= OBJECT_PAGE_MAX)
			pthread_cond_signal(&removals.work);
	}
	pthread_mutex_unlock(&removals.lock);
	return error;
}

/* tree_lock held: the name is gone as far as this mount is concerned. */
static void hide_name(struct node *dir, const char *name, bool pending)
{
	struct node *node = node_find(dir, name);

	names_changed(dir, name, CHANGE_GONE, pending, 0, 0, NULL);
	names_keep_dir(dir);
	if (node)
		node_set_gone(node);
}

static int remove_now(struct node *dir, const char *name, const char *key)
{
	struct object_call call = { 0 };
	int r = object_delete(the_store, &call, key);

	if (r < 0)
		return bucket_failed("delete", key, r, &call);
	pthread_mutex_lock(&tree_lock);
	hide_name(dir, name, false);
	pthread_mutex_unlock(&tree_lock);
	return 0;
}

static int remove_later(struct node *dir, const char *name, const char *key)
{
	size_t len = strlen(key);
	struct removal *r = calloc(1, sizeof(*r) + len + 1);
	int error;

	if (!r)
		return -ENOMEM;
	memcpy(r->key, key, len + 1);
	r->dir = dir;
	r->name = strdup(name);
	if (!r->name) {
		free(r);
		return -ENOMEM;
	}
	pthread_mutex_lock(&tree_lock);
	node_ref(dir);
	hide_name(dir, name, true);
	pthread_mutex_unlock(&tree_lock);
	error = enqueue(r);
	if (error < 0) {
		pthread_mutex_lock(&tree_lock);
		finish(r, error);
		pthread_mutex_unlock(&tree_lock);
	}
	return error;
}

/* What went wrong in that directory, and nobody was told of yet. */
static int take_error(struct node *dir)
{
	int error;

	pthread_mutex_lock(&tree_lock);
	error = dir->dir ? dir->dir->remove_error : 0;
	if (dir->dir)
		dir->dir->remove_error = 0;
	pthread_mutex_unlock(&tree_lock);
	if (error < 0) {
		pthread_mutex_lock(&removals.lock);
		removals.error = 0;
		pthread_mutex_unlock(&removals.lock);
	}
	return error;
}

/* Is it one of a row, and what went wrong with those before it? */
static bool in_a_row(struct node *dir, int *error)
{
	struct dir *d;
	bool row = false;

	*error = take_error(dir);
	pthread_mutex_lock(&tree_lock);
	d = node_dir(dir);
	if (d) {
		int64_t now = monotonic_ms();

		row = d->removed_ms && now - d->removed_ms < ROW_MS;
		d->removed_ms = now;
	}
	pthread_mutex_unlock(&tree_lock);
	return row && the_options.batch_delete;
}

int removals_add(struct node *dir, const char *name)
{
	char key[OBJECT_KEY_MAX + 1];
	struct content *c = NULL;
	struct node *node;
	bool never_saved;
	int r, error;

	pthread_mutex_lock(&tree_lock);
	r = node_child_key(dir, name, false, key);
	node = node_find(dir, name);
	if (node && node->content)
		c = content_get(node, false, false);
	pthread_mutex_unlock(&tree_lock);
	if (r < 0)
		return r;
	if (c) /* not while it is being saved, or it would come back */
		content_lock(c);
	never_saved = c && c->is_new;
	if (never_saved) {
		pthread_mutex_lock(&tree_lock);
		hide_name(dir, name, false);
		pthread_mutex_unlock(&tree_lock);
	} else {
		bool row = in_a_row(dir, &error);

		r = error < 0 ? error
		    : row     ? remove_later(dir, name, key)
			      : remove_now(dir, name, key);
	}
	if (c) {
		content_unlock(c);
		content_put(c);
	}
	return r;
}

/* removals.lock held. */
static bool is_there(const struct removal *r, const char *key)
{
	while (r && strcmp(r->key, key))
		r = r->next;
	return r != NULL;
}

int removals_wait(const char *key)
{
	pthread_mutex_lock(&removals.lock);
	removals.hurry++;
	while (removals.queued &&
	       (is_there(removals.first, key) || is_there(removals.under_way, key))) {
		pthread_cond_signal(&removals.work);
		pthread_cond_wait(&removals.done, &removals.lock);
	}
	removals.hurry--;
	pthread_mutex_unlock(&removals.lock);
	return 0;
}

int removals_flush(struct node *dir)
{
	int error;

	pthread_mutex_lock(&removals.lock);
	removals.hurry++;
	while (removals.queued) {
		pthread_cond_signal(&removals.work);
		pthread_cond_wait(&removals.done, &removals.lock);
	}
	removals.hurry--;
	error = removals.error;
	if (!dir)
		removals.error = 0;
	pthread_mutex_unlock(&removals.lock);
	return dir ? take_error(dir) : error;
}

void removals_stop(void)
{
	pthread_mutex_lock(&removals.lock);
	removals.stopping = true;
	pthread_cond_broadcast(&removals.work);
	pthread_mutex_unlock(&removals.lock);
	if (removals.running)
		pthread_join(removals.thread, NULL);
	removals.running = false;
}
