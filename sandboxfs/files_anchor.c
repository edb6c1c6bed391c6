/* SPDX-License-Identifier: MIT */
/*
 * Anchors: O_PATH descriptors of a box's objects, and how an object is found again.
 *
 * Kept are those of directories, and of files while nothing in the box can remove them behind our
 * back: a descriptor keeps a removed file's space in use. Nothing on a bucket is kept, because it
 * would keep the bucket from being unmounted. All of them together are at most a third of
 * RLIMIT_NOFILE; the one unused for longest goes first.
 *
 * Found again is an object by its file handle where the filesystem has such, else by name from the
 * nearest ancestor that has an anchor. What is found must be the object that was known; if it is
 * another one, the answer is ESTALE, and the kernel walks the path anew.
 *
 * Must not follow a link or cross into a mount that look_up() would not enter. Locks: the list and
 * the counts are under files.lock; descriptors are opened and closed without it.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Most recently used first. */
static struct files_inode *lru_head, *lru_tail;

struct anchor *anchor_new(int fd, uint64_t mnt, uint64_t ground)
{
	struct anchor *a = malloc(sizeof(*a));

	if (!a) {
		close(fd);
		return NULL;
	}
	*a = (struct anchor){ .refs = 1, .fd = fd, .mnt = mnt, .ground = ground };
	return a;
}

void anchor_get(struct anchor *a)
{
	pthread_mutex_lock(&files.lock);
	a->refs++;
	pthread_mutex_unlock(&files.lock);
}

void anchor_put(struct anchor *a)
{
	unsigned int left;

	if (!a)
		return;
	pthread_mutex_lock(&files.lock);
	left = --a->refs;
	pthread_mutex_unlock(&files.lock);
	if (left)
		return;
	close(a->fd);
	free(a);
}

void cleanup_anchor(struct anchor **a)
{
	anchor_put(*a);
}

static void lru_remove(struct files_inode *inode)
{
	if (inode->lru_prev)
		inode->lru_prev->lru_next = inode->lru_next;
	else
		lru_head = inode->lru_next;
	if (inode->lru_next)
		inode->lru_next->lru_prev = inode->lru_prev;
	else
		lru_tail = inode->lru_prev;
	inode->lru_prev = inode->lru_next = NULL;
}

static void lru_add(struct files_inode *inode)
{
	inode->lru_next = lru_head;
	if (lru_head)
		lru_head->lru_prev = inode;
	else
		lru_tail = inode;
	lru_head = inode;
}

struct anchor *anchor_detach_locked(struct files_inode *inode)
{
	struct anchor *a = inode->anchor;

	if (!a)
		return NULL;
	inode->anchor = NULL;
	lru_remove(inode);
	files.anchors--;
	return a;
}

static bool may_keep(const struct files_inode *inode, const struct ground *ground)
{
	return !inode_is_root(inode) && !inode->remote && !inode->veiled &&
	       (S_ISDIR(inode->type) || !ground->live);
}

/* Caches a; returns the anchor that had to go for it. The caller keeps its own reference. */
static struct anchor *anchor_cache(struct files_inode *inode, const struct ground *ground,
				   struct anchor *a)
{
	struct anchor *evicted = NULL;

	pthread_mutex_lock(&files.lock);
	if (may_keep(inode, ground) && inode->vol->ground == ground && !inode->vol->dropped) {
		evicted = anchor_detach_locked(inode);
		if (!evicted && files.anchors >= files.max_anchors && lru_tail)
			evicted = anchor_detach_locked(lru_tail);
		a->refs++;
		inode->anchor = a;
		lru_add(inode);
		files.anchors++;
	}
	pthread_mutex_unlock(&files.lock);
	return evicted;
}

void anchor_offer(struct files_inode *inode, const struct ground *ground, int fd, uint64_t mnt)
{
	struct anchor *a;

	if (!may_keep(inode, ground)) {
		close(fd);
		return;
	}
	a = anchor_new(fd, mnt, ground->serial);
	if (!a)
		return;
	anchor_put(anchor_cache(inode, ground, a));
	anchor_put(a);
}

void anchor_drop_volume(struct files_volume *vol, const struct ground *keep)
{
	enum { BATCH = 64 };
	struct anchor *drop[BATCH];
	int n;

	do {
		struct files_inode *next;

		n = 0;
		pthread_mutex_lock(&files.lock);
		for (struct files_inode *i = lru_head; i && n < BATCH; i = next) {
			next = i->lru_next;
			if (i->vol == vol && (!keep || i->anchor->ground != keep->serial))
				drop[n++] = anchor_detach_locked(i);
		}
		pthread_mutex_unlock(&files.lock);
		for (int i = 0; i < n; i++)
			anchor_put(drop[i]);
	} while (n == BATCH);
}

bool anchor_relieve(int error)
{
	struct anchor *drop[64];
	int n = 0;

	if (error != -EMFILE && error != -ENFILE)
		return false;
	pthread_mutex_lock(&files.lock);
	while (lru_tail && n < (int)ARRAY_SIZE(drop))
		drop[n++] = anchor_detach_locked(lru_tail);
	pthread_mutex_unlock(&files.lock);
	for (int i = 0; i < n; i++)
		anchor_put(drop[i]);
	return n > 0;
}

/* The cached anchor, if it is of this ground. */
static struct anchor *anchor_cached(struct files_inode *inode, const struct ground *ground)
{
	struct anchor *a;

