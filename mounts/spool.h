/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where written data lies until it is in the bucket: files without a name in spool_dir, which vanish
 * with the process, and a count of the bytes in all of them.
 */
#ifndef MOUNTS_SPOOL_H
#define MOUNTS_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

/* An empty file, for spool_close(). -errno. */
int spool_open(void);
/* -1 is fine; sets it to that. */
void spool_close(int *fd);
/* Counts bytes as used; false: there is not so much room. */
bool spool_take(uint64_t bytes);
void spool_give(uint64_t bytes);
/* Waits a while until somebody gave something back; false: nobody did. */
bool spool_wait(void);
uint64_t spool_used(void);
/* Gives the disk's blocks of a range back. */
void spool_punch(int fd, uint64_t from, uint64_t to);

#endif
