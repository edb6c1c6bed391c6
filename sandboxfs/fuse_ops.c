/* SPDX-License-Identifier: MIT */
/*
 * Requests on nodes as such: lookup, attributes, links, extended attributes. Each request is
 * answered exactly once. No locks of its own.
 */
#include "fuse_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "alias.h"
#include "base/cleanup.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "fuse_wire.h"
#include "perm.h"

int ctx_begin(struct ctx *ctx, fuse_req_t req, fuse_ino_t ino)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);

	*ctx = (struct ctx){
		.req = req, .uid = caller->uid, .gid = caller->gid, .pid = caller->pid
	};
	ctx->node = alias_resolve(ino, &ctx->view);
	if (!ctx->node.kind || ctx->node.kind >= N_DIR_KINDS)
		return -ESTALE;
	if (!ctx->node.box)
		return 0;
	ctx->box = box_get(ctx->node.box);
	if (!ctx->box)
		return -ESTALE;
	/* A removed box is seen in the trash only. */
	if (ctx->box->removed != (ctx->node.kind == DIR_TRASHED)) {
		ctx_end(ctx);
		return -ESTALE;
	}
	return 0;
}

void ctx_end(struct ctx *ctx)
{
	if (ctx->box)
		box_put(ctx->box);
	ctx->box = NULL;
}

int dir_may(struct ctx *ctx, int mask)
{
	if (ctx->node.kind == DIR_ROOT)
		return perm_root(ctx, mask);
	if (!ctx->box)
		return mask & PERM_W ? -EACCES : 0;
	if (ctx->node.kind == DIR_BOX || ctx->node.kind == DIR_TRASHED)
		return perm_box(ctx, mask);
	return perm_entry(ctx, dir_types[ctx->node.kind]->mode >> 6 & 7, mask);
}

/* --- entries ---------------------------------------------------------------------------------------- */

int entry_fill(struct ctx *ctx, const struct child *child, struct fuse_entry_param *entry)
{
	struct ctx of_child = *ctx;
	const struct row *row;
	int r;

	*entry = (struct fuse_entry_param){ 0 };
	of_child.node = child->node;
	of_child.box = child->node.box ? box_get(child->node.box) : NULL;
	if (child->node.box && !of_child.box)
		return -ENOENT;
	*entry = (struct fuse_entry_param){ .ino = node_id(child->node) };
	row = tree_row(child->node);
	of_child.view = row && row->view ? row->view(&of_child) : 0;
	r = tree_attr(&of_child, &entry->attr);
	ctx_end(&of_child);
	if (r < 0)
		return r == -ESTALE ? -ENOENT : r;
	/* A node below another has no id of its own. */
	if (child->node.sub)
		of_child.view = child->node.sub;
	/* sendfile takes size 0 for the end and asks nobody. It is to ask, and hears in ops_read()
	 * that it must read. Whoever wants to know the size asks GETATTR. */
	if (row && S_ISREG(row->mode) && !entry->attr.st_size)
		entry->attr.st_size = 1;
	if (of_child.view)
		entry->ino = alias_of_view(child->node, of_child.view);
	if (row && (row->flags & ROW_FRESH)) {
		entry->ino = alias_new(child->node);
		entry->attr.st_ino = tree_ino(entry->ino);
	}
	return entry->ino ? 0 : -ENOMEM;
}

void entry_reply(struct ctx *ctx, const struct child *child)
{
	struct fuse_entry_param entry;
	int r;

	if (child->volume) {
		files_reply_root(ctx->req, child->volume);
		return;
	}
	r = entry_fill(ctx, child, &entry);
	if (r < 0)
		fuse_reply_err(ctx->req, -r);
	else if (fuse_reply_entry(ctx->req, &entry) == -ENOENT)
		alias_forget(entry.ino, 1);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct child child = { 0 };
	struct ctx ctx;
	int r;

	if (files_owns(parent)) {
		files_ops.lookup(req, parent, name);
		return;
	}
	r = ctx_begin(&ctx, req, parent);
	if (r == 0)
		r = dir_may(&ctx, PERM_X);
	if (r == 0)
		r = tree_lookup(&ctx, name, &child);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		entry_reply(&ctx, &child);
	ctx_end(&ctx);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	if (files_owns(ino)) {
		files_ops.forget(req, ino, nlookup);
		return;
	}
	alias_forget(ino, nlookup);
	fuse_reply_none(req);
}

