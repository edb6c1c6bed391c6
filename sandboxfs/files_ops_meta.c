/* SPDX-License-Identifier: MIT */
/*
 * What an object is: attributes, extended attributes, access, statfs.
 *
 * chown to the owner that is shown anyway succeeds and does nothing; to anybody else it is EINVAL:
 * from outside all is the owner's, and ids inside are the box's own affair. Extended attributes
 * pass in the user namespace only; others are answered as absent or unsupported, never ENOSYS,
 * which would turn the operation off for the whole mount.
 *
 * Must not open anything but regular files, and those only to truncate them. No locks held.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The open file of a request, NULL if it has none. */
static struct open_file *file_of(const struct files_inode *inode, const struct fuse_file_info *fi)
{
	return fi && S_ISREG(inode->type) ? (struct open_file *)(uintptr_t)fi->fh : NULL;
}

static void veiled_stat(struct call *c, struct stat *st)
{
	const struct files_inode *inode = c->inode;
	struct statx stx = {
		.stx_mode = S_ISDIR(inode->type) ? S_IFDIR | 0555 : S_IFREG,
		.stx_nlink = S_ISDIR(inode->type) ? 2 : 1,
		.stx_ino = inode->ino,
		.stx_dev_major = major(inode->dev),
		.stx_dev_minor = minor(inode->dev),
		.stx_blksize = 4096,
	};

	show_attr(c, inode, -1, &stx, st);
}

/* Attributes by an open file's descriptor or an anchor. */
static int get_attr(struct call *c, const struct open_file *file, struct stat *st)
{
	_cleanup_anchor_ struct anchor *a = NULL;
	struct statx stx;
	int fd, r;

	if (c->inode->veiled) {
		veiled_stat(c, st);
		return 0;
	}
	if (file) {
		fd = file->fd;
	} else {
		r = anchor_find(c, c->inode, &a);
		if (r < 0)
			return r;
		fd = a->fd;
	}
	r = stat_fd(c->inode, fd, &stx);
	if (r == 0)
		show_attr(c, c->inode, fd, &stx, st);
	return r;
}

void files_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	_cleanup_call_ struct call c = { 0 };
	struct stat st;
	int r = call_begin(&c, req, ino);

	if (r == 0)
		r = get_attr(&c, file_of(c.inode, fi), &st);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_attr(&c, c.inode, &st);
}

static int set_mode(struct call *c, const struct anchor *a, mode_t mode)
{
	char path[32];

	if (S_ISLNK(c->inode->type))
		return -EOPNOTSUPP;
	return as_box_root(c->id_base, a->fd, chmod(proc_path(path, a->fd), mode & 07777));
}

static int set_owner(const struct call *c, const struct stat *attr, int to_set)
{
	if ((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != atomic_load(&c->vol->uid))
		return -EINVAL;
	if ((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != atomic_load(&c->vol->gid))
		return -EINVAL;
	return 0;
}

static int set_size(struct call *c, const struct anchor *a, const struct open_file *file,
		    off_t size)
{
	_cleanup_close_ int own = -1;
	int fd;

	if (file && (atomic_load(&file->flags) & O_ACCMODE) != O_RDONLY) {
		fd = file->fd;
	} else {
		own = open_data(c, a, O_WRONLY);
		if (own < 0)
			return own;
		fd = own;
	}
	return as_box_root(c->id_base, fd, ftruncate(fd, size));
}

static int set_times(struct call *c, const struct anchor *a, const struct stat *attr, int to_set)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		t[0] = attr->st_atim;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_MTIME)
		t[1] = attr->st_mtim;
	return as_box_root(c->id_base, a->fd, utimensat(a->fd, "", t, AT_EMPTY_PATH));
}

/* Who is neither owner nor root may set the size of what he may write, and touch it. */
static int may_set(struct call *c, const struct anchor *a, const struct open_file *file, int to_set)
{
	const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME;
	const int now = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;

	if (c->owner)
		return 0;
	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		return -EPERM;
	if ((to_set & times) && (to_set & now) != (to_set & times) << 3)
		return -EPERM;
	if (file && (atomic_load(&file->flags) & O_ACCMODE) != O_RDONLY &&
	    !(to_set & (times | now)))
		return 0;
	return ids_check_anchor(c, a, MAY_W);
}

static int set_attr(struct call *c, const struct stat *attr, int to_set,
		    const struct open_file *file)
{
	const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
			  FUSE_SET_ATTR_MTIME_NOW;
	_cleanup_anchor_ struct anchor *a = NULL;
	int r = 0;

	if (file) {
		a = file->anchor;
		anchor_get(a);
		c->id_base = file->ground->id_base;
	} else {
		r = anchor_find(c, c->inode, &a);
	}
	if (r == 0)
		r = may_set(c, a, file, to_set);
	if (r == 0)
		r = set_owner(c, attr, to_set);
	if (r == 0 && (to_set & FUSE_SET_ATTR_MODE))
		r = set_mode(c, a, attr->st_mode);
	if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE))
		r = set_size(c, a, file, attr->st_size);
	if (r == 0 && (to_set & times))
		r = set_times(c, a, attr, to_set);
	return r;
}

void files_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		      struct fuse_file_info *fi)
{
	_cleanup_call_ struct call c = { 0 };
	struct open_file *file;
	struct stat st;
	bool closes_names;
	int r = call_begin(&c, req, ino);

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	file = file_of(c.inode, fi);
	closes_names =
		S_ISDIR(c.inode->type) && (to_set & FUSE_SET_ATTR_MODE) && call_timeout(&c) > 0;
	r = set_attr(&c, attr, to_set, file);
	if (r == 0)
		r = get_attr(&c, file, &st);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_attr(&c, c.inode, &st);
	if (closes_names) /* names in it may have to be asked for from now on */
		name_cache_reset();
}

