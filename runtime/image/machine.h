/* SPDX-License-Identifier: MIT */
/* What the machine is and what its files hold. */
#ifndef IMAGE_MACHINE_H
#define IMAGE_MACHINE_H

#include <stdbool.h>

#include "image/image.h"

/* True if word is one of the words of ID or ID_LIKE in an os-release(5) text. */
bool os_release_names(const char *text, const char *word);

/* A regular file of the machine, links resolved below its root; at most 64 MiB. -errno. */
int machine_read_file(const struct build *b, const char *path, char **data, size_t *len);
/* The same with its status, without following a link at the end. */
int machine_read_plain(const struct build *b, const char *path, char **data, size_t *len,
		       struct stat *st);
/* The same of an open descriptor. -EINVAL for what is no regular file. */
int machine_read_open(int fd, char **data, size_t *len, struct stat *st);

#endif
