/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking names up. One LIST answers for a thousand names, so a small directory is listed whole at
 * the first question and answers for `ttl`; in a large one names are asked for one by one, until that
 * has cost as much as listing it. Never a HEAD.
 *
 * Locks: dir->list_lock while a directory is listed whole, then tree_lock.
 */
#include "names.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "listing.h"

static void answer_change(const struct change *c, int64_t now, struct found *found)
{
	*found = (struct found){
		.kind = c->kind, .size = c->size, .mtime_us = c->mtime_us, .is_ours = true
	};
	found->fresh_until_ms = (c->pending ? now : c->at_ms) + the_options.ttl_ms;
	if (c->etag)
		snprintf(found->etag, sizeof(found->etag), "%s", c->etag);
}

static void answer_entry(const struct entry *e, int64_t asked_ms, struct found *found)
{
	*found = (struct found){ .fresh_until_ms = asked_ms + the_options.ttl_ms };
	if (!e)
		return;
	found->kind = e->is_dir ? CHANGE_DIR : CHANGE_FILE;
	found->size = e->size;
	found->mtime_us = e->mtime_us;
	snprintf(found->etag, sizeof(found->etag), "%s", e->etag);
}

void names_apply(struct node *node, const struct found *found)
{
	if (found->meta.known)
		node->meta = found->meta;
	else if (!node->etag || strcmp(node->etag, found->etag))
		node->meta.known = false;
	node_set_attr(node, found->size, found->mtime_us, found->etag, found->fresh_until_ms);
}

/* tree_lock held. Is it known without asking? */
static bool known(const struct node *node, const char *name, struct found *found)
{
	const struct dir *dir = node->dir;
	const struct change *c = dir ? change_find(&dir->changes, name) : NULL;
	const struct listing *listing = dir ? dir->listing : NULL;
	int64_t now = monotonic_ms();
	bool fresh = listing && now < listing->asked_ms + the_options.ttl_ms;

	if (c && (c->pending || now < c->at_ms + the_options.ttl_ms ||
		  (fresh && c->number > listing->number))) {
		answer_change(c, now, found);
		return true;
	}
	if (fresh)
		answer_entry(listing_find(listing, name), listing->asked_ms, found);
	return fresh;
}

static bool known_locked(const struct node *node, const char *name, struct found *found)
{
	bool is;

	pthread_mutex_lock(&tree_lock);
	is = known(node, name, found);
	pthread_mutex_unlock(&tree_lock);
	return is;
}

/* tree_lock held. Is it time to list the directory whole? */
static bool worth_listing(struct node *node)
{
	struct dir *dir = node_dir(node);

	if (!dir)
		return false;
	if (!dir->large)
		return true;
	if (!dir->known_pages || dir->known_pages * OBJECT_PAGE_MAX > the_options.cache_entries / 2)
		return false;
	return ++dir->misses > 2 * dir->known_pages;
}

