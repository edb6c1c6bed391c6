/* SPDX-License-Identifier: MIT */
/*
 * `cmd`: text is collected per open handle, and becomes a run when the process that opened it
 * closes its last descriptor; that close waits for the command's end. Opened read-write it is a
 * transaction. And the waiting for a box to start, which `ctl` shares.
 */
#ifndef SANDBOXFS_SUBMIT_H
#define SANDBOXFS_SUBMIT_H

#include "park.h"
#include "tree.h"

extern const struct row_ops cmd_ops;

/*
 * Makes the box run: starts, wakes or waits. 0 it runs; TREE_ANSWERED: req is parked with type
 * `type`, whose look is start_look() or like it; or -errno. box->lock held.
 */
int box_need_running(struct ctx *ctx, struct handle *h, const struct park_type *type,
		     const struct park_wait *wait);
enum park_verdict start_look(struct park *park);

#endif
