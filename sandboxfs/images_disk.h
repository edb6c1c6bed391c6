/* SPDX-License-Identifier: MIT */
/*
 * Images on disk and as text, for images.c alone: its lock is held by the callers but where it says
 * otherwise.
 */
#ifndef SANDBOXFS_IMAGES_DISK_H
#define SANDBOXFS_IMAGES_DISK_H

#include <stddef.h>

#include "images.h"

struct image_layer {
	char digest[65]; /* SHA-256 of its tar */
	uint64_t number; /* name of its folder */
	uint64_t bytes, files;
};

struct image {
	struct image *next;
	uint32_t id;
	char name[64];
	enum image_state state;
	bool going;		/* it is being removed */
	bool unsynced, syncing; /* the disk may not have all of it yet */
	int64_t time_us;
	char kind[16];
	char *folder;		    /* of the import, until its layers are placed */
	struct image_layer *layers; /* lowest first */
	size_t n_layers;
	struct text env;      /* fields NAME=VALUE */
	struct text commands; /* lines entrypoint =, cmd =, architecture =, as they are shown */
	struct text command;  /* entrypoint and cmd, as words of a shell */
	char *user, *cwd;
	uint64_t devices, attributes; /* left out */
};

void image_free_content(struct image *image);
/* Fills an image from a record: the importer's result, or what stands in names/. 0, -EINVAL,
 * -ENOMEM, -ESTALE of an earlier boot. The text is modified. */
int image_parse(struct image *image, char *record);
/* What a user reads. */
void image_describe(const struct image *image, struct text *out);

int images_disk_open(void);
void images_disk_close(void);
int images_disk_names(void (*fn)(const char *name));
/* Discards every layer's folder that is not used. */
int images_disk_each_layer(bool (*is_used)(uint64_t number));
int images_disk_load(struct image *image);
int images_disk_save(const struct image *image);
int images_disk_forget(const char *name);
/* Moves a layer out of an import's folder; its number is the new one then. */
int images_disk_place(const char *folder, struct image_layer *layer);
void images_disk_discard(uint64_t number);
/* Without the lock: deletes what lies in incoming/ and nobody works on; writes all to the disk. */
void images_disk_sweep(void);
int images_disk_sync(void);

#endif
