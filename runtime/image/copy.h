/* SPDX-License-Identifier: MIT */
/* From the machine into the image: files, links, folders, with their owners, modes and times. */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "image/image.h"

enum {
	/* Leave out what not everybody on the machine may read, what holds a private key, and
	 * what whitelist_never() names. */
	COPY_GUARDED = 1,
	COPY_LINKS_ONLY = 2, /* symbolic links only */
	COPY_SUBFOLDERS = 4,
	COPY_ALTERED = 8, /* also a conffile that is not as published */
};

/* Which names of one folder. Patterns are fnmatch(3)'s, separated by blanks; NULL: all, none. */
struct copy_choice {
	const char *take;
	const char *skip;
	unsigned flags;
	/* If set, writes the text that stands in the image for a file's text. 0 or -errno. */
	int (*filter)(struct text *out, const char *in);
};

/*
 * Copies the file, link or (with COPY_SUBFOLDERS) folder at path. Its parent folders are made like
 * the machine's. What is there already stays. 0 also if it was left out; see struct build.
 */
int copy_path(struct build *b, const char *path, const struct copy_choice *choice);
/* Copies what choice names of the folder at path, which is made if anything of it exists. */
int copy_folder(struct build *b, const char *path, const struct copy_choice *choice);

/*
 * Makes the folder at path below layer with owner and mode of the machine's folder prefix/path,
 * its parents too. 0, also when it is there. Where the machine has none it becomes root's, 0755.
 * -ENOTDIR, without build_fail(), if something else is in the way in the image, a link that leads
 * nowhere too; or, if strict, where the machine has no real folder.
 */
int make_folder_like(struct build *b, int layer, const char *prefix, const char *path, bool strict);
/* The parents of path only. */
int make_parents_like(struct build *b, int layer, const char *prefix, const char *path,
		      bool strict);

/* Puts a file into the image, in place of what is there; makes its parents like the machine's.
 * Fails as make_folder_like() does if they cannot be made. */
int image_put_file(struct build *b, const char *path, const void *data, size_t len,
		   const struct stat *like);
/* Puts a symbolic link into the image, in place of what is there. */
int image_put_link(struct build *b, const char *path, const char *target);

#endif
