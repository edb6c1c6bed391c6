/* SPDX-License-Identifier: MIT */
/*
 * What comes from the machine into the `host` image, and what never does: tables, with the reason
 * of each row. Conffiles that are as published (conffiles.c) need no row.
 */
#ifndef IMAGE_WHITELIST_H
#define IMAGE_WHITELIST_H

#include "image/image.h"

enum take {
	TAKE_FILE,    /* the file or link */
	TAKE_ALTERED, /* the same, also if it is a conffile that was altered */
	TAKE_LINKS,   /* the links directly in the folder */
	TAKE_NAMES,   /* the files and links directly in the folder */
	TAKE_TREE,    /* all below the folder */
};

struct whitelist_row {
	const char *path;
	enum take take;
	const char *names; /* for folders: fnmatch patterns of files, blanks between; NULL: all */
	int (*filter)(struct text *out, const char *in);
	unsigned families;
	const char *why;
};

struct never_row {
	const char *pattern; /* fnmatch, a "*" also crosses slashes */
	const char *why;
};

struct mask_row {
	const char *path;
	bool unless_vendor; /* not where the distribution's defaults lie there */
	const char *why;
};

extern const struct whitelist_row whitelist[];
extern const size_t whitelist_rows;
extern const struct mask_row default_masks[];
extern const size_t default_masks_rows;

/* Why path may never be copied by a rule, or NULL. */
const char *whitelist_never(const char *path);

#endif
