/* SPDX-License-Identifier: MIT */
/* Opening cmd, tty and some more brings a box to `running`: what waits for that. */
#ifndef SANDBOXFS_WAKE_H
#define SANDBOXFS_WAKE_H

#include "park.h"
#include "tree.h"

/* Starts it, or wakes it: 0 it runs; 1 it is on its way; or -errno. box->lock held. */
int box_wake(struct box *box);
/*
 * Makes the box run: starts, wakes or waits. 0 it runs; TREE_ANSWERED: req is parked with type
 * `type`, whose look is start_look() or like it; or -errno. box->lock held.
 */
int box_need_running(struct ctx *ctx, struct handle *h, const struct park_type *type,
		     const struct park_wait *wait);
enum park_verdict start_look(struct park *park);
/* The keeper has answered the request with the tag of the park_wait. */
enum park_verdict reply_look(struct park *park);
/* Answers a parked write of park->wait.size bytes, after `next` has done the rest of it with the
 * same request: 0 done, -errno, TREE_ANSWERED: it is parked again. */
void write_go_on(struct park *park, int error,
		 int (*next)(struct ctx *ctx, struct handle *h, size_t size));

#endif
