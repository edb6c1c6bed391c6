/* SPDX-License-Identifier: MIT */
/*
 * Writing a layer to disk. The archive says where each file goes, so no path of it is ever walked
 * by name alone: a parent folder is opened beneath the layer's own folder with links refused by
 * the kernel (openat2(2)), and everything else happens to one component in it. An entry that
 * leads outside or through a link ends the import. One thread, no locks.
 */
#include "import/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "import/names.h"
#include "runtime.h"

#define WHITEOUT ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define WHITEOUT_OTHER ".wh..wh."
#define OPAQUE_XATTR "user.overlay.opaque"

/* What a folder is to be once nothing is made in it any more. */
struct dir_note {
	size_t path; /* in paths */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
};

struct unpack {
	struct tar *tar;
	struct budget *budget;
	struct import_why *why;
	int root;
	/* the folder of the last entry, which most often is that of the next */
	int parent;
	char parent_path[PATH_MAX];
	struct dir_note *dirs;
	size_t n_dirs, dirs_size;
	struct text paths;
};

static int refuse(struct unpack *u, int error, const char *path, const char *what)
{
	return import_fail(u->why, error, "%.200s: %s", path, what);
}

/* errno of a step on path. */
static int failed(struct unpack *u, const char *path, const char *what)
{
	int error = errno;

	if (error == ENAMETOOLONG)
		return refuse(u, error, path, "the name is too long for this file system");
	return import_fail(u->why, error, "%.200s: %s: %s", path, what, strerror(error));
}

static int clean_name(struct unpack *u, const char *path, char *out)
{
	int r;

	*out = '\0';
	r = entry_name(path, out, PATH_MAX);

	if (r == -EINVAL)
		return refuse(u, EINVAL, path, "the name leads out of the image");
	return r < 0 ? refuse(u, ENAMETOOLONG, path, "the name is too long") : 0;
}

/* --- folders ------------------------------------------------------------------------------------ */

static void drop_parent(struct unpack *u)
{
	close_fd(&u->parent);
}

/* The folder of the present entry, kept for the next. */
static int enter(struct unpack *u, const char *parent, const char *path)
{
	if (u->parent >= 0 && !strcmp(parent, u->parent_path))
		return u->parent;
	drop_parent(u);
	u->parent = entry_open_folder(u->root, parent, true);
	if (u->parent < 0) {
		errno = -u->parent;
		u->parent = -1;
		if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV)
			return refuse(u, errno, path,
				      "the name goes through a link or a file, not a folder");
		return failed(u, path, "open its folder");
	}
	strcpy(u->parent_path, parent);
	return u->parent;
}

static int note_dir(struct unpack *u, const char *path, const struct entry *e)
{
	if (u->n_dirs == u->dirs_size) {
		size_t size = u->dirs_size ? u->dirs_size * 2 : 256;
		struct dir_note *more = realloc(u->dirs, size * sizeof(*more));

		if (!more)
			return refuse(u, ENOMEM, path, "out of memory");
		u->dirs = more;
		u->dirs_size = size;
	}
	u->dirs[u->n_dirs++] = (struct dir_note){
		.path = u->paths.len,
		.mode = e->mode,
		.uid = (uid_t)e->uid,
		.gid = (gid_t)e->gid,
		.mtime = e->mtime,
	};
	text_add(&u->paths, path, strlen(path) + 1);
	return u->paths.failed ? refuse(u, ENOMEM, path, "out of memory") : 0;
}

