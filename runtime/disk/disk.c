/* SPDX-License-Identifier: MIT */
/*
 * Which way a limit of disk is held, and the calls for one box. Must not know what a box does.
 * No locks.
 */
#include "disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "disk/copy.h"
#include "disk/image.h"
#include "disk/quota.h"

#define NEW_IMAGE DISK_IMAGE "~"
#define MAX_IMAGE_BYTES ((uint64_t)8 << 40) /* an ext4 file behind it has 16 TiB */

static const char *const words[N_DISK_METHODS] = { "auto", "quota", "loop", "tmpfs", "none" };
static const char *const folders[] = { "workspace", "system" };

const char *disk_method_word(enum disk_method method)
{
	return method < N_DISK_METHODS ? words[method] : NULL;
}

int disk_method_parse(const char *word)
{
	for (int i = 0; i < N_DISK_METHODS; i++) {
		if (!strcmp(word, words[i]))
			return i;
	}
	return -EINVAL;
}

int disk_choose(int state_dir, enum disk_method wanted, char *why)
{
	char no_quota[DISK_WHY_SIZE], no_image[DISK_WHY_SIZE];

	switch (wanted) {
	case DISK_QUOTA:
		return quota_is_possible(state_dir, why) < 0 ? -EOPNOTSUPP : DISK_QUOTA;
	case DISK_LOOP:
		return image_is_possible(why) < 0 ? -EOPNOTSUPP : DISK_LOOP;
	case DISK_TMPFS:
		return DISK_TMPFS;
	case DISK_NONE:
		return disk_say(why, EOPNOTSUPP, "limits.disk_method is none");
	default:
		break;
	}
	if (quota_is_possible(state_dir, no_quota) == 0)
		return DISK_QUOTA;
	if (image_is_possible(no_image) == 0)
		return DISK_LOOP;
	return disk_say(why, EOPNOTSUPP, "this machine cannot hold it: %.100s; %.100s", no_quota,
			no_image);
}

