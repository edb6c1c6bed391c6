/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests about names. Lock: tree_lock.
 */
#include "evict.h"
#include "fs.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
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

	/* To the kernel a node has the same type for ever. */
	if (node && !node->content && !fs_same_type(node, found)) {
		node_set_gone(node);
		node_unref(node);
		node = node_get(dir, name, found->kind == CHANGE_DIR);
	}
	if (!node)
		return -ENOMEM;
	/* While it is written, its own size is the true one. */
	if (!node->content)
		names_apply(node, found);
	node_tell(node);
	evict_look();
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
		fs_reply_err(req, -r);
	else if (fs_reply_entry(req, &e) == -ENOENT)
		fs_entry_undo(&e); /* interrupted */
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node *dir = fs_node(parent);
	struct found found;
	int r;

	waiting_begin(req);
	r = names_find(dir, name, &found);
	if (r == 0)
		r = meta_complete(dir, name, &found);
	if (r < 0) {
		fs_reply_err(req, -r);
	} else if (found.kind == CHANGE_GONE) {
		struct fuse_entry_param e = { .entry_timeout = fs_timeout(found.fresh_until_ms) };

		fs_reply_entry(req, &e);
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

/* --- names --------------------------------------------------------------------------------------------- */

/* 0, -EEXIST or -errno. */
static int must_be_free(struct node *dir, const char *name)
{
	struct found found;
	int r = names_find(dir, name, &found);

	if (r < 0)
		return r;
	return found.kind == CHANGE_GONE ? 0 : -EEXIST;
}

static int make_dir(struct node *dir, const char *name, const struct meta *meta)
{
	struct object_put put = { .content_type = "application/x-directory", .body.bytes = "" };
	_cleanup_text_ struct text fields = { 0 };
	char key[OBJECT_KEY_MAX + 1], file[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE];
	struct object_call call = { 0 };
	int r = must_be_free(dir, name);

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree_lock);
	r = node_child_key(dir, name, true, key);
	if (r == 0)
		r = node_child_key(dir, name, false, file);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = removals_wait(file);
	if (r < 0)
		return r;
	if (meta->known)
		meta_add(&fields, meta, true);
	put.key = key;
	put.meta = fields.data;
	put.meta_len = fields.len;
	r = fields.failed ? -ENOMEM : object_put(the_store, &call, &put, etag);
	if (r < 0)
		return bucket_failed("put", key, r, &call);
	pthread_mutex_lock(&tree_lock);
	names_changed(dir, name, CHANGE_DIR, false, 0, 0, NULL);
	pthread_mutex_unlock(&tree_lock);
	return 0;
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct found made = { .kind = CHANGE_DIR,
			      .meta = meta_new(S_IFDIR | mode, ctx->uid, ctx->gid) };
	int r;

	waiting_begin(req);
	r = make_dir(fs_node(parent), name, &made.meta);
	made.fresh_until_ms = monotonic_ms() + the_options.ttl_ms;
	if (r < 0)
		fs_reply_err(req, -r);
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
	waiting_begin(req);
	fs_reply_err(req, -remove_dir(fs_node(parent), name));
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node *dir = fs_node(parent);
	struct found found;
	int r;

	waiting_begin(req);
	r = names_find(dir, name, &found);
	if (r == 0 && found.kind != CHANGE_FILE)
		r = found.kind == CHANGE_DIR ? -EISDIR : -ENOENT;
	fs_reply_err(req, r < 0 ? -r : -removals_add(dir, name));
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned int flags)
{
	int r = -EINVAL;

	waiting_begin(req);
	if (!(flags & ~1u)) /* RENAME_NOREPLACE */
		r = rename_name(fs_node(parent), name, fs_node(newparent), newname, flags & 1);
	fs_reply_err(req, -r);
}

/* An object with the mode of a symbolic link; its content is the target. */
static int make_link(struct node *dir, const char *name, const char *target, struct found *made)
{
	struct object_put put = { .body = { .bytes = target, .length = strlen(target) },
				  .if_none_match = the_options.conditional };
	_cleanup_text_ struct text fields = { 0 };
	char key[OBJECT_KEY_MAX + 1];
	struct object_call call = { 0 };
	int r = must_be_free(dir, name);

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree_lock);
	r = dir->gone ? -ENOENT : node_child_key(dir, name, false, key);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = removals_wait(key);
	if (r < 0)
		return r;
	meta_add(&fields, &made->meta, true);
	put.key = key;
	put.meta = fields.data;
	put.meta_len = fields.len;
	r = fields.failed ? -ENOMEM : object_put(the_store, &call, &put, made->etag);
	if (r < 0)
		return bucket_failed("put", key, r, &call);
	pthread_mutex_lock(&tree_lock);
	names_changed(dir, name, CHANGE_FILE, false, made->size, made->mtime_us, made->etag);
	pthread_mutex_unlock(&tree_lock);
	return 0;
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct found made = { .kind = CHANGE_FILE,
			      .size = strlen(target),
			      .mtime_us = realtime_us(),
			      .is_ours = true,
			      .meta = meta_new(S_IFLNK | 0777, ctx->uid, ctx->gid) };
	int r;

	waiting_begin(req);
	r = the_options.metadata ? make_link(fs_node(parent), name, target, &made) : -EPERM;
	made.fresh_until_ms = monotonic_ms() + the_options.ttl_ms;
	if (r < 0)
		fs_reply_err(req, -r);
	else
		reply_entry(req, fs_node(parent), name, &made);
}

void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char key[OBJECT_KEY_MAX + 1], target[PATH_MAX];
	struct object_get get = { .key = key, .length = sizeof(target) - 1, .buffer = target };
	struct object_call call = { 0 };
	int64_t n;
	int r;

	waiting_begin(req);
	pthread_mutex_lock(&tree_lock);
	r = fs_node(ino)->gone ? -ESTALE : node_key(fs_node(ino), key);
	pthread_mutex_unlock(&tree_lock);
	n = r < 0 ? r : object_get(the_store, &call, &get, NULL);
	if (r == 0 && n < 0)
		n = bucket_failed("get", key, (int)n, &call);
	if (n < 0) {
		fs_reply_err(req, (int)-n);
		return;
	}
	target[n] = '\0'; /* the kernel takes what lies before the first one */
	fs_reply_readlink(req, target);
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	(void)newparent;
	(void)newname;
	fs_reply_err(req, EPERM);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	fs_reply_err(req, EPERM);
}
