/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ranges of objects in memory. A chunk is one range, asked for by one request; it is filled by a transfer
 * thread (read ahead) or by the reader's own (random reads), and can be read as far as it has come. What all
 * chunks hold together stays within `memory`. For reader.c, which decides what is asked for.
 */
#ifndef MOUNTS_CHUNK_H
#define MOUNTS_CHUNK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pool.h"

/* Guards all of this; every function is called with it unless it says otherwise. */
extern pthread_mutex_t chunk_lock;

/* What one reader has of one object, by offset. */
struct chunk_list {
	pthread_cond_t changed; /* a chunk has come further, or has lost its last user */
	struct chunk *first;
	char *key, *etag; /* etag may be NULL */
};

enum chunk_state { CHUNK_COMING, CHUNK_HERE, CHUNK_FAILED };

struct chunk {
	struct job job;
	struct chunk_list *list;     /* NULL: let go, and freed by its transfer */
	struct chunk *next;	     /* of the list */
	struct chunk *newer, *older; /* of all that are here */
	uint64_t off, len, filled;
	enum chunk_state state;
	int error;
	unsigned users; /* waiting for it or holding bytes of it: it stays */
	int64_t used_ms;
	atomic_bool cancel;
	char *key, *etag;
	char *data;
};

/*
 * One more chunk of the list, coming: its job is to be submitted, or chunk_transfer() called. With `must` it
 * waits for room, and takes it anyway when there is nothing to wait for. NULL: no room, or no memory.
 */
struct chunk *chunk_add(struct chunk_list *list, uint64_t off, uint64_t len, bool must);
/* Fetches it. Without the lock. */
void chunk_transfer(struct chunk *c);
/* Nobody needs it any more. It has no users. */
void chunk_let_go(struct chunk *c);
/* Lets go what nobody has asked for in a while. Takes the lock. */
void chunks_trim(void);
/* Bytes that all chunks hold. Takes the lock. */
uint64_t chunks_memory(void);

#endif
