/* SPDX-License-Identifier: MIT */
/* Stages of the child: what of the kernel a box sees as files, /dev and /proc. */
#ifndef KEEPER_DEVICES_H
#define KEEPER_DEVICES_H

#include <sys/types.h>

#include "stages.h"

/* Opens the machine's device node name below /dev and makes sure it is what it is called;
 * flags of open(2). A descriptor or -errno. */
int devices_open(const char *name, int flags);

int devices_mount_proc(struct start *s);
int devices_mask_proc(struct start *s);
int devices_mount_dev(struct start *s);

#endif
