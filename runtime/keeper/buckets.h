/* SPDX-License-Identifier: MIT */
/*
 * The buckets mounted in the box (runtime.h: fields of a mounted bucket). Each is a mount that the
 * mounter makes and a process of sandbox-bucket, outside of the box, that serves it. A process that
 * dies leaves the mount where it is, so that what is asked of it fails; a new mount takes its place
 * in one step, whose requests wait until its process answers.
 *
 * The processes are in the keeper's cgroup and not in the box's: one that is frozen with the box
 * would hang whoever looks at the files from outside, and one that is killed for the box's memory
 * would lose what was written. What they may use is bounded by their own settings.
 */
#ifndef KEEPER_BUCKETS_H
#define KEEPER_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "keeper/loop.h"

struct keeper;
struct bucket;

/* All of a box. */
struct buckets {
	struct bucket *first; /* what is mounted in another one comes behind it */
	bool ending;	      /* nothing is started any more */
};

enum { MAX_BUCKETS = 64 }; /* of a box */

/*
 * The stored ones, before anything runs in the box: those that need no other are mounted when this
 * returns. One that cannot be is said to be BUCKET_FAILED, and tried again. -errno: out of memory.
 */
int buckets_begin(struct keeper *k);
/* Waits for nothing; the processes that are left are killed. */
void buckets_close(struct keeper *k);

/* MSG_BUCKET and the others: 1, the reply comes later; or 0 or -errno, with *why perhaps set. */
int buckets_mount(struct keeper *k, const char *fields, size_t len, uint64_t tag, const char **why);
int buckets_end(struct keeper *k, const char *name, uint64_t tag, const char **why);
int buckets_flush(struct keeper *k, const char *name, uint64_t tag, const char **why);
int buckets_status(struct keeper *k, const char *name, uint64_t tag, const char **why);
/* Says MSG_BUCKET_STATE of each. */
void buckets_say(struct keeper *k);
/* A new daemon: nobody waits for an answer any more. */
void buckets_forget_daemon(struct keeper *k);

/* How long a process of the box may take to end because a file that it has open is being saved. */
int64_t buckets_patience_ms(const struct keeper *k);
/* Nothing is asked of the servers any more, and whoever waits for one gets an error. */
void buckets_abort(struct keeper *k);
/*
 * No process of the box has a file open any more: all is saved, and the servers end; with at_once
 * within the time that a request is tried. True when none is left; call it again until then.
 */
bool buckets_save(struct keeper *k, bool at_once);

#endif
