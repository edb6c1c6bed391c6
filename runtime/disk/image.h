/* SPDX-License-Identifier: MIT */
/* An image in a box's folder, and the sizes of the file system in it. See disk.h. */
#ifndef DISK_IMAGE_H
#define DISK_IMAGE_H

#include "disk/disk.h"

enum {
	DISK_BLOCK = 4096,
	LEAST_INODES = 65536, /* where no limit of them is wanted: npm and git make many files */
};

/* Is there what makes and attaches images? 0 or -EOPNOTSUPP with a sentence. */
int image_is_possible(char *why);

/*
 * Makes the file name below dir and a file system with room for limits in it; where it could not
 * grow later, with more, but not more than most_bytes. 0 or -errno with a sentence.
 */
int image_format(int dir, const char *name, const struct disk_limits *limits, uint64_t most_bytes,
		 char *why);

/* The root of the image's file system, detached, nodev; *device, if not NULL, is its loop device
 * open for writing. Both are the caller's. -errno. */
int image_mount(int dir, const char *name, int *device);

/* The limits and what is taken, of a mounted image. */
int image_set_limits(int dir, const char *name, const struct disk_limits *limits, char *why);
int image_get_usage(int root, struct disk_usage *usage);

#endif
