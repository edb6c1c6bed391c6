/* SPDX-License-Identifier: MIT */
/*
 * procs, the runs of a box:
 *
 *	N/     one folder a run: cmd out err exit log state pid session started ended
 *	last   link to the newest
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "store.h"
#include "stream.h"

/* --- procs ----------------------------------------------------------------------------------------- */

static bool run_exists(struct box *box, uint64_t number)
{
	struct run_record rec;

	return box_live_run(box, number) || store_run_read(box, number, &rec) == 0;
}

static int procs_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	uint64_t number;
	bool exists;

	/* "01" is not run 1. */
	if (name[0] == '0' || parse_u64(name, 1, NODE_MAX_ITEM, &number) < 0)
		return -ENOENT;
	pthread_mutex_lock(&ctx->box->lock);
	exists = run_exists(ctx->box, number);
	pthread_mutex_unlock(&ctx->box->lock);
	if (!exists)
		return -ENOENT;
	*child = (struct child){
		.node = { .kind = DIR_RUN, .box = ctx->node.box, .item = (uint32_t)number }
	};
	return 0;
}

static int procs_list(struct ctx *ctx, struct dir_list *list)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	struct run *run, *next;
	size_t n = 0;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = store_run_numbers(ctx->box, &numbers, &n);
	for (size_t i = 0; i < n; i++) {
		char name[24];

		snprintf(name, sizeof(name), "%llu", (unsigned long long)numbers[i]);
		dir_list_add(list, name,
			     (struct node){ .kind = DIR_RUN,
					    .box = ctx->node.box,
					    .item = (uint32_t)numbers[i] },
			     S_IFDIR);
	}
	/* Submitted, and not yet on disk. */
	HASH_ITER (hh, ctx->box->runs, run, next) {
		char name[24];

		if (n && bsearch(&run->number, numbers, n, sizeof(*numbers), compare_u64))
			continue;
		snprintf(name, sizeof(name), "%llu", (unsigned long long)run->number);
		dir_list_add(list, name,
			     (struct node){ .kind = DIR_RUN,
					    .box = ctx->node.box,
					    .item = (uint32_t)run->number },
			     S_IFDIR);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return r == -ENOENT ? 0 : r;
}

static int procs_last_link(struct ctx *ctx, struct text *target)
{
	uint64_t last;

	pthread_mutex_lock(&ctx->box->lock);
	box_load_runs(ctx->box);
	last = ctx->box->last_run;
	pthread_mutex_unlock(&ctx->box->lock);
	text_printf(target, "%llu", (unsigned long long)last);
	return 0;
}

static const struct row procs_rows[] = {
	{ "last", S_IFLNK | 0777, .link = procs_last_link, .help = "link to the newest run" },
};

const struct dir_type dir_procs = {
	.rows = procs_rows,
	.n_rows = ARRAY_SIZE(procs_rows),
	.mode = 0700,
	.lookup = procs_lookup,
	.list = procs_list,
	.unlink = entry_unlink,
	.rmdir = run_rmdir,
	.hint = "runs are made by writing to cmd",
};

/* --- one run ---------------------------------------------------------------------------------------- */

/* The record, brought up to date by what is known of a live run. box->lock held. */
static int run_now(struct ctx *ctx, struct run_record *rec)
{
	const struct run *run = box_live_run(ctx->box, ctx->node.item);
	int r = store_run_read(ctx->box, ctx->node.item, rec);

	if (run) {
		rec->state = run->state;
		rec->code = run->code;
		rec->truncated |= run->truncated;
		snprintf(rec->session, sizeof(rec->session), "%s", run->session);
		return 0;
	}
	return r < 0 ? -ESTALE : 0;
}

