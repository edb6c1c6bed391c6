/* SPDX-License-Identifier: MIT */
/*
 * limits/: one file for each limit (runtime/limit.h). What is written holds at once: a running box's
 * keeper is asked, and the write waits, parked, for its answer; for a box that does not run it is
 * checked that this machine could enforce it. Kept with the box's settings. Lock: box->lock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "box_disk.h"
#include "daemon.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "keeper.h"
#include "limit.h"
#include "output_gap.h"
#include "store.h"
#include "wake.h"

enum { MAX_WORD = 64 };

/* What one has that was given none: its own cannot be 0. */
static uint64_t fallback(enum limit which)
{
	return MIN(the_options.limits.of[which], the_options.max_limits.of[which]);
}

uint64_t box_limit(const struct box *box, enum limit which)
{
	return box->limits.of[which] ? box->limits.of[which] : fallback(which);
}

void box_limits(const struct box *box, struct limits *out)
{
	for (int i = 0; i < N_LIMITS; i++)
		out->of[i] = box_limit(box, (enum limit)i);
}

/* Which limit a node of this directory is: rows and limits have one order. */
static enum limit limit_of(const struct ctx *ctx)
{
	return (enum limit)(ctx->node.row - 1);
}

static int limit_show(struct ctx *ctx, struct text *out)
{
	enum limit which = limit_of(ctx);
	uint64_t value;
	char buf[32];

	pthread_mutex_lock(&ctx->box->lock);
	value = box_limit(ctx->box, which);
	pthread_mutex_unlock(&ctx->box->lock);
	text_printf(out, "%s\n", limit_format(which, value, buf));
	return 0;
}

/* --- storing ------------------------------------------------------------------------------------- */

/* Does it take away what runs have written? */
static bool takes_output(enum limit which)
{
	return which == LIMIT_OUTPUT || which == LIMIT_OUTPUT_TOTAL;
}

/* own: what the box's settings are to say, 0: nothing. */
static int ask_keeper(struct box *box, enum limit which, uint64_t own, uint64_t tag)
{
	uint64_t value = own ? own : fallback(which);

	if (takes_output(which) && value != LIMIT_NONE && !box->output_shrinks) {
		box->output_shrinks = true;
		/* Until who still reads as if it did not is done. */
		pthread_rwlock_wrlock(&box->whole_output);
		pthread_rwlock_unlock(&box->whole_output);
	}
	return keeper_limit(box, which, value, tag);
}

/* It holds, or will at the next start: keeps it. box->lock held. */
static int keep(struct box *box, enum limit which, uint64_t own)
{
	uint64_t old = box->limits.of[which];
	int r;

	box->limits.of[which] = own;
	r = store_save(box);
	if (r == 0)
		return 0;
	/* A refused write changes nothing. */
	box->limits.of[which] = old;
	if (box->keeper)
		ask_keeper(box, which, old, 0);
	return r;
}

static void asked_answer(struct park *park, int error)
{
	struct box *box = park->box;
	enum limit which = (enum limit)(park->handle->node.row - 1);

	pthread_mutex_lock(&box->lock);
	/* It has ended before it could answer: then for its next start. */
	if (error == EIO && !box->keeper)
		error = 0;
	/* Who no longer waits is told that nothing has changed. */
	if (error == EINTR && box->keeper)
		ask_keeper(box, which, box->limits.of[which], 0);
	if (!error)
		error = box->removed ? ESTALE : -keep(box, which, (uint64_t)park->wait.offset);
	pthread_mutex_unlock(&box->lock);
	if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_write(park->req, park->wait.size);
}

static const struct park_type asked_park = { reply_look, asked_answer, NULL };

/* box->lock held. */
static int wait_for_keeper(struct ctx *ctx, struct handle *h, const struct park_wait *wait)
{
	struct box *box = ctx->box;
	enum limit which = limit_of(ctx);
	int r = park_add(&box->parks, &box->lock, &asked_park, ctx->req, h, box, wait);

	if (r < 0)
		ask_keeper(box, which, box->limits.of[which], 0);
	return r < 0 ? r : TREE_ANSWERED;
}

/* Which the daemon holds by itself. */
static int store_disk(struct ctx *ctx, enum limit which, uint64_t own)
{
	char why[DISK_WHY_SIZE];
	int r = box_disk_change(ctx->box, which, own ? own : fallback(which), own, keep, why);

	if (r < 0)
		tree_refuse(ctx, "limits/%s: %s", limit_types[which].name, why);
	return r;
}

