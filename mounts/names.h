/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a name in a directory is, from what is known already or from the server; and the book-keeping
 * of what this mount itself does to names.
 */
#ifndef MOUNTS_NAMES_H
#define MOUNTS_NAMES_H

#include "node.h"

struct found {
	enum change_kind kind; /* CHANGE_GONE: there is none */
	uint64_t size;
	int64_t mtime_us;
	int64_t fresh_until_ms; /* monotonic */
	bool is_ours;		/* a change of this mount, not of the server's listing */
	struct meta meta;	/* not known unless meta_complete() was called */
	char etag[OBJECT_ETAG_SIZE];
};

/* The node is now what was found. tree_lock held. */
void names_apply(struct node *node, const struct found *found);

/* May ask the server. 0 also when there is none; -errno. No locks held. */
int names_find(struct node *dir, const char *name, struct found *found);

/* Is the directory empty, our own changes counted? 1 yes, 0 no, -errno. Asks the server. */
int names_dir_is_empty(struct node *dir);

/* The name is now that; see change_put(). tree_lock held. */
void names_changed(struct node *dir, const char *name, enum change_kind kind, bool pending,
		   uint64_t size, int64_t mtime_us, const char *etag);
/* What we did to the name counts no more: the server is asked. tree_lock held. */
void names_forget(struct node *dir, const char *name);
/* A directory without a marker object stays one as long as we live, also when it has become empty.
 * tree_lock held. */
void names_keep_dir(struct node *dir);

#endif
