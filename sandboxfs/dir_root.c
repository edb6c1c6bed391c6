/* SPDX-License-Identifier: MIT */
/*
 * The root of the mount:
 *
 *	NAME/        a box: mkdir makes it, rmdir destroys it, mv renames it
 *	README  why
 *	.sandboxfs/  version status config events trash/ root/
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "events.h"
#include "perm.h"
#include "store.h"
#include "why.h"

void dir_help(const struct dir_type *dir, const char *prefix, struct text *out)
{
	for (size_t i = 0; i < dir->n_rows; i++) {
		const struct row *row = &dir->rows[i];
		char name[64];

		snprintf(name, sizeof(name), "%s%s%s", prefix, row->name,
			 S_ISDIR(row->mode) ? "/" : "");
		text_printf(out, "  %-19s %s\n", name, row->help);
	}
}

static int root_readme_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	text_add_str(
		out,
		"Every directory here is a sandbox: an isolated Linux container.\n\n"
		"  mkdir box                          make one (nothing runs yet)\n"
		"  echo 'python3 app.py' > box/cmd    run a command; waits for its end\n"
		"  cat box/out box/err                what it wrote\n"
		"  cat box/exit                       its exit code\n"
		"  cp data.csv box/files/             its /workspace, an ordinary folder\n"
		"  ls box/procs; cat box/ps           its commands, its processes\n"
		"  cat box/why                        why something was refused\n"
		"  mv box other; rmdir other          rename, destroy (kept in .sandboxfs/trash "
		"for a while)\n\nIn a box:\n");
	dir_help(&dir_box, "", out);
	text_add_str(out, "\nHere:\n");
	dir_help(&dir_root, "", out);
	dir_help(&dir_dot, ".sandboxfs/", out);
	text_add_str(out, "\nThe whole story: man 5 sandboxfs\n");
	return 0;
}

static int root_why_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	why_show(&root_why, out);
	return 0;
}

static int root_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	struct box *box = box_find(name);

	(void)ctx;
	if (!box)
		return -ENOENT;
	*child = (struct child){ .node = { .kind = DIR_BOX, .box = box->id } };
	box_put(box);
	return 0;
}

static int list_box(struct box *box, void *list)
{
	char name[64];

	pthread_mutex_lock(&box->lock);
	strcpy(name, box->name);
	pthread_mutex_unlock(&box->lock);
	dir_list_add(list, name, (struct node){ .kind = DIR_BOX, .box = box->id }, S_IFDIR);
	return 0;
}

static int root_list(struct ctx *ctx, struct dir_list *list)
{
	(void)ctx;
	return boxes_each(false, list_box, list);
}

static int root_attr(struct ctx *ctx, struct stat *st)
{
	(void)ctx;
	st->st_uid = the_options.root_owner;
	st->st_gid = the_options.root_group;
	st->st_mode = S_IFDIR | the_options.root_mode;
	st->st_nlink = 2 + boxes_count();
	return 0;
}

static int refuse_mkdir(struct ctx *ctx, const char *name, int error)
{
	switch (error) {
	case -EINVAL:
		tree_refuse(
			ctx,
			"mkdir %s: a name has 1 to 63 bytes of UTF-8, no control characters, no "
			"leading dot, no blank at either end",
			name);
		break;
	case -EDQUOT:
		tree_refuse(ctx,
			    "mkdir %s: there are as many boxes as max_boxes (%llu) or "
			    "max_boxes_per_user (%llu) allow; remove one",
			    name, (unsigned long long)the_options.max_boxes,
			    (unsigned long long)the_options.max_boxes_per_user);
		break;
	case -EACCES:
		tree_refuse(ctx,
			    "mkdir %s: the root directory belongs to uid %u; see root_owner and "
			    "root_mode in sandboxfs.ini(5)",
			    name, the_options.root_owner);
		break;
	case -EEXIST:
		break;
	default:
		tree_refuse(ctx, "mkdir %s: %s", name, strerror(-error));
	}
	return error;
}

static int root_mkdir(struct ctx *ctx, const char *name, mode_t mode, struct child *child)
{
	_cleanup_box_ struct box *box = NULL;
	int r = perm_root(ctx, PERM_W | PERM_X);

	if (r == 0)
		r = box_create(name, ctx->uid, ctx->gid, mode & 0700, &box);
	if (r < 0)
		return refuse_mkdir(ctx, name, r);
	*child = (struct child){ .node = { .kind = DIR_BOX, .box = box->id } };
	return 0;
}

/* Write permission on the root, and with the sticky bit the box must be his. */
int root_may_change(struct ctx *ctx, struct box *box)
{
	struct ctx of_box = *ctx;

	of_box.box = box;
	if (perm_root(ctx, PERM_W | PERM_X) < 0)
		return -EACCES;
	if (ctx->uid != the_options.root_owner && !perm_owns(&of_box))
		return -EPERM;
	return 0;
}

static int root_rmdir(struct ctx *ctx, const char *name)
{
	_cleanup_box_ struct box *box = box_find(name);
	int r;

	if (!box) {
		if (!strcmp(name, ".sandboxfs")) {
			tree_refuse(ctx, "rmdir .sandboxfs: it is part of the mount");
			return -EPERM;
		}
		return -ENOENT;
	}
	r = root_may_change(ctx, box);
	return r < 0 ? r : box_remove(box);
}

static const struct row root_rows[] = {
	{ "README", S_IFREG | 0444, ROW_SIZED, .show = root_readme_show,
	  .help = "how to use the tree" },
	{ "why", S_IFREG | 0444, ROW_SIZED, .show = root_why_show,
	  .help = "the last refusals that have no box" },
	{ ".sandboxfs", S_IFDIR | 0755, .dir = DIR_DOT, .help = "the mount itself" },
};

const struct dir_type dir_root = {
	.rows = root_rows,
	.n_rows = ARRAY_SIZE(root_rows),
	.mode = 0755,
	.lookup = root_lookup,
	.list = root_list,
	.attr = root_attr,
	.mkdir = root_mkdir,
	.rmdir = root_rmdir,
	.hint = "here one makes boxes: mkdir NAME",
};
