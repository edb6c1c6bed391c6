/* SPDX-License-Identifier: MIT */
/*
 * Id-mapped clones of folders. Must not touch the files themselves. One thread, no locks.
 */
#include "idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "runtime.h"

enum { HOLDER_STACK = 16 << 10 };

int idmap_write(int proc_pid, uid_t inside, uid_t outside)
{
	char map[64];
	int r;

	snprintf(map, sizeof(map), "%u %u %d\n", inside, outside, BOX_IDS);
	r = write_control_at(proc_pid, "uid_map", map);
	return r < 0 ? r : write_control_at(proc_pid, "gid_map", map);
}

/* Holds a new user namespace until it is killed. Shares our memory: must touch nothing. */
static int hold_userns(void *unused)
{
	(void)unused;
	while (pause() < 0)
		;
	return 0;
}

int idmap_open_userns(uid_t inside, uid_t outside)
{
	static char stack[HOLDER_STACK] __attribute__((aligned(16)));
	_cleanup_close_ int proc = -1;
	char path[32];
	int r, userns = -1;
	pid_t pid;

	/* Sharing the memory spares copying it: the process lives for some microseconds only. */
	pid = clone(hold_userns, stack + sizeof(stack), CLONE_VM | CLONE_NEWUSER | SIGCHLD, NULL);
	if (pid < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = proc < 0 ? -errno : idmap_write(proc, inside, outside);
	if (r == 0) {
		userns = openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
		r = userns < 0 ? -errno : 0;
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? r : userns;
}

int idmap_set(int mount, int userns, uint64_t attrs)
{
	struct mount_attr attr = {
		.attr_set = attrs | (userns >= 0 ? MOUNT_ATTR_IDMAP : 0),
		.propagation = MS_PRIVATE,
		.userns_fd = userns >= 0 ? (uint64_t)userns : 0,
	};

	return mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int idmap_clone_tree(int dirfd, const char *path, int userns, uint64_t attrs)
{
	_cleanup_close_ int tree = open_tree(dirfd, path,
					     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
						     AT_SYMLINK_NOFOLLOW);
	int r = tree < 0 ? -errno : idmap_set(tree, userns, attrs);

	return r < 0 ? r : take_fd(&tree);
}
