/* SPDX-License-Identifier: MIT */
/*
 * Requests that change or list directories of the tree. All are answered at once: the kernel holds
 * the directory meanwhile. (rm mounts/NAME waits for its keeper, which does not wait for a server.)
 * No locks of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "alias.h"
#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "perm.h"

/* Nothing can be made here: EPERM, and a sentence that says what one can do. */
static int refuse_new(struct ctx *ctx, const char *name)
{
	tree_refuse(ctx, "%s: no such entry, and none can be made here; %s", name,
		    dir_types[ctx->node.kind]->hint);
	return -EPERM;
}

static int begin_change(struct ctx *ctx, fuse_req_t req, fuse_ino_t parent)
{
	int r = ctx_begin(ctx, req, parent);

	if (r == 0 && !node_is_dir(ctx->node))
		r = -ENOTDIR;
	/* The root checks its permission itself: it tells why. */
	if (r == 0 && ctx->box)
		r = dir_may(ctx, PERM_W | PERM_X);
	return r;
}

static void finish(struct ctx *ctx, int r)
{
	if (r != TREE_ANSWERED)
		fuse_reply_err(ctx->req, -r);
	ctx_end(ctx);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct child child = { 0 };
	struct ctx ctx;
	int r;

	if (files_owns(parent)) {
		files_ops.mkdir(req, parent, name, mode);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0)
		r = dir_types[ctx.node.kind]->mkdir
			    ? dir_types[ctx.node.kind]->mkdir(&ctx, name, mode, &child)
			    : refuse_new(&ctx, name);
	if (r < 0) {
		finish(&ctx, r);
		return;
	}
	entry_reply(&ctx, &child);
	ctx_end(&ctx);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctx ctx;
	int r;

	if (files_owns(parent)) {
		files_ops.rmdir(req, parent, name);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0)
		r = dir_types[ctx.node.kind]->rmdir ? dir_types[ctx.node.kind]->rmdir(&ctx, name)
						    : -EPERM;
	finish(&ctx, r);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctx ctx;
	int r;

	if (files_owns(parent)) {
		files_ops.unlink(req, parent, name);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0)
		r = dir_types[ctx.node.kind]->unlink ? dir_types[ctx.node.kind]->unlink(&ctx, name)
						     : -EPERM;
	finish(&ctx, r);
}

/* A box gets another name, or comes back from the trash. */
static int rename_box(struct ctx *from, const char *name, struct node to, const char *new_name)
{
	_cleanup_box_ struct box *box = NULL;
	struct ctx of_box = *from;
	bool trashed = from->node.kind == DIR_TRASH;
	int r;

	if (to.kind != DIR_ROOT || (!trashed && from->node.kind != DIR_ROOT)) {
		tree_refuse(from,
			    "mv %s: boxes are renamed within the root or come back from the trash; "
			    "nothing else moves",
			    name);
		return -EPERM;
	}
	box = trashed ? box_find_removed(name) : box_find(name);
	if (!box)
		return trashed ? -ENOENT : refuse_new(from, name);
	of_box.box = box;
	if (trashed && !perm_owns(&of_box))
		return -ENOENT;
	r = root_may_change(from, box);
	if (r == 0)
		r = trashed ? box_restore(box, new_name) : box_rename(box, new_name);
	if (r == -EINVAL)
		tree_refuse(from,
			    "mv %s %s: a name has 1 to 63 bytes of UTF-8, no control characters, "
			    "no leading dot, no blank at either end",
			    name, new_name);
	return r;
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		const char *newname, unsigned int flags)
{
	struct ctx ctx;
	int r;

	if (files_owns(parent) && files_owns(newparent)) {
		files_ops.rename(req, parent, name, newparent, newname, flags);
		return;
	}
	if (files_owns(parent) || files_owns(newparent)) {
		/* Not EXDEV: mv would copy a box's entries, and remove them. */
		fuse_reply_err(req, EPERM);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0 && (flags & ~(unsigned int)RENAME_NOREPLACE))
		r = -EINVAL;
	if (r == 0)
		r = rename_box(&ctx, name, node_of_id(newparent), newname);
	finish(&ctx, r);
}

