/* SPDX-License-Identifier: MIT */
/*
 * Copies a tree that a box has made: names and depth are hostile, so nothing is opened but by one
 * name below a descriptor, no link is followed, no file but a regular one is opened, and the way
 * down is a list, not the stack. Must be called while nothing of the box runs. No locks.
 */
#include "disk/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

/* Beside the copy while it is made: one name for each file that has several, by its number. */
#define LINKS_NAME ".links~"

enum { BUFFER_BYTES = 128 << 10, XATTR_BYTES = 64 << 10 };

/* A folder on the way down. */
struct level {
	struct level *up;
	DIR *from;
	int to;
	struct stat st;
};

struct copy {
	struct level *level;
	int links;
	char *buffer;
};

/* --- attributes ----------------------------------------------------------------------------- */

static int copy_xattr(int from, int to, const char *name, char *value)
{
	ssize_t size = fgetxattr(from, name, value, XATTR_BYTES);

	if (size < 0)
		return errno == ENODATA ? 0 : -errno;
	return fsetxattr(to, name, value, (size_t)size, 0) < 0 ? -errno : 0;
}

static int copy_xattrs(struct copy *c, int from, int to)
{
	char *names = c->buffer, *value = c->buffer + XATTR_BYTES;
	ssize_t size = flistxattr(from, names, XATTR_BYTES);
	int r = 0;

	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (char *name = names; name < names + size && r == 0; name += strlen(name) + 1)
		r = copy_xattr(from, to, name, value);
	return r;
}

/* A new owner takes set-user-id and capabilities away, so he comes first. */
static int dress(struct copy *c, int from, int to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r;

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return -errno;
	r = copy_xattrs(c, from, to);
	return r == 0 && futimens(to, times) < 0 ? -errno : r;
}

static int dress_at(int dir, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode) && fchmodat(dir, name, st->st_mode & 07777, 0) < 0)
		return -errno;
	return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* --- files ---------------------------------------------------------------------------------- */

static int copy_range(struct copy *c, int from, int to, off_t at, off_t end)
{
	while (at < end) {
		size_t want = (size_t)MIN(end - at, (off_t)BUFFER_BYTES);
		ssize_t n = pread(from, c->buffer, want, at);
		ssize_t done = 0;

		if (n <= 0)
			return n < 0 ? -errno : 0;
		while (done < n) {
			ssize_t w = pwrite(to, c->buffer + done, (size_t)(n - done), at + done);

			if (w < 0)
				return -errno;
			done += w;
		}
		at += n;
	}
	return 0;
}

static int copy_data(struct copy *c, int from, int to, off_t size)
{
	off_t at = 0, end;
	int r = 0;

	while (r == 0 && at < size) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0)
			break; /* nothing but a hole is left */
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		r = copy_range(c, from, to, at, end);
		at = end;
	}
	if (r == 0 && at < 0 && errno != ENXIO)
		return -errno;
	return r == 0 && ftruncate(to, size) < 0 ? -errno : r;
}

static int copy_file(struct copy *c, int from_dir, int to_dir, const char *name)
{
	_cleanup_close_ int from =
		openat(from_dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	_cleanup_close_ int to = -1;
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	r = copy_data(c, from, to, st.st_size);
	return r < 0 ? r : dress(c, from, to, &st);
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	char target[PATH_MAX + 1];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target));

	if (n < 0 || n == (ssize_t)sizeof(target))
		return n < 0 ? -errno : -ENAMETOOLONG;
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_special(struct copy *c, const struct stat *st, const char *name)
{
	int r = 0;

	if (S_ISLNK(st->st_mode))
		r = copy_link(dirfd(c->level->from), c->level->to, name);
	else if (mknodat(c->level->to, name, st->st_mode & (S_IFMT | 0600), st->st_rdev) < 0)
		r = -errno;
	return r < 0 ? r : dress_at(c->level->to, name, st);
}

/* --- entries -------------------------------------------------------------------------------- */

static int push(struct copy *c, int from_dir, int to_dir, const char *name)
{
	_cleanup_close_ int from =
		openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	_cleanup_free_ struct level *l = calloc(1, sizeof(*l));

	if (from < 0 || !l || fstat(from, &l->st) < 0)
		return l ? -errno : -ENOMEM;
	if (mkdirat(to_dir, name, 0700) < 0)
		return -errno;
	l->to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->to < 0)
		return -errno;
	l->from = fdopendir(from);
	if (!l->from) {
		close(l->to);
		return -errno;
	}
	take_fd(&from);
	l->up = c->level;
	c->level = take_ptr(l);
	return 0;
}

static void drop_level(struct copy *c)
{
	struct level *l = c->level;

	c->level = l->up;
	closedir(l->from);
	close(l->to);
	free(l);
}

/* Its times only now, as each entry has changed them. */
static int pop(struct copy *c)
{
	int r = dress(c, dirfd(c->level->from), c->level->to, &c->level->st);

	drop_level(c);
	return r;
}

static int copy_entry(struct copy *c, const char *name)
{
	int from = dirfd(c->level->from), to = c->level->to, r;
	char number[24];
	struct stat st;
	bool shared;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return push(c, from, to, name);
	if (S_ISSOCK(st.st_mode))
		return 0;
	shared = st.st_nlink > 1;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)st.st_ino);
	if (shared && linkat(c->links, number, to, name, 0) == 0)
		return 0;
	r = S_ISREG(st.st_mode) ? copy_file(c, from, to, name) : copy_special(c, &st, name);
	if (r == 0 && shared && linkat(to, name, c->links, number, 0) < 0 && errno != ENOENT)
		return -errno;
	return r;
}

static int copy_all(struct copy *c)
{
	int r = 0;

	while (c->level && r == 0) {
		struct dirent *e;

		errno = 0;
		e = readdir(c->level->from);
		if (!e)
			r = errno ? -errno : pop(c);
		else if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = copy_entry(c, e->d_name);
	}
	while (c->level)
		drop_level(c);
	return r;
}

int disk_copy_tree(int from, int to, const char *name)
{
	struct copy c = { .links = -1, .buffer = malloc(BUFFER_BYTES) };
	int r = c.buffer ? 0 : -ENOMEM;

	if (r == 0)
		r = remove_tree_at(to, LINKS_NAME);
	if (r == 0) {
		r = mkdirat(to, LINKS_NAME, 0700) < 0 ? -errno : 0;
		c.links = openat(to, LINKS_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (r == 0 && c.links < 0)
		r = -errno;
	if (r == 0)
		r = push(&c, from, to, name);
	if (r == 0)
		r = copy_all(&c);
	close_fd(&c.links);
	free(c.buffer);
	remove_tree_at(to, LINKS_NAME);
	return r;
}
