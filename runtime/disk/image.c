/* SPDX-License-Identifier: MIT */
/*
 * Making an image, putting it behind a loop device, and mounting it. The box never sees the file
 * nor the device, so what the kernel finds in it is what we and the kernel put there. No locks but
 * the image's flock: it goes over to the loop device with the descriptor.
 */
#include "disk/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum {
	ATTACH_MS = 10000, /* for the last mount of the image to go */
	LOOK_US = 2000,
	RESERVED_INODES = 11,	 /* of ext4: 10 and lost+found */
	OUR_INODES = 3,		 /* what layout.c and copy.c put beside the box's folders */
	BYTES_PER_INODE = 16384, /* where nothing else is wanted */
	INODE_SIZE = 256,
	SMALL_JOURNAL_MB = 4,
	JOURNAL_MB = 16,
};

#define LARGE_BYTES ((uint64_t)512 << 20) /* with a journal of JOURNAL_MB from here on */
#define GROUP_BYTES ((uint64_t)128 << 20)
/* ext4 keeps a fiftieth of all back for itself, but not more than this. */
#define MOST_KEPT ((uint64_t)16 << 20)
enum { KEPT_SHARE = 49 };

/* What an image that can never grow is made for at least, beyond its limits. */
#define SPARE_BYTES ((uint64_t)16 << 30)
enum { SPARE_TIMES = 8, SPARE_INODES = 50000 };

int disk_say(char *why, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, DISK_WHY_SIZE, fmt, ap);
	va_end(ap);
	return -error;
}

/* --- the file system ------------------------------------------------------------------------ */

static const char *find_mke2fs(void)
{
	static const char *const paths[] = { "/usr/sbin/mke2fs", "/sbin/mke2fs",
					     "/usr/local/sbin/mke2fs" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	}
	return NULL;
}

int image_is_possible(char *why)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return disk_say(why, EOPNOTSUPP, "no loop devices: /dev/loop-control: %s",
				strerror(errno));
	if (!find_mke2fs())
		return disk_say(why, EOPNOTSUPP, "mke2fs is missing (package e2fsprogs)");
	return 0;
}

/*
 * The library behind mke2fs leaves features, the journal and lazy tables to its caller, so the
 * program is run: once in the life of a box, 20 ms. Its words are dropped but for their end.
 */
static int run_mke2fs(int dir, const char *file, uint64_t inodes, int journal_mb)
{
	static const char features[] =
		"none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
		"large_file,huge_file,dir_nlink,extra_isize,metadata_csum,meta_bg";
	char path[64], inodes_text[24], journal[24];
	const char *const argv[] = {
		"mke2fs",
		"-q",
		"-F",
		"-t",
		"ext4",
		"-b",
		"4096",
		"-I",
		"256",
		"-m",
		"0",
		"-N",
		inodes_text,
		"-J",
		journal,
		"-O",
		features,
		"-E",
		"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
		path,
		NULL
	};
	posix_spawn_file_actions_t actions;
	int r, status = 0, fd;
	pid_t pid;

	fd = openat(dir, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* It opens the name again; descriptor 3 is the same file in the new process. */
	snprintf(path, sizeof(path), "/proc/self/fd/3");
	snprintf(inodes_text, sizeof(inodes_text), "%llu", (unsigned long long)inodes);
	snprintf(journal, sizeof(journal), "size=%d", journal_mb);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fd, 3);
	posix_spawn_file_actions_addclosefrom_np(&actions, 4);
	r = -posix_spawn(&pid, find_mke2fs(), &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fd);
	if (r < 0)
		return r;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* EXT4_IOC_RESIZE_FS asks for it, and the root of a container often has it not. */
static bool may_resize(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &head, data) == 0 &&
	       (data[0].effective & (1u << CAP_SYS_RESOURCE));
}

/* With room to raise the limits while the box runs. */
static struct disk_limits capacity_for(const struct disk_limits *limits, uint64_t most_bytes)
{
	struct disk_limits all = *limits;

	if (!may_resize()) {
		all.bytes = MIN(MAX(all.bytes * SPARE_TIMES, SPARE_BYTES), most_bytes);
		all.bytes = MAX(all.bytes, limits->bytes);
		if (all.inodes)
			all.inodes += MIN(all.inodes * SPARE_TIMES, (uint64_t)SPARE_INODES);
	}
	if (!all.inodes)
		all.inodes = MAX(all.bytes / BYTES_PER_INODE, (uint64_t)LEAST_INODES);
	return all;
}