/* Owner, mode and time of all folders, when nothing changes them any more. */
static int finish_dirs(struct unpack *u)
{
	for (size_t i = 0; i < u->n_dirs; i++) {
		const struct dir_note *d = &u->dirs[i];
		const char *path = u->paths.data + d->path;
		const struct timespec times[2] = { d->mtime, d->mtime };
		_cleanup_close_ int fd = open_how_at(u->root, *path ? path : ".",
						     O_RDONLY | O_DIRECTORY, 0, BENEATH);

		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue; /* a later entry took its place */
		if (fd < 0)
			return errno = -fd, failed(u, path, "open");
		if (fchown(fd, d->uid, d->gid) < 0 || fchmod(fd, d->mode) < 0 ||
		    futimens(fd, times) < 0)
			return failed(u, path, "set owner and mode");
	}
	return 0;
}

/* --- attributes --------------------------------------------------------------------------------- */

/*
 * user.* and file capabilities. Not those of overlayfs itself, with which an image could reach
 * into other folders, and none that a user namespace cannot set.
 */
static bool may_have_xattr(const char *name, bool is_file)
{
	if (!strncmp(name, "user.", 5))
		return strncmp(name, "user.overlay.", 13) != 0;
	return is_file && !strcmp(name, "security.capability");
}

static int set_xattrs(struct unpack *u, int fd, const char *path, bool is_file)
{
	const char *name;
	const void *value;
	size_t len;

	while (tar_next_xattr(u->tar, &name, &value, &len)) {
		if (!name || !may_have_xattr(name, is_file)) {
			u->budget->attributes++;
			continue;
		}
		if (fsetxattr(fd, name, value, len, 0) == 0)
			continue;
		/* A file system that has none of them, or no room for so large a one. */
		if (errno != EOPNOTSUPP && errno != E2BIG && errno != ERANGE && errno != EINVAL)
			return failed(u, path, "set an extended attribute");
		u->budget->attributes++;
	}
	return 0;
}

static void count_xattrs(struct unpack *u)
{
	const char *name;
	const void *value;
	size_t len;

	while (tar_next_xattr(u->tar, &name, &value, &len))
		u->budget->attributes++;
}

/* --- one entry ---------------------------------------------------------------------------------- */

static int set_opaque(struct unpack *u, int parent, const char *name, const char *path)
{
	_cleanup_close_ int fd =
		openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fsetxattr(fd, OPAQUE_XATTR, "y", 1, 0) < 0)
		return failed(u, path, "hide what lies below");
	return 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* Takes away what an earlier entry of that name made; a folder only where it is empty. */
static int make_room(struct unpack *u, int parent, const char *name, const char *path)
{
	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return failed(u, path, "replace an earlier entry");
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
		return refuse(u, errno, path, "takes the place of a folder that is not empty");
	return 0;
}

static int make_dir(struct unpack *u, int parent, const char *name, const char *path,
		    const struct entry *e)
{
	_cleanup_close_ int fd = -1;
	bool opaque = false;
	struct stat st;
	int r = 0;

	if (mkdirat(parent, name, 0700) < 0) {
		if (errno != EEXIST)
			return failed(u, path, "make the folder");
		if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return failed(u, path, "look at it");
		if (!S_ISDIR(st.st_mode)) {
			opaque = is_whiteout(&st);
			if (unlinkat(parent, name, 0) < 0 || mkdirat(parent, name, 0700) < 0)
				return failed(u, path, "make the folder");
		}
	}
	if (opaque)
		r = set_opaque(u, parent, name, path);
	if (r < 0)
		return r;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(u, path, "open the folder");
	r = set_xattrs(u, fd, path, false);
	return r < 0 ? r : note_dir(u, path, e);
}

