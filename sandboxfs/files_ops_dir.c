/* SPDX-License-Identifier: MIT */
/*
 * Operations that change a directory. What is made from outside belongs to the box's root.
 *
 * Regular files, FIFOs and sockets may be made; device nodes are EPERM. A FIFO is answered with an
 * inode of type FIFO (the kernel insists), which no lookup finds again: the next one sees a socket
 * (files_lookup.c). Mount points of the box are neither removed nor replaced: removing the
 * directory below one would silently detach the mount.
 *
 * Must not touch two volumes in one request (EXDEV). No locks held across the calls; places are
 * brought up to date afterwards in one step (files_inode.c).
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Begins a change in the directory ino by the caller: 0 with its anchor, or -errno. */
static int change_begin(struct call *c, fuse_req_t req, fuse_ino_t ino, struct anchor **at)
{
	int r = call_begin(c, req, ino);

	if (r == 0)
		r = anchor_find(c, c->inode, at); /* EROFS for a veiled one */
	if (r == 0)
		r = ids_check_anchor(c, *at, MAY_W | MAY_X);
	return r;
}

/* Answers with what is called name now, or with the failure r. */
static void reply_made(struct call *c, const struct anchor *at, const char *name, int r)
{
	_cleanup_found_ struct found found = { .fd = -1 };
	struct fuse_entry_param entry;

	if (r == 0)
		r = look_up(c, c->inode, at, name, &found);
	if (r == 0)
		r = show_entry(c, c->inode, at, name, &found, &entry);
	if (r < 0)
		fuse_reply_err(c->req, -r);
	else
		reply_entry(c, &entry);
}

static void reply_made_fifo(struct call *c, const struct anchor *at, const char *name)
{
	_cleanup_found_ struct found found = { .fd = -1 };
	struct fuse_entry_param entry;
	int r = look_up(c, c->inode, at, name, &found);

	if (r == 0) {
		found.stx.stx_mode = (found.stx.stx_mode & ~S_IFMT) | S_IFIFO;
		r = show_entry(c, c->inode, at, name, &found, &entry);
	}
	if (r < 0) {
		fuse_reply_err(c->req, -r);
		return;
	}
	entry.entry_timeout = 0;
	reply_entry(c, &entry);
}

void files_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	int r = change_begin(&c, req, parent, &at);

	(void)rdev;
	if (r == 0 && (S_ISCHR(mode) || S_ISBLK(mode)))
		r = -EPERM;
	if (r == 0)
		r = as_box_root(c.id_base, at->fd, mknodat(at->fd, name, mode, 0));
	if (r == 0 && S_ISFIFO(mode))
		reply_made_fifo(&c, at, name);
	else
		reply_made(&c, at, name, r);
}

void files_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	int r = change_begin(&c, req, parent, &at);

	if (r == 0)
		r = as_box_root(c.id_base, at->fd, mkdirat(at->fd, name, mode & 07777));
	reply_made(&c, at, name, r);
}

void files_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	char stored[PATH_MAX];
	int r = change_begin(&c, req, parent, &at);

	if (r == 0)
		r = symlink_store(c.vol->kind, inode_depth(c.inode), target, stored);
	if (r == 0)
		r = as_box_root(c.id_base, at->fd, symlinkat(stored, at->fd, name));
	reply_made(&c, at, name, r);
}

void files_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL, *object = NULL;
	struct files_inode *inode;
	char path[32];
	int r;

	if (!files_owns(ino) || !files_owns(new_parent) ||
	    inode_of(ino)->vol != inode_of(new_parent)->vol) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	inode = inode_of(ino);
	r = change_begin(&c, req, new_parent, &at);
	if (r == 0)
		r = anchor_find(&c, inode, &object);
	/* As fs.protected_hardlinks: only what one may read and write anyway. */
	if (r == 0 && ids_check_anchor(&c, object, MAY_R | MAY_W) < 0)
		r = -EPERM;
	if (r == 0)
		r = as_box_root(c.id_base, object->fd,
				linkat(AT_FDCWD, proc_path(path, object->fd), at->fd, new_name,
				       AT_SYMLINK_FOLLOW));
	reply_made(&c, at, new_name, r);
}

/*
 * In a sticky directory only the owner removes. All objects are the box owner's, so nobody else
 * may, whatever the mode.
 */
static int check_sticky(const struct call *c, const struct anchor *at)
{
	struct statx stx;

	if (c->owner)
		return 0;
	if (statx(at->fd, "", AT_EMPTY_PATH, STATX_MODE, &stx) < 0)
		return -errno;
	return stx.stx_mode & S_ISVTX ? -EPERM : 0;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	int r = change_begin(&c, req, parent, &at);

	if (r == 0)
		r = check_sticky(&c, at);
	if (r == 0)
		r = look_refuse_mount(c.inode, at, name);
	if (r == 0)
		r = as_box_root(c.id_base, at->fd, unlinkat(at->fd, name, flags));
	fuse_reply_err(req, -r);
}

void files_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 0);
}

void files_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, AT_REMOVEDIR);
}

/* Both directories, checked; c is begun on the first. */
static int rename_begin(struct call *c, fuse_ino_t new_parent, const char *name,
			const char *new_name, const struct anchor *at, struct anchor **new_at)
{
	int r = anchor_find(c, inode_of(new_parent), new_at);

	if (r == 0)
		r = ids_check_anchor(c, *new_at, MAY_W | MAY_X);
	if (r == 0)
		r = check_sticky(c, at);
	if (r == 0)
		r = check_sticky(c, *new_at);
	if (r == 0)
		r = look_refuse_mount(c->inode, at, name);
	if (r == 0)
		r = look_refuse_mount(inode_of(new_parent), *new_at, new_name);
	return r;
}

void files_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		     const char *new_name, unsigned int flags)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL, *new_at = NULL;
	_cleanup_free_ char *own_name = strdup(name), *own_new_name = strdup(new_name);
	int r;

	if (!files_owns(parent) || !files_owns(new_parent) ||
	    inode_of(parent)->vol != inode_of(new_parent)->vol) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	r = change_begin(&c, req, parent, &at);
	if (r == 0 && (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		r = -EINVAL;
	if (r == 0 && (!own_name || !own_new_name))
		r = -ENOMEM;
	if (r == 0)
		r = rename_begin(&c, new_parent, name, new_name, at, &new_at);
	if (r == 0)
		r = as_box_root(c.id_base, at->fd,
				renameat2(at->fd, name, new_at->fd, new_name, flags));
	if (r == 0)
		inode_renamed(c.inode, name, inode_of(new_parent), new_name, take_ptr(own_name),
			      take_ptr(own_new_name), flags & RENAME_EXCHANGE);
	fuse_reply_err(req, -r);
}