static int run_read(struct ctx *ctx, struct run_record *rec)
{
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = run_now(ctx, rec);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static int run_cmd_show(struct ctx *ctx, struct text *out)
{
	_cleanup_close_ int fd = -1;
	char buf[65536];
	struct run *run;
	ssize_t n;

	pthread_mutex_lock(&ctx->box->lock);
	run = box_live_run(ctx->box, ctx->node.item);
	if (run && run->script) /* not yet with the keeper */
		text_add(out, run->script, run->script_len);
	else
		fd = store_run_open(ctx->box, ctx->node.item, RUN_SCRIPT);
	pthread_mutex_unlock(&ctx->box->lock);
	while (fd >= 0 && (n = read_full(fd, buf, sizeof(buf))) > 0)
		text_add(out, buf, (size_t)n);
	return 0;
}

static int run_state_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r == 0)
		text_printf(out, "%s%s\n", run_state_word(rec.state),
			    rec.truncated ? " truncated" : "");
	return r;
}

static int run_pid_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r == 0 && rec.pid)
		text_printf(out, "%llu\n", (unsigned long long)rec.pid);
	return r;
}

static int run_session_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r == 0) {
		text_add_escaped(out, rec.session, strlen(rec.session));
		text_add_char(out, '\n');
	}
	return r;
}

static int show_time(struct text *out, int64_t us)
{
	if (us)
		text_printf(out, "%lld.%06lld\n", (long long)us / 1000000, (long long)us % 1000000);
	return 0;
}

static int run_started_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	return r < 0 ? r : show_time(out, rec.started_us);
}

static int run_ended_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	return r < 0 ? r : show_time(out, run_state_is_end(rec.state) ? rec.ended_us : 0);
}

static int run_attr(struct ctx *ctx, struct stat *st)
{
	bool exists;

	(void)st;
	pthread_mutex_lock(&ctx->box->lock);
	exists = run_exists(ctx->box, ctx->node.item);
	pthread_mutex_unlock(&ctx->box->lock);
	return exists ? 0 : -ESTALE;
}

static const struct row run_rows[] = {
	{ "cmd", S_IFREG | 0400, ROW_SIZED, .show = run_cmd_show, .help = "its text" },
	{ "out", S_IFREG | 0400, .ops = &run_out_ops, .size = run_out_size,
	  .help = "standard output, of background jobs as well" },
	{ "err", S_IFREG | 0400, .ops = &run_err_ops, .size = run_err_size,
	  .help = "standard error" },
	{ "exit", S_IFREG | 0400, .ops = &run_exit_ops, .help = "exit code; waits for the end" },
	{ "log", S_IFREG | 0400, .ops = &run_log_ops, .size = run_log_size,
	  .help = "both streams in the order in which they arrived; never waits" },
	{ "state", S_IFREG | 0400, ROW_SIZED, .show = run_state_show,
	  .help = "queued starting running exited signalled oom failed lost" },
	{ "pid", S_IFREG | 0400, ROW_SIZED, .show = run_pid_show,
	  .help = "process in the box that runs it" },
	{ "session", S_IFREG | 0400, ROW_SIZED, .show = run_session_show, .help = "its session" },
	{ "started", S_IFREG | 0400, ROW_SIZED, .show = run_started_show,
	  .help = "seconds since the epoch" },
	{ "ended", S_IFREG | 0400, ROW_SIZED, .show = run_ended_show, .help = "likewise" },
};

const struct dir_type dir_run = {
	.rows = run_rows,
	.n_rows = ARRAY_SIZE(run_rows),
	.mode = 0700,
	.attr = run_attr,
	.unlink = entry_unlink,
	.hint = "a run's record cannot be changed",
};

/* Ends the command, if it still runs; its record goes at once, or when nothing writes to it any more. */
int run_rmdir(struct ctx *ctx, const char *name)
{
	struct box *box = ctx->box;
	struct child child;
	struct run *run;
	int r = tree_lookup(ctx, name, &child);

	if (r < 0)
		return r;
	if (!node_is_dir(child.node))
		return -ENOTDIR;
	pthread_mutex_lock(&box->lock);
	run = box_live_run(box, child.node.item);
	if (!run || run->closed) {
		r = box_run_remove(box, child.node.item);
	} else {
		run->unwanted = true;
		if (run->state == RUN_QUEUED)
			r = keeper_run_request(box, MSG_CANCEL, run->number, 0, 0);
		else if (!run->ended)
			r = keeper_run_request(box, MSG_SIGNAL, run->number, SIGKILL, 0);
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}