static int create_child(struct ctx *ctx, const char *name, struct child *child)
{
	const struct dir_type *dir = dir_types[ctx->node.kind];

	if (tree_lookup(ctx, name, child) == 0)
		return -EEXIST;
	return dir->create ? dir->create(ctx, name, child) : refuse_new(ctx, name);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct ctx ctx, of_child;
	struct handle *h = NULL;
	struct child child = { 0 };
	int r;

	if (files_owns(parent)) {
		files_ops.create(req, parent, name, mode, fi);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0)
		r = create_child(&ctx, name, &child);
	if (r == 0)
		r = entry_fill(&ctx, &child, &entry);
	if (r == 0) {
		of_child = ctx;
		of_child.node = child.node;
		r = node_open(&of_child, entry.ino, fi->flags, &h);
		if (r < 0)
			alias_forget(entry.ino, 1);
	}
	if (r < 0) {
		finish(&ctx, r);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->direct_io = 1;
	if (fuse_reply_create(req, &entry, fi) == -ENOENT) {
		handle_put(h);
		alias_forget(entry.ino, 1);
	}
	ctx_end(&ctx);
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct child child = { 0 };
	struct ctx ctx;
	int r;

	if (files_owns(parent)) {
		files_ops.mknod(req, parent, name, mode, rdev);
		return;
	}
	r = begin_change(&ctx, req, parent);
	if (r == 0)
		r = S_ISREG(mode) ? create_child(&ctx, name, &child) : refuse_new(&ctx, name);
	if (r < 0) {
		finish(&ctx, r);
		return;
	}
	entry_reply(&ctx, &child);
	ctx_end(&ctx);
}

static void refuse_entry(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctx ctx;
	int r = begin_change(&ctx, req, parent);

	finish(&ctx, r < 0 ? r : refuse_new(&ctx, name));
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	if (files_owns(parent))
		files_ops.symlink(req, target, parent, name);
	else
		refuse_entry(req, parent, name);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	if (files_owns(ino) && files_owns(newparent))
		files_ops.link(req, ino, newparent, newname);
	else if (files_owns(newparent))
		fuse_reply_err(req, EXDEV);
	else
		refuse_entry(req, newparent, newname);
}

/* --- listing ------------------------------------------------------------------------------------------ */

struct dir_entry {
	char *name;
	uint64_t ino;
	mode_t type;
};

struct dir_list {
	struct dir_entry *entries;
	size_t n, size;
	bool failed;
};

void dir_list_add(struct dir_list *list, const char *name, struct node node, mode_t type)
{
	struct dir_entry *bigger;

	if (list->n == list->size) {
		list->size = list->size ? list->size * 2 : 32;
		bigger = realloc(list->entries, list->size * sizeof(*bigger));
		if (!bigger) {
			list->failed = true;
			list->size = list->n;
			return;
		}
		list->entries = bigger;
	}
	list->entries[list->n] = (struct dir_entry){ strdup(name), node_ino(node), type };
	if (!list->entries[list->n].name)
		list->failed = true;
	else
		list->n++;
}

static void dir_list_free(struct dir_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->entries[i].name);
	free(list->entries);
	free(list);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct dir_list *list;
	struct ctx ctx;
	int r;

	if (files_owns(ino)) {
		files_ops.opendir(req, ino, fi);
		return;
	}
	list = calloc(1, sizeof(*list));
	r = ctx_begin(&ctx, req, ino);
	if (r == 0 && !list)
		r = -ENOMEM;
	if (r == 0)
		r = dir_may(&ctx, PERM_R);
	if (r == 0) {
		dir_list_add(list, ".", ctx.node, S_IFDIR);
		dir_list_add(list, "..", (struct node){ .kind = DIR_ROOT }, S_IFDIR);
		r = tree_list(&ctx, list);
	}
	if (r == 0 && list->failed)
		r = -ENOMEM;
	ctx_end(&ctx);
	if (r < 0) {
		if (list)
			dir_list_free(list);
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)list;
	if (fuse_reply_open(req, fi) == -ENOENT)
		dir_list_free(list);
}

static void list_reply(fuse_req_t req, const struct dir_list *list, size_t size, off_t offset,
		       bool plus)
{
	_cleanup_free_ char *buf = malloc(size);
	size_t used = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (size_t i = (size_t)offset; i < list->n; i++) {
		const struct dir_entry *d = &list->entries[i];
		/* Node id 0 says: look it up if you want to know more. */
		const struct fuse_entry_param entry = {
			.attr = { .st_ino = d->ino, .st_mode = d->type },
		};
		size_t need = plus ? fuse_add_direntry_plus(req, buf + used, size - used, d->name,
							    &entry, (off_t)i + 1)
				   : fuse_add_direntry(req, buf + used, size - used, d->name,
						       &entry.attr, (off_t)i + 1);

		if (need > size - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, buf, used);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.readdir(req, ino, size, offset, fi);
	else
		list_reply(req, (struct dir_list *)(uintptr_t)fi->fh, size, offset, false);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.readdirplus(req, ino, size, offset, fi);
	else
		list_reply(req, (struct dir_list *)(uintptr_t)fi->fh, size, offset, true);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (files_owns(ino)) {
		files_ops.releasedir(req, ino, fi);
		return;
	}
	dir_list_free((struct dir_list *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}
