/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes: the files and directories that the kernel, or a part of us, knows by a pointer. A node is a
 * name in its directory and what was last heard of it; the names of a directory that nobody holds are
 * in its listing (listing.h) and its changes (changes.h) only.
 *
 * All of it under tree_lock, unless said otherwise.
 */
#ifndef MOUNTS_NODE_H
#define MOUNTS_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "bucket.h"
#include "changes.h"
#include "metadata.h"

struct content;
struct listing;

/* What a directory has beside its node; made when first needed. */
struct dir {
	pthread_mutex_t list_lock;
	struct listing *listing; /* the whole of it, or NULL */
	struct change_table changes;
	uint64_t known_pages; /* of the last whole listing; 0: never listed */
	uint64_t misses;      /* names asked for one by one since then */
	bool large;	      /* more than one page, or never looked */
	size_t prune_at;      /* size of changes at which old ones are looked for */
	int64_t removed_ms;   /* when a file was last removed from it */
	int remove_error;     /* of a removal that was answered before it was done */
};

struct node {
	struct node *parent; /* referenced; NULL: the root */
	struct node *chain;  /* of the hash table */
	char *name;
	uint64_t ino;
	uint64_t lookups; /* the kernel's */
	uint64_t told;	  /* number of the last of them among those of all nodes */
	uint64_t refs;	  /* children, open handles, work under way */
	uint64_t version; /* counts what this mount itself wrote */
	uint64_t size;
	int64_t mtime_us;
	int64_t fresh_until_ms;
	struct meta meta; /* with `metadata = yes` */
	char *etag;	  /* NULL: not known */
	char *page_etag;  /* what the kernel's cached pages are of */
	struct dir *dir;
	struct content *content; /* while it is open for writing; content.h */
	bool is_dir;
	bool gone; /* removed or replaced: no name leads to it */
};

/* The root. 0 or -ENOMEM. */
int nodes_init(void);
/* Frees all of them: nobody knows them any more. */
void nodes_free(void);
struct node *node_root(void);
uint64_t nodes_count(void);

/* The node of that name, or NULL. No reference is taken. */
struct node *node_find(const struct node *parent, const char *name);
/* The same, made if need be, with one more reference. NULL: no memory. */
struct node *node_get(struct node *parent, const char *name, bool is_dir);
void node_ref(struct node *node);
void node_unref(struct node *node);
/* The kernel is told of it: one more lookup. */
void node_tell(struct node *node);
/* How often that was. */
uint64_t nodes_told(void);
/*
 * Calls fn, which must not change anything, for files that only the kernel holds and was told of for the
 * last time before that, from *slot on (0 to begin with) until it says false or some slots are through.
 * False: that was all.
 */
bool nodes_each_old(size_t *slot, uint64_t before, bool (*fn)(const struct node *node, void *ctx),
		    void *ctx);
/* The kernel forgets count lookups. */
void node_forget(struct node *node, uint64_t count);
/* It is in its directory no more. */
void node_set_gone(struct node *node);
/* Moves it to another name; what had that name is gone. 0 or -ENOMEM. */
int node_move(struct node *node, struct node *parent, const char *name);
/* Calls fn for each node that has a content, with a reference held; fn is called without tree_lock. */
void nodes_each_content(void (*fn)(struct node *node, void *ctx), void *ctx);
/* Is `node` below `dir`, or is it dir itself? */
bool node_is_below(const struct node *node, const struct node *dir);

/* The key of a file, or of a directory with '/' at its end ("" for all). 0 or -ENAMETOOLONG. */
int node_key(const struct node *node, char key[OBJECT_KEY_MAX + 1]);
/* The same for a name in a directory. */
int node_child_key(const struct node *dir, const char *name, bool is_dir,
		   char key[OBJECT_KEY_MAX + 1]);
/* The inode number that a name in a directory has; dir NULL: of none. */
uint64_t node_ino_of(const struct node *dir, const char *name);
/* node->dir, made if need be. NULL: no memory. */
struct dir *node_dir(struct node *node);

/* What is known now. etag may be NULL. */
void node_set_attr(struct node *node, uint64_t size, int64_t mtime_us, const char *etag,
		   int64_t fresh_until_ms);
void node_stat(const struct node *node, struct stat *st);

#endif
