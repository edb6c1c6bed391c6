/* SPDX-License-Identifier: MIT */
/* Project quotas of the file system that a folder lies in. See disk.h. */
#ifndef DISK_QUOTA_H
#define DISK_QUOTA_H

#include "disk/disk.h"

/* Does its file system hold limits of projects? 0 or -EOPNOTSUPP with a sentence. */
int quota_is_possible(int dir, char *why);
int quota_set_limits(int dir, uint32_t project, const struct disk_limits *limits, char *why);
int quota_get_usage(int dir, uint32_t project, struct disk_usage *usage);

#endif
