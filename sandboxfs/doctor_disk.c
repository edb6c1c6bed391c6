/* SPDX-License-Identifier: MIT */
/*
 * The filesystem under the state directory. Only looks: makes nothing there, not even the directory.
 * No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "doctor_check.h"

#define LITTLE_SPACE (1ULL << 30)
enum { LITTLE_PERCENT = 5 };

int doctor_state_folder(const struct doctor *d, char *path, size_t size)
{
	_cleanup_free_ char *wanted = strdup(d->options->state_dir);
	struct stat st;

	if (!wanted)
		return -ENOMEM;
	for (;;) {
		char *slash = strrchr(wanted, '/');

		if (stat(*wanted ? wanted : "/", &st) == 0)
			break;
		if (errno != ENOENT || !slash)
			return -errno;
		*slash = '\0';
	}
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return snprintf(path, size, "%s", *wanted ? wanted : "/") < (int)size ? 0 : -ENAMETOOLONG;
}

/* --- its type and space ------------------------------------------------------------------------- */

enum fitness { FIT, FIT_FOR_NOW, UNFIT };

static const struct {
	unsigned long magic;
	const char *name;
	enum fitness fitness;
} types[] = {
	{ EXT4_SUPER_MAGIC, "ext4", FIT },
	{ XFS_SUPER_MAGIC, "xfs", FIT },
	{ BTRFS_SUPER_MAGIC, "btrfs", FIT },
	{ TMPFS_MAGIC, "tmpfs", FIT_FOR_NOW },
	{ OVERLAYFS_SUPER_MAGIC, "overlay", UNFIT },
	{ RAMFS_MAGIC, "ramfs", UNFIT },
	{ NFS_SUPER_MAGIC, "nfs", UNFIT },
	{ 0xff534d42, "cifs", UNFIT },
	{ 0xfe534d42, "smb", UNFIT },
	{ FUSE_SUPER_MAGIC, "fuse", UNFIT },
	{ V9FS_MAGIC, "9p", UNFIT },
	{ MSDOS_SUPER_MAGIC, "vfat", UNFIT },
	{ 0x2011bab0, "exfat", UNFIT },
	{ SQUASHFS_MAGIC, "squashfs", UNFIT },
	{ PROC_SUPER_MAGIC, "proc", UNFIT },
	{ SYSFS_MAGIC, "sysfs", UNFIT },
};

static void judge_type(struct finding *f, const char *path, unsigned long magic)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].magic != magic)
			continue;
		finding_set(f, types[i].fitness == UNFIT ? DOCTOR_MISSING : DOCTOR_OK, "%s on %s",
			    path, types[i].name);
		if (types[i].fitness != FIT_FOR_NOW)
			return;
		if (doctor_kernel_version() < KERNEL(6, 6)) {
			finding_set(f, DOCTOR_MISSING,
				    ", which can be id-mapped from Linux 6.6 on");
		} else {
			finding_set(f, DOCTOR_WARN, ", in memory");
			finding_cost(
				f,
				"all boxes are gone when the machine starts again, and their files "
				"take memory");
		}
		return;
	}
	finding_set(f, DOCTOR_WARN, "%s on a filesystem of type 0x%lx", path, magic);
	finding_cost(f, "sandboxfs is tested on ext4, xfs, btrfs and tmpfs only");
}

static void judge_space(struct finding *f, const char *path)
{
	struct statvfs fs;
	unsigned long long free_bytes;

	if (statvfs(path, &fs) < 0)
		return;
	free_bytes = (unsigned long long)fs.f_bavail * fs.f_frsize;
	finding_set(f, f->state, ", %.1f GiB free", (double)free_bytes / (double)(1ULL << 30));
	if (free_bytes < LITTLE_SPACE) {
		finding_set(f, MAX(f->state, DOCTOR_WARN), ": little");
		finding_cost(f, "%swhat boxes write and say fails soon (ENOSPC)",
			     f->cost.len ? "; " : "");
	}
	/* btrfs and others count no inodes. */
	if (fs.f_files && fs.f_favail < fs.f_files / 100 * LITTLE_PERCENT) {
		finding_set(f, MAX(f->state, DOCTOR_WARN), ", %llu inodes left",
			    (unsigned long long)fs.f_favail);
		finding_cost(f, "%snew files fail soon (ENOSPC)", f->cost.len ? "; " : "");
	}
}

void look_state_dir(const struct doctor *d, struct finding *f)
{
	char path[4096];
	struct statfs fs;
	int r = doctor_state_folder(d, path, sizeof(path));

	if (r == 0 && statfs(path, &fs) < 0)
		r = -errno;
	if (r == -EACCES && !d->root) {
		finding_set(f, DOCTOR_UNSEEN, "%s: this user may not look", d->options->state_dir);
		return;
	}
	if (r < 0) {
		finding_set(f, DOCTOR_MISSING, "%s: %s", d->options->state_dir, strerror(-r));
		return;
	}
	judge_type(f, path, (unsigned long)fs.f_type);
	judge_space(f, path);
	if (fs.f_flags & ST_RDONLY) {
		finding_set(f, DOCTOR_MISSING, ", mounted read-only");
		finding_remedy(f, "mount it writable, or put state_dir elsewhere");
	}
}

