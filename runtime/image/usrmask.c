/* SPDX-License-Identifier: MIT */
/*
 * The thin layer over the machine's /usr. It hides folders of local configuration, and what an
 * ordinary user of the machine could not read: the box's root sees /usr through an idmapped
 * mount, as an owner, and modes would not stop it. Two means, both of overlayfs with `userxattr`:
 * a folder with user.overlay.opaque=y shows nothing of the one beneath, and a character device
 * 0:0 is a name that is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/copy.h"
#include "image/image.h"
#include "image/whitelist.h"

#define USR "usr/"

enum { MAX_DEPTH = 256, MAX_PATH_BYTES = 4096 };

/* Package scripts may not start services in a box; dpkg's helpers ask this program. */
#define POLICY_PATH "sbin/policy-rc.d"
static const char policy_text[] = "#!/bin/sh\n# A sandbox runs no services by itself.\nexit 101\n";

/* The walk over /usr. path is that of the folder at hand, below usr, "" for itself. */
struct walk {
	struct build *b;
	dev_t device;
	char path[MAX_PATH_BYTES];
	size_t len;
};

static int set_opaque(struct build *b, const char *path)
{
	_cleanup_close_ int fd =
		openat(b->usrmask, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return build_fail(b, errno, "open the folder %s of the mask", path);
	if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) == 0)
		return 0;
	if (errno == EOPNOTSUPP)
		return build_fail(
			b, errno,
			"hide /usr/%s, because the file system of state_dir keeps no user "
			"attributes (put it on ext4, xfs, btrfs, or tmpfs of Linux 6.6)",
			path);
	return build_fail(b, errno, "hide /usr/%s", path);
}

/* Hides what lies at path below usr, if anything does. */
static int hide(struct build *b, const char *path, const char *why)
{
	char there[MAX_PATH_BYTES];
	struct stat st;
	int r;

	if (snprintf(there, sizeof(there), USR "%s", path) >= (int)sizeof(there))
		return build_fail(b, ENAMETOOLONG, "hide /usr/%s", path);
	if (fstatat(b->machine, there, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = make_parents_like(b, b->usrmask, USR, path, true);
	if (r == 0 && S_ISDIR(st.st_mode)) {
		r = make_folder_like(b, b->usrmask, USR, path, true);
		if (r == 0)
			r = set_opaque(b, path);
	} else if (r == 0 && mknodat(b->usrmask, path, S_IFCHR, makedev(0, 0)) < 0 &&
		   errno != EEXIST) {
		r = build_fail(b, errno, "hide /usr/%s", path);
	}
	if (r == -ENOTDIR && !b->why.len) {
		build_note(b, "not hidden /usr/%s: a link on the way leads elsewhere", path);
		return 0;
	}
	if (r == 0)
		build_note(b, "hidden /usr/%s: %s", path, why);
	return r;
}

static int walk_folder(struct walk *w, int fd, int depth);

/* A folder inside the walk: closed ones are hidden, the others walked. */
static int walk_subfolder(struct walk *w, int dir, const char *name, const struct stat *st,
			  int depth)
{
	_cleanup_close_ int fd = -1;

	if (st->st_dev != w->device)
		return 0; /* the clone of /usr shows the empty folder beneath the mount */
	if (!(st->st_mode & S_IXOTH))
		return hide(w->b, w->path, "closed to ordinary users");
	if (depth >= MAX_DEPTH)
		return build_fail(w->b, ELOOP, "look into /usr/%s", w->path);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	/* What cannot be looked at cannot be shown. */
	if (fd < 0)
		return build_fail(w->b, errno, "look into /usr/%s", w->path);
	return walk_folder(w, take_fd(&fd), depth + 1);
}

static int walk_entry(struct walk *w, int dir, const struct dirent *e, int depth)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN && e->d_type != DT_REG && e->d_type != DT_DIR)
		return 0;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : build_fail(w->b, errno, "look at /usr/%s", w->path);
	if (S_ISDIR(st.st_mode))
		return walk_subfolder(w, dir, e->d_name, &st, depth);
	if (S_ISREG(st.st_mode) && !(st.st_mode & (S_IROTH | S_IXOTH)))
		return hide(w->b, w->path, "closed to ordinary users");
	return 0;
}

/* Walks the folder fd, which it closes. */
static int walk_folder(struct walk *w, int fd, int depth)
{
	_cleanup_closedir_ DIR *dir = fdopendir(fd);
	size_t len = w->len;
	struct dirent *e;
	int r = 0;

	if (!dir) {
		close(fd);
		return build_fail(w->b, ENOMEM, "look into /usr/%s", w->path);
	}
	for (errno = 0; r == 0 && (e = readdir(dir)); errno = 0) {
		size_t name_len = strlen(e->d_name);

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (len + name_len + 2 > sizeof(w->path))
			return build_fail(w->b, ENAMETOOLONG, "look into /usr/%s", w->path);
		if (len)
			w->path[len] = '/';
		memcpy(w->path + len + !!len, e->d_name, name_len + 1);
		w->len = len + !!len + name_len;
		r = walk_entry(w, fd, e, depth);
	}
	if (r == 0 && errno != 0)
		r = build_fail(w->b, errno, "look into /usr/%s", w->path);
	w->len = len;
	w->path[len] = '\0';
	return r;
}

/* The mask's own root folder stands for /usr in the merged view. */
static int dress_mask(struct build *b, const struct stat *usr)
{
	if (fchown(b->usrmask, usr->st_uid, usr->st_gid) < 0 ||
	    fchmod(b->usrmask, usr->st_mode & 07777) < 0)
		return build_fail(b, errno, "give the mask the owner and mode of /usr");
	return 0;
}

static int put_policy(struct build *b)
{
	_cleanup_close_ int fd = -1;
	int r = make_parents_like(b, b->usrmask, USR, POLICY_PATH, true);

	if (r == -ENOTDIR && !b->why.len)
		return 0; /* /usr/sbin is a link here: the machine's own programs decide */
	if (r < 0)
		return r;
	fd = openat(b->usrmask, POLICY_PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (fd < 0)
		return build_fail(b, errno, "make /usr/" POLICY_PATH);
	r = write_full(fd, policy_text, sizeof(policy_text) - 1);
	return r < 0 ? build_fail(b, -r, "write /usr/" POLICY_PATH) : 0;
}

static int hide_listed(struct build *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < default_masks_rows; i++)
		if (!default_masks[i].unless_vendor || !b->vendor_etc)
			r = hide(b, default_masks[i].path + strlen(USR), default_masks[i].why);
	for (size_t i = 0; r == 0 && i < b->options->n_masks; i++)
		r = hide(b, b->options->masks[i] + strlen(USR), "the administrator says so");
	return r;
}

int build_mask_usr(struct build *b)
{
	struct walk w = { .b = b };
	struct stat usr;
	int fd, r;

	fd = openat(b->machine, "usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &usr) < 0) {
		r = build_fail(b, errno, "look into /usr");
		close_fd(&fd);
		return r;
	}
	w.device = usr.st_dev;
	r = dress_mask(b, &usr);
	if (r == 0)
		r = hide_listed(b);
	if (r == 0 && b->family == DPKG)
		r = put_policy(b);
	if (r < 0) {
		close(fd);
		return r;
	}
	return walk_folder(&w, fd, 0);
}
