/* SPDX-License-Identifier: MIT */
/*
 * Decompression and tar by libarchive. Must not touch files: what to do with an entry is unpack.c's
 * business, which does not trust a word of it. One thread, no locks.
 */
#include "import/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { TAR_BLOCK = 512 };

const char *archive_libraries(void)
{
	return archive_version_details();
}

/* libarchive has an error: ours if the stream below it failed, else a word of its own. */
static int archive_failed(struct archive *a, struct import_why *why, const char *what)
{
	const char *text = archive_error_string(a);
	int error = archive_errno(a);

	if (error == ENOMEM)
		return import_fail(why, ENOMEM, "%s: out of memory", what);
	return import_fail(why, EINVAL, "%s: %s", what, text ? text : "cannot be read");
}

static la_ssize_t read_below(struct archive *a, void *from, const void **block)
{
	struct stream *stream = from;
	ssize_t n = stream->read(stream, block);

	if (n >= 0)
		return n;
	archive_set_error(a, (int)-n, "the stream below failed");
	return ARCHIVE_FATAL;
}

/* --- compression ------------------------------------------------------------------------------ */

struct inflater {
	struct stream stream;
	struct archive *archive;
	struct import_why *why;
	bool ended;
};

static ssize_t inflater_read(struct stream *stream, const void **block)
{
	struct inflater *inflater = container_of(stream, struct inflater, stream);
	size_t len = 0;
	la_int64_t offset;
	int r;

	while (!inflater->ended) {
		r = archive_read_data_block(inflater->archive, block, &len, &offset);
		if (r == ARCHIVE_EOF)
			inflater->ended = true;
		else if (r != ARCHIVE_OK)
			return archive_failed(inflater->archive, inflater->why,
					      "the compressed data is damaged or cut off");
		else if (len)
			return (ssize_t)len;
	}
	return 0;
}

struct inflater *inflater_new(struct stream *from, struct import_why *why)
{
	struct inflater *inflater = calloc(1, sizeof(*inflater));
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	int r;

	if (!inflater || !a) {
		free(inflater);
		archive_read_free(a);
		import_fail(why, ENOMEM, "out of memory");
		return NULL;
	}
	*inflater = (struct inflater){ .stream.read = inflater_read, .archive = a, .why = why };
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_raw(a);
	archive_read_support_format_empty(a);
	r = archive_read_open(a, from, NULL, read_below, NULL);
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(a, &entry);
	inflater->ended = r == ARCHIVE_EOF;
	if (r != ARCHIVE_OK && r != ARCHIVE_EOF) {
		archive_failed(a, why, "the archive cannot be read");
		inflater_free(inflater);
		return NULL;
	}
	return inflater;
}

struct stream *inflater_stream(struct inflater *inflater)
{
	return &inflater->stream;
}

void inflater_free(struct inflater *inflater)
{
	if (!inflater)
		return;
	archive_read_free(inflater->archive);
	free(inflater);
}

/* --- tar ----------------------------------------------------------------------------------------- */

struct tar {
	struct stream content;
	struct archive *archive;
	struct archive_entry *entry;
	struct import_why *why;
	uint64_t seen;	/* bytes of the stream that all entries so far have taken */
	uint64_t ended; /* the same when libarchive said that there are no more */
	bool none, any;
};

static ssize_t content_read(struct stream *stream, const void **block)
{
	struct tar *tar = container_of(stream, struct tar, content);
	uint64_t offset;
	size_t len;
	int r;

	do {
		r = tar_read(tar, block, &len, &offset);
	} while (r == 1 && !len);
	return r < 0 ? r : r == 0 ? 0 : (ssize_t)len;
}

struct tar *tar_new(struct stream *from, struct import_why *why)
{
	struct tar *tar = calloc(1, sizeof(*tar));
	struct archive *a = archive_read_new();

	if (!tar || !a) {
		free(tar);
		archive_read_free(a);
		import_fail(why, ENOMEM, "out of memory");
		return NULL;
	}
	*tar = (struct tar){ .content.read = content_read, .archive = a, .why = why };
	archive_read_support_format_tar(a);
	archive_read_support_format_empty(a);
	/* What is wrong with it, tar_next() says. */
	tar->none = archive_read_open(a, from, NULL, read_below, NULL) != ARCHIVE_OK;
	return tar;
}

