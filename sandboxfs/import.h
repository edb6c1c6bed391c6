/* SPDX-License-Identifier: MIT */
/*
 * Imports at work: what is written to `.sandboxfs/images/NAME` streams into a sandbox-image, and
 * the close waits for its word. Thread-safe; lock: import_lock, before images_lock.
 */
#ifndef SANDBOXFS_IMPORT_H
#define SANDBOXFS_IMPORT_H

#include "tree.h"

/* A handle that writes to the image of its node (images_begin() has been called): the importer is
 * started. 0, -EAGAIN too many at a time, -errno. */
int import_open(struct ctx *ctx, struct handle *h);
/* TREE_ANSWERED or -errno. Writes must follow each other; a gap is zeros, as in a file. */
int import_write(struct ctx *ctx, struct handle *h, const char *data, size_t size, off_t offset);
/* ftruncate(2) to more than was written: zeros. */
void import_extend(uint32_t image, uint64_t size);
int import_flush(struct ctx *ctx, struct handle *h);
void import_release(struct handle *h);

/* The daemon ends: nobody waits any more, and no import goes on. Then the rest is freed. */
void imports_leave(void);
void imports_free(void);

#endif
