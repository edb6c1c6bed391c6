/* SPDX-License-Identifier: MIT */
/*
 * `cmd` of the box, of its sessions and of named runs, and `procs/new`: text is collected per open
 * handle, and becomes a run when the process that opened it closes its last descriptor. A session's
 * close waits for the command's end, that of a run of its own until it has started. Opened read-write
 * a handle is a transaction (transact.c).
 */
#ifndef SANDBOXFS_SUBMIT_H
#define SANDBOXFS_SUBMIT_H

#include "tree.h"

extern const struct row_ops cmd_ops;	   /* of a session */
extern const struct row_ops new_ops;	   /* procs/new */
extern const struct row_ops named_cmd_ops; /* procs/NAME/cmd */

/* At its opening: who closes it last is to be known. */
void handle_note_opener(struct ctx *ctx, struct handle *h);
/* Is this the close that completes what was written? wait: may it be waited for? h->killed is set if
 * its writer died of a signal. */
bool handle_is_complete(struct ctx *ctx, struct handle *h, bool *wait);
/* A handle's run is one of its own, beside the sessions. */
bool submit_is_own(const struct handle *h);
/* Has a run of its own begun, or will it never? */
bool run_has_started(const struct run *run);
/* Makes a run of the text collected so far. box->lock held. 0, or -errno when it was refused. */
int submit(struct handle *h);

/* transact.c: reading the handle back. */
int transaction_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset);
unsigned int transaction_poll(struct ctx *ctx, struct handle *h);
/* Its result will not be read any more; the next command may begin. box->lock held. */
void transaction_end(struct handle *h);
/* Has this handle's command been read to its end, or is it known that it failed? */
bool transaction_may_begin(const struct handle *h);

#endif
