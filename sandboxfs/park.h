/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait. A parked request is answered exactly once: by whoever makes true what it
 * waits for (the event thread as a rule), by its interruption, or by the end of its box.
 *
 * A park is on one list, of a run, a box or the events, guarded by that owner's lock. Whoever
 * completes it takes it off the list under the lock, and answers after unlocking.
 */
#ifndef SANDBOXFS_PARK_H
#define SANDBOXFS_PARK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

#include "files.h" /* fuse_lowlevel.h at one version */

struct box;
struct handle;
struct park;
struct run;

/* Data that a park's look has taken for its answer, or that a request wants to write. */
struct chunk {
	size_t len;
	size_t room;  /* as allocated: what it counts for */
	bool written; /* chunk_copy()'s */
	char bytes[];
};

struct park_list {
	struct park *first;
};

enum park_verdict { PARK_WAIT, PARK_ANSWER };

struct park_type {
	/* Can it be answered now? Called with the list's lock held. */
	enum park_verdict (*look)(struct park *park);
	/* Replies, without locks. error: 0, or why it ends early (EINTR, ESTALE). */
	void (*answer)(struct park *park, int error);
	/* A signal came for the waiting thread: PARK_WAIT keeps waiting and looks again soon. Lock
	 * held. NULL: any interruption ends the wait. */
	enum park_verdict (*interrupted)(struct park *park);
};

/* What a request waits for; park_add() copies it. */
struct park_wait {
	size_t size; /* of a read */
	off_t offset;
	uint64_t tag; /* of a request to the keeper; 0 none */
	/* The run it is about, or NULL: the park has a reference of its own, since a handle goes on
	 * to another run when one of its users begins the next command. */
	struct run *run;
};

struct park {
	UT_hash_handle hh;	   /* by serial */
	struct park *next, **link; /* in its list; link NULL when off */
	const struct park_type *type;
	fuse_req_t req;
	struct handle *handle; /* a reference */
	struct box *box;       /* a reference, or NULL */
	pthread_mutex_t *lock; /* of the list */
	uint64_t serial;
	uid_t uid;
	pid_t tid; /* of the waiting thread */
	struct park_wait wait;
	int error;	     /* what it ends with, set by look or by a keeper's reply */
	bool done;	     /* a keeper's reply came */
	struct chunk *chunk; /* data that look has taken for answer, or that is to be written */
	struct park *ready;
};

/* max_waiting bounds how many may wait. 0 or -errno. */
int park_init(uint64_t max_waiting);
/* How many wait, and about how many bytes that costs: requests, their handles, their data. */
struct park_totals {
	uint64_t requests, bytes;
};
void park_total(struct park_totals *totals);

/* With len of room, which the caller may shorten. NULL: out of memory. */
struct chunk *chunk_new(size_t len);
/*
 * Of what a client writes and nothing takes yet. All of these together hold 16 MiB; beyond that
 * each holds 4 KiB at most, so chunk->len may be less than size: a short write. NULL: out of
 * memory.
 */
struct chunk *chunk_copy(const char *data, size_t size);
void chunk_free(struct chunk *chunk);
#define _cleanup_chunk_ __attribute__((cleanup(chunk_cleanup)))
static inline void chunk_cleanup(struct chunk **chunk)
{
	chunk_free(*chunk);
}

/*
 * Parks a request. lock (the owner's) is held. 0, and the request is not the caller's any more;
 * or -EDQUOT, -ENOMEM and it still is.
 */
int park_add(struct park_list *list, pthread_mutex_t *lock, const struct park_type *type,
	     fuse_req_t req, struct handle *handle, struct box *box, const struct park_wait *wait);

/* Takes off the list what can be answered, or everything when error is not 0, puts it before
 * `ready` and returns the new head. Lock held. */
struct park *park_collect(struct park_list *list, int error, struct park *ready);
/* The same for one park, whatever it waits for. */
struct park *park_collect_one(struct park *park, int error, struct park *ready);
/* Answers what was collected. Without locks. */
void park_answer(struct park *ready);

/* Event thread: handles interruptions; ms until it wants to be called again, -1: when told. */
int park_run_interrupts(void);
/* An eventfd that is readable when there are some. */
int park_interrupt_fd(void);

#endif
