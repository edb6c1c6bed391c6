/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What this mount itself did to the names of a directory, laid over what the server lists: a listing
 * that was asked for before a change does not know of it yet. Changes are numbered; one that is older
 * than the beginning of every listing in use says nothing new and is dropped.
 *
 * All under tree_lock.
 */
#ifndef MOUNTS_CHANGES_H
#define MOUNTS_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum change_kind { CHANGE_GONE, CHANGE_FILE, CHANGE_DIR };

struct change {
	struct change *chain;
	enum change_kind kind;
	bool pending; /* not in the bucket yet, or not gone from it: counts until it is changed again */
	uint64_t number;
	int64_t at_ms; /* monotonic */
	uint64_t size;
	int64_t mtime_us;
	char *etag;
	char name[];
};

struct change_table {
	struct change **slots;
	size_t n_slots, n;
};

/* Marks the beginning of a question to the server; what it answers knows all changes below that. */
uint64_t changes_begin_question(void);
void changes_end_question(uint64_t number);

const struct change *change_find(const struct change_table *table, const char *name);
/* Puts a change in the place of an older one. 0 or -ENOMEM. */
int change_put(struct change_table *table, const char *name, enum change_kind kind, bool pending,
	       uint64_t size, int64_t mtime_us, const char *etag);
void change_drop(struct change_table *table, const char *name);
/* The same, unless it is pending. */
void change_drop_done(struct change_table *table, const char *name);
/* Drops those that no question under way, no listing asked at `listed`, and no age can need. */
void changes_prune(struct change_table *table, uint64_t listed, int64_t older_than_ms);
void changes_free(struct change_table *table);
/* Steps through all: *slot and *at begin as 0 and NULL. */
const struct change *changes_next(const struct change_table *table, size_t *slot,
				  const struct change *at);

#endif
