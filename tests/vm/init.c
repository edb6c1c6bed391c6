/* SPDX-License-Identifier: MIT */
/*
 * First process of the virtual machine of `make test-v2`: puts the modules in that its disks need,
 * mounts them and hands over to tests/vm/guest on them. Static and alone in its initramfs. Must not
 * end: the kernel would panic, which the other side takes for what it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DISK_PATIENCE_MS = 30000 };

static void fail(const char *what)
{
	fprintf(stderr, "vm init: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A disk is there a moment after its driver. */
static void mount_disk(const char *disk, const char *folder)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (int waited = 0; access(disk, F_OK) < 0 && waited < DISK_PATIENCE_MS; waited++)
		nanosleep(&moment, NULL);
	if (mount(disk, folder, "ext4", MS_NOATIME, NULL) < 0)
		fail(disk);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* /modules has them under names that say the order. */
static void insert_modules(void)
{
	struct dirent **list;
	int n = scandir("/modules", &list, NULL, by_name);

	for (int i = 0; i < n; i++) {
		char path[512];
		int fd;

		if (list[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			fail(path);
		close(fd);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

int main(void)
{
	mkdir("/dev", 0755);
	mkdir("/disk", 0755);
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID, NULL) < 0)
		fail("/dev");
	insert_modules();
	mount_disk("/dev/vda", "/disk");
	mount_disk("/dev/vdb", "/disk/srv");
	if (mount("/dev", "/disk/dev", NULL, MS_MOVE, NULL) < 0)
		fail("moving /dev");
	/* The initramfs cannot be unmounted: the disk is put over it. */
	if (chdir("/disk") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		fail("the disk as root");
	execl("/bin/sh", "sh", "/srv/tests/vm/guest", (char *)NULL);
	fail("tests/vm/guest");
}
