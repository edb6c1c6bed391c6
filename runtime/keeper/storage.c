/* SPDX-License-Identifier: MIT */
/*
 * The folders of a box on disk. What is in them after the first start was made by the box, so
 * nothing below upper/ is opened by name unless this very call made it. No locks.
 */
#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "network.h"

/* Makes a folder if it is missing and sees to its owner. 1 if it is new, 0, or -errno. */
static int make_dir(int dirfd, const char *name, mode_t mode, uid_t owner)
{
	struct stat st;
	int made = mkdirat(dirfd, name, mode) == 0;

	if (!made && errno != EEXIST)
		return -errno;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* Not the storage root's: new, or its maker was killed right here. */
	if (st.st_uid != owner && fchownat(dirfd, name, owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return made;
}

static int write_text(int dirfd, const char *name, const char *text, uid_t owner)
{
	_cleanup_close_ int fd =
		openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0 || fchmod(fd, 0644) < 0 || fchown(fd, owner, owner) < 0)
		return -errno;
	return write_full(fd, text, strlen(text));
}

/* The host name where programs look for it, and the time zone; the rest of /etc is the image's. */
static int fill_etc(int etc, const struct box_settings *set)
{
	char text[512];
	int r;

	snprintf(text, sizeof(text), "%s\n", set->hostname);
	r = write_text(etc, "hostname", text, set->storage_base);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text),
		 "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		 set->hostname);
	r = write_text(etc, "hosts", text, set->storage_base);
	/* That of an imported image is of the machine it was made on; host's is this one. */
	if (r == 0 && set->layers)
		r = write_text(etc, "resolv.conf", "nameserver " NET_RESOLVER "\n",
			       set->storage_base);
	if (r < 0 || !set->tz || !*set->tz || strstr(set->tz, ".."))
		return r;
	snprintf(text, sizeof(text), "/usr/share/zoneinfo/%s", set->tz);
	if (symlinkat(text, etc, "localtime") < 0 ||
	    fchownat(etc, "localtime", set->storage_base, set->storage_base, AT_SYMLINK_NOFOLLOW) <
		    0)
		return -errno;
	return 0;
}

static int fill_new_upper(const struct start *s, int system)
{
	_cleanup_close_ int etc = -1;
	struct stat st = { .st_mode = S_IFDIR | 0755 };
	int r;

	if (start_is_host(s) &&
	    (fstatat(s->image, "root/etc", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)))
		return 0;
	r = make_dir(system, "upper/etc", st.st_mode & 07777, s->set->storage_base);
	if (r < 0)
		return r;
	etc = openat(system, "upper/etc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return etc < 0 ? -errno : fill_etc(etc, s->set);
}

int storage_prepare(struct start *s)
{
	static const char *const folders[] = { "work", "usr-upper", "usr-work" };
	uid_t owner = s->set->storage_base;
	_cleanup_close_ int system = -1;
	int r;

	r = make_dir(s->dir, "workspace", 0755, owner);
	if (r >= 0)
		r = make_dir(s->dir, "system", 0700, owner);
	if (r < 0)
		return r;
	system = openat(s->dir, "system", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (system < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		r = make_dir(system, folders[i], 0755, owner);
		if (r < 0)
			return r;
	}
	r = make_dir(system, "upper", 0755, owner);
	return r == 1 ? fill_new_upper(s, system) : r;
}