/* --- what it can do ----------------------------------------------------------------------------- */

/* Does readdir tell types? 1, 0, or -errno. */
static int tells_types(const char *path)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir)
		return -errno;
	e = readdir(dir);
	return !e ? -ENOENT : e->d_type != DT_UNKNOWN;
}

void look_state_features(const struct doctor *d, struct finding *f)
{
	char path[4096], value[8];
	int types_told = doctor_state_folder(d, path, sizeof(path));

	if (types_told == 0)
		types_told = tells_types(path);
	if (types_told < 0) {
		finding_set(f, DOCTOR_UNSEEN, "the state directory cannot be read: %s",
			    strerror(-types_told));
		return;
	}
	finding_set(f, types_told ? DOCTOR_OK : DOCTOR_MISSING, "%s",
		    types_told ? "file types in directories (d_type)" : "no d_type");
	if (getxattr(path, "user.doctor", value, sizeof(value)) < 0 && errno == EOPNOTSUPP) {
		finding_set(f, DOCTOR_MISSING, ", no extended attributes of users");
		finding_remedy(
			f,
			"tmpfs has them from Linux 6.6 on, ext4 with CONFIG_EXT4_FS_XATTR; or put "
			"state_dir on ext4, xfs or btrfs");
	} else {
		finding_set(f, f->state, ", extended attributes of users");
	}
}

void look_state_flags(const struct doctor *d, struct finding *f)
{
	static const struct {
		unsigned long flag;
		const char *name, *cost;
	} flags[] = {
		{ ST_NOEXEC, "noexec", "programs in /workspace cannot be run" },
		{ ST_NOSUID, "nosuid", "set-user-id programs in /workspace have no effect" },
	};
	char path[4096];
	struct statvfs fs;

	if (doctor_state_folder(d, path, sizeof(path)) < 0 || statvfs(path, &fs) < 0) {
		finding_set(f, DOCTOR_UNSEEN, "not looked at, for want of a state directory");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (!(fs.f_flag & flags[i].flag))
			continue;
		finding_set(f,
			    flags[i].flag == ST_NOEXEC ? DOCTOR_WARN : MAX(f->state, DOCTOR_NOTE),
			    "%s%s", f->found.len ? ", " : "", flags[i].name);
		finding_cost(f, "%s%s", f->cost.len ? "; " : "", flags[i].cost);
	}
	if (fs.f_flag & ST_NODEV)
		finding_set(f, f->state, "%snodev, which changes nothing",
			    f->found.len ? ", " : "");
	if (!f->found.len)
		finding_set(f, DOCTOR_OK, "no flag that matters");
}

/* --- hard limits -------------------------------------------------------------------------------- */

/* The options of the filesystem at path, as mountinfo has them: a malloc()ed line's end, or NULL. */
static char *super_options(const char *path)
{
	_cleanup_free_ char *info = doctor_read("/proc/self/mountinfo");
	char *save = NULL, *line;
	struct statx st;

	if (!info || statx(AT_FDCWD, path, 0, STATX_MNT_ID, &st) < 0 ||
	    !(st.stx_mask & STATX_MNT_ID))
		return NULL;
	for (line = strtok_r(info, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *dash = strstr(line, " - ");

		if (dash && strtoull(line, NULL, 10) == st.stx_mnt_id) {
			const char *last = strrchr(dash, ' ');

			return strdup(last + 1);
		}
	}
	return NULL;
}

void look_project_quota(const struct doctor *d, struct finding *f)
{
	_cleanup_free_ char *options = NULL;
	char path[4096];

	if (doctor_state_folder(d, path, sizeof(path)) == 0)
		options = super_options(path);
	if (!options)
		finding_set(f, DOCTOR_UNSEEN, "the mount of the state directory was not found");
	else if (strstr(options, "prjquota") || strstr(options, "pquota"))
		finding_set(f, DOCTOR_OK, "on for %s", path);
	else
		finding_set(f, DOCTOR_NOTE, "not on for %s", path);
}

void look_loop(const struct doctor *d, struct finding *f)
{
	_cleanup_close_ int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		finding_set(f, DOCTOR_OK, "/dev/loop-control");
	} else if (errno == EACCES && !d->root) {
		finding_set(f, DOCTOR_UNSEEN,
			    "/dev/loop-control is there; this user may not open it");
	} else {
		finding_set(f, DOCTOR_NOTE, "/dev/loop-control: %s", strerror(errno));
		finding_remedy(f, "modprobe loop; in a container: hand the device in");
	}
}
