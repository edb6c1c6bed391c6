/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What all parts of sandbox-bucket share: the one store, the settings, and the order of locks.
 *
 * A process serves one mount, so these are globals that are set before any thread starts.
 *
 * Locks, in the order in which they may be taken; none is held across a call of the store but the
 * first two:
 *   dir->list_lock       one thread at a time asks the server for the names of a directory
 *   content->lock        one file that is being written (held while its pieces are fetched and sent)
 *   tree_lock            nodes, attributes, listings and changes: node.h, listing.h, changes.h
 *   chunk_lock, spool lock, pool lock, removals' lock, hidden keys' lock: leaves, in one .c each
 */
#ifndef MOUNTS_BUCKET_H
#define MOUNTS_BUCKET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "object_store.h"
#include "options.h"

extern struct object_store *the_store;
extern pthread_mutex_t tree_lock;

/* A line of the log for a request that failed, and the errno that its asker gets. */
int bucket_failed(const char *what, const char *key, int error, const struct object_call *call);
/* The same for a listing, which never says that there is nothing: never -ENOENT. */
int bucket_list_failed(const char *key, int error, const struct object_call *call);

struct credentials;

/*
 * Opens the store, asks it whether the bucket is there, and if so runs session(arg) on it, which is
 * one of session.h. Signals are blocked from here on. keys are wiped. 0 or -errno, *err may say why.
 */
int bucket_serve(struct credentials *keys, int (*session)(void *arg), void *arg,
		 struct options_error *err);

#endif
