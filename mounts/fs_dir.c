/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading directories. A handle goes through one listing: the one that is kept with the directory if
 * it is fresh, else a new one, page by page as the reader goes on, the next page being asked for
 * while the last one is read. Names that only we know come last. An offset is 1 for ".", 2 for "..",
 * 3 and up for the listing's entries; those of our own names begin at OWN_NAMES.
 *
 * Locks: handle->lock (before tree_lock), held while pages are asked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "content.h"
#include "fs.h"
#include "listing.h"
#include "pool.h"
#include "removals.h"

#define OWN_NAMES (1ll << 60)

enum { META_AHEAD = 128 };

struct dir_handle {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct node *node;
	struct listing *listing;
	bool is_maker;	    /* the listing is ours, and perhaps not complete */
	struct job job;	    /* asks for the next page ahead of need */
	bool asking, asked; /* page and error are the job's; there */
	int error;
	struct object_page page;
	char key[OBJECT_KEY_MAX + 1];
	char **own; /* our own names, taken when the listing was complete */
	size_t n_own;
	bool own_taken;
	/* With `metadata = yes`: entries whose metadata has been asked for. */
	struct found *ahead;
	size_t ahead_from, n_ahead;
};

static struct dir_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct dir_handle *)(uintptr_t)fi->fh;
}

/* --- the listing -------------------------------------------------------------------------------------- */

static int ask_page(struct dir_handle *h)
{
	int r;

	pthread_mutex_lock(&tree_lock);
	r = node_key(h->node, h->key);
	pthread_mutex_unlock(&tree_lock);
	return r < 0 ? r : listing_ask(h->listing, h->key, &h->page);
}