void files_op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	_cleanup_call_ struct call c = { 0 };
	struct stat st = { 0 };
	int r = call_begin(&c, req, ino);

	if (r == 0)
		r = get_attr(&c, NULL, &st);
	if (r == 0 && c.inode->veiled && (mask & W_OK))
		r = -EROFS;
	if (r == 0)
		r = ids_check(&c, st.st_mode, mask & (MAY_R | MAY_W | MAY_X));
	if (r == 0 && (mask & X_OK) && S_ISREG(st.st_mode) && !(st.st_mode & 0111))
		r = -EACCES;
	fuse_reply_err(req, -r);
}

/* Of a box's own file system only: other mounts in it are not limited. */
static void show_limits(struct call *c, struct statvfs *fs)
{
	uint64_t bytes = atomic_load(&c->vol->max_bytes);
	uint64_t inodes = atomic_load(&c->vol->max_inodes);

	if (!inode_is_root(c->inode) && c->inode->dev != c->ground->dev)
		return;
	if (bytes && bytes / fs->f_frsize < fs->f_blocks) {
		fs->f_blocks = bytes / fs->f_frsize;
		fs->f_bavail = MIN(fs->f_bavail, fs->f_blocks);
		fs->f_bfree = fs->f_bavail;
	}
	if (inodes && inodes < fs->f_files) {
		fs->f_files = inodes;
		fs->f_ffree = fs->f_favail = MIN(fs->f_ffree, inodes);
	}
}

void files_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	struct statvfs fs;
	int r = call_begin(&c, req, ino);

	if (r == 0)
		r = anchor_find(&c, c.inode->veiled ? c.vol->root : c.inode, &a);
	if (r == 0 && fstatvfs(a->fd, &fs) < 0)
		r = -errno;
	if (r < 0)
		fuse_reply_err(req, -r);
	if (r == 0) {
		show_limits(&c, &fs);
		fuse_reply_statfs(req, &fs);
	}
}

/* 0 where the attribute may pass, otherwise what to say about it. */
static int xattr_refusal(const struct files_inode *inode, const char *name, bool reading)
{
	bool is_user = !strncmp(name, "user.", 5) && name[5];

	if (is_user && !inode->veiled && (S_ISREG(inode->type) || S_ISDIR(inode->type)))
		return 0;
	if (reading && (is_user || !strcmp(name, "security.capability")))
		return -ENODATA;
	return is_user ? -EPERM : -EOPNOTSUPP;
}

/* Begins a call on an extended attribute: 0 with an anchor, or -errno. */
static int xattr_begin(struct call *c, fuse_req_t req, fuse_ino_t ino, const char *name, int may,
		       struct anchor **a)
{
	int r = call_begin(c, req, ino);

	if (r == 0 && name)
		r = xattr_refusal(c->inode, name, may == MAY_R);
	if (r == 0)
		r = anchor_find(c, c->inode, a);
	if (r == 0)
		r = ids_check_anchor(c, *a, may);
	return r;
}

void files_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		       size_t size, int flags)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	char path[32];
	int r = xattr_begin(&c, req, ino, name, MAY_W, &a);

	if (r == 0)
		r = as_box_root(c.id_base, a->fd,
				setxattr(proc_path(path, a->fd), name, value, size, flags));
	fuse_reply_err(req, -r);
}

void files_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	char path[32];
	int r = xattr_begin(&c, req, ino, name, MAY_W, &a);

	if (r == 0)
		r = as_box_root(c.id_base, a->fd, removexattr(proc_path(path, a->fd), name));
	fuse_reply_err(req, -r);
}

static void reply_xattr(fuse_req_t req, long r, const char *value, size_t size)
{
	if (r < 0)
		fuse_reply_err(req, (int)-r);
	else if (!size)
		fuse_reply_xattr(req, r);
	else if ((size_t)r > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, r);
}

void files_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	_cleanup_free_ char *value = size ? malloc(size) : NULL;
	char path[32];
	long r = xattr_begin(&c, req, ino, name, MAY_R, &a);

	if (r == 0 && size && !value)
		r = -ENOMEM;
	if (r == 0)
		r = as_box_root(c.id_base, a->fd,
				getxattr(proc_path(path, a->fd), name, value, size));
	reply_xattr(req, r, value, size);
}

/* Keeps the names that may be read, in place; the new length. */
static size_t keep_user_names(char *list, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		size_t n = strnlen(list + at, len - at) + 1;

		if (!strncmp(list + at, "user.", 5) && at + n <= len) {
			memmove(list + kept, list + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

void files_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	_cleanup_free_ char *list = malloc(XATTR_LIST_MAX);
	char path[32];
	long r = xattr_begin(&c, req, ino, NULL, 0, &a);

	if (r == -EROFS || (r == 0 && !S_ISREG(c.inode->type) && !S_ISDIR(c.inode->type))) {
		reply_xattr(req, 0, list, size); /* veiled, or of a kind that has none */
		return;
	}
	if (r == 0 && !list)
		r = -ENOMEM;
	if (r == 0)
		r = as_box_root(c.id_base, a->fd,
				listxattr(proc_path(path, a->fd), list, XATTR_LIST_MAX));
	if (r > 0)
		r = (long)keep_user_names(list, r);
	reply_xattr(req, r, list, size);
}
