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

/* What the state's file system holds, or else an image: what a new limit is held by. */
static int hold_new_limit(struct start *s, const struct disk_limits *limits, char *why)
{
	int method = disk_choose(s->dir, s->set->disk_method, why);

	/* A box has a project from its birth on or never. */
	if (method == DISK_QUOTA && s->set->disk_method == DISK_QUOTA)
		return disk_say(why, EOPNOTSUPP,
				"the box is older than its file system's project quotas");
	if (method == DISK_QUOTA)
		method = disk_choose(s->dir, DISK_LOOP, why);
	if (method < 0)
		return method;
	if (method == DISK_LOOP)
		return disk_make_image(s->dir, limits, why);
	s->disk = disk_make_tmpfs(s->dir, limits, why);
	return MIN(s->disk, 0);
}

static int hold_limits(struct start *s, char *why)
{
	const struct disk_limits limits = {
		limit_to_wire(s->set->limits.of[LIMIT_DISK]),
		limit_to_wire(s->set->limits.of[LIMIT_DISK_INODES]),
	};
	int r = disk_set_limits(s->dir, &limits, why);

	if (r == -EPERM)
		return disk_make_image(s->dir, &limits, why);
	if (r != -ENOSYS)
		return r;
	why[0] = '\0';
	return disk_is_limited(&limits) ? hold_new_limit(s, &limits, why) : 0;
}

static int mount_image(struct start *s)
{
	s->disk = disk_mount(s->dir);
	if (s->disk < 0)
		return failure_set(s->why, -s->disk, "mount its image: %s", strerror(-s->disk));
	return 0;
}

int storage_open(struct start *s)
{
	char why[DISK_WHY_SIZE] = "";
	int r = disk_clean(s->dir);

	if (r == 0)
		r = hold_limits(s, why);
	if (r == 0)
		r = disk_clean(s->dir);
	if (r < 0)
		return failure_set(s->why, -r, "%s", why[0] ? why : strerror(-r));
	if (disk_has_image(s->dir))
		r = mount_image(s);
	if (r < 0)
		return r;
	s->has_disk = s->disk >= 0;
	s->store = openat(s->has_disk ? s->disk : s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->store < 0 ? -errno : 0;
}

int storage_prepare(struct start *s)
{
	static const char *const folders[] = { "work", "usr-upper", "usr-work" };
	uid_t owner = s->set->storage_base;
	_cleanup_close_ int system = -1;
	int r;

	r = make_dir(s->store, "workspace", 0755, owner);
	if (r >= 0)
		r = make_dir(s->store, "system", 0700, owner);
	/* New again after every reset. */
	if (r == 1)
		r = disk_join_project(s->store, "workspace", "system");
	if (r < 0)
		return r;
	system = openat(s->store, "system", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
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
