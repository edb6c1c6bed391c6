/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guard before the operations that name a directory. It must not ask the server. Lock: tree_lock,
 * for the list as well.
 */
#include "guard.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "bucket.h"

static struct {
	char **keys; /* of directories, with prefix and '/' at the end */
	atomic_size_t n;
} guard;

static void free_keys(char **keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(keys[i]);
	free(keys);
}

static char *key_of(const char *path)
{
	_cleanup_text_ struct text key = { 0 };

	text_printf(&key, "%s%s/", the_options.prefix, path);
	return text_take(&key);
}

int guard_set(const char *fields, size_t len)
{
	static const char word[] = "inside=";
	const char *f = NULL;
	char **keys, **old;
	size_t n = 0, n_old;

	while ((f = field_next(fields, len, f)))
		n += !strncmp(f, word, strlen(word));
	keys = calloc(n + 1, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	n = 0;
	while ((f = field_next(fields, len, f))) {
		if (strncmp(f, word, strlen(word)) != 0)
			continue;
		keys[n] = key_of(f + strlen(word));
		if (!keys[n++]) {
			free_keys(keys, n);
			return -ENOMEM;
		}
	}
	pthread_mutex_lock(&tree_lock);
	old = guard.keys;
	n_old = atomic_load(&guard.n);
	guard.keys = keys;
	atomic_store(&guard.n, n);
	pthread_mutex_unlock(&tree_lock);
	free_keys(old, n_old);
	return 0;
}

static bool covers(const struct node *dir)
{
	char key[OBJECT_KEY_MAX + 1];
	bool found = false;

	pthread_mutex_lock(&tree_lock);
	if (node_key(dir, key) == 0) {
		for (size_t i = 0; i < atomic_load(&guard.n) && !found; i++)
			found = !strncmp(key, guard.keys[i], strlen(guard.keys[i]));
	}
	pthread_mutex_unlock(&tree_lock);
	return found;
}

/* True: it has been answered. */
static bool refuses(fuse_req_t req, fuse_ino_t dir)
{
	if (!atomic_load(&guard.n) || !covers(fs_node(dir)))
		return false;
	fuse_reply_err(req, ENOTCONN);
	return true;
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (!refuses(req, parent))
		fs_lookup(req, parent, name);
}

static void make_dir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	if (!refuses(req, parent))
		fs_mkdir(req, parent, name, mode);
}

static void remove_dir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (!refuses(req, parent))
		fs_rmdir(req, parent, name);
}

static void unlink_file(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (!refuses(req, parent))
		fs_unlink(req, parent, name);
}

static void rename_file(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
			const char *newname, unsigned int flags)
{
	if (!refuses(req, parent) && !refuses(req, newparent))
		fs_rename(req, parent, name, newparent, newname, flags);
}

static void make_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	if (!refuses(req, parent))
		fs_symlink(req, target, parent, name);
}

static void make_node(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	if (!refuses(req, parent))
		fs_mknod(req, parent, name, mode, rdev);
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		   struct fuse_file_info *fi)
{
	if (!refuses(req, parent))
		fs_create(req, parent, name, mode, fi);
}

static void open_dir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!refuses(req, ino))
		fs_opendir(req, ino, fi);
}

const struct fuse_lowlevel_ops *guard_ops(void)
{
	static struct fuse_lowlevel_ops ops;

	ops = fs_ops;
	ops.lookup = lookup;
	ops.mkdir = make_dir;
	ops.rmdir = remove_dir;
	ops.unlink = unlink_file;
	ops.rename = rename_file;
	ops.symlink = make_symlink;
	ops.mknod = make_node;
	ops.create = create;
	ops.opendir = open_dir;
	return &ops;
}
