/* SPDX-License-Identifier: MIT */
/* Archives of images: what `docker save` writes, and OCI layouts. */
#ifndef IMPORT_SAVED_H
#define IMPORT_SAVED_H

#include "import/archive.h"
#include "import/manifest.h"

struct saved_image {
	const char *kind;	     /* "docker" or "oci" */
	const struct layer **layers; /* lowest first; point into saved */
	size_t n_layers;
	struct config_text config;
};

/* Is an archive whose first entry has this name (entry_name()) one of images? */
bool saved_begins_with(const char *name);

struct saved;
/*
 * Reads the archive from its present entry to its end: layers are unpacked as they come, since
 * only the end tells which belong to what; texts are kept. Then finds the image and checks its
 * digests. 0 and *out, which is valid until saved_free(); or -errno after import_fail().
 */
int saved_read(struct import *im, struct tar *tar, const struct entry *first, struct saved **saved,
	       struct saved_image *out);
void saved_free(struct saved *saved, struct saved_image *image);

#endif
