/* SPDX-License-Identifier: MIT */
/*
 * Id-mapped clones of folders (mount_setattr(2), MOUNT_ATTR_IDMAP): files of one block of ids on
 * disk look to a box as if they were of its own block, so nothing is ever chowned.
 */
#ifndef KEEPER_IDMAP_H
#define KEEPER_IDMAP_H

#include <stdint.h>
#include <sys/types.h>

/*
 * A user namespace nobody lives in, whose ids from `inside` on are the machine's from `outside`
 * on (BOX_IDS of them). As the map of a mount it makes files of block `inside` belong to block
 * `outside`. A descriptor or -errno.
 */
int idmap_open_userns(uid_t inside, uid_t outside);

/* Writes the maps of process folder proc_pid (/proc/PID); 0 or -errno. */
int idmap_write(int proc_pid, uid_t inside, uid_t outside);

/*
 * A detached, private clone of the mount at dirfd, path ("" is dirfd itself), id-mapped by
 * userns unless that is -1, with attrs (MOUNT_ATTR_…). What is mounted below it is left out.
 * A descriptor or -errno.
 */
int idmap_clone_tree(int dirfd, const char *path, int userns, uint64_t attrs);

/* Id-maps a mount that is attached nowhere yet, with attrs set on it. 0 or -errno. */
int idmap_set(int mount, int userns, uint64_t attrs);

#endif
