/* SPDX-License-Identifier: MIT */
/*
 * From the machine into the image. Both sides are walked below a descriptor of their root
 * (RESOLVE_IN_ROOT): an absolute link in the image must never lead a write onto the machine.
 * Nothing here decides what may be copied, apart from the guard.
 */
#include "image/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/conffiles.h"
#include "image/machine.h"
#include "image/whitelist.h"

enum {
	MAX_DEPTH = 64,
	BUFFER_BYTES = 128 << 10,
	PATH_BYTES = 4096,
};

#define INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* Where a file lies on one side: the open folder and the last name of the path. */
struct place {
	int dir;
	const char *name;
};

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Opens the folder that holds path; the descriptor is the caller's. */
static int open_parent(int root, const char *path)
{
	char parent[PATH_BYTES];
	size_t len = last_name(path) - path;

	if (len >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, len);
	parent[len] = '\0';
	return open_how_at(root, len ? parent : ".", O_PATH | O_DIRECTORY, 0, INSIDE);
}

/* --- folders ---------------------------------------------------------------------------- */

static int own_folder(struct build *b, int dir, const char *name, const char *path,
		      const struct stat *like)
{
	if ((like->st_uid || like->st_gid) &&
	    fchownat(dir, name, like->st_uid, like->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return build_fail(b, errno, "give /%s its owner", path);
	if ((like->st_mode & (S_ISUID | S_ISGID)) &&
	    fchmodat(dir, name, like->st_mode & 07777, 0) < 0)
		return build_fail(b, errno, "give /%s its mode", path);
	return 0;
}

/* Makes one folder whose parents are there. */
static int make_one_like(struct build *b, int layer, const char *prefix, const char *path,
			 bool strict)
{
	struct stat like = { .st_mode = S_IFDIR | 0755 };
	_cleanup_close_ int dir = open_parent(layer, path);
	char there[PATH_BYTES];
	struct stat st;

	if (dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP)
		return -ENOTDIR;
	if (dir < 0)
		return build_fail(b, -dir, "open the folder above /%s", path);
	if (fstatat(dir, last_name(path), &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode) ? 0 : -ENOTDIR;
	if (snprintf(there, sizeof(there), "%s%s", prefix, path) >= (int)sizeof(there))
		return build_fail(b, ENAMETOOLONG, "make /%s", path);
	if (fstatat(b->machine, there, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		like = st;
	else if (strict)
		return -ENOTDIR;
	if (mkdirat(dir, last_name(path), like.st_mode & 01777) < 0)
		return build_fail(b, errno, "make the folder /%s", path);
	return own_folder(b, dir, last_name(path), path, &like);
}

int make_parents_like(struct build *b, int layer, const char *prefix, const char *path, bool strict)
{
	char part[PATH_BYTES];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r;

		if (slash - path >= (ptrdiff_t)sizeof(part))
			return build_fail(b, ENAMETOOLONG, "make /%s", path);
		memcpy(part, path, slash - path);
		part[slash - path] = '\0';
		r = make_one_like(b, layer, prefix, part, strict);
		if (r < 0)
			return r;
	}
	return 0;
}

int make_folder_like(struct build *b, int layer, const char *prefix, const char *path, bool strict)
{
	int r = make_parents_like(b, layer, prefix, path, strict);

	return r < 0 ? r : make_one_like(b, layer, prefix, path, strict);
}

/* --- files ------------------------------------------------------------------------------ */

/* Owner, mode and time of a file that we have just made and hold open. */
static int dress_file(struct build *b, int fd, const char *path, const struct stat *like)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, like->st_mtim };

	if ((like->st_uid || like->st_gid) && fchown(fd, like->st_uid, like->st_gid) < 0)
		return build_fail(b, errno, "give /%s its owner", path);
	if (fchmod(fd, like->st_mode & 07777) < 0)
		return build_fail(b, errno, "give /%s its mode", path);
	if (like->st_mtim.tv_sec && futimens(fd, times) < 0)
		return build_fail(b, errno, "give /%s its time", path);
	return 0;
}

static int create_file(struct build *b, struct place to, const char *path)
{
	int fd =
		openat(to.dir, to.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno == EEXIST ? -EEXIST : build_fail(b, errno, "make the file /%s", path);
	return fd;
}

static int put_bytes(struct build *b, struct place to, const char *path, const void *data,
		     size_t len, const struct stat *like)
{
	_cleanup_close_ int fd = create_file(b, to, path);
	int r;

	if (fd < 0)
		return fd == -EEXIST ? 0 : fd;
	r = write_full(fd, data, len);
	if (r < 0)
		return build_fail(b, -r, "write /%s", path);
	return dress_file(b, fd, path, like);
}

/*
 * The bytes of one file in the cheapest way that both file systems know. 0, 1 if the machine's file
 * could not be read to its end, or -errno.
 */
static int copy_bytes(struct build *b, int from, int to, const char *path, off_t size)
{
	static char buffer[BUFFER_BYTES];

	if (!b->no_clone && size > 0) {
		if (ioctl(to, FICLONE, from) == 0)
			return 0;
		b->no_clone = errno == EOPNOTSUPP || errno == EXDEV || errno == ENOTTY;
	}
	while (size > BUFFER_BYTES) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, size, 0);

		if (n <= 0)
			break; /* the loop below goes on from here and meets the same trouble */
		size -= n;
	}
	while (size > 0) {
		ssize_t n = read_full(from, buffer, MIN(size, BUFFER_BYTES));
		int r;

		if (n <= 0)
			return 1;
		r = write_full(to, buffer, n);
		if (r < 0)
			return build_fail(b, -r, "write /%s", path);
		size -= n;
	}
	return 0;
}

static int copy_plain_file(struct build *b, struct place from, struct place to, const char *path)
{
	_cleanup_close_ int in =
		openat(from.dir, from.name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int out = -1;
	struct stat st;
	int r;

	if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode)) {
		build_note(b, "left out /%s: %s", path, in < 0 ? strerror(errno) : "no plain file");
		return 0;
	}
	out = create_file(b, to, path);
	if (out < 0)
		return out == -EEXIST ? 0 : out;
	r = copy_bytes(b, in, out, path, st.st_size);
	if (r > 0) {
		build_note(b, "left out /%s: it could not be read to its end", path);
		unlinkat(to.dir, to.name, 0);
		return 0;
	}
	return r < 0 ? r : dress_file(b, out, path, &st);
}

