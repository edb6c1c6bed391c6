/* SPDX-License-Identifier: MIT */
/* The directories of the tree, one file each, and the README texts made from their rows. */
#ifndef SANDBOXFS_DIRS_H
#define SANDBOXFS_DIRS_H

#include "tree.h"

extern const struct dir_type dir_root, dir_dot, dir_trash, dir_roots, dir_box, dir_trashed,
	dir_procs, dir_run, dir_env, dir_sessions, dir_session, dir_named, dir_named_env,
	dir_run_env, dir_images, dir_net, dir_limits, dir_usage, dir_mounts;

/* Adds one line a row: name and help. */
void dir_help(const struct dir_type *dir, const char *prefix, struct text *out);

/* rm and rmdir of a control entry: accepted, without effect, told in why. */
int entry_unlink(struct ctx *ctx, const char *name);
int entry_rmdir(struct ctx *ctx, const char *name);
/* May the caller rename or destroy the box? */
int root_may_change(struct ctx *ctx, struct box *box);

/* The run behind a node of procs/N or procs/NAME, 0: the name has none yet. box->lock held. */
uint64_t run_of(const struct ctx *ctx);
/* Its record, brought up to date by what is known of a live run: 1; 0 there is none yet; -errno.
 * box->lock held. */
struct run_record;
int run_now(struct ctx *ctx, struct run_record *rec);

/* ps.c: the processes of a box; its totals for the status table. Without box->lock. */
struct ps_totals {
	unsigned int processes;
	uint64_t memory_bytes; /* resident, shared pages counted in each */
	uint64_t cpu_ms;
};
int ps_show(struct ctx *ctx, struct text *out);
/* Some process of the cgroup or one below it, as the host numbers it; 0: there is none. */
pid_t ps_first(const char *cgroup);
void ps_totals(struct box *box, struct ps_totals *totals);

/* transcript.c: `log` of the session and of a run. */
extern const struct row_ops log_ops, run_log_ops;
uint64_t log_size(struct ctx *ctx);
uint64_t log_view(struct ctx *ctx);
uint64_t run_log_size(struct ctx *ctx);

/* Before the record of a run is removed: its bytes leave the log. box->lock held. */
void log_drop_run(struct box *box, const char *session, uint64_t number);
/* A run that was recorded as refused (store_run_refused()). box->lock held. */
void log_add_refused(struct box *box, const char *session, uint64_t number, const char *script,
		     size_t len);
/* The keeper has died: what ran is lost. box->lock held, or before there are threads. */
void log_end_lost(struct box *box);

/* ctl.c */
extern const struct row_ops ctl_ops, session_ctl_ops;

/* dir_run.c: may that be written to a `user`? If not, why says so. */
bool entry_user_may_be(struct ctx *ctx, const char *value);

/* cwd.c: the working directory of a session. */
extern const struct row_ops cwd_ops;
int cwd_show(struct ctx *ctx, struct text *out);

/* input.c: standard input of a run of its own. */
extern const struct row_ops input_ops;

/* usage.c: what a run has used. */
extern const struct row_ops usage_ops;
int run_usage_show(struct ctx *ctx, struct text *out);

#endif
