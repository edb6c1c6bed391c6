/* SPDX-License-Identifier: MIT */
/* The directories of the tree, one file each, and the README texts made from their rows. */
#ifndef SANDBOXFS_DIRS_H
#define SANDBOXFS_DIRS_H

#include "tree.h"

extern const struct dir_type dir_root, dir_dot, dir_trash, dir_roots, dir_box, dir_trashed,
	dir_procs, dir_run, dir_env;

/* Adds one line a row: name and help. */
void dir_help(const struct dir_type *dir, const char *prefix, struct text *out);

/* rm of a control entry: accepted, without effect, told in why. */
int entry_unlink(struct ctx *ctx, const char *name);
int run_rmdir(struct ctx *ctx, const char *name);
/* May the caller rename or destroy the box? */
int root_may_change(struct ctx *ctx, struct box *box);

/* ps.c: the processes of a box; its totals for the status table. Without box->lock. */
struct ps_totals {
	unsigned int processes;
	uint64_t memory_bytes; /* resident, shared pages counted in each */
	uint64_t cpu_ms;
};
int ps_show(struct ctx *ctx, struct text *out);
void ps_totals(struct box *box, struct ps_totals *totals);

/* transcript.c: `log` of the session and of a run. */
extern const struct row_ops log_ops, run_log_ops;
uint64_t log_size(struct ctx *ctx);
uint64_t run_log_size(struct ctx *ctx);

/* ctl.c */
extern const struct row_ops ctl_ops, cwd_ops;

#endif
