/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests about names and attributes. Locks: content->lock, then tree_lock.
 */
#include "fs.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "content.h"
#include "removals.h"
#include "rename.h"

struct node *fs_node(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? node_root() : (struct node *)(uintptr_t)ino;
}

double fs_timeout(int64_t fresh_until_ms)
{
	int64_t left = fresh_until_ms - monotonic_ms();

	return left > 0 ? (double)left / 1000 : 0;
}

int fs_entry(struct node *dir, const char *name, const struct found *found,
	     struct fuse_entry_param *e)
{
	struct node *node = node_get(dir, name, found->kind == CHANGE_DIR);

	if (!node)
		return -ENOMEM;
	/* While it is written, its own size is the true one. */
	if (!node->content)
		node_set_attr(node, found->size, found->mtime_us, found->etag,
			      found->fresh_until_ms);
	node->lookups++;
	node->refs--;
	*e = (struct fuse_entry_param){ .ino = (uintptr_t)node };
	e->entry_timeout = fs_timeout(found->fresh_until_ms);
	e->attr_timeout = node->content ? 0 : e->entry_timeout;
	node_stat(node, &e->attr);
	return 0;
}

void fs_entry_undo(const struct fuse_entry_param *e)
{
	pthread_mutex_lock(&tree_lock);
	node_forget(fs_node(e->ino), 1);
	pthread_mutex_unlock(&tree_lock);
}

static void reply_entry(fuse_req_t req, struct node *dir, const char *name,
			const struct found *found)
{
	struct fuse_entry_param e;
	int r;

	pthread_mutex_lock(&tree_lock);
	r = fs_entry(dir, name, found, &e);
	pthread_mutex_unlock(&tree_lock);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (fuse_reply_entry(req, &e) == -ENOENT)
		fs_entry_undo(&e); /* interrupted */
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node *dir = fs_node(parent);
	struct found found;
	int r = names_find(dir, name, &found);

	if (r < 0) {
		fuse_reply_err(req, -r);
	} else if (found.kind == CHANGE_GONE) {
		struct fuse_entry_param e = { .entry_timeout = fs_timeout(found.fresh_until_ms) };

		fuse_reply_entry(req, &e);
	} else {
		reply_entry(req, dir, name, &found);
	}
}

void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	pthread_mutex_lock(&tree_lock);
	if (ino != FUSE_ROOT_ID)
		node_forget(fs_node(ino), nlookup);
	pthread_mutex_unlock(&tree_lock);
	fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	pthread_mutex_lock(&tree_lock);
	for (size_t i = 0; i < count; i++) {
		if (forgets[i].ino != FUSE_ROOT_ID)
			node_forget(fs_node(forgets[i].ino), forgets[i].nlookup);
	}
	pthread_mutex_unlock(&tree_lock);
	fuse_reply_none(req);
}

/* --- attributes --------------------------------------------------------------------------------------- */

