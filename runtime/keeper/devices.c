/* SPDX-License-Identifier: MIT */
/*
 * What of the kernel a box sees as files. A mask or a device is bound by the descriptor of a node
 * whose number was looked at, so no rename of a file can put something else there. No /sys: what
 * ordinary programs do does not miss it. No locks.
 */
#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "mounts.h"

static const struct {
	const char *name;
	unsigned int major, minor;
} nodes[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },	 { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "ptmx", "pts/ptmx" },		 { "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },	 { "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
};

/* Of /proc: what tells of the machine or of others, and what commands the machine. Those that a
 * kernel does not have are passed over. */
static const char *const masked[] = {
	"acpi", "asound",	 "interrupts",	"kcore", "key-users",  "keys",
	"kmsg", "latency_stats", "sched_debug", "scsi",	 "timer_list", "timer_stats",
};
static const char *const read_only[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };

#define PLAIN (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

int devices_open(const char *name, int flags)
{
	char path[32];
	_cleanup_close_ int fd = -1;
	struct stat st;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, flags | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (!strcmp(nodes[i].name, name) && S_ISCHR(st.st_mode) &&
		    st.st_rdev == makedev(nodes[i].major, nodes[i].minor))
			return take_fd(&fd);
	}
	return -ENODEV;
}

int devices_mount_proc(struct start *s)
{
	static const struct mount_option options[] = { { "source", "proc" } };
	_cleanup_close_ int proc = mount_new("proc", options, ARRAY_SIZE(options), PLAIN, s->why);
	struct statfs fs;

	if (proc == -EPERM) {
		s->why->text[0] = '\0';
		return failure_set(
			s->why, EPERM,
			"the kernel allows a new /proc only while the machine's own is "
			"whole: something is mounted over a part of it, as in containers");
	}
	if (proc < 0)
		return proc;
	if (fstatfs(proc, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return failure_set(s->why, EXDEV, "what was mounted as /proc is something else");
	return mount_attach_dir(proc, s->root, "proc");
}

/* Covers one entry of /proc: a file by the null device, a folder by an empty one. */
static int mask(struct start *s, int proc, int null, const char *name)
{
	_cleanup_close_ int cover = -1;
	struct stat st;

	if (fstatat(proc, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		cover = mount_clone(s->stage_dir, "empty", PLAIN | MOUNT_ATTR_RDONLY);
	else
		cover = mount_clone(null, "",
				    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
	return cover < 0 ? cover : mount_attach(cover, proc, name);
}

int devices_mask_proc(struct start *s)
{
	_cleanup_close_ int proc = openat(s->root, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int null = devices_open("null", O_PATH);
	int r;

	if (proc < 0)
		return -errno;
	if (null < 0)
		return failure_set(s->why, -null, "/dev/null is not the null device");
	for (size_t i = 0; i < ARRAY_SIZE(masked); i++) {
		r = mask(s, proc, null, masked[i]);
		if (r < 0)
			return failure_set(s->why, -r, "/proc/%s: %s", masked[i], strerror(-r));
	}
	for (size_t i = 0; i < ARRAY_SIZE(read_only); i++) {
		_cleanup_close_ int tree =
			mount_clone(proc, read_only[i], PLAIN | MOUNT_ATTR_RDONLY);

		r = tree < 0 ? tree : mount_attach(tree, proc, read_only[i]);
		if (r < 0 && r != -ENOENT)
			return failure_set(s->why, -r, "/proc/%s: %s", read_only[i], strerror(-r));
	}
	return 0;
}

static int bind_nodes(struct start *s, int dev)
{
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		_cleanup_close_ int node = devices_open(nodes[i].name, O_PATH);
		_cleanup_close_ int tree = -1;
		int r = node;

		if (r >= 0 && mknodat(dev, nodes[i].name, S_IFREG | 0666, 0) < 0)
			r = -errno;
		if (r >= 0)
			r = tree = mount_clone(node, "", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
		if (r >= 0)
			r = mount_attach(tree, dev, nodes[i].name);
		if (r < 0)
			return failure_set(s->why, -r, "/dev/%s: %s", nodes[i].name, strerror(-r));
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (symlinkat(links[i].target, dev, links[i].name) < 0)
			return -errno;
	}
	return 0;
}

static int mount_shm(struct start *s, int dev)
{
	char size[32] = "50%"; /* of the machine's memory, as everywhere */
	const struct mount_option options[] = { { "mode", "1777" },
						{ "size", size },
						{ "source", "shm" } };
	uint64_t memory = s->set->limits.of[LIMIT_MEMORY];
	_cleanup_close_ int shm = -1;

	if (memory != LIMIT_NONE)
		snprintf(size, sizeof(size), "%llu", (unsigned long long)memory / 2);
	shm = mount_new("tmpfs", options, ARRAY_SIZE(options), PLAIN, s->why);
	return shm < 0 ? shm : mount_attach_dir(shm, dev, "shm");
}

static int mount_pts(struct start *s, int dev)
{
	static const struct mount_option options[] = {
		{ "newinstance", NULL }, { "ptmxmode", "0666" }, { "mode", "0620" },
		{ "gid", "5" },		 { "max", "512" },	 { "source", "devpts" }
	};
	_cleanup_close_ int pts = mount_new("devpts", options, ARRAY_SIZE(options),
					    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, s->why);

	return pts < 0 ? pts : mount_attach_dir(pts, dev, "pts");
}

int devices_mount_dev(struct start *s)
{
	static const struct mount_option options[] = {
		{ "mode", "0755" }, { "size", "64k" }, { "nr_inodes", "1k" }, { "source", "dev" }
	};
	_cleanup_close_ int dev = mount_new("tmpfs", options, ARRAY_SIZE(options),
					    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, s->why);
	int r = dev < 0 ? dev : mount_attach_dir(dev, s->root, "dev");

	if (r == 0)
		r = bind_nodes(s, dev);
	if (r == 0)
		r = mount_pts(s, dev);
	return r < 0 ? r : mount_shm(s, dev);
}