static int write_at(int fd, const char *data, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

static int write_content(struct unpack *u, int fd, const char *path, const struct entry *e)
{
	uint64_t offset, end = 0;
	const void *data;
	size_t len;
	int r;

	while ((r = tar_read(u->tar, &data, &len, &offset)) == 1) {
		if (offset > e->size || len > e->size - offset)
			return refuse(u, EINVAL, path, "holds more than its size");
		r = write_at(fd, data, len, offset);
		if (r < 0)
			return errno = -r, failed(u, path, "write");
		end = MAX(end, offset + len);
	}
	/* A hole at its end. */
	if (r == 0 && end < e->size && ftruncate(fd, (off_t)e->size) < 0)
		return failed(u, path, "set its size");
	return r;
}

static int make_file(struct unpack *u, int parent, const char *name, const char *path,
		     const struct entry *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	const struct timespec times[2] = { e->mtime, e->mtime };
	_cleanup_close_ int fd = openat(parent, name, flags, e->mode & 0777);
	int r;

	if (fd < 0 && errno == EEXIST) {
		r = make_room(u, parent, name, path);
		if (r < 0)
			return r;
		fd = openat(parent, name, flags, e->mode & 0777);
	}
	if (fd < 0)
		return failed(u, path, "make the file");
	r = write_content(u, fd, path, e);
	if (r < 0)
		return r;
	/* In this order: a change of owner takes set-user-id bits and capabilities away. */
	if ((e->uid || e->gid) && fchown(fd, (uid_t)e->uid, (gid_t)e->gid) < 0)
		return failed(u, path, "set its owner");
	if ((e->mode & 07000) && fchmod(fd, e->mode) < 0)
		return failed(u, path, "set its mode");
	r = set_xattrs(u, fd, path, true);
	if (r == 0 && futimens(fd, times) < 0)
		r = failed(u, path, "set its time");
	return r;
}

/* Owner and time of what cannot be opened. */
static int finish_at(struct unpack *u, int parent, const char *name, const char *path,
		     const struct entry *e)
{
	const struct timespec times[2] = { e->mtime, e->mtime };

	count_xattrs(u);
	if (fchownat(parent, name, (uid_t)e->uid, (gid_t)e->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(u, path, "set its owner and time");
	return 0;
}

static int make_node(int parent, const char *name, const struct entry *e)
{
	if (e->type == ENTRY_SYMLINK)
		return symlinkat(e->link, parent, name);
	return mknodat(parent, name, S_IFIFO | (e->mode & 0777), 0);
}

static int make_special(struct unpack *u, int parent, const char *name, const char *path,
			const struct entry *e)
{
	int r = make_node(parent, name, e);

	if (r < 0 && errno == EEXIST) {
		r = make_room(u, parent, name, path);
		if (r < 0)
			return r;
		r = make_node(parent, name, e);
	}
	return r < 0 ? failed(u, path, "make it") : finish_at(u, parent, name, path, e);
}

static int make_hardlink(struct unpack *u, int parent, const char *name, const char *path,
			 const struct entry *e)
{
	_cleanup_close_ int folder = -1;
	char target[PATH_MAX];
	const char *above, *base;
	struct stat st, old;
	int r = clean_name(u, e->link, target);

	if (r < 0)
		return r;
	if (!*target)
		return refuse(u, EINVAL, path, "a hard link to the root folder");
	base = entry_split(target, &above);
	folder = entry_open_folder(u->root, above, false);
	if (folder < 0 || fstatat(folder, base, &st, AT_SYMLINK_NOFOLLOW) < 0 || is_whiteout(&st))
		return refuse(u, ENOENT, path,
			      "a hard link to what is not in the archive before it");
	if (S_ISDIR(st.st_mode))
		return refuse(u, EINVAL, path, "a hard link to a folder");
	/* A link to itself is there already. */
	if (fstatat(parent, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == st.st_ino)
		return 0;
	r = make_room(u, parent, name, path);
	if (r == 0 && linkat(folder, base, parent, name, 0) < 0)
		r = failed(u, path, "make the hard link");
	return r;
}

/* A node of /dev: boxes have a /dev of their own. Elsewhere it has no place in an image. */
static int leave_out_device(struct unpack *u, const char *parent, const char *path)
{
	if (strcmp(parent, "dev") != 0 && strncmp(parent, "dev/", 4) != 0)
		return refuse(u, EPERM, path,
			      "a device node, which an image may have below /dev only (where it is "
			      "left out)");
	u->budget->devices++;
	return 0;
}

/* .wh.NAME hides NAME of the layers below; the same name in this layer is not meant. */
static int make_whiteout(struct unpack *u, int parent, const char *name, const char *path)
{
	const char *hidden = name + strlen(WHITEOUT);
	struct stat st;

	if (!strcmp(name, WHITEOUT_OPAQUE))
		return set_opaque(u, parent, ".", path);
	if (!strncmp(name, WHITEOUT_OTHER, strlen(WHITEOUT_OTHER)))
		return 0; /* another union file system's own */
	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return refuse(u, EINVAL, path, "a whiteout of nothing");
	if (fstatat(parent, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? set_opaque(u, parent, hidden, path) : 0;
	if (mknodat(parent, hidden, S_IFCHR, makedev(0, 0)) < 0)
		return failed(u, path, "make the whiteout");
	return 0;
}

static int take_from_budget(struct unpack *u, const char *path, const struct entry *e)
{
	struct budget *b = u->budget;

	if (b->files >= b->max_files)
		return import_fail(u->why, EFBIG, "it has more than %llu files (image_max_files)",
				   (unsigned long long)b->max_files);
	if (e->size > b->max_bytes - b->bytes)
		return import_fail(u->why, EFBIG,
				   "%.200s: with this file it is larger than %llu bytes "
				   "(image_max_size)",
				   path, (unsigned long long)b->max_bytes);
	b->files++;
	b->bytes += e->size;
	return 0;
}

static int check_entry(struct unpack *u, const char *path, const struct entry *e)
{
	if (e->uid < 0 || e->uid >= BOX_IDS || e->gid < 0 || e->gid >= BOX_IDS)
		return import_fail(u->why, EINVAL,
				   "%.200s: belongs to %lld:%lld, and a box has ids below %d only",
				   path, (long long)e->uid, (long long)e->gid, BOX_IDS);
	if (e->type == ENTRY_OTHER)
		return refuse(u, EINVAL, path, "an entry of an unknown type");
	return 0;
}

static int unpack_entry(struct unpack *u, const struct entry *e)
{
	char whole[PATH_MAX], parts[PATH_MAX];
	const char *parent, *name;
	int dir, r = clean_name(u, e->path, whole);

	if (r == 0)
		r = check_entry(u, whole, e);
	if (r == 0)
		r = take_from_budget(u, whole, e);
	if (r < 0)
		return r;
	if (!*whole)
		return e->type == ENTRY_DIR ? note_dir(u, "", e)
					    : refuse(u, EINVAL, e->path, "the root is no folder");
	strcpy(parts, whole);
	name = entry_split(parts, &parent);
	dir = enter(u, parent, whole);
	if (dir < 0)
		return dir;
	if (!strncmp(name, WHITEOUT, strlen(WHITEOUT)))
		return make_whiteout(u, dir, name, whole);
	switch (e->type) {
	case ENTRY_DIR:
		return make_dir(u, dir, name, whole, e);
	case ENTRY_FILE:
		return make_file(u, dir, name, whole, e);
	case ENTRY_HARDLINK:
		return make_hardlink(u, dir, name, whole, e);
	case ENTRY_DEVICE:
		return leave_out_device(u, parent, whole);
	default:
		return make_special(u, dir, name, whole, e);
	}
}

int unpack_tar(struct tar *tar, int folder, struct budget *budget, struct import_why *why)
{
	struct unpack u = {
		.tar = tar, .budget = budget, .why = why, .root = folder, .parent = -1
	};
	struct entry e;
	int r;

	while ((r = tar_next(tar, &e)) == 1) {
		r = unpack_entry(&u, &e);
		if (r < 0)
			break;
	}
	drop_parent(&u);
	if (r == 0)
		r = finish_dirs(&u);
	free(u.dirs);
	text_free(&u.paths);
	return r;
}
