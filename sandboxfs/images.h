/* SPDX-License-Identifier: MIT */
/*
 * Imported images: what `.sandboxfs/images/` lists. On disk, in images/ of the state directory:
 *
 *	names/NAME    a record (base/kv.h) of each: what it is and which layers it has
 *	layers/N/     a layer, unpacked, owned by the storage block; N is not used twice in a daemon
 *	incoming/     folders of imports at work (each holds a lock on its own), and what is to go
 *
 * A layer is known by the digest of its tar, so images that have it in common have it once. A name
 * is written after its layers and taken away before them: what no name leads to is removed. Until
 * the layers are known to be on the disk the record bears the machine's boot id, and one with that
 * of an earlier boot is not believed.
 *
 * Thread-safe; lock: images_lock, a leaf (it may be taken with a box's lock held).
 */
#ifndef SANDBOXFS_IMAGES_H
#define SANDBOXFS_IMAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"

enum image_state {
	IMAGE_NONE,
	IMAGE_EMPTY, /* a name, and nobody has written yet */
	IMAGE_IMPORTING,
	IMAGE_READY,
};

/* Reads what is on disk. 0 or -errno. Before there are threads, and before the boxes. */
int images_open(void);
void images_close(void);

/* The number of an image by its name, 0: there is none. A number is never used again. */
uint32_t images_find(const char *name);
enum image_state images_state(uint32_t id);
/* Its name; false when it is gone. */
bool images_name(uint32_t id, char name[64]);
/* Calls fn for each one, with the lock held. */
void images_each(void (*fn)(uint32_t id, const char *name, void *arg), void *arg);
/* The description that a user reads. 0, -ESTALE, or -EAGAIN while it is being imported. */
int images_describe(uint32_t id, struct text *out);
int64_t images_time_us(uint32_t id);

/* A new name. 0, -EEXIST, -EINVAL no name, -EDQUOT, -ENOMEM. */
int images_reserve(const char *name, uint32_t *id);
/* EMPTY to IMPORTING: 0, -EBUSY, -EEXIST, -ESTALE. */
int images_begin(uint32_t id);
/* The import has failed, or never began: the name goes. */
void images_drop(uint32_t id);
/* The import has worked: result is what sandbox-image says of it (modified). The image is ready, or
 * -errno and everything of it is gone. */
int images_commit(uint32_t id, char *result);
/* Takes an image away. -ENOENT, -EBUSY: boxes are made of it (names of them in *users, which may
 * be cut), or it is being imported. */
int images_remove(const char *name, struct text *users);
/* Removes what nobody needs any more, and sees to it that the others are on the disk. Slow: the
 * janitor's. */
void images_tidy(void);
/* Where imports make their folders. */
void images_incoming_path(char *path, size_t size);

/* --- for boxes ----------------------------------------------------------------------------- */

/* What a box from the image starts with, over the usual. */
struct image_defaults {
	char *env; /* field list NAME=VALUE\0… */
	size_t env_len;
	char *user, *cwd; /* NULL: the usual */
	char *command;	  /* entrypoint and cmd, as words of a shell; NULL: none */
};
/* 0, -ENOENT, -ENOMEM. The caller frees it. */
int images_defaults(const char *name, struct image_defaults *out);
void image_defaults_free(struct image_defaults *defaults);
/* Adds image_dir= and layers= of MSG_START. 0 or -ENOENT. */
int images_start_fields(const char *name, struct text *fields);
bool images_is_ready(const char *name);

#endif
