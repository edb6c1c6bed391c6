/* SPDX-License-Identifier: MIT */
/*
 * Importing an image: an archive comes in on a descriptor, folders with one layer each and a text
 * that describes them go out. Two processes, two trust domains:
 *
 *	supervise.c   the machine's root: makes the fence, starts the other, looks at what it
 *	              left, removes everything when it failed. Never reads the archive
 *	confine.c     the fence: namespaces, ids of the storage block, nothing but one folder, a
 *	              list of permitted system calls
 *	reader.c      inside it: tells the kinds of archive apart, and writes the description
 *	saved.c       an archive of images: its layers are unpacked as they come, its texts kept
 *	layer.c       one layer: both digests, unpacking
 *	unpack.c      entries of a tar into a folder; names.c where their names lead
 *	archive.c     libarchive: decompression, tar
 *	manifest.c    the JSON texts of image archives (no I/O)
 *
 * The archive is hostile. Every number of it is bounded, nothing of it is kept in memory but the
 * small JSON texts and the names of directories.
 */
#ifndef IMPORT_IMPORT_H
#define IMPORT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "image/digest.h"

enum { MAX_LAYERS = 128, MAX_RESULT_BYTES = 1 << 20 };

/* Why an import fails: the first sentence stays. */
struct import_why {
	int error; /* positive errno */
	char text[512];
};

/* Keeps the sentence if there is none yet; returns -error. */
int import_fail(struct import_why *why, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What an import may still take. */
struct budget {
	uint64_t max_bytes, max_files; /* of the whole import */
	uint64_t bytes, files;	       /* taken so far; bytes: the sizes of the files */
	uint64_t devices, attributes;  /* left out */
};

struct layer {
	char digest[SHA256_HEX_SIZE];	   /* of the tar */
	char blob_digest[SHA256_HEX_SIZE]; /* of what it came as: perhaps compressed */
	uint64_t blob_bytes;
	uint64_t bytes, files; /* of its files */
	unsigned int number;   /* name of its folder */
	bool no_tar;	       /* it was something else */
};

struct import {
	int root; /* where the layers' folders are made */
	unsigned int n_folders;
	struct budget budget;
	struct import_why why;
};

/* What a box from the image starts with. */
struct image_config {
	char **env; /* NAME=VALUE */
	char **entrypoint, **cmd;
	size_t n_env, n_entrypoint, n_cmd;
	char *user, *cwd, *architecture; /* NULL: not given */
};

struct import_options {
	const char *dir; /* where to make the folder of the import */
	uid_t storage_base;
	uint64_t max_bytes, max_files;
	int control; /* when its other end is closed, the import is given up; -1 none */
};

/* supervise.c: the whole, archive on descriptor 0, description to 1. Exit code. */
int import_run(const struct import_options *options);

/* confine.c: makes the calling process one that can do nothing but read 0, write result, and make
 * files below tree, a detached mount, which is its / then. 0 or -errno and a sentence. */
int confine_enter(int tree, int result, uint64_t max_bytes, struct import_why *why);

/* reader.c: reads the archive and adds the description (or error = and why =) to out. */
void reader_run(struct import *im, struct text *out);

/* --- streams ------------------------------------------------------------------------------- */

/* Gives blocks of bytes: how many (valid until the next call), 0 at the end, -errno after
 * import_fail(). */
struct stream {
	ssize_t (*read)(struct stream *stream, const void **block);
};

/* layer.c: unpacks what comes from the stream, all of it, into a new folder. 0 or -errno. hash_blob:
 * its blob_digest is wanted. need_end: a tar without its end mark is an error. */
int layer_unpack(struct import *im, struct stream *from, bool hash_blob, bool need_end,
		 struct layer *out);

#endif
