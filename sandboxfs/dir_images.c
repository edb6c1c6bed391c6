/* SPDX-License-Identifier: MIT */
/*
 * .sandboxfs/images: one file for each imported image. Reading it tells what it is; an archive
 * written to a new name becomes an image, and the close tells how that went; rm takes it away.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "images.h"
#include "import.h"
#include "perm.h"

static bool may_change(const struct ctx *ctx)
{
	return ctx->uid == 0 || (the_options.image_group &&
				 perm_in_group(ctx->gid, ctx->pid, the_options.image_group));
}

static int refuse_change(struct ctx *ctx, const char *name)
{
	tree_refuse(ctx,
		    "images/%s: images are root's to add and remove, and those of image_group in "
		    "sandboxfs.ini(5)",
		    name);
	return -EACCES;
}

static struct node node_of(uint32_t id)
{
	return (struct node){ .kind = DIR_IMAGES, .row = ROW_DYNAMIC, .item = id };
}

/* --- the files ----------------------------------------------------------------------------------- */

static int image_show(struct ctx *ctx, struct text *out)
{
	int r = images_describe(ctx->node.item, out);

	if (r == -EAGAIN) {
		text_add_str(out, "kind = importing\n");
		r = 0;
	}
	return r;
}

static int image_attr(struct ctx *ctx, struct stat *st)
{
	enum image_state state = images_state(ctx->node.item);

	if (state == IMAGE_NONE)
		return -ESTALE;
	st->st_gid = the_options.image_group;
	st->st_mtim.tv_sec = images_time_us(ctx->node.item) / 1000000;
	st->st_mtim.tv_nsec = 0;
	st->st_ctim = st->st_mtim;
	if (state != IMAGE_READY)
		st->st_size = 0; /* so that what copies to it does not think it is there */
	return 0;
}

/* Why an image cannot be written. */
static int refuse_write(struct ctx *ctx, int error)
{
	char name[64];

	if (!images_name(ctx->node.item, name))
		return -ESTALE;
	if (error == -EEXIST)
		tree_refuse(ctx, "images/%s is there already; rm it first, or take another name",
			    name);
	else if (error == -EBUSY)
		tree_refuse(ctx, "images/%s is being imported", name);
	return error;
}

static int image_open(struct ctx *ctx, struct handle *h)
{
	int r;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return images_state(ctx->node.item) == IMAGE_NONE ? -ESTALE : 0;
	if (!may_change(ctx)) {
		char name[64];

		return images_name(ctx->node.item, name) ? refuse_change(ctx, name) : -ESTALE;
	}
	r = images_begin(ctx->node.item);
	if (r < 0)
		return refuse_write(ctx, r);
	r = import_open(ctx, h);
	if (r < 0)
		images_drop(ctx->node.item);
	return r;
}

static int image_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	return handle_reply_rendered(ctx, h, size, offset);
}

static bool writes(const struct handle *h)
{
	return (h->flags & O_ACCMODE) != O_RDONLY;
}

static int image_write(struct ctx *ctx, struct handle *h, const char *data, size_t size,
		       off_t offset)
{
	return writes(h) ? import_write(ctx, h, data, size, offset) : -EBADF;
}

static void image_resize(struct ctx *ctx, uint64_t size)
{
	if (may_change(ctx))
		import_extend(ctx->node.item, size);
}

static int image_flush(struct ctx *ctx, struct handle *h)
{
	return writes(h) ? import_flush(ctx, h) : 0;
}

static void image_release(struct handle *h)
{
	if (writes(h))
		import_release(h);
}

static const struct row_ops image_ops = {
	.open = image_open,
	.read = image_read,
	.write_at = image_write,
	.resize = image_resize,
	.flush = image_flush,
	.release = image_release,
};

static const struct row image_row = {
	"",
	S_IFREG | 0664,
	ROW_SIZED | ROW_RIGHTS,
	.show = image_show,
	.attr = image_attr,
	.ops = &image_ops,
};

/* --- the directory ------------------------------------------------------------------------------- */

static int images_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	uint32_t id = images_find(name);

	(void)ctx;
	if (!id)
		return -ENOENT;
	*child = (struct child){ .node = node_of(id) };
	return 0;
}

static void list_one(uint32_t id, const char *name, void *list)
{
	dir_list_add(list, name, node_of(id), S_IFREG);
}

static int images_list(struct ctx *ctx, struct dir_list *list)
{
	(void)ctx;
	images_each(list_one, list);
	return 0;
}

static int images_attr(struct ctx *ctx, struct stat *st)
{
	(void)ctx;
	if (the_options.image_group) {
		st->st_gid = the_options.image_group;
		st->st_mode |= S_IWGRP;
	}
	return 0;
}

static int images_create(struct ctx *ctx, const char *name, struct child *child)
{
	uint32_t id;
	int r = may_change(ctx) ? images_reserve(name, &id) : refuse_change(ctx, name);

	switch (r) {
	case 0:
		*child = (struct child){ .node = node_of(id) };
		break;
	case -EEXIST:
		tree_refuse(ctx, "images/%s: host is this machine's own software", name);
		break;
	case -EINVAL:
		tree_refuse(
			ctx,
			"images/%s: a name has 1 to 63 bytes of UTF-8, no control characters, no "
			"leading dot, no blank at either end",
			name);
		break;
	case -EDQUOT:
		tree_refuse(ctx, "images/%s: there are too many images", name);
		break;
	default:
		break;
	}
	return r;
}

static int images_unlink(struct ctx *ctx, const char *name)
{
	_cleanup_text_ struct text users = { 0 };
	int r = may_change(ctx) ? images_remove(name, &users) : refuse_change(ctx, name);

	if (r == -EBUSY && users.len)
		tree_refuse(ctx, "rm images/%s: boxes are made from it: %s", name, users.data);
	else if (r == -EBUSY)
		tree_refuse(ctx, "rm images/%s: it is being imported or removed", name);
	if (r == 0)
		daemon_run_later(images_tidy);
	return r;
}

const struct dir_type dir_images = {
	.mode = 0755,
	.lookup = images_lookup,
	.list = images_list,
	.attr = images_attr,
	.create = images_create,
	.unlink = images_unlink,
	.dynamic = &image_row,
	.hint = "cp ARCHIVE .sandboxfs/images/NAME imports an image (a layout that is a folder: "
		"tar -C LAYOUT -c . >images/NAME); rm takes it away",
};
