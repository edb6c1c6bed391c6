/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listings. A file `a` and a directory `a/` may both be there; then only the directory is shown,
 * because all below it would be out of reach otherwise. In the order of keys other names may lie
 * between the two (`a-1`), so a page is ready only when the next one has come.
 *
 * Locks: tree_lock for what is kept; a listing being made belongs to its maker.
 */
#include "listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "node.h"

static struct {
	TAILQ_HEAD(kept_listings, listing) newest_first;
	uint64_t entries;
} kept = { .newest_first = TAILQ_HEAD_INITIALIZER(kept.newest_first) };

bool name_can_be_shown(const char *name, size_t len)
{
	if (len == 0 || len > 255 || memchr(name, '\0', len) || memchr(name, '/', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

struct listing *listing_begin(void)
{
	struct listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	pthread_mutex_lock(&tree_lock);
	*listing = (struct listing){ .refs = 1,
				     .number = changes_begin_question(),
				     .asked_ms = monotonic_ms() };
	pthread_mutex_unlock(&tree_lock);
	return listing;
}

void listing_ref(struct listing *listing)
{
	listing->refs++;
}

static void end_question(struct listing *listing)
{
	if (!listing->ended_question)
		changes_end_question(listing->number);
	listing->ended_question = true;
}

static void let_page_go(struct page *page)
{
	free(page->entries);
	free(page->names);
	free(page->last);
	page->entries = NULL;
	page->names = page->last = NULL;
}

void listing_unref(struct listing *listing)
{
	if (!listing || --listing->refs)
		return;
	end_question(listing);
	for (size_t i = listing->n_let_go; i < listing->n_pages; i++)
		let_page_go(&listing->pages[i]);
	free(listing->pages);
	free(listing->next);
	free(listing);
}

/* --- order ----------------------------------------------------------------------------------- */

/* Compares as keys: a directory's name has a '/' behind it. */
static int compare_keys(const char *a, bool a_dir, const char *b, bool b_dir)
{
	for (;; a++, b++) {
		unsigned char x = *a ? (unsigned char)*a : a_dir ? '/' : '\0';
		unsigned char y = *b ? (unsigned char)*b : b_dir ? '/' : '\0';

		if (x != y)
			return x < y ? -1 : 1;
		if (!*a || !*b)
			return 0; /* both at their end: no name holds a '/' */
	}
}

static struct entry *find_in_page(const struct page *page, const char *name, bool is_dir)
{
	size_t low = 0, high = page->n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		struct entry *e = &page->entries[middle];
		int c = compare_keys(name, is_dir, e->name, e->is_dir);

		if (c == 0)
			return e;
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static struct entry *find_linear(const struct page *page, const char *name, bool is_dir)
{
	for (size_t i = 0; i < page->n; i++) {
		if (page->entries[i].is_dir == is_dir && !strcmp(page->entries[i].name, name))
			return &page->entries[i];
	}
	return NULL;
}

static const struct entry *find_key(const struct listing *listing, const char *name, bool is_dir)
{
	size_t low = 0, high = listing->n_pages;

	for (size_t i = 0; listing->unsorted && i < listing->n_pages; i++) {
		const struct entry *e = find_linear(&listing->pages[i], name, is_dir);

		if (e)
			return e;
	}
	while (low < high) { /* the first page that does not end before it */
		size_t middle = (low + high) / 2;
		const struct page *page = &listing->pages[middle];
		const struct entry *last = page->n ? &page->entries[page->n - 1] : NULL;

		if (!last || compare_keys(name, is_dir, last->name, last->is_dir) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < listing->n_pages ? find_in_page(&listing->pages[low], name, is_dir) : NULL;
}

const struct entry *listing_find(const struct listing *listing, const char *name)
{
	const struct entry *e = find_key(listing, name, true);

	return e ? e : find_key(listing, name, false);
}

static size_t page_of(const struct listing *listing, size_t i)
{
	size_t low = 0, high = listing->n_pages;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (listing->pages[middle].first <= i)
			low = middle;
		else
			high = middle;
	}
	return low;
}

const struct entry *listing_at(const struct listing *listing, size_t i, bool *let_go)
{
	const struct page *page;
	size_t n;

	*let_go = false;
	if (i >= listing->n_ready)
		return NULL;
	n = page_of(listing, i);
	*let_go = n < listing->n_let_go;
	page = &listing->pages[n];
	return *let_go ? NULL : &page->entries[i - page->first];
}

int64_t listing_asked_ms(const struct listing *listing, size_t i)
{
	return listing->pages[page_of(listing, i)].asked_ms;
}

/* --- pages ------------------------------------------------------------------------------------ */

static void hide(struct entry *e, const char *dir_key)
{
	e->hidden = true;
	hidden_key_note(dir_key, e->name, strlen(e->name));
}

static int probe_directory(const char *dir_key, const char *name, bool *there)
{
	_cleanup_object_page_ struct object_page found = { 0 };
	_cleanup_text_ struct text prefix = { 0 };
	struct object_call call = { 0 };
	struct object_list list = { .max = 1 };
	int r;

	text_printf(&prefix, "%s%s/", dir_key, name);
	if (prefix.failed)
		return -ENOMEM;
	list.prefix = prefix.data;
	r = object_list(the_store, &call, &list, &found);
	if (r < 0)
		return bucket_list_failed(list.prefix, r, &call);
	*there = found.n > 0;
	return 0;
}

/* May the directory `name` still come behind the server's last name? */
static bool may_follow(const char *name, const char *last)
{
	size_t len = strlen(name);

	return !strncmp(last, name, len) && (unsigned char)last[len] < '/';
}

/* Page number `at` has come: is what lies before it known now? */
static int settle(struct listing *listing, size_t at, const char *dir_key)
{
	struct page *now = &listing->pages[at];
	struct page *before = at ? &listing->pages[at - 1] : NULL;

	for (size_t i = 0; i < now->n; i++) {
		struct entry *e = &now->entries[i], *twin = NULL;

		if (!e->is_dir)
			continue;
		twin = find_in_page(now, e->name, false);
		if (!twin && before && before->n)
			twin = find_in_page(before, e->name, false);
		if (twin && !twin->hidden)
			hide(twin, dir_key);
	}
	for (size_t i = 0; before && i < before->n && !listing->complete; i++) {
		struct entry *e = &before->entries[i];
		bool there = false;
		int r;

		/* Undecided then and still now: thousands of names lie between the two. */
		if (e->is_dir || e->hidden || !may_follow(e->name, before->last) ||
		    !may_follow(e->name, now->last))
			continue;
		r = probe_directory(dir_key, e->name, &there);
		if (r < 0)
			return r;
		if (there)
			hide(e, dir_key);
	}
	listing->n_ready = listing->complete ? listing->n_entries : now->first;
	return 0;
}

/* Copies what can be shown of the server's page; names and ETags in one piece of memory. */
static int fill_page(struct page *page, const struct object_page *from, const char *dir_key)
{
	size_t cut = strlen(dir_key), room = 1;
	const char *last = from->n ? from->entries[from->n - 1].key + cut : "";
	char *p;

	for (size_t i = 0; i < from->n; i++)
		room += from->entries[i].key_len - cut + strlen(from->entries[i].etag) + 2;
	*page = (struct page){ .entries = calloc(from->n + 1, sizeof(*page->entries)),
			       .names = malloc(room),
			       .last = strdup(last) };
	if (!page->entries || !page->names || !page->last) {
		let_page_go(page);
		return -ENOMEM;
	}
	p = page->names;
	for (size_t i = 0; i < from->n; i++) {
		const struct object_entry *o = &from->entries[i];
		const char *name = o->key + cut;
		size_t len = o->key_len - cut;
		struct entry *e = &page->entries[page->n];

		if (len == 0 && !o->is_prefix && o->size == 0)
			continue; /* the directory's own marker */
		if (o->is_prefix && len)
			len--;
		if (!name_can_be_shown(name, len)) {
			hidden_key_note(dir_key, name, o->key_len - cut);
			continue;
		}
		*e = (struct entry){ .name = memcpy(p, name, len),
				     .size = o->size,
				     .mtime_us = o->mtime_us,
				     .is_dir = o->is_prefix };
		p += len;
		*p++ = '\0';
		e->etag = strcpy(p, o->is_prefix ? "" : o->etag);
		p += strlen(p) + 1;
		page->n++;
	}
	return 0;
}

static int add_page(struct listing *listing, const struct object_page *from, const char *dir_key)
{
	struct page *pages = reallocarray(listing->pages, listing->n_pages + 1, sizeof(*pages));
	struct page *page;
	int r;

	if (!pages)
		return -ENOMEM;
	listing->pages = pages;
	page = &pages[listing->n_pages];
	r = fill_page(page, from, dir_key);
	if (r < 0)
		return r;
	page->first = listing->n_entries;
	page->asked_ms = from->asked_ms;
	for (size_t i = 1; i < page->n; i++) {
		if (compare_keys(page->entries[i - 1].name, page->entries[i - 1].is_dir,
				 page->entries[i].name, page->entries[i].is_dir) >= 0)
			listing->unsorted = true;
	}
	if (page->n == 0)
		listing->unsorted = true; /* nothing to compare with */
	listing->n_entries += page->n;
	listing->n_pages++;
	return 0;
}

int listing_ask(const struct listing *listing, const char *dir_key, struct object_page *page)
{
	struct object_call call = { 0 };
	struct object_list list = { .prefix = dir_key, .delimiter = "/", .next = listing->next };
	int64_t asked_ms = monotonic_ms();
	int r = object_list(the_store, &call, &list, page);

	page->asked_ms = asked_ms;
	return r < 0 ? bucket_list_failed(dir_key, r, &call) : 0;
}

int listing_take(struct listing *listing, const char *dir_key, struct object_page *page)
{
	int r = add_page(listing, page, dir_key);

	if (r < 0)
		return r;
	free(listing->next);
	listing->next = take_ptr(page->next);
	listing->complete = !listing->next;
	r = settle(listing, listing->n_pages - 1, dir_key);
	if (r < 0)
		return r;
	if (listing->complete) {
		pthread_mutex_lock(&tree_lock);
		end_question(listing);
		pthread_mutex_unlock(&tree_lock);
	}
	/* Too large to be kept: only the last pages are needed, to go on and to settle. */
	while (listing->n_entries > the_options.cache_entries / 2 &&
	       listing->n_let_go + 4 < listing->n_pages)
		let_page_go(&listing->pages[listing->n_let_go++]);
	return 0;
}

int listing_more(struct listing *listing, const char *dir_key)
{
	_cleanup_object_page_ struct object_page page = { 0 };
	int r = listing_ask(listing, dir_key, &page);

	return r < 0 ? r : listing_take(listing, dir_key, &page);
}

/* --- keeping ---------------------------------------------------------------------------------- */

void listing_remove(struct node *node)
{
	struct listing *listing = node->dir ? node->dir->listing : NULL;

	if (!listing)
		return;
	TAILQ_REMOVE(&kept.newest_first, listing, among_kept);
	listing->owner = NULL;
	kept.entries -= listing->n_entries;
	node->dir->listing = NULL;
	listing_unref(listing);
}

void listings_expire(void)
{
	int64_t limit = monotonic_ms() - the_options.ttl_ms;
	struct listing *oldest;

	while ((oldest = TAILQ_LAST(&kept.newest_first, kept_listings)) &&
	       (kept.entries > the_options.cache_entries || oldest->asked_ms < limit))
		listing_remove(oldest->owner);
}

void listing_install(struct node *node, struct listing *listing)
{
	struct dir *dir = node_dir(node);

	if (!dir || !listing->complete || listing->n_let_go || listing->owner)
		return;
	if (dir->listing && dir->listing->number > listing->number)
		return;
	listing_remove(node);
	dir->listing = listing;
	dir->known_pages = listing->n_pages;
	dir->misses = 0;
	dir->large = listing->n_pages > 1;
	listing_ref(listing);
	listing->owner = node;
	TAILQ_INSERT_HEAD(&kept.newest_first, listing, among_kept);
	kept.entries += listing->n_entries;
	listings_expire();
}