	pthread_mutex_lock(&files.lock);
	if (inode_is_root(inode)) {
		a = ground->root;
		a->refs++;
		pthread_mutex_unlock(&files.lock);
		return a;
	}
	a = inode->anchor;
	if (a && a->ground == ground->serial) {
		a->refs++;
		lru_remove(inode);
		lru_add(inode);
	} else {
		a = NULL;
	}
	pthread_mutex_unlock(&files.lock);
	return a;
}

static bool is_same(const struct files_inode *inode, const struct statx *stx)
{
	mode_t type = stx->stx_mode & S_IFMT;

	if (type == S_IFIFO && inode->type == S_IFSOCK)
		type = S_IFSOCK;
	return stx->stx_ino == inode->ino && type == inode->type &&
	       makedev(stx->stx_dev_major, stx->stx_dev_minor) == inode->dev;
}

static int by_handle(struct call *c, const struct files_inode *inode, struct anchor **out)
{
	union {
		struct file_handle head;
		unsigned char bytes[sizeof(struct file_handle) + HANDLE_BYTES];
	} h;
	struct statx stx;
	int fd;

	h.head.handle_bytes = inode->id.len;
	h.head.handle_type = inode->id.type;
	memcpy(h.head.f_handle, inode->id.bytes, inode->id.len);
	do {
		fd = open_by_handle_at(c->ground->handle_fd, &h.head,
				       O_PATH | O_NOFOLLOW | O_CLOEXEC);
	} while (fd < 0 && anchor_relieve(-errno));
	/* ENOMEM is what iget_locked() says of a number that is just being given to a new file. */
	if (fd < 0)
		return errno == ENOENT || errno == ENOMEM ? -ESTALE : -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO | STATX_MNT_ID,
		  &stx) < 0 ||
	    !is_same(inode, &stx)) {
		close(fd);
		return -ESTALE;
	}
	*out = anchor_new(fd, stx.stx_mnt_id, c->ground->serial);
	return *out ? 0 : -ENOMEM;
}

/* One step down, from an anchored parent. */
static int by_name(struct call *c, struct files_inode *dir, const struct anchor *at,
		   struct files_inode *inode, struct anchor **out)
{
	_cleanup_found_ struct found found = { .fd = -1 };
	_cleanup_free_ char *name = NULL;
	int r;

	pthread_mutex_lock(&files.lock);
	name = strdup(inode->name);
	pthread_mutex_unlock(&files.lock);
	if (!name)
		return -ENOMEM;
	r = look_up_known(c, dir, at, name, inode, &found);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
	if (found.veiled != inode->veiled || found.fd < 0 || !is_same(inode, &found.stx))
		return -ESTALE;
	*out = anchor_new(take_fd(&found.fd), found.mnt, c->ground->serial);
	return *out ? 0 : -ENOMEM;
}

/* inode and its ancestors up to the root, nearest first, each with a reference; how many. */
static int hold_ancestors(struct files_inode *inode, struct files_inode ***chain)
{
	unsigned int room = inode_depth(inode) + 1, n = 0;
	struct files_inode **held = calloc(room, sizeof(*held));

	if (!held)
		return -ENOMEM;
	*chain = held;
	pthread_mutex_lock(&files.lock);
	for (struct files_inode *i = inode; i && n < room; i = i->parent) {
		i->refs++;
		held[n++] = i;
	}
	pthread_mutex_unlock(&files.lock);
	return n; /* fewer than all if it was moved deeper meanwhile: then no anchor may be found */
}

static int by_path(struct call *c, struct files_inode *inode, struct anchor **out)
{
	_cleanup_free_ struct files_inode **chain = NULL;
	_cleanup_anchor_ struct anchor *at = NULL;
	int n = hold_ancestors(inode, &chain), i, r = 0;

	if (n < 0)
		return n;
	for (i = 0; i < n; i++) {
		at = anchor_cached(chain[i], c->ground);
		if (at)
			break;
	}
	while (at && i-- > 0) {
		struct anchor *next = NULL;

		r = by_name(c, chain[i + 1], at, chain[i], &next);
		anchor_put(at);
		at = next;
		if (at)
			anchor_put(anchor_cache(chain[i], c->ground, at));
	}
	while (n-- > 0)
		inode_put(chain[n]);
	if (!at)
		return r < 0 ? r : -ESTALE;
	*out = take_ptr(at);
	return 0;
}

/* The anchor of an open file, of this ground or (any) of an older one. */
static struct anchor *by_open_file(struct call *c, const struct files_inode *inode, bool any)
{
	struct anchor *a = NULL;

	pthread_mutex_lock(&files.lock);
	for (struct open_file *f = inode->open_files; f && !a; f = f->next) {
		if (!any && f->ground != c->ground)
			continue;
		a = f->anchor;
		a->refs++;
		c->id_base = f->ground->id_base;
	}
	pthread_mutex_unlock(&files.lock);
	return a;
}

static int find_again(struct call *c, struct files_inode *inode, struct anchor **out)
{
	int r;

	if (!inode->id.len || c->ground->handle_fd < 0 || inode->dev != c->ground->dev)
		return by_path(c, inode, out);
	r = by_handle(c, inode, out);
	if (r == 0)
		anchor_put(anchor_cache(inode, c->ground, *out));
	return r;
}

int anchor_find(struct call *c, struct files_inode *inode, struct anchor **out)
{
	int r;

	if (inode->veiled)
		return -EROFS;
	*out = anchor_cached(inode, c->ground);
	if (!*out)
		*out = by_open_file(c, inode, false);
	if (*out)
		return 0;
	r = find_again(c, inode, out);
	if (r == -ESTALE) {
		/* Removed, or left behind on other ground, but still open. */
		*out = by_open_file(c, inode, true);
		r = *out ? 0 : r;
	}
	return r;
}
