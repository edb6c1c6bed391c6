/* SPDX-License-Identifier: MIT */
/*
 * Names of entries. What an archive says is never walked by name alone: the kernel refuses links and
 * whatever lies outside (openat2(2)). No locks.
 */
#include "import/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

int entry_name(const char *path, char *out, size_t size)
{
	size_t len = 0;

	if (*path == '/')
		return -EINVAL;
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && !memcmp(path, "..", 2))
			return -EINVAL;
		if (n && !(n == 1 && *path == '.')) {
			if (len + n + 2 > size)
				return -ENAMETOOLONG;
			if (len)
				out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
		path += *path == '/';
	}
	out[len] = '\0';
	return 0;
}

const char *entry_split(char *name, const char **parent)
{
	char *slash = strrchr(name, '/');

	*parent = slash ? name : "";
	if (!slash)
		return name;
	*slash = '\0';
	return slash + 1;
}

/* Makes the folders of path that are missing. */
static int make_parents(int root, const char *path)
{
	_cleanup_close_ int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
	const char *p = path;

	while (at >= 0 && *p) {
		char part[NAME_MAX + 1];
		size_t n = strcspn(p, "/");
		int next;

		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(part, p, n);
		part[n] = '\0';
		if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		next = open_how_at(at, part, O_PATH | O_DIRECTORY, 0, BENEATH);
		if (next < 0)
			return next;
		close(at);
		at = next;
		p += n + (p[n] == '/');
	}
	return at < 0 ? -errno : take_fd(&at);
}

int entry_open_folder(int root, const char *path, bool make)
{
	int fd = open_how_at(root, *path ? path : ".", O_PATH | O_DIRECTORY, 0, BENEATH);

	return fd == -ENOENT && make ? make_parents(root, path) : fd;
}
