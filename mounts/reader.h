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

struct reader;

/* Makes no request. NULL: no memory. */
struct reader *reader_new(void);
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
/* Fills out; returns fewer bytes at the end of the object only, or -errno. For many threads. */
ssize_t reader_read(struct reader *reader, uint64_t off, size_t len, char *out);
/* Lets go what nobody has asked for in a while. */
void readers_trim(void);
uint64_t readers_memory(void);

#endif
