/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file that is open for writing. What is written goes to a spool file; what was not written comes
 * from the object that was there (the base), when it is needed. Saving makes the whole an object:
 * with one PUT, or in parts; parts of a file that is written from its beginning to its end are sent
 * while it is written.
 *
 * A node has at most one content, shared by all its writers, which lives until the last of them is
 * gone. content->lock comes before tree_lock.
 */
#ifndef MOUNTS_CONTENT_H
#define MOUNTS_CONTENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "node.h"
#include "object_store.h"
#include "pool.h"
#include "ranges.h"

enum part_state { PART_HERE, PART_QUEUED, PART_SENT };

struct part {
	struct job job;
	struct content *content;
	unsigned index;	 /* from 0 */
	unsigned writes; /* so that a part that was written to while it was sent is sent again */
	unsigned writes_sent;
	enum part_state state;
	int error; /* of the last try */
	struct object_part sent;
};

struct content {
	unsigned users;	   /* open handles; tree_lock */
	struct node *node; /* its owner holds a reference to it */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* All below: lock. */
	int fd; /* -1: nothing has been written */
	uint64_t size;
	bool dirty;	/* not as the object in the bucket is */
	bool is_new;	/* there was no object */
	bool exclusive; /* the first save must find no object */
	bool saving;
	bool failed;  /* the last save did, and who asked for it was told */
	bool written; /* something was written, not only created or truncated */
	char base_etag[OBJECT_ETAG_SIZE];
	uint64_t base_valid;  /* bytes from 0 on that are as in the base, where not written */
	uint64_t held;	      /* spool room taken */
	struct ranges have;   /* bytes that are in the spool file */
	struct ranges unsent; /* bytes that are not as in the base */
	uint64_t last_end;    /* of the last write */
	uint64_t part_size;
	char *upload_key, *upload_id; /* NULL: none under way */
	struct meta upload_meta;      /* what that one was given */
	struct part **parts;
	unsigned n_parts, room_parts;
	unsigned queued, starved; /* parts under way; those that wait for spool room */
	unsigned streamed;	  /* parts from 0 on that were queued while it was written */
	int stream_error;
};

/* The content of a node for one more writer. NULL: no memory. tree_lock held. */
struct content *content_get(struct node *node, bool is_new, bool exclusive);
/* A writer is gone; the last one saves what is left, and frees it. No locks held. */
void content_put(struct content *c);

/* Waits until nobody saves it. */
void content_lock(struct content *c);
void content_unlock(struct content *c);

/* --- The others want it locked; those that wait for the server unlock it meanwhile. --- */

/* Makes room for len bytes at off, to be written to c->fd by the caller, who then tells how many. */
int content_begin_write(struct content *c, uint64_t off, uint64_t len);
int content_end_write(struct content *c, uint64_t off, uint64_t len);
/* Makes sure that what there is of [off, off + len) is in c->fd; returns how much. */
int64_t content_begin_read(struct content *c, uint64_t off, uint64_t len);
int content_truncate(struct content *c, uint64_t size);
/* All of it is in the bucket when this returns 0. Unlocks while it waits. */
int content_save(struct content *c);

/* --- parts: upload.c ----------------------------------------------------------------------------- */

uint64_t part_offset(const struct content *c, unsigned index);
uint64_t part_length(const struct content *c, unsigned index); /* cut at the file's end */
unsigned part_index(const struct content *c, uint64_t off);
/* [from, to) was written: parts there must be sent again, and those that are whole may be sent now. */
int parts_written(struct content *c, uint64_t from, uint64_t to, bool sequential);
/* Drops those that begin at size or behind. */
void parts_truncate(struct content *c, uint64_t size);
/* Gives spool room of sent parts back. False: there is none, and none on its way. */
bool parts_make_room(struct content *c);
/* Was data in [from, to) sent and given back before it was part of an object? */
bool parts_are_away(const struct content *c, uint64_t from, uint64_t to);
/* Sends what is to be sent and completes. */
int parts_save(struct content *c, const char *key, char etag[OBJECT_ETAG_SIZE]);
/* Ends the upload without a trace, once nothing of it is under way. */
void parts_abort(struct content *c);
void parts_free(struct content *c);
/* Data of the base that is missing in [from, to) is fetched. Unlocks meanwhile. */
int content_fetch(struct content *c, uint64_t from, uint64_t to);
/* The metadata that it is to have, and its fields; with_mtime false: only one that was set. */
struct meta content_meta(struct content *c, bool with_mtime, struct text *fields);
/* Spool room for len bytes; may unlock. What was not used goes back with content_settle(). */
int content_make_room(struct content *c, uint64_t len);
void content_settle(struct content *c);

#endif
