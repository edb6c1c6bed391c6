/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing regular files.
 *
 * Only regular files are opened, through the magic link of their O_PATH descriptor, so it is the
 * object that was looked up, and with O_NONBLOCK: a lease held in the box gives EAGAIN instead of
 * waiting for its holder (who is told to give it up; a blocking open is tried again for a second).
 * The descriptor stays open as long as the file is, with the access the caller asked for; so no
 * lease can be taken that the kernel would wait for when it opens the backing file for passthrough.
 *
 * With passthrough, reads, writes and mmap go from the caller to the backing file inside the
 * kernel: exact both ways, and no request reaches us. All opens of one inode use one backing id,
 * as the kernel demands. It is registered with the box's ids and without CAP_FSETID, so writing
 * clears set-user-id bits as it does for anybody. Without passthrough every open is DIRECT_IO: what
 * the box writes is seen at once, but a shared mmap is refused (ENODEV); a page cache would be
 * stale both ways.
 *
 * Two things are the kernel's (6.18) and not to be mended here: with passthrough, O_APPEND that is
 * taken off by fcntl(2) after open goes on appending; and copy_file_range(2) goes by the source's
 * size as last seen by stat, open or read through the mount.
 *
 * Must not wait for a box. Locks: files_internal.h.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fuse_wire.h"

enum {
	FMODE_EXEC = 0x20, /* the kernel's mark of an open for execve(2) */
	LEASE_TRIES = 200, /* of LEASE_PAUSE_MS each */
	LEASE_PAUSE_MS = 5,
};

int open_data(struct call *c, const struct anchor *a, int flags)
{
	char path[32];
	int r;

	do {
		r = as_box_root(c->id_base, a->fd,
				open(proc_path(path, a->fd), flags | O_NONBLOCK | O_CLOEXEC));
	} while (r < 0 && anchor_relieve(r));
	return r == -EMFILE ? -ENFILE : r;
}

/* The flags of the caller's open that our descriptor takes over. */
static int data_flags(int flags)
{
	return flags & (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC);
}

static int check_open(struct call *c, const struct anchor *a, int flags)
{
	int may = 0;

	if ((flags & O_ACCMODE) != O_WRONLY)
		may |= flags & FMODE_EXEC ? MAY_X : MAY_R;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
		may |= MAY_W;
	return ids_check_anchor(c, a, may);
}

/* Takes fd over, also on failure. a stays the caller's. */
static struct open_file *open_file_new(struct call *c, struct files_inode *inode, struct anchor *a,
				       int fd, int flags)
{
	struct open_file *file = malloc(sizeof(*file));

	if (!file) {
		close(fd);
		return NULL;
	}
	*file = (struct open_file){ .inode = inode, .ground = c->ground, .anchor = a, .fd = fd };
	atomic_init(&file->flags, flags);
	pthread_mutex_lock(&files.lock);
	inode->refs++;
	c->ground->refs++;
	a->refs++;
	files.open_files++;
	file->next = inode->open_files;
	inode->open_files = file;
	pthread_mutex_unlock(&files.lock);
	return file;
}

/*
 * Not with file->fd: the registration holds the open file, and so its flock, till the last close.
 * The object's O_PATH descriptor will do where the kernel takes one.
 */
static int register_backing(const struct open_file *file)
{
	struct call c = { .vol = file->inode->vol, .id_base = file->ground->id_base };
	_cleanup_close_ int own = -1;
	int id;

	ids_enter_backing(c.id_base);
	id = fuse_wire_backing_open(file->anchor->fd);
	ids_leave();
	if (id != -EBADF)
		return id;
	own = open_data(&c, file->anchor, O_RDONLY);
	if (own < 0)
		return own;
	ids_enter_backing(c.id_base);
	id = fuse_wire_backing_open(own);
	ids_leave();
	return id;
}

/* The inode's backing id for one more open file: > 0, or 0 if there can be none. */
static int take_backing(struct open_file *file)
{
	struct files_inode *inode = file->inode;
	int id, surplus = 0;

	pthread_mutex_lock(&files.lock);
	id = inode->backing_id;
	if (id)
		inode->n_backed++;
	pthread_mutex_unlock(&files.lock);
	if (id) {
		file->backed = true;
		return id;
	}
	id = register_backing(file);
	if (id <= 0)
		return 0;
	pthread_mutex_lock(&files.lock);
	if (inode->backing_id) { /* somebody was faster, and all must use one */
		surplus = id;
		id = inode->backing_id;
	}
	inode->backing_id = id;
	inode->n_backed++;
	pthread_mutex_unlock(&files.lock);
	if (surplus)
		fuse_wire_backing_close(surplus);
	file->backed = true;
	return id;
}

