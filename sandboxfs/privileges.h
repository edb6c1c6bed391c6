/* SPDX-License-Identifier: MIT */
/* The daemon's own rights: it keeps what it and its helper programs need, and no more. */
#ifndef SANDBOXFS_PRIVILEGES_H
#define SANDBOXFS_PRIVILEGES_H

#include "base/text.h"

/* Gives up every other capability, also for all programs started from here on. Call it while there
 * is one thread. 0, or -EPERM. */
int privileges_drop(void);

/* Adds the names of those that this process has not, "cap_sys_admin, …": without needed ones boxes
 * cannot run, without wanted ones they can. 0, or -EPERM. */
int privileges_lacking(struct text *needed, struct text *wanted);

#endif
