/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories of this mount that other buckets are mounted on. Nothing may be done in them here: what
 * asks for it came in the moment in which the other mount was not there.
 */
#ifndef MOUNTS_GUARD_H
#define MOUNTS_GUARD_H

#include <stddef.h>

#include "fs.h"

/* From now on these: each inside=PATH of the field list, below the root of the mount. 0 or -ENOMEM. */
int guard_set(const char *fields, size_t len);
/* fs_ops, with ENOTCONN for what would be done in such a directory. */
const struct fuse_lowlevel_ops *guard_ops(void);

#endif