static int attr_of(struct ctx *ctx, fuse_ino_t ino, struct stat *st)
{
	int r = tree_attr(ctx, st);

	/* All views of a file are one file. */
	if (!ctx->view)
		st->st_ino = tree_ino(ino);
	return r;
}

/* The end of a request that is answered with the node's attributes, or with r < 0. */
static void finish_with_attr(struct ctx *ctx, fuse_ino_t ino, int r)
{
	struct stat st;

	if (r == 0)
		r = attr_of(ctx, ino, &st);
	if (r < 0)
		fuse_reply_err(ctx->req, -r);
	else
		fuse_reply_attr(ctx->req, &st, 0);
	ctx_end(ctx);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctx ctx;

	if (files_owns(ino))
		files_ops.getattr(req, ino, fi);
	else
		finish_with_attr(&ctx, ino, ctx_begin(&ctx, req, ino));
}

static int set_attributes(struct ctx *ctx, const struct stat *wanted, int to_set)
{
	const struct dir_type *dir = dir_types[ctx->node.kind];
	const int owner_or_mode = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
	const struct row *row = tree_row(ctx->node);

	if (ctx->node.row == ROW_SELF && dir->setattr)
		return dir->setattr(ctx, wanted, to_set);
	if ((to_set & FUSE_SET_ATTR_SIZE) && row && row->ops && row->ops->resize)
		row->ops->resize(ctx, (uint64_t)wanted->st_size);
	if (!(to_set & owner_or_mode))
		return 0; /* truncation and times have no meaning here and do no harm */
	if (!ctx->box)
		tree_refuse(ctx,
			    "owner and mode here come from root_owner, root_group and root_mode: "
			    "see sandboxfs.ini(5)");
	else
		tree_refuse(
			ctx,
			"owner and mode of control entries follow those of the box's directory: "
			"chmod and chown that");
	return -EPERM;
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
			struct fuse_file_info *fi)
{
	struct ctx ctx;
	int r;

	if (files_owns(ino)) {
		files_ops.setattr(req, ino, wanted, to_set, fi);
		return;
	}
	r = ctx_begin(&ctx, req, ino);
	if (r == 0)
		r = set_attributes(&ctx, wanted, to_set);
	finish_with_attr(&ctx, ino, r);
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	_cleanup_text_ struct text target = { 0 };
	const struct row *row;
	struct ctx ctx;
	int r;

	if (files_owns(ino)) {
		files_ops.readlink(req, ino);
		return;
	}
	r = ctx_begin(&ctx, req, ino);
	row = r == 0 ? tree_row(ctx.node) : NULL;
	if (r == 0)
		r = row && row->link ? row->link(&ctx, &target) : -EINVAL;
	if (r == 0 && (target.failed || !target.len))
		r = -ENOMEM;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_readlink(req, target.data);
	ctx_end(&ctx);
}

