/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_CONFFILES_H
#define IMAGE_CONFFILES_H

#include "image/image.h"

/*
 * Calls fn for each conffile below /etc that a package still publishes, in the text of dpkg's
 * status file, which is cut up. path is without its leading slash. Returns 0 or fn's first
 * non-zero answer.
 */
int conffiles_parse(char *status, int (*fn)(void *ctx, const char *path, const char *md5),
		    void *ctx);

/* True if path is a conffile that differs from what its package published. */
bool conffile_is_altered(const struct build *b, const char *path);

#endif