/* What is known is too old: asks what the name is now. -ESTALE when it is no longer the same kind. */
int fs_refresh(struct node *node)
{
	_cleanup_free_ char *name = NULL;
	struct node *dir = NULL;
	struct found found;
	int r;

	pthread_mutex_lock(&tree_lock);
	if (node->parent && !node->gone && !node->content && !node->is_dir &&
	    monotonic_ms() >= node->fresh_until_ms) {
		name = strdup(node->name);
		dir = node->parent;
		node_ref(dir);
	}
	pthread_mutex_unlock(&tree_lock);
	if (!dir)
		return 0;
	r = name ? names_find(dir, name, &found) : -ENOMEM;
	pthread_mutex_lock(&tree_lock);
	if (r == 0 && !node->content && !node->gone) {
		if (found.kind == CHANGE_FILE)
			node_set_attr(node, found.size, found.mtime_us, found.etag,
				      found.fresh_until_ms);
		else
			r = -ENOENT;
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
	fuse_reply_attr(req, &st, timeout);
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int r = fs_refresh(fs_node(ino));

	(void)fi;
	if (r < 0)
		fuse_reply_err(req, -r);
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

/*
 * A bucket has neither owners nor permissions nor times that could be set. Asking for what there is
 * already is fine; another owner is refused. Modes and times are taken without effect, as otherwise
 * cp -p, tar, rsync and git would fail; the manual page says so.
 */
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct node *node = fs_node(ino);
	int r = 0;

	if (((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != the_options.uid) ||
	    ((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != the_options.gid))
		r = -EPERM;
	if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE))
		r = node->is_dir ? -EISDIR : set_size(node, (uint64_t)attr->st_size, !fi);
	if (r < 0)
		fuse_reply_err(req, -r);
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

/* --- names --------------------------------------------------------------------------------------------- */

static int make_dir(struct node *dir, const char *name)
{
	struct object_put put = { .content_type = "application/x-directory", .body.bytes = "" };
	char key[OBJECT_KEY_MAX + 1], file[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE];
	struct object_call call = { 0 };
	struct found found;
	int r = names_find(dir, name, &found);

	if (r < 0)
		return r;
	if (found.kind != CHANGE_GONE)
		return -EEXIST;
	pthread_mutex_lock(&tree_lock);
	r = node_child_key(dir, name, true, key);
	if (r == 0)
		r = node_child_key(dir, name, false, file);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = removals_wait(file);
	if (r < 0)
		return r;
	put.key = key;
	r = object_put(the_store, &call, &put, etag);
	if (r < 0)
		return bucket_failed("put", key, r, &call);
	pthread_mutex_lock(&tree_lock);
	names_changed(dir, name, CHANGE_DIR, false, 0, 0, NULL);
	pthread_mutex_unlock(&tree_lock);
	return 0;
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct found made = { .kind = CHANGE_DIR };
	int r = make_dir(fs_node(parent), name);

	(void)mode;
	made.fresh_until_ms = monotonic_ms() + the_options.ttl_ms;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_entry(req, fs_node(parent), name, &made);
}

static int delete_marker(struct node *dir)
{
	char key[OBJECT_KEY_MAX + 1];
	struct object_call call = { 0 };
	int r;

	pthread_mutex_lock(&tree_lock);
	r = node_key(dir, key);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = object_delete(the_store, &call, key);
	return r < 0 ? bucket_failed("delete", key, r, &call) : 0;
}

static int remove_dir(struct node *parent, const char *name)
{
	struct node *dir;
	struct found found;
	int r = names_find(parent, name, &found);

	if (r == 0 && found.kind != CHANGE_DIR)
		r = found.kind == CHANGE_FILE ? -ENOTDIR : -ENOENT;
	if (r < 0)
		return r;
	pthread_mutex_lock(&tree_lock);
	dir = node_get(parent, name, true);
	pthread_mutex_unlock(&tree_lock);
	if (!dir)
		return -ENOMEM;
	r = removals_flush(dir);
	if (r == 0)
		r = names_dir_is_empty(dir);
	r = r == 0 ? -ENOTEMPTY : r < 0 ? r : delete_marker(dir);
	pthread_mutex_lock(&tree_lock);
	if (r == 0) {
		names_changed(parent, name, CHANGE_GONE, false, 0, 0, NULL);
		names_keep_dir(parent);
		node_set_gone(dir);
	}
	node_unref(dir);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, -remove_dir(fs_node(parent), name));
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node *dir = fs_node(parent);
	struct found found;
	int r = names_find(dir, name, &found);

	if (r == 0 && found.kind != CHANGE_FILE)
		r = found.kind == CHANGE_DIR ? -EISDIR : -ENOENT;
	fuse_reply_err(req, r < 0 ? -r : -removals_add(dir, name));
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned int flags)
{
	int r = -EINVAL;

	if (!(flags & ~1u)) /* RENAME_NOREPLACE */
		r = rename_name(fs_node(parent), name, fs_node(newparent), newname, flags & 1);
	fuse_reply_err(req, -r);
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	(void)newparent;
	(void)newname;
	fuse_reply_err(req, EPERM);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	fuse_reply_err(req, EPERM);
}