/* list_lock held. 1: the directory is known whole now; 0: it is large; -errno. */
static int list_whole(struct node *node, const char *name, const char *key, struct found *found)
{
	struct listing *listing = listing_begin();
	bool all;
	int r;

	if (!listing)
		return -ENOMEM;
	pthread_mutex_lock(&tree_lock);
	all = node->dir->large; /* we know how large, and have decided */
	pthread_mutex_unlock(&tree_lock);
	do
		r = listing_more(listing, key);
	while (r == 0 && all && !listing->complete && !listing->n_let_go);
	pthread_mutex_lock(&tree_lock);
	if (r == 0 && listing->complete && !listing->n_let_go) {
		const struct change *c = change_find(&node->dir->changes, name);

		if (c && c->number > listing->number)
			answer_change(c, monotonic_ms(), found);
		else
			answer_entry(listing_find(listing, name), listing->asked_ms, found);
		listing_install(node, listing);
		r = 1;
	} else if (r == 0) {
		node->dir->large = true;
		if (all)
			node->dir->known_pages = 0; /* it has grown beyond what is kept */
	}
	listing_unref(listing);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

/* Is there a key that begins with prefix? 1, 0, -errno. */
static int any_below(const char *prefix)
{
	_cleanup_object_page_ struct object_page page = { 0 };
	struct object_call call = { 0 };
	struct object_list list = { .prefix = prefix, .max = 1 };
	int r = object_list(the_store, &call, &list, &page);

	return r < 0 ? bucket_list_failed(prefix, r, &call) : page.n > 0;
}

static int ask_one(const char *key, struct found *found)
{
	_cleanup_object_page_ struct object_page page = { 0 };
	struct object_call call = { 0 };
	struct object_list list = { .prefix = key, .delimiter = "/", .max = 2 };
	size_t len = strlen(key);
	int r = object_list(the_store, &call, &list, &page);
	char below[OBJECT_KEY_MAX + 2];

	if (r < 0)
		return bucket_list_failed(key, r, &call);
	*found = (struct found){ 0 };
	for (size_t i = 0; i < page.n; i++) {
		const struct object_entry *e = &page.entries[i];
		bool dir = e->is_prefix && e->key_len == len + 1;

		if (strncmp(e->key, key, len) || (!dir && (e->is_prefix || e->key_len != len)))
			continue;
		if (dir || found->kind == CHANGE_GONE) {
			found->kind = dir ? CHANGE_DIR : CHANGE_FILE;
			found->size = e->size;
			found->mtime_us = e->mtime_us;
			snprintf(found->etag, sizeof(found->etag), "%s", e->etag);
		}
	}
	if (!page.next || found->kind == CHANGE_DIR || len >= OBJECT_KEY_MAX)
		return 0;
	snprintf(below, sizeof(below), "%s/", key);
	r = any_below(below);
	if (r > 0)
		*found = (struct found){ .kind = CHANGE_DIR };
	return r < 0 ? r : 0;
}

static int find_one(struct node *node, const char *name, const char *key, struct found *found)
{
	int64_t asked = monotonic_ms();
	const struct change *c;
	uint64_t number;
	int r;

	pthread_mutex_lock(&tree_lock);
	number = changes_begin_question();
	pthread_mutex_unlock(&tree_lock);
	r = ask_one(key, found);
	found->fresh_until_ms = asked + the_options.ttl_ms;
	pthread_mutex_lock(&tree_lock);
	c = node->dir ? change_find(&node->dir->changes, name) : NULL;
	if (c && (c->pending || c->number > number)) {
		answer_change(c, monotonic_ms(), found);
		r = 0;
	}
	changes_end_question(number);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

int names_find(struct node *dir, const char *name, struct found *found)
{
	char key[OBJECT_KEY_MAX + 1], dir_key[OBJECT_KEY_MAX + 1];
	bool whole;
	int r;

	if (!name_can_be_shown(name, strlen(name)))
		return strlen(name) > 255 ? -ENAMETOOLONG : -EINVAL;
	pthread_mutex_lock(&tree_lock);
	if (known(dir, name, found)) {
		pthread_mutex_unlock(&tree_lock);
		return 0;
	}
	r = node_child_key(dir, name, false, key);
	if (r == 0)
		r = node_key(dir, dir_key);
	whole = r == 0 && worth_listing(dir);
	pthread_mutex_unlock(&tree_lock);
	if (r < 0)
		return r;
	if (whole) {
		pthread_mutex_lock(&dir->dir->list_lock);
		r = known_locked(dir, name, found) ? 1 : list_whole(dir, name, dir_key, found);
		pthread_mutex_unlock(&dir->dir->list_lock);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return find_one(dir, name, key, found);
}

/* tree_lock held. Is it one of ours that is still to come, or 0 for "gone", -1 for "no change"? */
static int change_says(const struct node *dir, const char *name, uint64_t number)
{
	const struct change *c = dir->dir ? change_find(&dir->dir->changes, name) : NULL;

	if (!c || (!c->pending && c->number <= number))
		return -1;
	return c->kind != CHANGE_GONE;
}

int names_dir_is_empty(struct node *dir)
{
	struct listing *listing = listing_begin();
	char key[OBJECT_KEY_MAX + 1];
	int r, empty = 1;

	if (!listing)
		return -ENOMEM;
	pthread_mutex_lock(&tree_lock);
	r = node_key(dir, key);
	pthread_mutex_unlock(&tree_lock);
	for (size_t i = 0; r == 0 && empty == 1 && !listing->complete; i++) {
		r = listing_more(listing, key);
		pthread_mutex_lock(&tree_lock);
		for (size_t e = 0; r == 0 && e < listing->pages[i].n && empty; e++) {
			if (change_says(dir, listing->pages[i].entries[e].name, listing->number))
				empty = 0;
		}
		pthread_mutex_unlock(&tree_lock);
	}
	pthread_mutex_lock(&tree_lock);
	if (dir->dir) {
		size_t slot = 0;

		for (const struct change *c = changes_next(&dir->dir->changes, &slot, NULL); c;
		     c = changes_next(&dir->dir->changes, &slot, c)) {
			if (c->kind != CHANGE_GONE && (c->pending || c->number > listing->number))
				empty = 0;
		}
	}
	listing_unref(listing);
	pthread_mutex_unlock(&tree_lock);
	return r < 0 ? r : empty;
}

void names_changed(struct node *dir, const char *name, enum change_kind kind, bool pending,
		   uint64_t size, int64_t mtime_us, const char *etag)
{
	struct dir *d = node_dir(dir);
	const struct listing *listing = d ? d->listing : NULL;
	int64_t older = monotonic_ms() - the_options.ttl_ms;

	if (!d || change_put(&d->changes, name, kind, pending, size, mtime_us, etag) < 0) {
		listing_remove(dir); /* no memory: what was listed must not outlive the change */
		return;
	}
	if (d->changes.n < d->prune_at)
		return;
	changes_prune(&d->changes,
		      listing && listing->asked_ms >= older ? listing->number : UINT64_MAX, older);
	d->prune_at = 2 * d->changes.n + 64;
}

void names_forget(struct node *dir, const char *name)
{
	if (dir->dir)
		change_drop(&dir->dir->changes, name);
	listing_remove(dir);
}

void names_keep_dir(struct node *dir)
{
	const struct change *c;

	for (; dir->parent && !dir->gone; dir = dir->parent) {
		c = dir->parent->dir ? change_find(&dir->parent->dir->changes, dir->name) : NULL;
		if (c && c->kind == CHANGE_DIR && c->pending)
			return;
		names_changed(dir->parent, dir->name, CHANGE_DIR, true, 0, 0, NULL);
	}
}
