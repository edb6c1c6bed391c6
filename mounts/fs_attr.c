/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests about attributes. Locks: content->lock, then tree_lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "content.h"
#include "fs.h"

bool fs_same_type(const struct node *node, const struct found *found)
{
	return !node->meta.known || !found->meta.known ||
	       (node->meta.mode & S_IFMT) == (found->meta.mode & S_IFMT);
}

/* tree_lock held. */
static bool is_too_old(const struct node *node)
{
	int64_t now = monotonic_ms();

	if (!node->parent || node->gone || node->content)
		return false;
	return node->is_dir ? the_options.metadata && now >= node->meta.good_till_ms
			    : now >= node->fresh_until_ms;
}

/* What is known is too old: asks what the name is now. -ENOENT, -ESTALE: not what it was. */
int fs_refresh(struct node *node)
{
	_cleanup_free_ char *name = NULL;
	struct found found = { .kind = CHANGE_DIR };
	struct node *dir = NULL;
	int r = 0;

	pthread_mutex_lock(&tree_lock);
	if (is_too_old(node)) {
		name = strdup(node->name);
		dir = node->parent;
		node_ref(dir);
	}
	pthread_mutex_unlock(&tree_lock);
	if (!dir)
		return 0;
	/* A directory is one as long as the kernel's lookup says so. */
	if (!name)
		r = -ENOMEM;
	else if (!node->is_dir)
		r = names_find(dir, name, &found);
	if (r == 0)
		r = meta_complete(dir, name, &found);
	pthread_mutex_lock(&tree_lock);
	if (r == 0 && node->is_dir) {
		node->meta = found.meta;
	} else if (r == 0 && !node->content && !node->gone) {
		if (found.kind != CHANGE_FILE)
			r = -ENOENT;
		else if (!fs_same_type(node, &found))
			r = -ESTALE; /* the kernel looks the name up again */
		else
			names_apply(node, &found);
	}
	node_unref(dir);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

static void reply_attr(fuse_req_t req, struct node *node)
{
	double timeout;
	struct stat st;

	pthread_mutex_lock(&tree_lock);
	node_stat(node, &st);
	timeout = node->is_dir	  ? (double)the_options.ttl_ms / 1000
		  : node->content ? 0
				  : fs_timeout(node->fresh_until_ms);
	pthread_mutex_unlock(&tree_lock);
	fs_reply_attr(req, &st, timeout);
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int r;

	(void)fi;
	waiting_begin(req);
	r = fs_refresh(fs_node(ino));
	if (r < 0)
		fs_reply_err(req, -r);
	else
		reply_attr(req, fs_node(ino));
}

/* Without an open file (truncate(2)) it is saved at once. */
static int set_size(struct node *node, uint64_t size, bool save)
{
	struct content *c;
	int r = fs_refresh(node);

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree_lock);
	c = content_get(node, false, false);
	pthread_mutex_unlock(&tree_lock);
	if (!c)
		return -ENOMEM;
	content_lock(c);
	r = content_truncate(c, size);
	if (r == 0 && save)
		r = content_save(c);
	content_unlock(c);
	content_put(c);
	return r;
}

/* --- with `metadata = yes` ----------------------------------------------------------------------- */

static struct meta wanted_meta(const struct node *node, const struct stat *attr, int to_set)
{
	struct meta meta =
		node->meta.known ? node->meta : meta_default(node->is_dir, node->mtime_us);

	if (to_set & FUSE_SET_ATTR_MODE)
		meta.mode = (meta.mode & S_IFMT) | (attr->st_mode & META_MODE_BITS);
	if (to_set & FUSE_SET_ATTR_UID)
		meta.uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		meta.gid = attr->st_gid;
	if (to_set & FUSE_SET_ATTR_MTIME) {
		meta.mtime_set = true;
		meta.mtime_ns = (int64_t)attr->st_mtim.tv_sec * 1000000000 + attr->st_mtim.tv_nsec;
	}
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		meta.mtime_ns = realtime_us() * 1000;
	return meta;
}

/* The object has it now; a file has a new ETag with some servers. */
static void meta_written(struct node *node, struct content *c, const struct meta *meta,
			 const char *etag)
{
	pthread_mutex_lock(&tree_lock);
	node->meta = *meta;
	node->meta.stamp_us = 0;
	node->meta.good_till_ms = monotonic_ms() + the_options.ttl_ms;
	if (!node->is_dir) {
		if (node->etag && node->page_etag && !strcmp(node->etag, node->page_etag))
			(void)string_replace(&node->page_etag, etag);
		(void)string_replace(&node->etag, etag);
		node->version++;
		node->mtime_us = realtime_us();
	}
	if (!node->gone)
		names_changed(node->parent, node->name, node->is_dir ? CHANGE_DIR : CHANGE_FILE,
			      false, node->size, node->mtime_us, node->is_dir ? NULL : etag);
	pthread_mutex_unlock(&tree_lock);
	if (c)
		snprintf(c->base_etag, sizeof(c->base_etag), "%s", etag);
}

/* With the content locked, if there is one: what is to be uploaded takes it along. */
static int change_meta(struct node *node, struct content *c, const struct stat *attr, int to_set)
{
	char key[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE] = "";
	struct meta wanted;
	bool later;
	int r;

	pthread_mutex_lock(&tree_lock);
	wanted = wanted_meta(node, attr, to_set);
	later = node->gone || (c && c->dirty);
	if (later)
		node->meta = wanted;
	r = node_key(node, key);
	pthread_mutex_unlock(&tree_lock);
	if (later || r < 0)
		return later ? 0 : r;
	r = meta_write(key, node->is_dir, &wanted, etag);
	if (r == 0)
		meta_written(node, c, &wanted, etag);
	return r;
}

static int set_meta(struct node *node, const struct stat *attr, int to_set)
{
	enum {
		KEPT = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
		       FUSE_SET_ATTR_MTIME
	};
	struct content *c;
	int r = to_set & KEPT ? fs_refresh(node) : 0;

	if (r < 0 || !(to_set & KEPT))
		return r;
	pthread_mutex_lock(&tree_lock);
	c = node->content ? content_get(node, false, false) : NULL;
	pthread_mutex_unlock(&tree_lock);
	if (c)
		content_lock(c);
	r = change_meta(node, c, attr, to_set);
	if (c) {
		content_unlock(c);
		content_put(c);
	}
	return r;
}

/*
 * Without `metadata = yes` a bucket has neither owners nor permissions nor times that could be set.
 * They are taken without effect, as otherwise cp -p, tar, rsync and git would fail; the manual page
 * says so. The root has no object of its own.
 */
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct node *node = fs_node(ino);
	int r = 0;

	waiting_begin(req);
	if (to_set & FUSE_SET_ATTR_SIZE)
		r = node->is_dir ? -EISDIR : set_size(node, (uint64_t)attr->st_size, !fi);
	if (r == 0 && the_options.metadata && node->parent)
		r = set_meta(node, attr, to_set);
	if (r < 0)
		fs_reply_err(req, -r);
	else
		reply_attr(req, node);
}

/* A bucket has no end; the figures let programs that ask for room first go on. */
void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { .f_bsize = 1 << 12,
			      .f_frsize = 1 << 12,
			      .f_blocks = 1ull << 38,
			      .f_bfree = 1ull << 38,
			      .f_bavail = 1ull << 38,
			      .f_files = 1ull << 32,
			      .f_ffree = 1ull << 32,
			      .f_favail = 1ull << 32,
			      .f_namemax = 255 };

	(void)ino;
	fuse_reply_statfs(req, &st);
}