static int store_limit(struct ctx *ctx, struct handle *h, const char *word, uint64_t own,
		       size_t size)
{
	const struct park_wait wait = { .size = size,
					.offset = (off_t)own,
					.tag = keeper_new_tag() };
	enum limit which = limit_of(ctx);
	struct box *box = ctx->box;
	int r;

	if (which == LIMIT_DISK || which == LIMIT_DISK_INODES)
		return store_disk(ctx, which, own);
	pthread_mutex_lock(&box->lock);
	if (box->removed) {
		r = -ESTALE;
	} else if (!box->keeper) {
		r = keep(box, which, own);
	} else {
		/* By this word a refusal is told of, with the same lock held. */
		text_reset(&h->text);
		text_add_str(&h->text, word);
		r = ask_keeper(box, which, own, wait.tag);
		if (r == 0)
			r = wait_for_keeper(ctx, h, &wait);
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

/* The middle of an output is taken from the disk as a hole. */
static int may_be_punched(const struct box *box, char *why, size_t size)
{
	_cleanup_close_ int dir = store_box_dir(box);

	if (dir < 0 || output_gap_possible(dir))
		return 0;
	snprintf(why, size, "the file system of state_dir cannot free a part of a file");
	return -EOPNOTSUPP;
}

/* 0, or -errno with the sentence said. */
static int may_be(struct ctx *ctx, enum limit which, uint64_t value)
{
	const char *name = limit_types[which].name;
	uint64_t most = the_options.max_limits.of[which];
	char why[200], shown[32];
	int r;

	if (value > most && ctx->uid != 0) {
		tree_refuse(ctx, "limits/%s: more than %s only root may set (max_%s)", name,
			    limit_format(which, most, shown), name);
		return -EPERM;
	}
	r = limit_is_lacking(which, value, why, sizeof(why));
	if (r == 0 && takes_output(which) && value != LIMIT_NONE)
		r = may_be_punched(ctx->box, why, sizeof(why));
	if (r < 0)
		tree_refuse(ctx, "limits/%s: %s", name, why);
	return r;
}

static int refuse_word(struct ctx *ctx, enum limit which, int r)
{
	const struct limit_type *type = &limit_types[which];
	char least[32], most[32];

	if (r == -ERANGE)
		tree_refuse(ctx, "limits/%s: from %s to %s, or unlimited", type->name,
			    limit_format(which, type->min, least),
			    limit_format(which, type->max, most));
	else
		tree_refuse(ctx, "limits/%s: %s; or default, which is what the mount gives",
			    type->name, type->form);
	return -EINVAL;
}

static int limit_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	enum limit which = limit_of(ctx);
	uint64_t value, own = 0;
	char word[MAX_WORD];
	size_t len = size - (size && data[size - 1] == '\n');
	int r = len && len < sizeof(word) && !memchr(data, '\0', len) ? 0 : -EINVAL;

	if (r == 0) {
		memcpy(word, data, len);
		word[len] = '\0';
		if (strcmp(word, "default")) {
			r = limit_parse(which, word, &value);
			own = value;
		} else {
			value = fallback(which);
		}
	}
	if (r < 0)
		return refuse_word(ctx, which, r);
	r = may_be(ctx, which, value);
	if (r < 0)
		return r;
	return store_limit(ctx, h, word, own, size);
}

/* Anew each time: the handle's text is what was written. */
static int limit_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text shown = { 0 };

	(void)h;
	limit_show(ctx, &shown);
	if (shown.failed)
		return -ENOMEM;
	if ((size_t)offset >= shown.len)
		fuse_reply_buf(ctx->req, NULL, 0);
	else
		fuse_reply_buf(ctx->req, shown.data + offset,
			       MIN(size, shown.len - (size_t)offset));
	return TREE_ANSWERED;
}

static const struct row_ops limit_ops = { .read = limit_read, .write = limit_write };

#define LIMIT_ROW(name, text)                                                           \
	{                                                                               \
		name, S_IFREG | 0600, ROW_SIZED, .show = limit_show, .ops = &limit_ops, \
						 .help = (text)                         \
	}

static const struct row limits_rows[N_LIMITS] = {
	[LIMIT_MEMORY] = LIMIT_ROW("memory", "memory of all it runs, as 512M or 2G"),
	[LIMIT_CPUS] = LIMIT_ROW("cpus", "CPUs it may use up, as 2 or 0.5"),
	[LIMIT_PIDS] = LIMIT_ROW("pids", "processes and threads"),
	[LIMIT_FILES] = LIMIT_ROW("files", "open files of a process"),
	[LIMIT_TIMEOUT] = LIMIT_ROW("timeout", "how long a command may run that has no timeout"),
	[LIMIT_IDLE] = LIMIT_ROW("idle", "after how long unused it is stopped or frozen"),
	[LIMIT_DISK] = LIMIT_ROW("disk", "bytes of its files: workspace, changes to the system"),
	[LIMIT_DISK_INODES] = LIMIT_ROW("disk_inodes", "how many files, folders, links"),
	[LIMIT_OUTPUT] = LIMIT_ROW("output", "bytes kept of what a run writes to out, and to err"),
	[LIMIT_OUTPUT_TOTAL] = LIMIT_ROW("output_total", "bytes kept of the output of all runs"),
};

const struct dir_type dir_limits = {
	.rows = limits_rows,
	.n_rows = ARRAY_SIZE(limits_rows),
	.mode = 0700,
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "write to the limits that are here: echo 512M > limits/memory",
};
