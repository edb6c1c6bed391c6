/* SPDX-License-Identifier: MIT */
/*
 * From a name to an object of the box, and from an object to what users see of it.
 *
 * One component at a time, from an O_PATH descriptor of the directory, never following a link and
 * never asking for "..": nothing can lead out of the volume. Where a mount begins, its filesystem
 * decides, by descriptor, whether it is entered; otherwise it shows as an empty directory:
 *
 *   workspace   no mount is entered (a bucket is reached through root)
 *   root        overlay, tmpfs (but not /dev), a bucket (FUSE), the box's workspace
 *
 * What is shown: the owner of the box for every object; modes without the set-user-id and
 * set-group-id bits of files (they would come to life in a copy made by `cp -a`; the bits may be
 * set from outside and count inside); a FIFO as a socket. The host's kernel opens a FIFO by itself,
 * without a request, and the opener would wait for ever; a socket fails with ENXIO at once, and
 * find, cp -r, tar, rsync, rm and grep -r pass sockets by. Devices keep their type but not their
 * number; the mount is nodev.
 *
 * Locks: none held; see files_internal.h.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fuse_wire.h"

void cleanup_found(struct found *found)
{
	if (found->fd >= 0)
		close(found->fd);
}

int stat_fd(const struct files_inode *inode, int fd, struct statx *stx)
{
	/* Only a bucket has a server to ask. */
	int flags = AT_EMPTY_PATH | (inode->remote ? 0 : AT_STATX_DONT_SYNC);

	return statx(fd, "", flags, STATX_BASIC_STATS | STATX_MNT_ID, stx) < 0 ? -errno : 0;
}

static bool is_dev_directory(const struct files_inode *dir, const char *name)
{
	return dir->vol->kind == FILES_ROOT && inode_is_root(dir) && !strcmp(name, "dev");
}

static dev_t found_dev(const struct found *found)
{
	return makedev(found->stx.stx_dev_major, found->stx.stx_dev_minor);
}

/*
 * Decides about a mount whose root is found->fd: 0, or -EREMOTE. To ask a filesystem what it is asks
 * the server of a bucket; nothing before that does.
 */
static int judge_mount(struct call *c, struct files_inode *dir, const char *name,
		       const struct files_inode *known, struct found *found)
{
	struct statfs fs;

	found->veiled = true;
	if (c->vol->kind != FILES_ROOT || is_dev_directory(dir, name))
		return 0;
	if (known && !known->remote && known->dev == found_dev(found)) {
		found->veiled = known->veiled;
		return 0;
	}
	if (found_dev(found) == volume_workspace_dev(c->vol->box)) {
		found->veiled = false;
		return 0;
	}
	if (!remote_may_wait())
		return -EREMOTE;
	if (fstatfs(found->fd, &fs) < 0)
		return 0;
	found->remote = fs.f_type == FUSE_SUPER_MAGIC;
	if (found->remote)
		remote_note(found_dev(found));
	if (found->remote || fs.f_type == OVERLAYFS_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC)
		found->veiled = false;
	return 0;
}

void look_take_handle(struct found *found)
{
	union {
		struct file_handle head;
		unsigned char bytes[sizeof(struct file_handle) + HANDLE_BYTES];
	} h;
	int mount_id;

	h.head.handle_bytes = HANDLE_BYTES;
	if (name_to_handle_at(found->fd, "", &h.head, &mount_id, AT_EMPTY_PATH) < 0)
		return;
	found->id.type = h.head.handle_type;
	found->id.len = h.head.handle_bytes;
	memcpy(found->id.bytes, h.head.f_handle, h.head.handle_bytes);
}

int look_up(struct call *c, struct files_inode *dir, const struct anchor *at, const char *name,
	    struct found *found)
{
	return look_up_known(c, dir, at, name, NULL, found);
}

