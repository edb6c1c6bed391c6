/* SPDX-License-Identifier: MIT */
/*
 * One layer, from a stream of bytes to a folder and its digests. The stream is always read to its
 * end, beyond what libarchive wants of it, because the digest is of all of it. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "import/archive.h"
#include "import/unpack.h"

/* A stream that passes through, is counted, bounded, and perhaps hashed. */
struct counted {
	struct stream stream;
	struct stream *from;
	struct import *im;
	struct digest *digest; /* NULL: not hashed */
	uint64_t bytes;
	bool bounded;	    /* by what the import may still take */
	bool if_compressed; /* hash it only then: the first bytes tell */
};

static bool is_compressed(const void *data, size_t len)
{
	static const struct {
		const char *bytes;
		size_t len;
	} magic[] = { { "\x1f\x8b", 2 },
		      { "BZh", 3 },
		      { "\xfd"
			"7zXZ",
			5 },
		      { "\x28\xb5\x2f\xfd", 4 } };

	for (size_t i = 0; i < ARRAY_SIZE(magic); i++) {
		if (len >= magic[i].len && !memcmp(data, magic[i].bytes, magic[i].len))
			return true;
	}
	return false;
}

static ssize_t counted_read(struct stream *stream, const void **block)
{
	struct counted *c = container_of(stream, struct counted, stream);
	ssize_t n = c->from->read(c->from, block);

	if (n <= 0)
		return n;
	if (c->bytes == 0 && c->if_compressed && !is_compressed(*block, (size_t)n)) {
		digest_free(c->digest);
		c->digest = NULL;
	}
	c->bytes += (uint64_t)n;
	if (c->bounded && c->bytes > c->im->budget.max_bytes)
		return import_fail(&c->im->why, EFBIG,
				   "it unpacks to more than %llu bytes (image_max_size)",
				   (unsigned long long)c->im->budget.max_bytes);
	if (c->digest)
		digest_add(c->digest, *block, (size_t)n);
	return n;
}

static int drain(struct stream *stream)
{
	const void *block;
	ssize_t n;

	while ((n = stream->read(stream, &block)) > 0)
		;
	return (int)n;
}

static int make_folder(struct import *im, unsigned int *number)
{
	char name[16];
	int fd;

	*number = im->n_folders++;
	snprintf(name, sizeof(name), "%u", *number);
	if (mkdirat(im->root, name, 0755) < 0)
		return import_fail(&im->why, errno, "make a folder: %s", strerror(errno));
	fd = openat(im->root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? import_fail(&im->why, errno, "open a folder: %s", strerror(errno)) : fd;
}

/* All that the chain needs; released by chain_free(). */
struct chain {
	struct counted blob, plain;
	struct inflater *inflater;
	struct tar *tar;
};

static void chain_free(struct chain *c)
{
	tar_free(c->tar);
	inflater_free(c->inflater);
	digest_free(c->blob.digest);
	digest_free(c->plain.digest);
}

/* from -> blob (digest) -> inflater -> plain (digest, bound) -> tar */
static int chain_open(struct chain *c, struct import *im, struct stream *from, bool hash_blob)
{
	c->blob = (struct counted){
		.stream.read = counted_read, .from = from, .im = im, .if_compressed = true
	};
	c->plain = (struct counted){ .stream.read = counted_read, .im = im, .bounded = true };
	c->plain.digest = digest_new();
	if (hash_blob)
		c->blob.digest = digest_new();
	if (!c->plain.digest || (hash_blob && !c->blob.digest))
		return import_fail(&im->why, ENOMEM, "out of memory");
	c->inflater = inflater_new(&c->blob.stream, &im->why);
	if (!c->inflater)
		return -im->why.error;
	c->plain.from = inflater_stream(c->inflater);
	c->tar = tar_new(&c->plain.stream, &im->why);
	return c->tar ? 0 : -im->why.error;
}

static int take_digests(struct chain *c, struct layer *out)
{
	int r = digest_end(c->plain.digest, out->digest);

	if (r == 0 && c->blob.digest)
		r = digest_end(c->blob.digest, out->blob_digest);
	else
		strcpy(out->blob_digest, out->digest);
	out->blob_bytes = c->blob.bytes;
	return r;
}

static int run_chain(struct chain *c, struct import *im, struct stream *from, bool hash_blob,
		     bool need_end, int folder)
{
	int r = chain_open(c, im, from, hash_blob);

	if (r == 0)
		r = unpack_tar(c->tar, folder, &im->budget, &im->why);
	if (r == 0 && need_end && !tar_has_end(c->tar))
		r = import_fail(&im->why, EINVAL,
				"the archive is cut off: the mark of its end is missing");
	if (r == 0)
		r = drain(&c->plain.stream);
	return r < 0 ? r : drain(&c->blob.stream);
}

int layer_unpack(struct import *im, struct stream *from, bool hash_blob, bool need_end,
		 struct layer *out)
{
	const struct budget before = im->budget;
	struct chain c = { 0 };
	int folder, r;

	*out = (struct layer){ 0 };
	folder = make_folder(im, &out->number);
	if (folder < 0)
		return folder;
	r = run_chain(&c, im, from, hash_blob, need_end, folder);
	out->no_tar = c.tar && tar_is_none(c.tar);
	if (r == 0 && take_digests(&c, out) < 0)
		r = import_fail(&im->why, ENOMEM, "out of memory");
	out->bytes = im->budget.bytes - before.bytes;
	out->files = im->budget.files - before.files;
	chain_free(&c);
	close(folder);
	return r;
}
