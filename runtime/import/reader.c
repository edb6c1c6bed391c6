/* SPDX-License-Identifier: MIT */
/*
 * The archive as a whole: is it a root filesystem or an archive of images, and what came of it, as
 * a record (base/kv.h):
 *
 *	kind = tar | docker | oci
 *	layer = FOLDER DIGEST BYTES FILES     each, lowest first
 *	env.NAME = …, user =, cwd =, entrypoint =, cmd =, architecture =
 *	devices =, attributes =               how many were left out
 *
 * or `error = ERRNO` and `why = SENTENCE`. Runs inside the fence. One thread, no locks.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "import/archive.h"
#include "import/manifest.h"
#include "import/saved.h"
#include "import/names.h"

enum { BLOCK_BYTES = 1 << 20, MAX_BEGINNING = 32 << 20 };

int import_fail(struct import_why *why, int error, const char *fmt, ...)
{
	va_list ap;

	if (why->error)
		return -why->error;
	why->error = error;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -error;
}

/* --- the archive's descriptor ---------------------------------------------------------------- */

struct input {
	struct stream stream;
	struct import *im;
	uint64_t bytes;
	char block[BLOCK_BYTES];
};

static ssize_t input_read(struct stream *stream, const void **block)
{
	struct input *input = container_of(stream, struct input, stream);
	ssize_t n;

	do {
		n = read(STDIN_FILENO, input->block, sizeof(input->block));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return import_fail(&input->im->why, errno, "read the archive: %s", strerror(errno));
	input->bytes += (uint64_t)n;
	*block = input->block;
	return n;
}

/*
 * The beginning of the archive is read twice: once to see what it is, once to unpack it. What was
 * given out before the mark is set back is given out again.
 */
struct rewound {
	struct stream stream;
	struct stream *from;
	struct import_why *why;
	struct text kept;
	size_t at;
	bool keeping;
};

static ssize_t rewound_read(struct stream *stream, const void **block)
{
	struct rewound *r = container_of(stream, struct rewound, stream);
	ssize_t n;

	if (!r->keeping && r->at < r->kept.len) {
		*block = r->kept.data + r->at;
		n = (ssize_t)(r->kept.len - r->at);
		r->at = r->kept.len;
		return n;
	}
	n = r->from->read(r->from, block);
	if (n <= 0 || !r->keeping)
		return n;
	if (r->kept.len + (size_t)n > MAX_BEGINNING)
		return import_fail(r->why, EFBIG, "the archive has no entry in its first %d MiB",
				   MAX_BEGINNING >> 20);
	text_add(&r->kept, *block, (size_t)n);
	return r->kept.failed ? import_fail(r->why, ENOMEM, "out of memory") : n;
}

/* --- the description -------------------------------------------------------------------------- */

static void add_layer(const struct layer *layer, struct text *out)
{
	text_printf(out, "layer = %u %s %llu %llu\n", layer->number, layer->digest,
		    (unsigned long long)layer->bytes, (unsigned long long)layer->files);
}

static bool comes_again(const struct saved_image *image, size_t i)
{
	for (size_t j = i + 1; j < image->n_layers; j++) {
		if (!strcmp(image->layers[i]->digest, image->layers[j]->digest))
			return true;
	}
	return false;
}

static void describe_saved(const struct saved_image *image, struct text *out)
{
	text_printf(out, "kind = %s\n", image->kind);
	for (size_t i = 0; i < image->n_layers; i++) {
		/*
		 * Overlayfs takes no folder twice. Only the highest of equal ones shows; and an
		 * image whose layers are all empty is one empty folder.
		 */
		if (comes_again(image, i) || (!image->layers[i]->files && image->n_layers > 1))
			continue;
		add_layer(image->layers[i], out);
	}
	image_config_add(&image->config.config, out);
}

static void describe_rest(const struct import *im, struct text *out)
{
	if (im->budget.devices)
		record_add_u64(out, "devices", im->budget.devices);
	if (im->budget.attributes)
		record_add_u64(out, "attributes", im->budget.attributes);
}

/* --- what it is ---------------------------------------------------------------------------------- */

static int read_rootfs(struct import *im, struct stream *from, struct text *out)
{
	struct layer layer;
	int r = layer_unpack(im, from, false, true, &layer);

	if (r < 0)
		return r;
	if (!layer.files)
		return import_fail(&im->why, EINVAL, "the archive is empty");
	text_add_str(out, "kind = tar\n");
	add_layer(&layer, out);
	return 0;
}

/* What stands behind the end of the archive: whoever writes it is to get rid of it. */
static int skip_rest(struct stream *stream)
{
	const void *block;
	ssize_t n;

	while ((n = stream->read(stream, &block)) > 0)
		;
	return (int)n;
}

/* The first entry that is not the root folder itself: 1, 0 there is none, or -errno. */
static int first_entry(struct tar *tar, struct entry *e, char name[PATH_MAX])
{
	int r;

	do {
		r = tar_next(tar, e);
		if (r == 1 && entry_name(e->path, name, PATH_MAX) < 0)
			strcpy(name, "/"); /* the unpacker says what is wrong with it */
	} while (r == 1 && !*name);
	return r;
}

static int read_archive(struct import *im, struct input *input, struct text *out)
{
	struct rewound begin = { .stream.read = rewound_read,
				 .from = &input->stream,
				 .why = &im->why,
				 .keeping = true };
	struct inflater *inflater = inflater_new(&begin.stream, &im->why);
	struct tar *tar = inflater ? tar_new(inflater_stream(inflater), &im->why) : NULL;
	struct saved_image image = { 0 };
	struct saved *saved = NULL;
	char name[PATH_MAX];
	bool is_saved = false;
	struct entry e;
	int r = tar ? first_entry(tar, &e, name) : -im->why.error;

	begin.keeping = false;
	if (r == 1 && saved_begins_with(name)) {
		is_saved = true;
		text_free(&begin.kept);
		r = saved_read(im, tar, &e, &saved, &image);
		if (r == 0)
			describe_saved(&image, out);
		saved_free(saved, &image);
	}
	tar_free(tar);
	inflater_free(inflater);
	if (r == 0 && !input->bytes)
		r = import_fail(&im->why, EINVAL, "nothing was written: there is no archive");
	if (r >= 0 && !is_saved)
		r = read_rootfs(im, &begin.stream, out);
	if (r == 0)
		r = skip_rest(&input->stream);
	text_free(&begin.kept);
	return r;
}

void reader_run(struct import *im, struct text *out)
{
	static struct input input;
	int r;

	input.stream.read = input_read;
	input.im = im;
	r = read_archive(im, &input, out);
	if (r == 0)
		describe_rest(im, out);
	if (r == 0 && (out->failed || out->len > MAX_RESULT_BYTES))
		r = import_fail(&im->why, EFBIG, "the image's description is too long");
	if (r == 0)
		return;
	text_free(out);
	record_add_u64(out, "error", (uint64_t)-r);
	record_add(out, "why", im->why.error ? im->why.text : strerror(-r));
}