int look_up_known(struct call *c, struct files_inode *dir, const struct anchor *at,
		  const char *name, const struct files_inode *known, struct found *found)
{
	int r;

	*found = (struct found){ .fd = -1, .remote = dir->remote };
	do {
		r = as_box_root(c->id_base, at->fd,
				openat(at->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	} while (r < 0 && anchor_relieve(r));
	if (r < 0)
		return r;
	found->fd = r;
	r = stat_fd(dir, found->fd, &found->stx);
	if (r < 0)
		return r;
	found->mnt = found->stx.stx_mnt_id;
	if (found->mnt != at->mnt) {
		r = judge_mount(c, dir, name, known, found);
		if (r < 0)
			return r;
		if (found->remote && !found->veiled &&
		    statx(found->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found->stx) < 0)
			return -errno;
	}
	if (S_ISDIR(found->stx.stx_mode))
		found->veiled |= volume_is_veil(dir, name);
	if (S_ISFIFO(found->stx.stx_mode))
		found->stx.stx_mode = (found->stx.stx_mode & ~S_IFMT) | S_IFSOCK;
	if (found->veiled) {
		close_fd(&found->fd); /* a descriptor would keep the mount busy */
		found->stx.stx_mode = S_ISDIR(found->stx.stx_mode) ? S_IFDIR | 0555 : S_IFREG;
		found->stx.stx_size = 0;
		found->stx.stx_blocks = 0;
		found->stx.stx_nlink = S_ISDIR(found->stx.stx_mode) ? 2 : 1;
	} else if (c->vol->kind == FILES_WORKSPACE) {
		look_take_handle(found);
	}
	return 0;
}

int look_refuse_mount(const struct files_inode *dir, const struct anchor *at, const char *name)
{
	struct statx stx;

	if (volume_is_veil(dir, name))
		return -EROFS;
	if (statx(at->fd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return 0; /* the call that follows will say what is wrong */
	return stx.stx_mnt_id == at->mnt ? 0 : -EROFS;
}

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

void show_attr(struct call *c, const struct files_inode *inode, int fd, const struct statx *stx,
	       struct stat *st)
{
	dev_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	mode_t mode = (stx->stx_mode & ~S_IFMT) | inode->type;

	if (!S_ISDIR(mode))
		mode &= ~(S_ISUID | S_ISGID);
	*st = (struct stat){
		.st_ino = inode_is_root(inode) ? inode_shown_ino(c->vol, c->vol->kind, 1)
					       : inode_shown_ino(c->vol, dev, stx->stx_ino),
		.st_mode = mode,
		.st_nlink = stx->stx_nlink,
		.st_uid = atomic_load(&c->vol->uid),
		.st_gid = atomic_load(&c->vol->gid),
		.st_size = (off_t)stx->stx_size,
		.st_blocks = (blkcnt_t)stx->stx_blocks,
		.st_blksize = stx->stx_blksize,
		.st_atim = time_of(&stx->stx_atime),
		.st_mtim = time_of(&stx->stx_mtime),
		.st_ctim = time_of(&stx->stx_ctime),
	};
	if (S_ISLNK(mode) && fd >= 0) {
		char target[PATH_MAX];

		/* Programs read as many bytes of a link as its size says. */
		if (symlink_read(c, inode, fd, target) == 0)
			st->st_size = (off_t)strlen(target);
	}
}

double call_timeout(const struct call *c)
{
	return !c->ground->live && fuse_wire_has(WIRE_INC_EPOCH) ? LONG_TIMEOUT : 0;
}

/*
 * The kernel walks through names that it has without asking, whoever walks. So it may keep them
 * only where everybody may search the directory.
 */
static double name_timeout(const struct call *c, const struct anchor *dir)
{
	double timeout = call_timeout(c);
	struct statx stx;

	if (timeout <= 0 ||
	    statx(dir->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MODE, &stx) < 0)
		return 0;
	return (stx.stx_mode & (S_IXGRP | S_IXOTH)) == (S_IXGRP | S_IXOTH) ? timeout : 0;
}

int show_entry(struct call *c, struct files_inode *dir, const struct anchor *at, const char *name,
	       struct found *found, struct fuse_entry_param *entry)
{
	struct files_inode *inode = inode_obtain(dir, name, found);

	if (!inode)
		return -ENOMEM;
	*entry = (struct fuse_entry_param){ .ino = inode_id(inode) };
	show_attr(c, inode, found->fd, &found->stx, &entry->attr);
	if (!inode->veiled && !inode->remote) {
		entry->attr_timeout = call_timeout(c);
		entry->entry_timeout = name_timeout(c, at);
	}
	if (found->fd >= 0)
		anchor_offer(inode, c->ground, take_fd(&found->fd), found->mnt);
	return 0;
}

void name_cache_reset(void)
{
	fuse_wire_inc_epoch();
}

void reply_was_long(struct call *c, struct files_inode *inode)
{
	bool changed;

	pthread_mutex_lock(&files.lock);
	changed = c->vol->serial != c->serial;
	pthread_mutex_unlock(&files.lock);
	if (!changed)
		return;
	fuse_wire_inc_epoch();
	fuse_wire_inval_attr(inode_id(inode));
}

void reply_entry(struct call *c, const struct fuse_entry_param *entry)
{
	struct files_inode *inode = inode_of(entry->ino);
	bool is_long = entry->attr_timeout > 0 || entry->entry_timeout > 0;

	if (entry->attr_timeout > 0)
		inode_note_long(inode);
	inode_get(inode);
	if (fuse_reply_entry(c->req, entry) == -ENOENT)
		inode_forget(inode, 1); /* the caller was killed, and the kernel never saw it */
	else if (is_long)
		reply_was_long(c, inode);
	inode_put(inode);
}

void reply_attr(struct call *c, struct files_inode *inode, const struct stat *st)
{
	double timeout = inode->veiled || inode->remote ? 0 : call_timeout(c);

	if (timeout > 0)
		inode_note_long(inode);
	/* The request holds the inode no longer once it is answered. */
	inode_get(inode);
	fuse_reply_attr(c->req, st, timeout);
	if (timeout > 0)
		reply_was_long(c, inode);
	inode_put(inode);
}

static void reply_absent(struct call *c, const struct anchor *at)
{
	struct fuse_entry_param none = { .entry_timeout = name_timeout(c, at) };

	if (none.entry_timeout <= 0) {
		fuse_reply_err(c->req, ENOENT);
		return;
	}
	fuse_reply_entry(c->req, &none);
	reply_was_long(c, c->vol->root);
}

void files_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	_cleanup_found_ struct found found = { .fd = -1 };
	struct fuse_entry_param entry;
	int r = call_begin(&c, req, parent);

	if (r == 0 && c.inode->veiled)
		r = -ENOENT;
	if (r == 0)
		r = anchor_find(&c, c.inode, &at);
	if (r == 0)
		r = ids_check_anchor(&c, at, MAY_X);
	if (r == 0)
		r = look_up(&c, c.inode, at, name, &found);
	if (r == -ENOENT && at) {
		reply_absent(&c, at);
		return;
	}
	if (r == -EREMOTE && !remote_may_wait()) {
		remote_again(req, c.vol, found_dev(&found));
		return;
	}
	if (r == 0)
		r = show_entry(&c, c.inode, at, name, &found, &entry);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_entry(&c, &entry);
}
