/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_PACKAGES_H
#define IMAGE_PACKAGES_H

#include <stddef.h>

/*
 * Calls fn for each line of a package's file list that may name a folder below /etc or /var, with
 * its leading and trailing slash cut off; the text is cut up. dpkg: lines "/etc/x"; pacman: lines
 * "etc/x/". Returns 0 or fn's first non-zero answer.
 */
int packages_parse_list(char *text, int (*fn)(void *ctx, const char *path), void *ctx);

#endif