static void ops_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct stat st;
	struct ctx ctx;
	int r;

	if (files_owns(ino)) {
		files_ops.access(req, ino, mask);
		return;
	}
	r = ctx_begin(&ctx, req, ino);
	if (r == 0)
		r = tree_attr(&ctx, &st);
	/* What cannot be written cannot by root either. */
	if (r == 0 && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode) &&
	    ((int)(st.st_mode >> 6 & 7) & mask) != mask)
		r = -EACCES;
	if (r == 0 && ctx.box && ctx.node.kind != DIR_BOX && ctx.node.kind != DIR_TRASHED)
		r = perm_box(&ctx, PERM_X);
	if (r == 0 && !perm_mode(ctx.uid, ctx.gid, ctx.pid, st.st_uid, st.st_gid, st.st_mode, mask))
		r = -EACCES;
	fuse_reply_err(req, -r);
	ctx_end(&ctx);
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = 63 };

	if (ino && files_owns(ino))
		files_ops.statfs(req, ino);
	else
		fuse_reply_statfs(req, &st);
}

/* Never ENOSYS: the kernel would not ask again for the whole mount. */
static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (files_owns(ino))
		files_ops.getxattr(req, ino, name, size);
	else
		fuse_reply_err(req, ENODATA);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	if (files_owns(ino))
		files_ops.listxattr(req, ino, size);
	else if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			 size_t size, int flags)
{
	if (files_owns(ino))
		files_ops.setxattr(req, ino, name, value, size, flags);
	else
		fuse_reply_err(req, ENOTSUP);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	if (files_owns(ino))
		files_ops.removexattr(req, ino, name);
	else
		fuse_reply_err(req, ENOTSUP);
}

/* --- what only files have ----------------------------------------------------------------------------- */

static void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.fsync(req, ino, datasync, fi);
	else
		fuse_reply_err(req, 0);
}

static void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.fsyncdir(req, ino, datasync, fi);
	else
		fuse_reply_err(req, 0);
}

static void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	if (files_owns(ino))
		files_ops.getlk(req, ino, fi, lock);
	else
		fuse_reply_err(req, ENOLCK);
}

static void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		      int sleep)
{
	if (files_owns(ino))
		files_ops.setlk(req, ino, fi, lock, sleep);
	else
		fuse_reply_err(req, ENOLCK);
}

static void ops_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	if (files_owns(ino))
		files_ops.flock(req, ino, fi, op);
	else
		fuse_reply_err(req, ENOLCK);
}

static void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			  struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.fallocate(req, ino, mode, offset, length, fi);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

static void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
				struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
				struct fuse_file_info *fi_out, size_t len, int flags)
{
	if (files_owns(ino_in) && files_owns(ino_out))
		files_ops.copy_file_range(req, ino_in, off_in, fi_in, ino_out, off_out, fi_out, len,
					  flags);
	else
		fuse_reply_err(req, EXDEV); /* the caller copies by read and write */
}

static void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		      struct fuse_file_info *fi)
{
	if (files_owns(ino))
		files_ops.lseek(req, ino, offset, whence, fi);
	else
		fuse_reply_err(req, EINVAL);
}

static void ops_init(void *user, struct fuse_conn_info *conn)
{
	(void)user;
	conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
	files_want_capabilities(conn);
}

const struct fuse_lowlevel_ops sandboxfs_ops = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.readlink = ops_readlink,
	.mknod = ops_mknod,
	.mkdir = ops_mkdir,
	.unlink = ops_unlink,
	.rmdir = ops_rmdir,
	.symlink = ops_symlink,
	.rename = ops_rename,
	.link = ops_link,
	.open = ops_open,
	.create = ops_create,
	.read = ops_read,
	.write_buf = ops_write_buf,
	.flush = ops_flush,
	.release = ops_release,
	.fsync = ops_fsync,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.releasedir = ops_releasedir,
	.fsyncdir = ops_fsyncdir,
	.statfs = ops_statfs,
	.setxattr = ops_setxattr,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
	.removexattr = ops_removexattr,
	.access = ops_access,
	.getlk = ops_getlk,
	.setlk = ops_setlk,
	.flock = ops_flock,
	.poll = ops_poll,
	.ioctl = ops_ioctl,
	.fallocate = ops_fallocate,
	.copy_file_range = ops_copy_file_range,
	.lseek = ops_lseek,
};