static void ask_run(struct job *job)
{
	struct dir_handle *h = container_of(job, struct dir_handle, job);
	int r = ask_page(h);

	pthread_mutex_lock(&h->lock);
	h->asking = false;
	h->asked = true;
	h->error = r;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

/* h->lock held. */
static void wait_asked(struct dir_handle *h)
{
	while (h->asking)
		pthread_cond_wait(&h->changed, &h->lock);
}

/* h->lock held. Begins to ask for the next page, before it is needed. */
static void ask_ahead(struct dir_handle *h)
{
	if (!h->is_maker || h->listing->complete || h->asking || h->asked)
		return;
	h->asking = true;
	h->job.run = ask_run;
	pool_submit(&h->job, true);
}

/* h->lock held. One page more in the listing. */
static int next_page(struct dir_handle *h)
{
	int r;

	wait_asked(h);
	r = h->asked ? h->error : ask_page(h);
	h->asked = false;
	if (r == 0)
		r = listing_take(h->listing, h->key, &h->page);
	object_page_free(&h->page);
	if (r == 0 && h->listing->complete) {
		pthread_mutex_lock(&tree_lock);
		listing_install(h->node, h->listing);
		pthread_mutex_unlock(&tree_lock);
	}
	return r;
}

/* h->lock held. The directory as it is now. */
static int begin(struct dir_handle *h)
{
	const struct listing *kept;

	wait_asked(h);
	object_page_free(&h->page);
	h->asked = false;
	pthread_mutex_lock(&tree_lock);
	listing_unref(h->listing);
	h->listing = NULL;
	kept = h->node->dir ? h->node->dir->listing : NULL;
	if (kept && monotonic_ms() < kept->asked_ms + the_options.ttl_ms) {
		h->listing = h->node->dir->listing;
		listing_ref(h->listing);
	}
	pthread_mutex_unlock(&tree_lock);
	h->is_maker = !h->listing;
	if (!h->listing)
		h->listing = listing_begin();
	for (size_t i = 0; i < h->n_own; i++)
		free(h->own[i]);
	free(take_ptr(h->own));
	h->n_own = 0;
	h->own_taken = false;
	h->n_ahead = 0;
	return h->listing ? 0 : -ENOMEM;
}

/* h->lock held. Entry i, NULL at the end (*error 0) or on an error. */
static const struct entry *entry_at(struct dir_handle *h, size_t i, int *error)
{
	bool let_go;
	const struct entry *e;

	*error = 0;
	for (;;) {
		e = listing_at(h->listing, i, &let_go);
		if (e || (h->listing->complete && !let_go))
			return e;
		/* Did somebody go back? From the beginning again, then. */
		*error = let_go ? begin(h) : next_page(h);
		if (*error)
			return NULL;
	}
}

/* tree_lock held. What our own changes say of a name: NULL, nothing that the listing does not know. */
static const struct change *newer_change(const struct dir_handle *h, const char *name)
{
	const struct dir *dir = h->node->dir;
	const struct change *c = dir ? change_find(&dir->changes, name) : NULL;

	return c && (c->pending || c->number > h->listing->number) ? c : NULL;
}

static int take_own_names(struct dir_handle *h)
{
	size_t slot = 0;
	int r = 0;

	h->own_taken = true;
	if (h->listing->n_let_go)
		return 0; /* made during a listing that long: may be there or not */
	pthread_mutex_lock(&tree_lock);
	if (h->node->dir && h->node->dir->changes.n) {
		const struct change_table *table = &h->node->dir->changes;

		h->own = calloc(table->n, sizeof(*h->own));
		if (!h->own)
			r = -ENOMEM;
		for (const struct change *c = changes_next(table, &slot, NULL); c && r == 0;
		     c = changes_next(table, &slot, c)) {
			if (c->kind == CHANGE_GONE || !newer_change(h, c->name) ||
			    listing_find(h->listing, c->name))
				continue;
			h->own[h->n_own] = strdup(c->name);
			if (!h->own[h->n_own])
				r = -ENOMEM;
			else
				h->n_own++;
		}
	}
	pthread_mutex_unlock(&tree_lock);
	return r;
}

/* --- answering ---------------------------------------------------------------------------------------- */

struct answer {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
};

/* False: there is no room for it. tree_lock held. */
static bool add(struct answer *a, struct node *dir, const char *name, const struct found *found,
		off_t next)
{
	struct fuse_entry_param e = { 0 };
	const struct node *node = dir ? node_find(dir, name) : NULL;
	size_t left = a->size - a->used;
	char *at = a->buf + a->used;

	/* Without its metadata a file may be a symbolic link: no type, then. */
	e.attr.st_mode = found->kind == CHANGE_DIR ? S_IFDIR
			 : found->meta.known	   ? found->meta.mode
			 : the_options.metadata	   ? 0
						   : S_IFREG;
	e.attr.st_ino = node ? node->ino : node_ino_of(dir, name);
	if ((a->plus ? fuse_add_direntry_plus(a->req, NULL, 0, name, &e, next)
		     : fuse_add_direntry(a->req, NULL, 0, name, &e.attr, next)) > left)
		return false;
	/*
	 * Beyond the room for names the kernel gets names only, and asks for what it needs. What metadata
	 * belongs to is to be remembered also if it is not the newest: the kernel asks again, we need not.
	 */
	if (a->plus && dir && nodes_count() < the_options.cache_entries &&
	    (the_options.metadata ? found->meta.known : found->fresh_until_ms > monotonic_ms()) &&
	    fs_entry(dir, name, found, &e) < 0)
		return false;
	a->used += a->plus ? fuse_add_direntry_plus(a->req, at, left, name, &e, next)
			   : fuse_add_direntry(a->req, at, left, name, &e.attr, next);
	return true;
}

static void found_of_change(const struct change *c, struct found *found)
{
	*found = (struct found){
		.kind = c->kind, .size = c->size, .mtime_us = c->mtime_us, .is_ours = true
	};
	found->fresh_until_ms = monotonic_ms() + the_options.ttl_ms;
	snprintf(found->etag, sizeof(found->etag), "%s", c->etag ? c->etag : "");
}

/* Of entry number i. */
static void found_of_entry(const struct dir_handle *h, size_t i, const struct entry *entry,
			   struct found *found)
{
	int64_t asked_ms = listing_asked_ms(h->listing, i);

	*found = (struct found){ .kind = entry->is_dir ? CHANGE_DIR : CHANGE_FILE,
				 .size = entry->size,
				 .mtime_us = entry->mtime_us,
				 .fresh_until_ms = asked_ms + the_options.ttl_ms };
	snprintf(found->etag, sizeof(found->etag), "%s", entry->etag);
}

static void ask_meta(void *ctx, size_t i)
{
	struct dir_handle *h = ctx;
	struct found *found = &h->ahead[i];
	bool let_go;
	const struct entry *entry = listing_at(h->listing, h->ahead_from + i, &let_go);

	found_of_entry(h, h->ahead_from + i, entry, found);
	if (!entry->hidden && meta_complete(h->node, entry->name, found) < 0)
		found->meta.known = false; /* only its name is shown */
}

/* h->lock held. What was found of entry number i: metadata is asked for many entries at once. */
static void find_entry(struct answer *a, struct dir_handle *h, size_t i, const struct entry *entry,
		       struct found *found)
{
	bool let_go;
	size_t n = 0;

	if (!h->ahead || !a->plus) {
		found_of_entry(h, i, entry, found);
		return;
	}
	if (i < h->ahead_from || i >= h->ahead_from + h->n_ahead) {
		h->ahead_from = i;
		while (n < META_AHEAD && listing_at(h->listing, i + n, &let_go))
			n++;
		h->n_ahead = n;
		pool_each(n, ask_meta, h);
	}
	*found = h->ahead[i - h->ahead_from];
}

/* An entry of the listing, as it is by now. False: no room. */
static bool add_entry(struct answer *a, struct dir_handle *h, size_t i, const struct entry *entry,
		      off_t next)
{
	struct found found;
	const struct change *c;
	bool fits = true;

	find_entry(a, h, i, entry, &found);
	pthread_mutex_lock(&tree_lock);
	c = newer_change(h, entry->name);
	if (c)
		found_of_change(c, &found);
	if (c && the_options.metadata)
		(void)meta_recall(h->node, entry->name, &found);
	if (!entry->hidden && found.kind != CHANGE_GONE)
		fits = add(a, h->node, entry->name, &found, next);
	pthread_mutex_unlock(&tree_lock);
	return fits;
}

/* h->lock held. Returns the offset behind the last one added; *full when there is no room. */
static int add_listing(struct answer *a, struct dir_handle *h, off_t *off, bool *full)
{
	const struct entry *entry;
	int r;

	while ((entry = entry_at(h, (size_t)*off - 2, &r))) {
		*full = !add_entry(a, h, (size_t)*off - 2, entry, *off + 1);
		if (*full)
			return 0;
		(*off)++;
		/* The reader works on what it gets while the next page is on its way. */
		ask_ahead(h);
		if (h->asking && (size_t)*off - 2 >= h->listing->n_ready && a->used) {
			*full = true;
			return 0;
		}
	}
	if (r == 0)
		*off = OWN_NAMES;
	return r;
}

static int add_own(struct answer *a, struct dir_handle *h, off_t *off)
{
	int r = h->own_taken ? 0 : take_own_names(h);

	for (size_t i = (size_t)(*off - OWN_NAMES); r == 0 && i < h->n_own; i++) {
		const struct change *c;
		struct found found;
		bool fits = true;

		pthread_mutex_lock(&tree_lock);
		c = h->node->dir ? change_find(&h->node->dir->changes, h->own[i]) : NULL;
		if (c && c->kind != CHANGE_GONE) {
			found_of_change(c, &found);
			if (the_options.metadata)
				(void)meta_recall(h->node, h->own[i], &found);
			fits = add(a, h->node, h->own[i], &found, OWN_NAMES + (off_t)i + 1);
		}
		pthread_mutex_unlock(&tree_lock);
		if (!fits)
			break;
		*off = OWN_NAMES + (off_t)i + 1;
	}
	return r;
}

static int fill(struct answer *a, struct dir_handle *h, off_t off)
{
	static const char *const dots[] = { ".", ".." };
	struct found dir = { .kind = CHANGE_DIR };
	bool full = false;
	int r = 0;

	pthread_mutex_lock(&h->lock);
	if (off == 0 || !h->listing)
		r = begin(h);
	for (; off < 2 && r == 0; off++) {
		pthread_mutex_lock(&tree_lock);
		(void)add(a, NULL, dots[off], &dir, off + 1);
		pthread_mutex_unlock(&tree_lock);
	}
	if (r == 0 && off < OWN_NAMES)
		r = add_listing(a, h, &off, &full);
	if (r == 0 && !full && off >= OWN_NAMES)
		r = add_own(a, h, &off);
	pthread_mutex_unlock(&h->lock);
	return a->used ? 0 : r;
}

static void answer(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct answer a = { .req = req, .size = size, .plus = plus };
	_cleanup_free_ char *buf = malloc(size);
	int r;

	waiting_begin(req);
	a.buf = buf;
	r = buf ? fill(&a, handle_of(fi), off) : -ENOMEM;
	if (r < 0)
		fs_reply_err(req, -r);
	else
		fs_reply_buf(req, buf, a.used);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	answer(req, size, off, fi, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)ino;
	answer(req, size, off, fi, true);
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct dir_handle *h = calloc(1, sizeof(*h));

	if (h && the_options.metadata)
		h->ahead = calloc(META_AHEAD, sizeof(*h->ahead));
	if (!h || (the_options.metadata && !h->ahead)) {
		free(h);
		fs_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	h->node = fs_node(ino);
	pthread_mutex_lock(&tree_lock);
	node_ref(h->node);
	pthread_mutex_unlock(&tree_lock);
	fi->fh = (uintptr_t)h;
	if (fs_reply_open(req, fi) == -ENOENT)
		fs_releasedir(NULL, ino, fi);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct dir_handle *h = handle_of(fi);

	(void)ino;
	pthread_mutex_lock(&h->lock);
	wait_asked(h);
	pthread_mutex_unlock(&h->lock);
	object_page_free(&h->page);
	pthread_mutex_lock(&tree_lock);
	listing_unref(h->listing);
	node_unref(h->node);
	pthread_mutex_unlock(&tree_lock);
	for (size_t i = 0; i < h->n_own; i++)
		free(h->own[i]);
	free(h->own);
	free(h->ahead);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->changed);
	free(h);
	if (req)
		fs_reply_err(req, 0);
}

void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	waiting_begin(req);
	fs_reply_err(req, -removals_flush(fs_node(ino)));
}
