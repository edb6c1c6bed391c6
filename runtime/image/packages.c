/* SPDX-License-Identifier: MIT */
/*
 * The package manager's own state, so that it works inside; and the folders, without their
 * content, that packages own below /etc and /var: a program that expects its folder in /var/lib
 * or /var/log finds it, with the right owner.
 */
#include "image/packages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/copy.h"
#include "image/image.h"
#include "image/whitelist.h"

/* Where the state lies. What is below /usr (newer rpm) is there already. */
static const struct {
	unsigned families;
	const char *path;
	const char *skip; /* fnmatch patterns */
} states[] = {
	{ DPKG, "var/lib/dpkg", "*-old lock* Lock tmp.ci" },
	{ RPM, "var/lib/rpm", ".rpm.lock __db.*" },
	{ PACMAN, "var/lib/pacman/local", "" },
};

/* Lists of the files of each package: the folder, and how a list's name ends. */
static const struct {
	unsigned families;
	const char *path;
	const char *suffix;
	bool in_subfolders;
} lists[] = {
	{ DPKG, "var/lib/dpkg/info", ".list", false },
	{ PACMAN, "var/lib/pacman/local", "files", true },
};

/* Folders that scripts of packages make, so that no list has them. */
static const char *const script_folders[] = { "var/lib/postgresql", "var/lib/mysql" };

/* Where the machine has no list that we can read, the names directly below these count. */
static const char *const open_folders[] = { "var/lib", "var/cache", "var/log", "var/spool" };

int build_copy_packages(struct build *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(states); i++) {
		struct copy_choice choice = { .skip = states[i].skip, .flags = COPY_SUBFOLDERS };

		if (states[i].families & b->family)
			r = copy_folder(b, states[i].path, &choice);
	}
	return r;
}

int packages_parse_list(char *text, int (*fn)(void *ctx, const char *path), void *ctx)
{
	while (*text) {
		char *end = text + strcspn(text, "\n"), *path = text;
		bool last = *end == '\0';
		int r = 0;

		*end = '\0';
		path += *path == '/';
		if (!strncmp(path, "etc/", 4) || !strncmp(path, "var/", 4)) {
			if (end > path && end[-1] == '/')
				end[-1] = '\0';
			if (!strstr(path, "/../") && !strstr(path, "//"))
				r = fn(ctx, path);
		}
		if (r != 0 || last)
			return r;
		text = end + 1;
	}
	return 0;
}

/* Makes the folder of the machine's path, if it is one there and not yet here. */
static int make_if_folder(void *ctx, const char *path)
{
	struct build *b = ctx;
	struct stat st;
	int r;

	if (fstatat(b->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	    fstatat(b->machine, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	r = make_folder_like(b, b->root, "", path, false);
	return r == -ENOTDIR && !b->why.len ? 0 : r;
}

static int read_list(struct build *b, int dir, const char *name)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(dir, name, 64 << 20, &text, NULL);

	if (r == -ENOMEM)
		return build_fail(b, ENOMEM, "read %s", name);
	return r < 0 ? 0 : packages_parse_list(text, make_if_folder, b);
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return len >= end && !strcmp(name + len - end, suffix);
}

/* Calls fn for each name in the folder but "." and ".."; one that is not there has none. */
static int each_name(struct build *b, const char *path,
		     int (*fn)(struct build *b, int dir, const char *path, const char *name,
			       const void *arg),
		     const void *arg)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(b->machine, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return 0;
	}
	while (r == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = fn(b, fd, path, e->d_name, arg);
	return r;
}

static int visit_list(struct build *b, int dir, const char *path, const char *name,
		      const void *suffix)
{
	(void)path;
	return ends_with(name, suffix) ? read_list(b, dir, name) : 0;
}

static int visit_package(struct build *b, int dir, const char *path, const char *name,
			 const void *list)
{
	char inside[512];

	(void)path;
	if (snprintf(inside, sizeof(inside), "%s/%s", name, (const char *)list) >=
	    (int)sizeof(inside))
		return 0;
	return read_list(b, dir, inside);
}

static int visit_folder(struct build *b, int dir, const char *path, const char *name,
			const void *arg)
{
	char below[512];

	(void)dir;
	(void)arg;
	if (snprintf(below, sizeof(below), "%s/%s", path, name) >= (int)sizeof(below))
		return 0;
	return make_if_folder(b, below);
}

int build_make_dirs(struct build *b)
{
	bool listed = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++) {
		if (!(lists[i].families & b->family))
			continue;
		listed = true;
		r = each_name(b, lists[i].path, lists[i].in_subfolders ? visit_package : visit_list,
			      lists[i].suffix);
	}
	for (size_t i = 0; r == 0 && !listed && i < ARRAY_SIZE(open_folders); i++)
		r = each_name(b, open_folders[i], visit_folder, NULL);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(script_folders); i++)
		r = make_if_folder(b, script_folders[i]);
	return r;
}
