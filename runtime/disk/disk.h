/* SPDX-License-Identifier: MIT */
/*
 * How much disk a box may take: bytes and inodes of its system/ and its workspace/ together. What
 * holds the limit is one of
 *
 *   quota   a project of the file system that holds the state directory, mounted with project
 *           quotas (ext4: prjquota, xfs: pquota). Both folders belong to one project; a process of
 *           the box cannot leave it, since only the machine's own user namespace changes projects.
 *   loop    an ext4 image DISK_IMAGE in the box's folder, sparse, which holds both folders. It is
 *           as large as the limit and grows online; what is more than the limit, as it cannot
 *           shrink, is taken by files of ours outside both folders.
 *   tmpfs   memory, only where the administrator asks for it: a start copies both folders to a
 *           tmpfs, and what changes in it is gone when the box stops.
 *
 * An image is never in the table of mounts of the machine: a mount of it lives as long as somebody
 * has a descriptor in it. The flock(2) on it is its loop device's for as long as there is one, so
 * that no file is behind two of them, and all mounts are one file system: the daemon's, that of
 * the box, at the same time. Nothing is left when all processes are killed.
 *
 * Public header of runtime/: sandboxfs/ may include it. dir is the folder of a box, or the state
 * directory where it says so. Thread-safe, but calls that change one box must not meet.
 */
#ifndef RUNTIME_DISK_H
#define RUNTIME_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_IMAGE "disk.img"

enum {
	DISK_MIN_BYTES = 4 << 20, /* below, not even an empty box's folders fit */
	DISK_MIN_INODES = 64,
	DISK_WHY_SIZE = 256,
};

enum disk_method { DISK_AUTO, DISK_QUOTA, DISK_LOOP, DISK_TMPFS, DISK_NONE, N_DISK_METHODS };

/* 0 is no limit. Bytes are rounded down to blocks of 4096. */
struct disk_limits {
	uint64_t bytes, inodes;
};

static inline bool disk_is_limited(const struct disk_limits *limits)
{
	return limits->bytes || limits->inodes;
}

/* What a box takes at present, and what it may take (0: no limit of its own). */
struct disk_usage {
	uint64_t bytes, inodes;
	struct disk_limits limits;
};

/* "auto", …; NULL for what is none. And back: -EINVAL. */
const char *disk_method_word(enum disk_method method);
int disk_method_parse(const char *word);

/*
 * What would hold a limit for boxes in that state directory: DISK_QUOTA, DISK_LOOP or DISK_TMPFS;
 * or -EOPNOTSUPP and a sentence in why (DISK_WHY_SIZE). wanted: what the administrator chose.
 */
int disk_choose(int state_dir, enum disk_method wanted, char *why);

/* Puts a sentence into why; returns -error. */
int disk_say(char *why, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* --- one box ------------------------------------------------------------------------------- */

/* Does its image hold its files? Or would they have to be moved before a limit can hold? */
bool disk_has_image(int dir);
bool disk_is_plain(int dir);
/*
 * The folder that holds system/ and workspace/: dir itself, or the root of its image, mounted with
 * nodev. Open for reading, the caller's. Blocks while the image's last mount goes. -errno.
 */
int disk_open(int dir);
/* Its workspace/ as nobody can change it, while disk_make_image() moves what is in it. O_PATH. */
int disk_open_frozen(int dir);
/* The root of the image, as a detached mount that may be attached or id-mapped. */
int disk_mount(int dir);

/*
 * Makes the limits hold from now on: those of an image or a project; the box may be running. 0,
 * -errno with a sentence in why: -EBUSY if it takes more already, -EPERM if its image cannot grow
 * so far on this machine, -ENOSYS if neither holds its files: a start (disk_make_image()) helps.
 */
int disk_set_limits(int dir, const struct disk_limits *limits, char *why);

/* -ENODATA: nothing counts what it takes. */
int disk_get_usage(int dir, struct disk_usage *usage);

/*
 * Puts the files of a box that does not run into a new image with these limits. All or nothing:
 * until the last moment they stay what they were. Takes as long as copying them. 0, or -errno with a
 * sentence in why.
 */
int disk_make_image(int dir, const struct disk_limits *limits, char *why);

/* A detached tmpfs of that size with a copy of both folders; or -errno and a sentence. Then its
 * size again: root is any directory that is the root of a mount of it; -EBUSY. */
int disk_make_tmpfs(int dir, const struct disk_limits *limits, char *why);
int disk_resize_tmpfs(int root, const struct disk_limits *limits, char *why);
bool disk_is_tmpfs(int root);
int disk_tmpfs_usage(int root, struct disk_usage *usage);

/* Removes what a killed disk_make_image() left, and the folders whose files an image holds. 0 or
 * -errno. */
int disk_clean(int dir);

/* --- projects ------------------------------------------------------------------------------- */

/* Makes name below dir part of the project of the folder like, if that has one. 0 or -errno. */
int disk_join_project(int dir, const char *like, const char *name);
/*
 * Gives the empty folder workspace/ of a new box a project of its own, if the file system has
 * projects that hold a limit. 0 or -errno.
 */
int disk_new_project(int dir, uint64_t seed);
/* The project of a box, 0 if none. */
uint32_t disk_project(int dir);
/* Frees what the file system keeps for a project whose files are gone. */
void disk_drop_project(int state_dir, uint32_t project);

#endif
