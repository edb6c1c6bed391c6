/* SPDX-License-Identifier: MIT */
/*
 * Where the distribution keeps its defaults in /usr/etc (ostree, openSUSE) and has no package
 * database that we can verify against, that folder is what was published: a file of /etc that
 * equals the one at the same place in /usr/etc may come in. What differs stays out, as a conffile
 * that was altered does elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/copy.h"
#include "image/image.h"
#include "image/machine.h"
#include "image/whitelist.h"

#define USR "usr/"

enum { MAX_DEPTH = 32, MAX_PATH_BYTES = 1024 };

/* path is the file's in /etc: "etc/…". */
static int copy_if_equal(struct build *b, const char *path)
{
	_cleanup_free_ char *published = NULL, *present = NULL;
	size_t published_len, present_len;
	char vendor[MAX_PATH_BYTES];
	struct stat st;

	if (whitelist_never(path) ||
	    snprintf(vendor, sizeof(vendor), USR "%s", path) >= (int)sizeof(vendor) ||
	    machine_read_plain(b, path, &present, &present_len, &st) < 0 ||
	    !(st.st_mode & S_IROTH) ||
	    machine_read_plain(b, vendor, &published, &published_len, &st) < 0 ||
	    !(st.st_mode & S_IROTH))
		return 0;
	if (published_len != present_len || memcmp(published, present, present_len) != 0) {
		build_note(b, "left out /%s: altered on this machine", path);
		return 0;
	}
	return image_put_file(b, path, present, present_len, &st);
}

static int walk(struct build *b, const char *path, int depth)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char below[MAX_PATH_BYTES];
	struct dirent *e;
	struct stat st;
	int fd, r = 0;

	snprintf(below, sizeof(below), USR "%s", path);
	fd = openat(b->machine, below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir || depth >= MAX_DEPTH) {
		if (!dir)
			close_fd(&fd);
		return 0;
	}
	while (r == 0 && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= (int)sizeof(below))
			continue;
		if (S_ISDIR(st.st_mode))
			r = walk(b, below, depth + 1);
		else if (S_ISREG(st.st_mode))
			r = copy_if_equal(b, below);
	}
	return r;
}

int build_copy_vendor(struct build *b)
{
	return b->vendor_etc && b->family != DPKG ? walk(b, "etc", 0) : 0;
}
