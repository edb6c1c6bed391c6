/* SPDX-License-Identifier: MIT */
/*
 * The JSON texts of image archives: what `docker save` calls manifest.json, OCI's index, manifest
 * and image configuration. Pure functions over text, no I/O; jansson is seen by manifest.c alone.
 * Every text may lie: what is missing or of the wrong type is an error, never a default.
 */
#ifndef IMPORT_MANIFEST_H
#define IMPORT_MANIFEST_H

#include "import.h"

/* By digest ("sha256:" and 64 digits, given without the prefix). */
struct descriptor {
	char digest[SHA256_HEX_SIZE];
	uint64_t size;
	bool is_index; /* a list of further ones, not an image */
	bool other;    /* of another machine or kind: not one to run here */
};

struct descriptor_list {
	struct descriptor *items;
	size_t n;
};

/* manifest.json of docker save: names of entries of the archive. */
struct saved_names {
	char *config;
	char **layers;
	size_t n;
};

/* A configuration: what a box starts with, and the digests of its layers' tars, lowest first. */
struct config_text {
	struct image_config config;
	char (*diff_ids)[SHA256_HEX_SIZE];
	size_t n_diff_ids;
};

/* Each 0, or -errno after import_fail(); what is filled in is freed by the function below it. */
int manifest_parse_saved(const char *text, size_t len, struct saved_names *out,
			 struct import_why *why);
void saved_names_free(struct saved_names *names);
int manifest_parse_index(const char *text, size_t len, struct descriptor_list *out,
			 struct import_why *why);
/* An OCI manifest: its configuration, and its layers, lowest first. */
int manifest_parse_image(const char *text, size_t len, struct descriptor *config,
			 struct descriptor_list *layers, struct import_why *why);
void descriptor_list_free(struct descriptor_list *list);
int manifest_parse_config(const char *text, size_t len, struct config_text *out,
			  struct import_why *why);
void config_text_free(struct config_text *text);

/* The words OCI has for this machine: "amd64". */
const char *manifest_machine(void);
/* Adds a configuration to the description of an image (base/kv.h's record). */
void image_config_add(const struct image_config *config, struct text *out);

#endif
