/* SPDX-License-Identifier: MIT */
/*
 * `out`, `err`, `exit` of a box and of its runs: reads that wait at the live end, end of file by
 * the rules of sandboxfs(5), poll. Output comes from the run's files on disk.
 */
#ifndef SANDBOXFS_STREAM_H
#define SANDBOXFS_STREAM_H

#include "tree.h"

extern const struct row_ops out_ops, err_ops, exit_ops;		    /* of the default session */
extern const struct row_ops run_out_ops, run_err_ops, run_exit_ops; /* of procs/N */

/* Sizes for stat: 0 while something can still write, else the true one. */
uint64_t out_size(struct ctx *ctx);
uint64_t err_size(struct ctx *ctx);
uint64_t run_out_size(struct ctx *ctx);
uint64_t run_err_size(struct ctx *ctx);
uint64_t exit_size(struct ctx *ctx);
uint64_t run_exit_size(struct ctx *ctx);

/* Tells the poll handles of this box that something moved. No lock held. */
void stream_notify_polls(struct box *box);
/* Registers the handle's poll (box->lock held). */
void stream_add_poll(struct handle *h, struct fuse_pollhandle *ph);
/* Nobody polls it any more: it is closed. No lock held; the caller has a reference. */
void stream_drop_poll(struct handle *h);

#endif