void tar_free(struct tar *tar)
{
	if (!tar)
		return;
	archive_read_free(tar->archive);
	free(tar);
}

static uint64_t position(const struct tar *tar)
{
	return (uint64_t)archive_filter_bytes(tar->archive, 0);
}

static enum entry_type entry_type(struct archive_entry *e)
{
	if (archive_entry_hardlink(e))
		return ENTRY_HARDLINK;
	switch (archive_entry_filetype(e)) {
	case AE_IFREG:
		return ENTRY_FILE;
	case AE_IFDIR:
		return ENTRY_DIR;
	case AE_IFLNK:
		return ENTRY_SYMLINK;
	case AE_IFIFO:
		return ENTRY_FIFO;
	case AE_IFCHR:
	case AE_IFBLK:
		return ENTRY_DEVICE;
	default:
		return ENTRY_OTHER;
	}
}

static int fill(struct tar *tar, struct entry *out)
{
	struct archive_entry *e = tar->entry;

	*out = (struct entry){
		.type = entry_type(e),
		.path = archive_entry_pathname(e),
		.mode = archive_entry_perm(e) & 07777,
		.uid = archive_entry_uid(e),
		.gid = archive_entry_gid(e),
		.mtime = { archive_entry_mtime(e), archive_entry_mtime_nsec(e) },
	};
	if (!out->path || !*out->path)
		return import_fail(tar->why, EINVAL, "an entry of the archive has no name");
	if (out->type == ENTRY_HARDLINK)
		out->link = archive_entry_hardlink(e);
	else if (out->type == ENTRY_SYMLINK)
		out->link = archive_entry_symlink(e);
	if (out->type == ENTRY_SYMLINK && (!out->link || !*out->link))
		return import_fail(tar->why, EINVAL, "%.200s: a symbolic link to nothing",
				   out->path);
	if (out->type == ENTRY_FILE) {
		la_int64_t size = archive_entry_size(e);

		if (size < 0)
			return import_fail(tar->why, EINVAL, "%.200s: has no sensible size",
					   out->path);
		out->size = (uint64_t)size;
	}
	archive_entry_xattr_reset(e);
	return 1;
}

int tar_next(struct tar *tar, struct entry *entry)
{
	int r;

	if (tar->none)
		return archive_failed(tar->archive, tar->why, "this is no tar archive");
	if (tar->any) {
		r = archive_read_data_skip(tar->archive);
		if (r != ARCHIVE_OK && r != ARCHIVE_EOF && r != ARCHIVE_WARN)
			return archive_failed(tar->archive, tar->why,
					      "the archive is damaged or cut off");
		tar->seen = position(tar);
	}
	r = archive_read_next_header(tar->archive, &tar->entry);
	tar->ended = position(tar);
	if (r == ARCHIVE_EOF)
		return 0;
	/* A warning is about names in another character set, which stay the bytes they are. */
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
		tar->none = !tar->any;
		return archive_failed(tar->archive, tar->why,
				      tar->any ? "the archive is damaged or cut off"
					       : "this is no tar archive");
	}
	tar->any = true;
	return fill(tar, entry);
}

bool tar_is_none(const struct tar *tar)
{
	return tar->none;
}

int tar_read(struct tar *tar, const void **data, size_t *len, uint64_t *offset)
{
	la_int64_t at = 0;
	int r = archive_read_data_block(tar->archive, data, len, &at);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return archive_failed(tar->archive, tar->why, "the archive is damaged or cut off");
	if (at < 0)
		return import_fail(tar->why, EINVAL, "the archive is damaged");
	*offset = (uint64_t)at;
	return 1;
}

bool tar_next_xattr(struct tar *tar, const char **name, const void **value, size_t *len)
{
	return archive_entry_xattr_next(tar->entry, name, value, len) == ARCHIVE_OK;
}

bool tar_has_end(const struct tar *tar)
{
	return tar->ended >= (tar->seen + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK + TAR_BLOCK;
}

struct stream *tar_content(struct tar *tar)
{
	return &tar->content;
}
