/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bounded number of threads for transfers: parts sent, ranges read ahead, pages of listings,
 * copies. Threads are started as they are needed and end when they have had nothing to do.
 */
#ifndef MOUNTS_POOL_H
#define MOUNTS_POOL_H

#include <stdbool.h>
#include <stddef.h>

/* One piece of work, inside a structure of its owner, who keeps it until run() has been entered. */
struct job {
	void (*run)(struct job *job);
	struct job *next;
	bool queued; /* of the pool */
};

void pool_init(unsigned max_threads);
/* Runs the job soon; urgent ones (somebody waits) before the others. */
void pool_submit(struct job *job, bool urgent);
/* Takes a job back that has not begun; false if it has. */
bool pool_cancel(struct job *job);
/* Calls fn(ctx, i) for 0 … n-1, many at a time, and returns when all are done. Not from a job. */
void pool_each(size_t n, void (*fn)(void *ctx, size_t i), void *ctx);
/* Waits for everything queued and ends the threads. */
void pool_stop(void);

#endif
