/* SPDX-License-Identifier: MIT */
/* The mount API of fsopen(2) and move_mount(2) in the few forms that a box needs. */
#ifndef KEEPER_MOUNTS_H
#define KEEPER_MOUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "stages.h"

/* A parameter of a file system; value NULL for a flag. */
struct mount_option {
	const char *key, *value;
};

/* A new, detached mount with attrs (MOUNT_ATTR_…): a descriptor, or -errno with what the kernel
 * had to say in *why. */
int mount_new(const char *type, const struct mount_option *options, size_t n_options,
	      uint64_t attrs, struct failure *why);

/*
 * Attaches a detached mount at name below dirfd ("" for dirfd itself). name is one that a box may
 * have made: no link is followed, and nothing above dirfd is reached. 0 or -errno.
 */
int mount_attach(int mount, int dirfd, const char *name);

/* The same with the folder made first if the image does not have it. */
int mount_attach_dir(int mount, int dirfd, const char *name);

/* A detached clone of what is at dirfd, name, with attrs set on it; a descriptor or -errno. */
int mount_clone(int dirfd, const char *name, uint64_t attrs);

#endif
