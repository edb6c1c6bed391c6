/* SPDX-License-Identifier: MIT */
/* The limits of disk of a box (disk/disk.h): limits/disk, limits/disk_inodes, usage/disk. */
#ifndef SANDBOXFS_BOX_DISK_H
#define SANDBOXFS_BOX_DISK_H

#include "box.h"
#include "disk/disk.h"

/* What it may take, 0 for no limit. box->lock held. */
struct disk_limits box_disk_limits(const struct box *box);

/*
 * Makes value (LIMIT_NONE: none) hold as LIMIT_DISK or LIMIT_DISK_INODES, of a running box at once;
 * then has it kept by keep(), with box->lock held. box->lock is not held; blocks as long as the
 * file system takes. 0, or -errno with a sentence in why (DISK_WHY_SIZE): -EBUSY the running box
 * cannot have it, or takes more; -EOPNOTSUPP this machine cannot hold it.
 */
int box_disk_change(struct box *box, enum limit which, uint64_t value, uint64_t own,
		    int (*keep)(struct box *box, enum limit which, uint64_t own), char *why);

/* Of one that was found running: the ini file's limits may have changed. Before there are threads. */
void box_disk_adopted(struct box *box);

/* It has started: sees to limits that were written while it did. box->lock held. */
void box_disk_started(struct box *box);

/* Tells its volumes what statfs is to show. box->lock held. */
void box_disk_show(struct box *box);

/* -ENODATA: nothing counts it. box->lock is not held. */
int box_disk_usage(struct box *box, struct disk_usage *usage);

#endif