void open_file_put(struct open_file *file)
{
	struct files_inode *inode = file->inode;
	bool last;
	int id = 0;

	pthread_mutex_lock(&files.lock);
	if (file->backed && --inode->n_backed == 0) {
		id = inode->backing_id;
		inode->backing_id = 0;
	}
	for (struct open_file **f = &inode->open_files; *f; f = &(*f)->next) {
		if (*f == file) {
			*f = file->next;
			break;
		}
	}
	last = !inode->open_files;
	files.open_files--;
	pthread_mutex_unlock(&files.lock);
	if (id)
		fuse_wire_backing_close(id);
	if (last)
		lock_release_all(inode);
	close(file->fd);
	descriptors_give(inode->vol, FDS_OPEN_FILE);
	anchor_put(file->anchor);
	ground_put(file->ground);
	inode_put(inode);
	free(file);
}

/* Answers OPEN, or CREATE with entry, for a file that is the kernel's from then on. */
static void reply_open_file(struct call *c, struct open_file *file, struct fuse_file_info *fi,
			    const struct fuse_entry_param *entry)
{
	struct files_inode *inode = file->inode;
	int id = 0, r;

	if (files.passthrough && fuse_wire_has(WIRE_PASSTHROUGH))
		id = take_backing(file);
	fi->fh = (uintptr_t)file;
	fi->direct_io = id == 0;
	fi->keep_cache = 0;
	if (entry && entry->attr_timeout > 0)
		inode_note_long(inode);
	inode_get(inode);
	if (id)
		r = entry ? fuse_wire_reply_create(c->req, entry, fi, id)
			  : fuse_wire_reply_open(c->req, fi, id);
	else
		r = entry ? fuse_reply_create(c->req, entry, fi) : fuse_reply_open(c->req, fi);
	if (r == -ENOENT) { /* the caller was killed; there will be no RELEASE */
		open_file_put(file);
		if (entry)
			inode_forget(inode, 1);
	} else if (entry && (entry->attr_timeout > 0 || entry->entry_timeout > 0)) {
		reply_was_long(c, inode);
	}
	inode_put(inode);
}

/* Finishes an open with the descriptor fd (taken over), truncating first if asked to. */
static void finish_open(struct call *c, struct anchor *a, int fd, struct fuse_file_info *fi)
{
	struct open_file *file;
	int r = 0;

	if (fi->flags & O_TRUNC)
		r = as_box_root(c->id_base, fd, ftruncate(fd, 0));
	if (r < 0) {
		close(fd);
		descriptors_give(c->vol, FDS_OPEN_FILE);
		fuse_reply_err(c->req, -r);
		return;
	}
	file = open_file_new(c, c->inode, a, fd, fi->flags);
	if (!file) {
		descriptors_give(c->vol, FDS_OPEN_FILE);
		fuse_reply_err(c->req, ENOMEM);
		return;
	}
	reply_open_file(c, file, fi, NULL);
}

/* An open that waits for a lease in the box to be given up. */
struct lease_wait {
	struct call call;
	struct anchor *anchor;
	struct fuse_file_info fi;
};

static int lease_run(struct waiter *w, void *arg)
{
	const struct timespec pause = { .tv_nsec = LEASE_PAUSE_MS * 1000000 };
	struct lease_wait *l = arg;
	int r = -EWOULDBLOCK;

	for (int i = 0; r == -EWOULDBLOCK && i < LEASE_TRIES; i++) {
		int over = wait_is_over(w);

		if (over < 0)
			return over;
		nanosleep(&pause, NULL);
		r = open_data(&l->call, l->anchor, data_flags(l->fi.flags));
	}
	return r;
}

static void lease_answer(fuse_req_t req, void *arg, int r)
{
	struct lease_wait *l = arg;

	if (r < 0) {
		descriptors_give(l->call.vol, FDS_OPEN_FILE);
		fuse_reply_err(req, -r);
	} else {
		finish_open(&l->call, l->anchor, r, &l->fi);
	}
	anchor_put(l->anchor);
	call_end(&l->call);
	free(l);
}

/* Moves the open to a thread that may wait; c and *a are empty afterwards. */
static int wait_for_lease(struct call *c, struct anchor **a, const struct fuse_file_info *fi)
{
	struct lease_wait *l = malloc(sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct lease_wait){ .call = *c, .anchor = *a, .fi = *fi };
	r = wait_start(c->vol, c->req, lease_run, lease_answer, l);
	if (r < 0) {
		free(l);
		return -EWOULDBLOCK;
	}
	*c = (struct call){ 0 };
	*a = NULL;
	return 0;
}

void files_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	int r = call_begin(&c, req, ino), fd;

	if (r == 0 && !S_ISREG(c.inode->type))
		r = S_ISDIR(c.inode->type) ? -EISDIR : -ENXIO;
	if (r == 0 && c.inode->veiled)
		r = -EACCES;
	if (r == 0)
		r = anchor_find(&c, c.inode, &a);
	if (r == 0)
		r = check_open(&c, a, fi->flags);
	if (r == 0)
		r = descriptors_take(c.vol, FDS_OPEN_FILE);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fd = open_data(&c, a, data_flags(fi->flags));
	if (fd == -EWOULDBLOCK && !(fi->flags & O_NONBLOCK) && wait_for_lease(&c, &a, fi) == 0)
		return;
	if (fd < 0) {
		descriptors_give(c.vol, FDS_OPEN_FILE);
		fuse_reply_err(req, -fd);
		return;
	}
	finish_open(&c, a, fd, fi);
}

