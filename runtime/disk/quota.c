/* SPDX-License-Identifier: MIT */
/*
 * Project quotas. A folder that has a project and hands it down (PROJINHERIT) makes all that is
 * made in it part of that project; the kernel lets nobody change that from another user namespace
 * than its first, nor move files from one project to another. Both folders of a box belong to one,
 * so that the overlay can rename between its upper and its work folder. No locks.
 */
#include "disk/quota.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "disk/image.h"

#ifndef PRJQUOTA
#define PRJQUOTA 2
#endif

enum {
	QUOTA_BLOCK = 1024, /* of a limit of bytes, whatever the file system's own */
	MAX_TRIES = 64,
};

/* Where ours begin: below, administrators and container programs number theirs. */
#define FIRST_PROJECT 0x70000000u
#define N_PROJECTS 0x0fffffffu

static int quota_call(int dir, int command, uint32_t project, void *arg)
{
	return syscall(SYS_quotactl_fd, dir, QCMD(command, PRJQUOTA), project, arg) < 0 ? -errno
											: 0;
}

int quota_is_possible(int dir, char *why)
{
	struct fs_quota_statv state = { .qs_version = FS_QSTATV_VERSION1 };
	int r = quota_call(dir, Q_XGETQSTATV, 0, &state);

	if (r == 0 && (state.qs_flags & FS_QUOTA_PDQ_ENFD))
		return 0;
	return disk_say(why, EOPNOTSUPP,
			"the file system of state_dir is not mounted with project quotas "
			"(prjquota)");
}

static int get_quota(int dir, uint32_t project, struct dqblk *quota)
{
	int r;

	*quota = (struct dqblk){ 0 };
	r = quota_call(dir, Q_GETQUOTA, project, quota);
	return r == -ENOENT || r == -ESRCH ? 0 : r; /* nothing was ever counted for it */
}

int quota_set_limits(int dir, uint32_t project, const struct disk_limits *limits, char *why)
{
	struct dqblk quota = {
		.dqb_bhardlimit = limits->bytes / DISK_BLOCK * DISK_BLOCK / QUOTA_BLOCK,
		.dqb_ihardlimit = limits->inodes,
		.dqb_valid = QIF_LIMITS,
	};
	int r = quota_call(dir, Q_SETQUOTA, project, &quota);

	return r < 0 ? disk_say(why, -r, "set the project's quota: %s", strerror(-r)) : 0;
}

int quota_get_usage(int dir, uint32_t project, struct disk_usage *usage)
{
	struct dqblk quota;
	int r = get_quota(dir, project, &quota);

	if (r < 0)
		return r;
	*usage = (struct disk_usage){
		.bytes = quota.dqb_curspace,
		.inodes = quota.dqb_curinodes,
		.limits = { quota.dqb_bhardlimit * QUOTA_BLOCK, quota.dqb_ihardlimit },
	};
	return 0;
}

/* --- folders -------------------------------------------------------------------------------- */

static uint32_t project_of(int dir, const char *name)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct fsxattr attr;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0 ||
	    !(attr.fsx_xflags & FS_XFLAG_PROJINHERIT))
		return 0;
	return attr.fsx_projid;
}

static int set_project(int dir, const char *name, uint32_t project)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct fsxattr attr;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

uint32_t disk_project(int dir)
{
	return project_of(dir, "workspace");
}

int disk_join_project(int dir, const char *like, const char *name)
{
	uint32_t project = project_of(dir, like);

	return project ? set_project(dir, name, project) : 0;
}

int disk_new_project(int dir, uint64_t seed)
{
	char why[DISK_WHY_SIZE];
	struct dqblk quota;

	if (quota_is_possible(dir, why) < 0)
		return 0;
	for (unsigned int i = 0; i < MAX_TRIES; i++) {
		uint32_t project = FIRST_PROJECT + (uint32_t)(hash_u64(seed + i) % N_PROJECTS);
		int r = get_quota(dir, project, &quota);

		if (r < 0)
			return r;
		/* One that nobody has: neither files nor a limit. */
		if (!quota.dqb_curinodes && !quota.dqb_bhardlimit && !quota.dqb_ihardlimit)
			return set_project(dir, "workspace", project);
	}
	return -EBUSY;
}

void disk_drop_project(int state_dir, uint32_t project)
{
	char why[DISK_WHY_SIZE];

	if (project)
		quota_set_limits(state_dir, project, &(struct disk_limits){ 0 }, why);
}
