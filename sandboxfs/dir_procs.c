/* SPDX-License-Identifier: MIT */
/*
 * procs, the runs of a box:
 *
 *	new    write a command: it runs by itself, beside the sessions
 *	last   link to the newest run
 *	N/     one folder a run (dir_run.c)
 *	NAME/  made by mkdir: a run with a name
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "named.h"
#include "store.h"
#include "submit.h"

static struct node run_node(const struct ctx *ctx, uint64_t number)
{
	return (struct node){ .kind = DIR_RUN, .box = ctx->node.box, .item = (uint32_t)number };
}

static struct node named_node(const struct ctx *ctx, const struct named *named)
{
	return (struct node){ .kind = DIR_NAMED, .box = ctx->node.box, .item = named->id };
}

static int procs_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct named *named;
	uint64_t number;
	int r = 0;

	pthread_mutex_lock(&ctx->box->lock);
	/* "01" is not run 1. */
	if (name[0] != '0' && parse_u64(name, 1, NODE_MAX_ITEM, &number) == 0) {
		if (box_run_exists(ctx->box, number))
			*child = (struct child){ .node = run_node(ctx, number) };
		else
			r = -ENOENT;
	} else {
		named = named_by_name(ctx->box, name);
		if (named)
			*child = (struct child){ .node = named_node(ctx, named) };
		else
			r = -ENOENT;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static void list_number(struct ctx *ctx, struct dir_list *list, uint64_t number)
{
	char name[24];

	snprintf(name, sizeof(name), "%llu", (unsigned long long)number);
	dir_list_add(list, name, run_node(ctx, number), S_IFDIR);
}

static int procs_list(struct ctx *ctx, struct dir_list *list)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	struct named *named, *next_named;
	struct run *run, *next;
	size_t n = 0;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = store_run_numbers(ctx->box, &numbers, &n);
	for (size_t i = 0; i < n; i++) {
		run = box_live_run(ctx->box, numbers[i]);
		if (!run || !run->unwanted)
			list_number(ctx, list, numbers[i]);
	}
	/* Submitted, and not yet on disk. */
	HASH_ITER (hh, ctx->box->runs, run, next) {
		if (!run->unwanted &&
		    (!n || !bsearch(&run->number, numbers, n, sizeof(*numbers), compare_u64)))
			list_number(ctx, list, run->number);
	}
	named_drop_stale(ctx->box);
	HASH_ITER (hh_id, ctx->box->named_by_id, named, next_named)
		dir_list_add(list, named->name, named_node(ctx, named), S_IFDIR);
	pthread_mutex_unlock(&ctx->box->lock);
	return r == -ENOENT ? 0 : r;
}

static int procs_mkdir(struct ctx *ctx, const char *name, mode_t mode, struct child *child)
{
	struct named *named = NULL;
	struct child there;
	int r;

	(void)mode;
	if (tree_lookup(ctx, name, &there) == 0)
		return -EEXIST;
	pthread_mutex_lock(&ctx->box->lock);
	r = named_create(ctx->box, name, &named);
	if (r == 0)
		*child = (struct child){ .node = named_node(ctx, named) };
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EINVAL)
		tree_refuse(
			ctx,
			"mkdir procs/%s: the name of a run has 1 to 63 bytes of UTF-8, no control "
			"characters, no leading dot, no blank at either end, and is no number",
			name);
	else if (r == -EDQUOT)
		tree_refuse(ctx, "mkdir procs/%s: a box has %d names of runs at most; rmdir some",
			    name, NAMES_MAX);
	return r;
}

/* Ends what is left of a run; its record goes at once, or when nothing of it is left. */
static int end_run(struct box *box, uint64_t number)
{
	struct run *run = box_live_run(box, number);
	int r;

	if (!run || run->closed) {
		/* Its streams are closed; what lives on without them ends all the same. */
		if (box->keeper)
			keeper_run_ask(box, MSG_END, 0, number);
		return box_run_remove(box, number);
	}
	run->unwanted = true;
	if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	r = keeper_run_ask(box, MSG_END, 0, number);
	return r;
}

static int procs_rmdir(struct ctx *ctx, const char *name)
{
	struct box *box = ctx->box;
	struct park *ready = NULL;
	struct named *named;
	struct child child;
	uint64_t number;
	int r = tree_lookup(ctx, name, &child);

	if (r < 0)
		return r;
	if (!node_is_dir(child.node))
		return -ENOTDIR;
	pthread_mutex_lock(&box->lock);
	number = child.node.item;
	named = child.node.kind == DIR_NAMED ? named_by_id(box, child.node.item)
					     : named_of_run(box, number);
	if (child.node.kind == DIR_NAMED) {
		number = named ? named->run : 0;
		if (named)
			named_remove(box, named);
		/* Who waits for a run of that name. */
		ready = park_collect(&box->parks, 0, NULL);
	} else if (named) {
		/* The name stays, to be used again. */
		named->run = 0;
		store_name_save(box, named);
	}
	r = number ? end_run(box, number) : 0;
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	return r;
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
	{ "new", S_IFREG | 0200, ROW_FRESH, .ops = &new_ops,
	  .help = "write a command: it runs by itself, and closing returns when it has started" },
	{ "last", S_IFLNK | 0777, .link = procs_last_link, .help = "link to the newest run" },
};

const struct dir_type dir_procs = {
	.rows = procs_rows,
	.n_rows = ARRAY_SIZE(procs_rows),
	.mode = 0700,
	.lookup = procs_lookup,
	.list = procs_list,
	.mkdir = procs_mkdir,
	.unlink = entry_unlink,
	.rmdir = procs_rmdir,
	.hint = "runs are made by writing to cmd or procs/new, or with a name by mkdir procs/NAME",
};
