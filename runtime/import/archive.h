/* SPDX-License-Identifier: MIT */
/*
 * libarchive, seen by archive.c alone: a stream without its compression, and a stream's tar
 * entries. Only tar, and only gzip, bzip2, xz and zstd, which need no other program.
 */
#ifndef IMPORT_ARCHIVE_H
#define IMPORT_ARCHIVE_H

#include <sys/types.h>
#include <time.h>

#include "import.h"

/* "libarchive 3.6.2 zlib/1.2.13 …": what unpacks archives. Static. */
const char *archive_libraries(void);

struct inflater;
/* What is in `from`, which stays the caller's; as it is where it is not compressed. NULL after
 * import_fail(). */
struct inflater *inflater_new(struct stream *from, struct import_why *why);
struct stream *inflater_stream(struct inflater *inflater);
void inflater_free(struct inflater *inflater);

enum entry_type {
	ENTRY_FILE,
	ENTRY_DIR,
	ENTRY_SYMLINK,
	ENTRY_HARDLINK,
	ENTRY_FIFO,
	ENTRY_DEVICE,
	ENTRY_OTHER,
};

/* Strings are valid until the next entry. */
struct entry {
	enum entry_type type;
	const char *path, *link; /* bytes as in the archive */
	mode_t mode;		 /* permission bits */
	int64_t uid, gid;
	uint64_t size;
	struct timespec mtime;
};

struct tar;
struct tar *tar_new(struct stream *from, struct import_why *why);
void tar_free(struct tar *tar);
/* 1 the next entry, 0 the end, -errno after import_fail(). no_tar: the stream is no tar at all. */
int tar_next(struct tar *tar, struct entry *entry);
bool tar_is_none(const struct tar *tar);
/* The next piece of the entry's content, which begins at offset: 1, 0 the end, -errno. */
int tar_read(struct tar *tar, const void **data, size_t *len, uint64_t *offset);
/* The next extended attribute: true, or there is none more. */
bool tar_next_xattr(struct tar *tar, const char **name, const void **value, size_t *len);
/* After the last entry: did the mark of its end follow? */
bool tar_has_end(const struct tar *tar);
/* The content of the present entry as a stream. */
struct stream *tar_content(struct tar *tar);

#endif
