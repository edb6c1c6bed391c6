/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading one open file from the bucket by ranges. A sequential reader is read ahead for: about 1 MiB
 * at first, doubling up to `readahead`, several ranges at a time. A random one gets what it asks for
 * and nothing more. What all readers hold together stays within `memory`.
 *
 * The ETag is pinned: when the object is another one by now, reading is -ESTALE.
 */
#ifndef MOUNTS_READER_H
#define MOUNTS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct reader;
struct chunk;

enum { READER_PIECES = 8 };

/* Bytes as they lie in memory, which stay there until they are given back. */
struct reader_bytes {
	struct iovec at[READER_PIECES];
	int n;
	uint64_t off; /* these two: reader.c's */
	struct chunk *held[READER_PIECES];
};

/* Makes no request. NULL: no memory. */
struct reader *reader_new(void);
/* Waits until all that was taken has been given back. */
void reader_free(struct reader *reader);
/*
 * Is it reading that object? 1 yes; 0 no: reader_set() it. -ESTALE: somebody else changed the object
 * (not this mount: the version is the same) and something of the old one was handed out.
 */
int reader_is_of(struct reader *reader, uint64_t version, const char *etag);
/* Was anything of that object handed out yet? */
bool reader_has_begun(struct reader *reader);
/* From now on it reads that object; etag may be NULL. 0 or -ENOMEM. */
int reader_set(struct reader *reader, const char *key, const char *etag, uint64_t size,
	       uint64_t version);
/*
 * Bytes of [off, off + len), fewer at the end of the object only, or -errno; none of *bytes is held then. For
 * many threads; what was taken is given back soon, and before anything else is done with the reader.
 */
ssize_t reader_take(struct reader *reader, uint64_t off, size_t len, struct reader_bytes *bytes);
void reader_give(struct reader *reader, struct reader_bytes *bytes);

#endif