int image_format(int dir, const char *name, const struct disk_limits *limits, uint64_t most_bytes,
		 char *why)
{
	const struct disk_limits all = capacity_for(limits, most_bytes);
	uint64_t groups = all.bytes / GROUP_BYTES + 1;
	int journal_mb = limits->bytes < LARGE_BYTES ? SMALL_JOURNAL_MB : JOURNAL_MB;
	uint64_t inodes, size;
	int fd, r;

	if (!find_mke2fs())
		return disk_say(why, EOPNOTSUPP, "mke2fs is missing (package e2fsprogs)");
	inodes = MAX(all.inodes, (uint64_t)DISK_MIN_INODES) + RESERVED_INODES + OUR_INODES;
	/* About what the file system takes for itself; image_set_limits() sees to the rest. */
	size = all.bytes + MIN(all.bytes / KEPT_SHARE, MOST_KEPT) + inodes * INODE_SIZE +
	       ((uint64_t)journal_mb << 20) + groups * 3 * DISK_BLOCK + (64 << 10);
	size -= size % DISK_BLOCK;
	unlinkat(dir, name, 0);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 || ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
	close_fd(&fd);
	if (r == 0)
		r = run_mke2fs(dir, name, inodes, journal_mb);
	if (r < 0) {
		unlinkat(dir, name, 0);
		return disk_say(why, -r, "mke2fs of the disk's image: %s", strerror(-r));
	}
	return 0;
}

/* --- the loop device ------------------------------------------------------------------------- */

static int open_loop(long number)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/loop%ld", number);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* Puts the image behind a free device, which is free again when nobody uses it. */
static int attach(int image, long *number)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = {
		.fd = (uint32_t)image,
		.block_size = DISK_BLOCK,
		/* Direct: what is in the image's own cache need not be in the file's as well. */
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
			  .lo_file_name = "sandboxfs" },
	};

	if (control < 0)
		return -errno;
	for (;;) {
		_cleanup_close_ int device = -1;

		*number = ioctl(control, LOOP_CTL_GET_FREE);
		if (*number < 0)
			return -errno;
		device = open_loop(*number);
		if (device < 0)
			return device;
		if (ioctl(device, LOOP_CONFIGURE, &config) == 0)
			return take_fd(&device);
		if (errno != EBUSY) /* somebody was faster */
			return -errno;
	}
}

static bool is_behind(int device, const struct stat *image)
{
	struct loop_info64 info;

	return ioctl(device, LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == image->st_ino &&
	       info.lo_device == image->st_dev;
}

/* The device that has the image already; -ENXIO if it has none, or none any more. */
static int find_attached(int image, long *number)
{
	_cleanup_closedir_ DIR *list = opendir("/sys/block");
	struct dirent *e;
	struct stat st;

	if (!list || fstat(image, &st) < 0)
		return -errno;
	while ((e = readdir(list))) {
		_cleanup_close_ int device = -1;
		char *end;

		if (strncmp(e->d_name, "loop", 4))
			continue;
		*number = strtol(e->d_name + 4, &end, 10);
		if (*end || end == e->d_name + 4)
			continue;
		device = open_loop(*number);
		/* Open, it stays attached. */
		if (device >= 0 && is_behind(device, &st))
			return take_fd(&device);
	}
	return -ENXIO;
}

static int get_device(int dir, const char *name, long *number)
{
	int64_t deadline = monotonic_ms() + ATTACH_MS;

	for (;;) {
		_cleanup_close_ int image = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		int r;

		if (image < 0)
			return -errno;
		if (flock(image, LOCK_EX | LOCK_NB) == 0)
			r = attach(image, number);
		else
			r = errno == EWOULDBLOCK ? find_attached(image, number) : -errno;
		if (r != -ENXIO)
			return r;
		if (monotonic_ms() >= deadline)
			return -EBUSY;
		usleep(LOOK_US);
	}
}

static int set_options(int context, long number)
{
	char source[32];

	snprintf(source, sizeof(source), "/dev/loop%ld", number);
	if (fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
	    /* What is freed leaves the image, and tables not needed yet stay holes in it. */
	    fsconfig(context, FSCONFIG_SET_FLAG, "discard", NULL, 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_FLAG, "noinit_itable", NULL, 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

int image_mount(int dir, const char *name, int *device_out)
{
	long number = -1;
	_cleanup_close_ int device = get_device(dir, name, &number);
	_cleanup_close_ int context = -1;
	int root, r;

	if (device < 0)
		return device;
	context = fsopen("ext4", FSOPEN_CLOEXEC);
	r = context < 0 ? -errno : set_options(context, number);
	if (r < 0)
		return r;
	root = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	if (root < 0)
		return -errno;
	if (device_out)
		*device_out = take_fd(&device);
	return root;
}