bool disk_has_image(int dir)
{
	struct stat st;

	return fstatat(dir, DISK_IMAGE, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

int disk_mount(int dir)
{
	return image_mount(dir, DISK_IMAGE, NULL);
}

int disk_open(int dir)
{
	_cleanup_close_ int root = disk_has_image(dir) ? disk_mount(dir) : -1;
	int fd;

	if (root < 0 && disk_has_image(dir))
		return root;
	/* fsmount's own descriptor ends the mount with it; one inside only holds it. */
	fd = openat(root >= 0 ? root : dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

bool disk_is_plain(int dir)
{
	return !disk_has_image(dir) && !disk_project(dir);
}

int disk_open_frozen(int dir)
{
	_cleanup_close_ int files = disk_open(dir);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV };
	_cleanup_close_ int tree = -1;

	if (files < 0)
		return files;
	tree = open_tree(files, "workspace",
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return take_fd(&tree);
}

/* An image has a size: without a limit that of the file system it lies in, *most. */
static int image_limits(int dir, const struct disk_limits *limits, struct disk_limits *out,
			uint64_t *most, char *why)
{
	struct statvfs fs;

	if (fstatvfs(dir, &fs) < 0)
		return disk_say(why, errno, "%s", strerror(errno));
	*most = MIN((uint64_t)fs.f_blocks * fs.f_frsize, MAX_IMAGE_BYTES);
	*out = *limits;
	if (!out->bytes)
		out->bytes = *most;
	if (out->bytes > MAX_IMAGE_BYTES)
		return disk_say(why, EOPNOTSUPP, "an image holds 8T at the most");
	return 0;
}

int disk_set_limits(int dir, const struct disk_limits *limits, char *why)
{
	struct disk_limits full;
	uint64_t most;
	int r;

	if (disk_has_image(dir)) {
		r = image_limits(dir, limits, &full, &most, why);
		return r < 0 ? r : image_set_limits(dir, DISK_IMAGE, &full, why);
	}
	if (disk_project(dir))
		return quota_set_limits(dir, disk_project(dir), limits, why);
	return disk_say(why, ENOSYS, "the box's files are in a plain folder");
}

int disk_get_usage(int dir, struct disk_usage *usage)
{
	_cleanup_close_ int root = -1;
	uint32_t project;

	if (disk_has_image(dir)) {
		root = disk_open(dir);
		return root < 0 ? root : image_get_usage(root, usage);
	}
	project = disk_project(dir);
	return project ? quota_get_usage(dir, project, usage) : -ENODATA;
}

/* --- a new image ---------------------------------------------------------------------------- */

int disk_copy_folders(int from, int root, char *why)
{
	struct rlimit old, more;
	int r = 0;

	/* A copy holds two descriptors for each folder on the way down. */
	if (getrlimit(RLIMIT_NOFILE, &old) < 0)
		return disk_say(why, errno, "%s", strerror(errno));
	more = (struct rlimit){ old.rlim_max, old.rlim_max };
	setrlimit(RLIMIT_NOFILE, &more);
	for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++) {
		r = disk_copy_tree(from, root, folders[i]);
		if (r == -ENOENT)
			r = 0;
	}
	setrlimit(RLIMIT_NOFILE, &old);
	if (r == -ENOSPC)
		return disk_say(why, ENOSPC,
				"the box's files do not fit into its limit of disk or disk_inodes: "
				"raise it");
	if (r == -EMFILE)
		return disk_say(why, EMFILE, "the box's folders are too deep to be copied");
	return r < 0 ? disk_say(why, -r, "copy the box's files: %s", strerror(-r)) : 0;
}

static int fill_image(int dir, int from, const struct disk_limits *limits, char *why)
{
	_cleanup_close_ int mount = -1, root = -1;
	int r = image_set_limits(dir, NEW_IMAGE, limits, why);

	if (r < 0)
		return r;
	mount = image_mount(dir, NEW_IMAGE, NULL);
	if (mount < 0)
		return disk_say(why, -mount, "mount the box's disk: %s", strerror(-mount));
	root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = root < 0 ? disk_say(why, errno, "%s", strerror(errno))
		     : disk_copy_folders(from, root, why);
	if (r == 0 && syncfs(root) < 0)
		return disk_say(why, errno, "write the box's disk: %s", strerror(errno));
	return r;
}

/* Who has the old image open in files/ must not write what the new one will not have. */
static int set_read_only(int root, bool read_only)
{
	_cleanup_close_ int context = fspick(root, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);

	if (context < 0 ||
	    fsconfig(context, FSCONFIG_SET_FLAG, read_only ? "ro" : "rw", NULL, 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

int disk_make_image(int dir, const struct disk_limits *limits, char *why)
{
	_cleanup_close_ int from = disk_open(dir);
	bool had_image = disk_has_image(dir);
	struct disk_limits full;
	uint64_t most;
	int r = image_limits(dir, limits, &full, &most, why);

	if (from < 0)
		return disk_say(why, -from, "open the box's disk: %s", strerror(-from));
	if (r == 0)
		r = image_format(dir, NEW_IMAGE, &full, most, why);
	if (r < 0)
		return r;
	r = had_image ? set_read_only(from, true) : 0;
	if (r < 0)
		disk_say(why, -r, "files of the box are open and cannot be moved: %s",
			 strerror(-r));
	else
		r = fill_image(dir, from, &full, why);
	/* From here on the image is the truth, and the folders are what is left over. */
	if (r == 0 && renameat(dir, NEW_IMAGE, dir, DISK_IMAGE) < 0)
		r = disk_say(why, errno, "name the box's disk: %s", strerror(errno));
	if (r == 0 && fsync(dir) < 0)
		r = disk_say(why, errno, "%s", strerror(errno));
	if (r < 0) {
		unlinkat(dir, NEW_IMAGE, 0);
		if (had_image)
			set_read_only(from, false);
	}
	return r;
}

int disk_clean(int dir)
{
	int r = unlinkat(dir, NEW_IMAGE, 0) < 0 && errno != ENOENT ? -errno : 0;

	for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0 && disk_has_image(dir); i++)
		r = remove_tree_at(dir, folders[i]);
	return r;
}
