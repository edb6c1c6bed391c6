/* SPDX-License-Identifier: MIT */
/*
 * The mount API of fsopen(2) and move_mount(2) in the few forms that a box needs. Must not follow
 * a link inside a box's tree. No locks.
 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define NO_LINKS (RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)

/* What the kernel says about the mount that failed: lines like "e overlay: …", the last counts. */
static int explain(int context, int error, const char *type, struct failure *why)
{
	char line[160], last[160] = "";
	ssize_t n;

	while ((n = read(context, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		memcpy(last, line, sizeof(last));
	}
	if (last[0])
		return failure_set(why, error, "%s: %s (%s)", type, strerror(error), last);
	return failure_set(why, error, "%s: %s", type, strerror(error));
}

int mount_new(const char *type, const struct mount_option *options, size_t n_options,
	      uint64_t attrs, struct failure *why)
{
	_cleanup_close_ int context = fsopen(type, FSOPEN_CLOEXEC);
	int mount;

	if (context < 0)
		return failure_set(why, errno, "%s: %s", type, strerror(errno));
	for (size_t i = 0; i < n_options; i++) {
		const struct mount_option *o = &options[i];

		if (fsconfig(context, o->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o->key,
			     o->value, 0) < 0)
			return explain(context, errno, type, why);
	}
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return explain(context, errno, type, why);
	mount = fsmount(context, FSMOUNT_CLOEXEC, (unsigned int)attrs);
	return mount < 0 ? explain(context, errno, type, why) : mount;
}

int mount_attach(int mount, int dirfd, const char *name)
{
	_cleanup_close_ int target = -1;

	if (!*name)
		return move_mount(mount, "", dirfd, "",
				  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
			       ? -errno
			       : 0;
	target = open_how_at(dirfd, name, O_PATH, 0, NO_LINKS);
	if (target < 0)
		return target;
	return mount_attach(mount, target, "");
}

int mount_attach_dir(int mount, int dirfd, const char *name)
{
	int r = mount_attach(mount, dirfd, name);

	if (r != -ENOENT)
		return r;
	if (mkdirat(dirfd, name, 0755) < 0)
		return -errno;
	return mount_attach(mount, dirfd, name);
}

int mount_clone(int dirfd, const char *name, uint64_t attrs)
{
	struct mount_attr attr = { .attr_set = attrs };
	_cleanup_close_ int from = -1, tree = -1;

	if (*name) {
		from = open_how_at(dirfd, name, O_PATH, 0, NO_LINKS);
		if (from < 0)
			return from;
		dirfd = from;
	}
	tree = open_tree(dirfd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	if (attrs && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return take_fd(&tree);
}
