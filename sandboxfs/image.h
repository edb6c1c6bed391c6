/* SPDX-License-Identifier: MIT */
/*
 * The images on disk. `host` is built by sandbox-image in the background whenever the machine's
 * software has changed; boxes start from the last finished one meanwhile. Event thread and FUSE
 * threads; lock: image_lock, a leaf.
 */
#ifndef SANDBOXFS_IMAGE_H
#define SANDBOXFS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "runtime.h"

/* Begins to build what is missing. */
void image_check(void);
/* The key and folder to start a box from. 0; -EAGAIN: the first one is still being built; else
 * -errno and a sentence in why. */
int image_current(char key[IMAGE_KEY_SIZE], char *dir, size_t dir_size, char *why, size_t why_size);
/* Has the machine's software changed since that key was made? */
bool image_is_stale(const char *key);
/* Ends a builder that still works; what it made is not used. */
void image_stop(void);
/* Deletes the folders of machines of the past that no running box stands on. Slow: the janitor's. */
void image_sweep(void);
/* A child of the daemon has ended: true if it was the builder (then image_current() has news). */
bool image_builder_ended(pid_t pid, int status);

#endif
