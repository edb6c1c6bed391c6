/* SPDX-License-Identifier: MIT */
/*
 * The box's / : two overlays over id-mapped layers (one, where the image was imported), made by the child in its own user namespace
 * (an overlay made by the machine's root over an id-mapped upper comes up read-only without a
 * word). The layers are attached to a staging tmpfs first, because overlayfs refuses detached
 * ones, and because relative names there keep the machine's paths out of the box's mountinfo.
 * All of the stage goes with the old root. No locks.
 */
#include "rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "mounts.h"

/* Names on the stage. No colon, no comma, no backslash: overlayfs splits at them. */
static const char *const tree_names[] = {
	[TREE_SYSTEM] = "s",
	[TREE_ROOT] = "1",
	[TREE_USRMASK] = "2",
	[TREE_USR] = "3",
};

int rootfs_make_stage(struct start *s)
{
	static const struct mount_option options[] = { { "mode", "0755" },
						       { "size", "64k" },
						       { "nr_inodes", "32" } };
	int r;

	/*
	 * The mounts here are copies whose changes reach nobody: a mount namespace of another
	 * user namespace starts with all shared mounts made slaves. They need not be made
	 * private one by one, which would cost with every mount of the machine.
	 */
	s->stage_dir = mount_new("tmpfs", options, ARRAY_SIZE(options),
				 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, s->why);
	if (s->stage_dir < 0)
		return s->stage_dir;
	/*
	 * On top of /usr, which every machine has and nothing here needs by its path any more. Not
	 * of /: detaching the old root would then take the stage alone and leave the machine's.
	 */
	if (move_mount(s->stage_dir, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	if (fchdir(s->stage_dir) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(tree_names); i++) {
		if (tree_names[i] && mkdirat(s->stage_dir, tree_names[i], 0755) < 0)
			return -errno;
	}
	r = mkdirat(s->stage_dir, "root", 0755);
	if (r == 0)
		r = mkdirat(s->stage_dir, "empty", 0555);
	return r < 0 ? -errno : 0;
}

int rootfs_attach_trees(struct start *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(tree_names); i++) {
		int r = tree_names[i] && s->trees[i] >= 0
				? mount_attach(s->trees[i], s->stage_dir, tree_names[i])
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Where the overlays' own folders stand on the stage. */
static const struct overlay_folders {
	const char *upper, *work, *usr_upper, *usr_work;
} overlay_folders[] = {
	{ "s/upper", "s/work", "s/usr-upper", "s/usr-work" },
	/* of a box with a disk */
	{ "s/system/upper", "s/system/work", "s/system/usr-upper", "s/system/usr-work" },
};

static const struct overlay_folders *folders_of(const struct start *s)
{
	return &overlay_folders[s->has_disk];
}

static int mount_overlay(struct start *s, const char *lower, const char *upper, const char *work)
{
	/*
	 * userxattr: the only kind of overlay attributes that a user namespace may write. Not
	 * nosuid: sudo and su work in the box, and count for nothing outside its user namespace.
	 * index=off, whatever the kernel's default: with it the kernel refuses an upper folder
	 * whose last mount the disk has not let go of yet (box_close()).
	 */
	const struct mount_option options[] = {
		{ "userxattr", NULL }, { "index", "off" },  { "lowerdir", lower },
		{ "upperdir", upper }, { "workdir", work }, { "source", "box" },
	};

	return mount_new("overlay", options, ARRAY_SIZE(options), MOUNT_ATTR_NODEV, s->why);
}

enum {
	MAX_LAYERS = 128,
	LAYER_NAME = 16,
	OVERLAY_STRING = 255, /* the longest value of one option */
};

/*
 * An imported image: its layers by name, below the folder of all. As one option, which every kernel
 * knows, where they fit; else one by one, which needs Linux 6.7.
 */
static int mount_layers(struct start *s)
{
	static char paths[MAX_LAYERS][LAYER_NAME];
	struct mount_option options[MAX_LAYERS + 5];
	char joined[MAX_LAYERS * LAYER_NAME] = "";
	const char *p = s->set->layers;
	size_t n_layers = 0, n = 0, len = 0;

	for (; *p && n_layers < MAX_LAYERS; n_layers++) {
		int digits = (int)strcspn(p, ":");

		snprintf(paths[n_layers], LAYER_NAME, "1/%.*s", digits, p);
		len += (size_t)snprintf(joined + len, sizeof(joined) - len, "%s%s",
					n_layers ? ":" : "", paths[n_layers]);
		p += digits + (p[digits] == ':');
	}
	if (*p)
		return failure_set(s->why, E2BIG, "the image has more than %d layers", MAX_LAYERS);
	options[n++] = (struct mount_option){ "userxattr", NULL };
	options[n++] = (struct mount_option){ "index", "off" };
	if (len <= OVERLAY_STRING)
		options[n++] = (struct mount_option){ "lowerdir", joined };
	for (size_t i = 0; len > OVERLAY_STRING && i < n_layers; i++)
		options[n++] = (struct mount_option){ "lowerdir+", paths[i] };
	options[n++] = (struct mount_option){ "upperdir", folders_of(s)->upper };
	options[n++] = (struct mount_option){ "workdir", folders_of(s)->work };
	options[n++] = (struct mount_option){ "source", "box" };
	return mount_new("overlay", options, n, MOUNT_ATTR_NODEV, s->why);
}

/* What every box has, if the image has not. */
static int make_tmp(struct start *s)
{
	if (start_is_host(s) || mkdirat(s->root, "tmp", 01777) < 0)
		return start_is_host(s) || errno == EEXIST ? 0 : -errno;
	return fchmodat(s->root, "tmp", 01777, 0) < 0 ? -errno : 0;
}

int rootfs_mount_root(struct start *s)
{
	int r;

	s->root = start_is_host(s)
			  ? mount_overlay(s, "1", folders_of(s)->upper, folders_of(s)->work)
			  : mount_layers(s);
	r = s->root < 0 ? s->root : mount_attach(s->root, s->stage_dir, "root");
	return r < 0 ? r : make_tmp(s);
}

int rootfs_mount_usr(struct start *s)
{
	_cleanup_close_ int usr = -1;

	if (!start_is_host(s))
		return 0;
	usr = mount_overlay(s, "2:3", folders_of(s)->usr_upper, folders_of(s)->usr_work);
	return usr < 0 ? usr : mount_attach_dir(usr, s->root, "usr");
}

int rootfs_mount_workspace(struct start *s)
{
	/* The whole disk is on the stage: its other folder does not come along. */
	if (s->has_disk) {
		close_fd(&s->trees[TREE_WORKSPACE]);
		s->trees[TREE_WORKSPACE] =
			mount_clone(s->stage_dir, "s/workspace", MOUNT_ATTR_NODEV);
		if (s->trees[TREE_WORKSPACE] < 0)
			return s->trees[TREE_WORKSPACE];
	}
	return mount_attach_dir(s->trees[TREE_WORKSPACE], s->root, "workspace");
}

int rootfs_mount_run(struct start *s)
{
	static const struct mount_option options[] = {
		{ "mode", "0755" }, { "size", "64m" }, { "nr_inodes", "64k" }, { "source", "run" }
	};
	_cleanup_close_ int run = mount_new("tmpfs", options, ARRAY_SIZE(options),
					    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, s->why);
	int r = run < 0 ? run : mount_attach_dir(run, s->root, "run");

	if (r < 0)
		return r;
	/* mkdirat's mode is less the umask. */
	if (mkdirat(run, "box", 0755) < 0 || mkdirat(run, "lock", 01777) < 0 ||
	    fchmodat(run, "lock", 01777, 0) < 0)
		return -errno;
	return mount_attach(s->trees[TREE_CONTROL], run, "box");
}

/* Is there nothing below and nothing above /? What was would be the machine's own root. */
static bool is_alone(const struct start *s)
{
	struct stat box, root, above;

	return fstat(s->root, &box) == 0 && stat("/", &root) == 0 && stat("/..", &above) == 0 &&
	       root.st_dev == box.st_dev && root.st_ino == box.st_ino &&
	       above.st_dev == box.st_dev && above.st_ino == box.st_ino;
}

int rootfs_enter(struct start *s)
{
	if (fchdir(s->root) < 0)
		return -errno;
	/* The old root ends up on top of the new one, at the same place (pivot_root(2), NOTES). */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	if (!is_alone(s))
		return failure_set(s->why, EXDEV, "the machine's root would stay in reach");
	return 0;
}