/* Why the guard keeps a file out, or NULL. */
static const char *guard_reason(const char *path, const struct stat *st, const char *data,
				size_t len)
{
	const char *why = whitelist_never(path);

	if (why)
		return why;
	if (!(st->st_mode & S_IROTH))
		return "not everybody on this machine may read it";
	if (memmem(data, len, "PRIVATE KEY", strlen("PRIVATE KEY")))
		return "it holds a private key";
	return NULL;
}

static int copy_guarded_file(struct build *b, struct place from, struct place to, const char *path,
			     const struct copy_choice *choice)
{
	_cleanup_close_ int in =
		openat(from.dir, from.name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_text_ struct text filtered = { 0 };
	_cleanup_free_ char *data = NULL;
	struct stat st = { 0 };
	const char *why;
	size_t len = 0;
	int r = in < 0 ? -errno : machine_read_open(in, &data, &len, &st);

	if (r == -ENOMEM)
		return build_fail(b, ENOMEM, "read /%s", path);
	if (r < 0 || !data) {
		build_note(b, "left out /%s: %s", path, strerror(-r));
		return 0;
	}
	why = choice->flags & COPY_GUARDED ? guard_reason(path, &st, data, len) : NULL;
	if (why) {
		build_note(b, "left out /%s: %s", path, why);
		return 0;
	}
	if (!choice->filter)
		return put_bytes(b, to, path, data, len, &st);
	r = choice->filter(&filtered, data);
	if (r == 0 && filtered.failed)
		r = -ENOMEM;
	if (r < 0)
		return build_fail(b, -r, "rewrite /%s", path);
	return put_bytes(b, to, path, filtered.data ? filtered.data : "", filtered.len, &st);
}

static int copy_link(struct build *b, struct place from, struct place to, const char *path)
{
	char target[PATH_BYTES];
	ssize_t n = readlinkat(from.dir, from.name, target, sizeof(target));

	if (n < 0 || n == (ssize_t)sizeof(target)) {
		build_note(b, "left out /%s: the link cannot be read", path);
		return 0;
	}
	target[n] = '\0';
	if (symlinkat(target, to.dir, to.name) < 0 && errno != EEXIST)
		return build_fail(b, errno, "make the link /%s", path);
	return 0;
}

/* --- folders and paths ------------------------------------------------------------------ */

/* True if name matches one of the blank-separated patterns. */
static bool name_matches(const char *patterns, const char *name)
{
	char pattern[128];

	for (const char *p = patterns; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (len < sizeof(pattern)) {
			memcpy(pattern, p, len);
			pattern[len] = '\0';
			if (fnmatch(pattern, name, 0) == 0)
				return true;
		}
		p += len;
	}
	return false;
}

static int copy_entries(struct build *b, int from, int to, const char *path,
			const struct copy_choice *choice, int depth);

static int copy_subfolder(struct build *b, struct place from, struct place to, const char *path,
			  const struct copy_choice *choice, const struct stat *st, int depth)
{
	_cleanup_close_ int in = -1, out = -1;
	int r;

	if (depth >= MAX_DEPTH)
		return build_fail(b, ELOOP, "copy /%s", path);
	if ((choice->flags & COPY_GUARDED) && whitelist_never(path)) {
		build_note(b, "left out /%s: %s", path, whitelist_never(path));
		return 0;
	}
	in = openat(from.dir, from.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0) {
		build_note(b, "left out /%s: %s", path, strerror(errno));
		return 0;
	}
	if (mkdirat(to.dir, to.name, st->st_mode & 01777) == 0)
		r = own_folder(b, to.dir, to.name, path, st);
	else
		r = errno == EEXIST ? 0 : build_fail(b, errno, "make the folder /%s", path);
	if (r < 0)
		return r;
	out = openat(to.dir, to.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return build_fail(b, errno, "open the folder /%s", path);
	return copy_entries(b, in, out, path, choice, depth + 1);
}

static int copy_entry(struct build *b, struct place from, struct place to, const char *path,
		      const struct copy_choice *choice, unsigned char type, int depth)
{
	struct stat st;

	if (type == DT_UNKNOWN || type == DT_DIR) {
		if (fstatat(from.dir, from.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return 0; /* gone meanwhile */
		type = IFTODT(st.st_mode);
	}
	if (type == DT_LNK)
		return copy_link(b, from, to, path);
	if (type == DT_REG && !(choice->flags & COPY_LINKS_ONLY)) {
		if (!(choice->flags & COPY_ALTERED) && conffile_is_altered(b, path)) {
			build_note(b, "left out /%s: %s", path, "altered on this machine");
			return 0;
		}
		if ((choice->flags & COPY_GUARDED) || choice->filter)
			return copy_guarded_file(b, from, to, path, choice);
		return copy_plain_file(b, from, to, path);
	}
	if (type == DT_DIR && (choice->flags & COPY_SUBFOLDERS))
		return copy_subfolder(b, from, to, path, choice, &st, depth);
	return 0;
}

static int copy_entries(struct build *b, int from, int to, const char *path,
			const struct copy_choice *choice, int depth)
{
	_cleanup_closedir_ DIR *list = NULL;
	char below[PATH_BYTES];
	struct dirent *e;
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		build_note(b, "left out /%s: %s", path, strerror(errno));
		close_fd(&fd);
		return 0;
	}
	while ((e = readdir(list))) {
		int r;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (choice->take && e->d_type != DT_DIR && !name_matches(choice->take, e->d_name))
			continue;
		if (choice->skip && name_matches(choice->skip, e->d_name))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= (int)sizeof(below))
			continue;
		r = copy_entry(b, (struct place){ from, e->d_name },
			       (struct place){ to, e->d_name }, below, choice, e->d_type, depth);
		if (r < 0)
			return r;
	}
	return 0;
}

/* r < 0: the folder for path could not be made or opened in the image. */
static int no_place(struct build *b, int r, const char *path)
{
	if (b->why.len)
		return r;
	if (r != -ENOTDIR && r != -ENOENT && r != -ELOOP)
		return build_fail(b, -r, "open the folder for /%s", path);
	build_note(b, "left out /%s: a link on the way leads elsewhere", path);
	return 0;
}

int copy_folder(struct build *b, const char *path, const struct copy_choice *choice)
{
	_cleanup_close_ int from = -1, to = -1;
	int r;

	from = open_how_at(b->machine, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, INSIDE);
	if (from == -ELOOP || from == -ENOTDIR)
		return copy_path(b, path, choice); /* a link where others have a folder */
	if (from < 0) {
		if (from != -ENOENT)
			build_note(b, "left out /%s: %s", path, strerror(-from));
		return 0;
	}
	r = make_folder_like(b, b->root, "", path, false);
	if (r == 0)
		r = to = open_how_at(b->root, path, O_RDONLY | O_DIRECTORY, 0, INSIDE);
	if (r < 0)
		return no_place(b, r, path);
	return copy_entries(b, from, to, path, choice, 0);
}

int copy_path(struct build *b, const char *path, const struct copy_choice *choice)
{
	_cleanup_close_ int from = open_parent(b->machine, path), to = -1;
	struct stat st;
	int r;

	if (from < 0 || fstatat(from, last_name(path), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = make_parents_like(b, b->root, "", path, false);
	if (r == 0)
		r = to = open_parent(b->root, path);
	if (r < 0)
		return no_place(b, r, path);
	return copy_entry(b, (struct place){ from, last_name(path) },
			  (struct place){ to, last_name(path) }, path, choice, IFTODT(st.st_mode),
			  0);
}

/* --- what the machine does not have ----------------------------------------------------- */

/* Opens the folder above path in the image and takes away what lies at path. */
static int clear_place(struct build *b, const char *path)
{
	int r = make_parents_like(b, b->root, "", path, false);
	int dir = r < 0 ? r : open_parent(b->root, path);

	if (dir < 0)
		return dir;
	if (unlinkat(dir, last_name(path), 0) < 0 && errno != ENOENT) {
		r = build_fail(b, errno, "replace /%s", path);
		close(dir);
		return r;
	}
	return dir;
}

int image_put_file(struct build *b, const char *path, const void *data, size_t len,
		   const struct stat *like)
{
	_cleanup_close_ int dir = clear_place(b, path);

	if (dir < 0)
		return dir;
	return put_bytes(b, (struct place){ dir, last_name(path) }, path, data, len, like);
}

int image_put_link(struct build *b, const char *path, const char *target)
{
	_cleanup_close_ int dir = clear_place(b, path);

	if (dir < 0)
		return dir;
	if (symlinkat(target, dir, last_name(path)) < 0)
		return build_fail(b, errno, "make the link /%s", path);
	return 0;
}
