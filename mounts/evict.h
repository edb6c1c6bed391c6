/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keeping the number of nodes in bounds. The kernel remembers every file that it was told of as long as
 * it has memory to spare, and so must we; when there are many, it is asked to forget the oldest.
 */
#ifndef MOUNTS_EVICT_H
#define MOUNTS_EVICT_H

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

/* Of which mount; before its first request. */
void evict_init(struct fuse_session *se);
/* The kernel was told of a node. tree_lock held. */
void evict_look(void);
/* No more of it: the mount has ended. */
void evict_stop(void);

#endif
