/* SPDX-License-Identifier: MIT */
/*
 * A box's files in memory: a tmpfs with a size, filled from the box's folders, which stay as they
 * are. The memory is the box's own, as its processes are who take it. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "disk/copy.h"
#include "disk/disk.h"

enum { OUR_INODES = 2 }; /* its root, and what a copy needs meanwhile */

/* 0 is no limit to tmpfs, too. */
static int set_size(int context, const struct disk_limits *limits)
{
	char size[24], inodes[24];

	snprintf(size, sizeof(size), "%llu", (unsigned long long)limits->bytes);
	snprintf(inodes, sizeof(inodes), "%llu",
		 (unsigned long long)(limits->inodes ? limits->inodes + OUR_INODES : 0));
	if (fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0)
		return -errno;
	return 0;
}

static int make(const struct disk_limits *limits)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int r = context < 0 ? -errno : set_size(context, limits);
	int mount;

	if (r < 0)
		return r;
	if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	return mount < 0 ? -errno : mount;
}

int disk_make_tmpfs(int dir, const struct disk_limits *limits, char *why)
{
	_cleanup_close_ int mount = make(limits);
	_cleanup_close_ int root = -1;
	int r;

	if (mount >= 0)
		root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		r = mount < 0 ? -mount : errno;
		return disk_say(why, r, "mount the box's tmpfs: %s", strerror(r));
	}
	r = disk_copy_folders(dir, root, why);
	return r < 0 ? r : take_fd(&mount);
}

int disk_resize_tmpfs(int root, const struct disk_limits *limits, char *why)
{
	_cleanup_close_ int context = fspick(root, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	int r = context < 0 ? -errno : set_size(context, limits);

	if (r == 0 && fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		r = -errno;
	if (r == -EINVAL)
		return disk_say(why, EBUSY, "the box takes more already: remove files first");
	return r < 0 ? disk_say(why, -r, "the size of the box's tmpfs: %s", strerror(-r)) : 0;
}

bool disk_is_tmpfs(int root)
{
	struct statfs fs;

	return root >= 0 && fstatfs(root, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

int disk_tmpfs_usage(int root, struct disk_usage *usage)
{
	struct statvfs fs;

	if (fstatvfs(root, &fs) < 0)
		return -errno;
	if (!fs.f_blocks) /* without a size it does not count */
		return -ENODATA;
	*usage = (struct disk_usage){
		.bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize,
		.inodes = fs.f_files - fs.f_ffree,
		.limits = { fs.f_blocks * fs.f_frsize, fs.f_files },
	};
	return 0;
}
