/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the server lists of one directory, page by page. A listing that came to its end and is small
 * enough is kept with its directory and answers for `ttl`; a larger one is passed through, a few
 * pages at a time.
 */
#ifndef MOUNTS_LISTING_H
#define MOUNTS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/text.h"
#include "object_store.h"

struct node;

struct entry {
	const char *name; /* one component, a file name */
	const char *etag; /* "" for a directory */
	uint64_t size;
	int64_t mtime_us;
	bool is_dir;
	bool hidden; /* a file beside a directory of the same name: only the directory is shown */
};

struct page {
	size_t first; /* number of its first entry within the listing */
	size_t n;
	int64_t asked_ms;
	struct entry *entries; /* in the order of their keys; NULL: let go */
	char *names;
	char *last; /* the server's last name of it, with its '/' */
};

struct listing {
	unsigned refs;	  /* tree_lock */
	uint64_t number;  /* of the question, see changes.h */
	int64_t asked_ms; /* the first page */
	/* What follows belongs to the one thread that makes it; nothing changes once it is complete. */
	struct page *pages;
	size_t n_pages, n_entries;
	size_t n_ready;	 /* entries about which all is known */
	size_t n_let_go; /* pages */
	bool complete, unsorted, ended_question;
	char *next; /* the server's place in it */
	/* Of those kept: tree_lock. */
	struct node *owner;
	TAILQ_ENTRY(listing) among_kept;
};

/* A new question for the names of a directory. NULL: no memory. Takes tree_lock. */
struct listing *listing_begin(void);
/* tree_lock held. */
void listing_ref(struct listing *listing);
void listing_unref(struct listing *listing);
/* Asks for the next page of the directory with that key (see node_key). -errno; calls the server. */
int listing_more(struct listing *listing, const char *dir_key);
/* The same in two steps: what the first brings, which does not touch the listing, the second adds. */
int listing_ask(const struct listing *listing, const char *dir_key, struct object_page *page);
int listing_take(struct listing *listing, const char *dir_key, struct object_page *page);
/* Entry number i of those ready; NULL: not there, and *let_go if it has been. */
const struct entry *listing_at(const struct listing *listing, size_t i, bool *let_go);
/* When the server was asked about that entry, which is there: a large listing takes longer than `ttl`. */
int64_t listing_asked_ms(const struct listing *listing, size_t i);
/* The entry of that name in a complete listing; a directory before a file. NULL: none. */
const struct entry *listing_find(const struct listing *listing, const char *name);
/* Keeps a complete listing with its directory, in the place of an older one. tree_lock held. */
void listing_install(struct node *node, struct listing *listing);
/* Takes the directory's listing away. tree_lock held. */
void listing_remove(struct node *node);
/* Takes those away that are too old to be of use. tree_lock held. */
void listings_expire(void);

/* Is this a file name: 1–255 bytes, no NUL, neither "." nor ".."? */
bool name_can_be_shown(const char *name, size_t len);

/* Keys that cannot be shown are counted, and the first of them remembered. Thread-safe. */
void hidden_key_note(const char *dir_key, const char *name, size_t len);
uint64_t hidden_keys_count(void);
/* The first thousand, escaped, a line each. */
void hidden_keys_list(struct text *out);

#endif
