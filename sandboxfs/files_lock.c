/* SPDX-License-Identifier: MIT */
/*
 * Advisory locks, such that processes in the box and outside exclude each other.
 *
 * flock(2) locks belong to the open file, as on any filesystem, and so to its descriptor here.
 * POSIX locks belong to a process and an inode; the kernel names the process by a lock owner. Each
 * (inode, owner) has a descriptor of its own with open file description locks on it (fcntl(2),
 * F_OFD_SETLK): these exclude each other and the POSIX locks of the box's processes, and closing
 * the descriptor ends them all, which is what closing any descriptor of the file does to a
 * process's locks. There is no detection of deadlocks between boxes and host; a wait can always be
 * interrupted, and how many there may be is bounded (ENOLCK).
 *
 * Must not wait in the thread that serves the request. Locks: an owner's mutex, while its
 * descriptor is opened; then files.lock.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct lock_owner {
	uint64_t owner;
	struct files_volume *vol;
	unsigned int refs;
	int fd;
	struct lock_owner *next;
};

static struct lock_owner *owner_find_locked(struct files_inode *inode, uint64_t owner)
{
	struct lock_owner *o;

	for (o = inode->lock_owners; o; o = o->next) {
		if (o->owner == owner)
			return o;
	}
	return NULL;
}

static void owner_put(struct lock_owner *o)
{
	unsigned int left;

	pthread_mutex_lock(&files.lock);
	left = --o->refs;
	pthread_mutex_unlock(&files.lock);
	if (left)
		return;
	close(o->fd);
	descriptors_give(o->vol, FDS_LOCK_OWNER);
	free(o);
}

/* The descriptor may have to carry write locks later, whatever this request wants. */
static int open_for_locks(const struct open_file *file)
{
	struct call c = { .vol = file->inode->vol, .id_base = file->ground->id_base };
	int fd = open_data(&c, file->anchor, O_RDWR);

	if (fd < 0) /* a running program, a read-only filesystem */
		fd = open_data(&c, file->anchor, atomic_load(&file->flags) & O_ACCMODE);
	return fd;
}

/* A new description, with one reference for the inode's list and one for the caller. */
static int owner_new(const struct open_file *file, uint64_t owner, struct lock_owner **out)
{
	struct files_volume *vol = file->inode->vol;
	int r = descriptors_take(vol, FDS_LOCK_OWNER);

	if (r < 0)
		return -ENOLCK;
	*out = malloc(sizeof(**out));
	r = *out ? open_for_locks(file) : -ENOMEM;
	if (r < 0) {
		descriptors_give(vol, FDS_LOCK_OWNER);
		free(*out);
		return r;
	}
	**out = (struct lock_owner){ .owner = owner, .vol = vol, .refs = 2, .fd = r };
	return 0;
}

/* The owner's description of the inode, with a reference; made if it is not there. */
static int owner_get(struct open_file *file, uint64_t owner, struct lock_owner **out)
{
	struct files_inode *inode = file->inode;
	struct lock_owner *fresh = NULL;
	int r;

	pthread_mutex_lock(&files.lock);
	*out = owner_find_locked(inode, owner);
	if (*out)
		(*out)->refs++;
	pthread_mutex_unlock(&files.lock);
	if (*out)
		return 0;
	r = owner_new(file, owner, &fresh);
	if (r < 0)
		return r;
	pthread_mutex_lock(&files.lock);
	*out = owner_find_locked(inode, owner);
	if (*out) { /* another thread of the process was faster */
		(*out)->refs++;
		fresh->refs--;
	} else {
		*out = fresh;
		fresh->next = inode->lock_owners;
		inode->lock_owners = fresh;
		fresh = NULL;
	}
	pthread_mutex_unlock(&files.lock);
	if (fresh)
		owner_put(fresh);
	return 0;
}

/*
 * A wait that is still going on for this owner keeps its reference; its lock, should it get one,
 * ends with it, because nobody is left to hold it.
 */
void lock_release_owner(struct files_inode *inode, uint64_t owner)
{
	struct lock_owner *found = NULL;

	pthread_mutex_lock(&files.lock);
	for (struct lock_owner **o = &inode->lock_owners; *o; o = &(*o)->next) {
		if ((*o)->owner == owner) {
			found = *o;
			*o = found->next;
			break;
		}
	}
	pthread_mutex_unlock(&files.lock);
	if (found)
		owner_put(found);
}

void lock_release_all(struct files_inode *inode)
{
	struct lock_owner *all;

	pthread_mutex_lock(&files.lock);
	all = inode->lock_owners;
	inode->lock_owners = NULL;
	pthread_mutex_unlock(&files.lock);
	while (all) {
		struct lock_owner *next = all->next;

		owner_put(all);
		all = next;
	}
}

static struct open_file *file_of(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

void files_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct lock_owner *o;
	int r = owner_get(file_of(fi), fi->lock_owner, &o);

	(void)ino;
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	lock->l_pid = 0;
	if (fcntl(o->fd, F_OFD_GETLK, lock) < 0)
		r = -errno;
	owner_put(o);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	lock->l_pid = 0; /* a process of the box, or one behind the same descriptor as all others */
	fuse_reply_lock(req, lock);
}

/* A lock that is waited for; kind decides which of the two. */
struct lock_wait {
	struct open_file *file;
	struct lock_owner *owner; /* POSIX */
	struct flock lock;
	int op; /* flock */
};

static int lock_run(struct waiter *w, void *arg)
{
	struct lock_wait *l = arg;
	int r;

	do {
		r = wait_is_over(w);
		if (r < 0)
			return r;
		r = l->owner ? fcntl(l->owner->fd, F_OFD_SETLKW, &l->lock)
			     : flock(l->file->fd, l->op);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void lock_answer(fuse_req_t req, void *arg, int r)
{
	struct lock_wait *l = arg;

	fuse_reply_err(req, -r);
	if (l->owner)
		owner_put(l->owner);
	free(l);
}

/* Waits in a thread; the kernel keeps the file open until the request is answered. */
static void lock_later(fuse_req_t req, const struct lock_wait *what)
{
	struct lock_wait *l = malloc(sizeof(*l));
	int r = -ENOMEM;

	if (l) {
		*l = *what;
		r = wait_start(l->file->inode->vol, req, lock_run, lock_answer, l);
	}
	if (r == 0)
		return;
	free(l);
	if (what->owner)
		owner_put(what->owner);
	fuse_reply_err(req, -r);
}

void files_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		    int sleep)
{
	struct lock_wait what = { .file = file_of(fi), .lock = *lock };
	int r = owner_get(what.file, fi->lock_owner, &what.owner);

	(void)ino;
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	what.lock.l_pid = 0;
	if (fcntl(what.owner->fd, F_OFD_SETLK, &what.lock) < 0)
		r = -errno;
	if (sleep && (r == -EAGAIN || r == -EACCES)) {
		lock_later(req, &what);
		return;
	}
	owner_put(what.owner);
	fuse_reply_err(req, -r);
}

void files_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct lock_wait what = { .file = file_of(fi), .op = op & ~LOCK_NB };
	int r = flock(what.file->fd, op | LOCK_NB) < 0 ? -errno : 0;

	(void)ino;
	if (r == -EWOULDBLOCK && !(op & LOCK_NB))
		lock_later(req, &what);
	else
		fuse_reply_err(req, -r);
}