/* TMPFILE comes as a CREATE of this name, see fuse_wire.c. */
static bool is_tmpfile(const char *name)
{
	return name[0] == '/' && !name[1];
}

/* Makes the file or, without O_EXCL, opens one that has just come to be; a data descriptor. */
static int create_data(struct call *c, const struct anchor *at, const char *name, mode_t mode,
		       int flags)
{
	const int base = data_flags(flags) | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW;
	int r;

	if (is_tmpfile(name)) {
		return as_box_root(c->id_base, at->fd,
				   openat(at->fd, ".", base | O_TMPFILE | (flags & O_EXCL), mode));
	}
	do {
		r = as_box_root(c->id_base, at->fd,
				openat(at->fd, name, base | O_CREAT | O_EXCL, mode));
	} while (r < 0 && anchor_relieve(r));
	return r == -EMFILE ? -ENFILE : r;
}

/* What fd is, as if it had been looked up. */
static int found_by_fd(struct call *c, int fd, const struct anchor *at, struct found *found)
{
	char path[32];

	*found = (struct found){ .fd = -1, .mnt = at->mnt, .remote = c->inode->remote };
	found->fd = open(proc_path(path, fd), O_PATH | O_CLOEXEC);
	if (found->fd < 0)
		return -errno;
	if (statx(found->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &found->stx) < 0)
		return -errno;
	if (c->vol->kind == FILES_WORKSPACE)
		look_take_handle(found);
	return 0;
}

/* Answers a CREATE whose data descriptor is fd (taken over). */
static void finish_create(struct call *c, const struct anchor *at, const char *name, int fd,
			  struct fuse_file_info *fi)
{
	_cleanup_found_ struct found found = { .fd = -1 };
	_cleanup_anchor_ struct anchor *a = NULL;
	struct fuse_entry_param entry;
	struct open_file *file = NULL;
	int r = found_by_fd(c, fd, at, &found), own = -1;

	if (r == 0) {
		own = fcntl(found.fd, F_DUPFD_CLOEXEC, 0);
		a = own < 0 ? NULL : anchor_new(own, at->mnt, c->ground->serial);
		r = a ? show_entry(c, c->inode, at, name, &found, &entry) : -ENFILE;
	}
	if (r < 0) {
		close(fd);
	} else {
		file = open_file_new(c, inode_of(entry.ino), a, fd, fi->flags);
		if (!file) {
			inode_forget(inode_of(entry.ino), 1);
			r = -ENOMEM;
		}
	}
	if (!file) {
		descriptors_give(c->vol, FDS_OPEN_FILE);
		fuse_reply_err(c->req, -r);
		return;
	}
	reply_open_file(c, file, fi, &entry);
}

/* O_CREAT without O_EXCL of a name that the box made in between: its file, opened. */
static int open_existing(struct call *c, const struct anchor *at, const char *name, int flags)
{
	_cleanup_found_ struct found found = { .fd = -1 };
	_cleanup_anchor_ struct anchor *a = NULL;
	int r = look_up(c, c->inode, at, name, &found), fd;

	if (r < 0)
		return r;
	if (found.veiled || !S_ISREG(found.stx.stx_mode))
		return -EEXIST;
	a = anchor_new(take_fd(&found.fd), found.mnt, c->ground->serial);
	if (!a)
		return -ENOMEM;
	r = check_open(c, a, flags);
	fd = r < 0 ? r : open_data(c, a, data_flags(flags));
	if (fd >= 0 && (flags & O_TRUNC)) {
		r = as_box_root(c->id_base, fd, ftruncate(fd, 0));
		if (r < 0) {
			close(fd);
			return r;
		}
	}
	return fd;
}

void files_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		     struct fuse_file_info *fi)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *at = NULL;
	int r = call_begin(&c, req, parent), fd;

	if (r == 0)
		r = anchor_find(&c, c.inode, &at);
	if (r == 0)
		r = ids_check_anchor(&c, at, MAY_W | MAY_X);
	if (r == 0)
		r = descriptors_take(c.vol, FDS_OPEN_FILE);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fd = create_data(&c, at, name, mode & 07777, fi->flags);
	if (fd == -EEXIST && !(fi->flags & O_EXCL))
		fd = open_existing(&c, at, name, fi->flags);
	if (fd < 0) {
		descriptors_give(c.vol, FDS_OPEN_FILE);
		fuse_reply_err(req, -fd);
		return;
	}
	finish_create(&c, at, is_tmpfile(name) ? "" : name, fd, fi);
}

void files_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	open_file_put((struct open_file *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}
