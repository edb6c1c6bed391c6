/* SPDX-License-Identifier: MIT */
/*
 * Walking the tables: lookup, listing, attributes. Knows tables and nodes, no FUSE requests but
 * to pass them on, and no box's inner life. Takes box->lock briefly.
 */
#include "tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "perm.h"
#include "why.h"

const struct dir_type *const dir_types[N_DIR_KINDS] = {
	[DIR_ROOT] = &dir_root,
	[DIR_DOT] = &dir_dot,
	[DIR_TRASH] = &dir_trash,
	[DIR_ROOTS] = &dir_roots,
	[DIR_BOX] = &dir_box,
	[DIR_TRASHED] = &dir_trashed,
	[DIR_PROCS] = &dir_procs,
	[DIR_RUN] = &dir_run,
	[DIR_ENV] = &dir_env,
	[DIR_SESSIONS] = &dir_sessions,
	[DIR_SESSION] = &dir_session,
	[DIR_NAMED] = &dir_named,
	[DIR_NAMED_ENV] = &dir_named_env,
	[DIR_RUN_ENV] = &dir_run_env,
	[DIR_IMAGES] = &dir_images,
	[DIR_NET] = &dir_net,
	[DIR_LIMITS] = &dir_limits,
	[DIR_USAGE] = &dir_usage,
	[DIR_MOUNTS] = &dir_mounts,
};

static uint64_t ino_salt;

void tree_init(void)
{
	if (getrandom(&ino_salt, sizeof(ino_salt), 0) < 0)
		ino_salt = (uint64_t)monotonic_us();
}

/* Salted, so that descriptors of two mounts in one process are told apart; bit 63 is clear, where
 * those of files.h set it. */
uint64_t tree_ino(uint64_t id)
{
	return id == 1 ? 1 : (hash_u64(id ^ ino_salt) & ~(1ull << 63)) | 1ull << 62;
}

uint64_t node_ino(struct node node)
{
	return tree_ino(node_id(node) ^ (uint64_t)node.sub << 48);
}

const struct row *tree_row(struct node node)
{
	const struct dir_type *dir = node.kind < N_DIR_KINDS ? dir_types[node.kind] : NULL;

	if (!dir || node.row == ROW_SELF)
		return NULL;
	if (node.row == ROW_DYNAMIC)
		return dir->dynamic;
	return node.row <= dir->n_rows ? &dir->rows[node.row - 1] : NULL;
}

void tree_refuse(struct ctx *ctx, const char *fmt, ...)
{
	char sentence[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	why_add(ctx->box ? &ctx->box->why : &root_why, ctx->uid, "%s", sentence);
}

static void set_times(struct stat *st, int64_t us)
{
	st->st_mtim.tv_sec = us / 1000000;
	st->st_mtim.tv_nsec = us % 1000000 * 1000;
	st->st_atim = st->st_ctim = st->st_mtim;
}

static void attr_of_box(struct ctx *ctx, struct stat *st, mode_t bits, mode_t type)
{
	struct box *box = ctx->box;

	pthread_mutex_lock(&box->lock);
	st->st_uid = box->uid;
	st->st_gid = box->gid;
	st->st_mode = type | perm_entry_mode(box->mode, bits);
	set_times(st, box->changed_us);
	pthread_mutex_unlock(&box->lock);
}

static uint64_t row_size(struct ctx *ctx, const struct row *row)
{
	_cleanup_text_ struct text t = { 0 };

	if (row->size)
		return row->size(ctx);
	if ((row->flags & ROW_SIZED) && row->show && row->show(ctx, &t) == 0)
		return t.len;
	if (row->link && row->link(ctx, &t) == 0)
		return t.len;
	return 0;
}

int tree_attr(struct ctx *ctx, struct stat *st)
{
	const struct row *row = tree_row(ctx->node);
	const struct dir_type *dir =
		ctx->node.kind < N_DIR_KINDS ? dir_types[ctx->node.kind] : NULL;
	mode_t bits, type;

	if (!dir || (!row && ctx->node.row != ROW_SELF))
		return -ESTALE;
	*st = (struct stat){ .st_ino = node_ino(ctx->node), .st_nlink = 1, .st_blksize = 4096 };
	type = row ? row->mode & S_IFMT : S_IFDIR;
	bits = row ? row->mode >> 6 & 7 : dir->mode >> 6 & 7;
	set_times(st, realtime_us());
	if (type == S_IFLNK)
		st->st_mode = S_IFLNK | 0777;
	else if (ctx->box)
		attr_of_box(ctx, st, bits, type);
	else
		st->st_mode = row ? row->mode : S_IFDIR | dir->mode;
	if (type == S_IFLNK && ctx->box) {
		st->st_uid = ctx->box->uid;
		st->st_gid = ctx->box->gid;
	}
	if (type == S_IFDIR)
		st->st_nlink = 2;
	else
		st->st_size = (off_t)row_size(ctx, row);
	if (row)
		return row->attr ? row->attr(ctx, st) : 0;
	return dir->attr ? dir->attr(ctx, st) : 0;
}

/* The child of directory node `dir` that is row i of its table. */
static int row_child(struct ctx *ctx, const struct dir_type *type, size_t i, struct child *child)
{
	const struct row *row = &type->rows[i];

	*child = (struct child){ .node = ctx->node };
	if (row->volume) {
		pthread_mutex_lock(&ctx->box->lock);
		child->volume = ctx->box->gone ? NULL : box_volume(ctx->box, row->volume - 1);
		pthread_mutex_unlock(&ctx->box->lock);
		return child->volume ? 0 : -ENOMEM;
	}
	if (row->dir) {
		child->node.kind = (uint8_t)row->dir;
		child->node.row = ROW_SELF;
	} else {
		child->node.row = (uint8_t)(i + 1);
	}
	return 0;
}

int tree_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct dir_type *dir = dir_types[ctx->node.kind];

	for (size_t i = 0; i < dir->n_rows; i++) {
		if (dir->rows[i].name && !strcmp(dir->rows[i].name, name))
			return row_child(ctx, dir, i, child);
	}
	return dir->lookup ? dir->lookup(ctx, name, child) : -ENOENT;
}

int tree_list(struct ctx *ctx, struct dir_list *list)
{
	const struct dir_type *dir = dir_types[ctx->node.kind];

	for (size_t i = 0; i < dir->n_rows; i++) {
		const struct row *row = &dir->rows[i];
		struct node node = ctx->node;

		node.row = (uint8_t)(i + 1);
		if (row->dir) {
			node.kind = (uint8_t)row->dir;
			node.row = ROW_SELF;
		}
		dir_list_add(list, row->name, node, row->mode & S_IFMT);
	}
	return dir->list ? dir->list(ctx, list) : 0;
}
