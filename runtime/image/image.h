/* SPDX-License-Identifier: MIT */
/*
 * Building the `host` image: a thin root folder made of what of this machine may be shown to a
 * stranger, and a mask to lay over its /usr. Two rules run through all of it:
 *
 * - What may come in is listed (whitelist.c); what is not listed stays outside. Nothing is ever
 *   copied because it is not known to be a secret.
 * - Trouble with a file of the machine (it vanished, it cannot be read) leaves that file out and a
 *   line in the log; trouble with the image being written ends the build with a sentence.
 *
 * Paths have no leading slash and are relative to the machine's root and to the image's alike.
 * The builder is one process with one thread, run by root, and trusts the machine's own files as
 * far as root of that machine does.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/text.h"

/* How the machine keeps its list of packages. Bits, so that a table row can name several. */
enum family {
	DPKG = 1,
	RPM = 2,
	PACMAN = 4,
	UNKNOWN = 8,
	ANY = DPKG | RPM | PACMAN | UNKNOWN,
};

/* A file that a package marks as configuration, and the MD5 it was published with. */
struct conffile {
	const char *path;
	char md5[33];
	bool altered; /* what is on this machine differs: it stays out */
};

struct image_options {
	const char *machine;	  /* the folder to take for its root; "/" */
	const char *const *masks; /* further paths below usr to hide */
	size_t n_masks;
	const char *const *adds; /* further paths below etc to copy */
	size_t n_adds;
};

struct build {
	const struct image_options *options;
	int machine; /* O_PATH of the machine's / */
	int root;    /* the image's / */
	int usrmask; /* what lies over /usr */
	enum family family;
	bool vendor_etc; /* usr/etc holds the distribution's own defaults */
	bool no_clone;	 /* the file system has answered that it cannot FICLONE */
	char *conffile_text;
	struct conffile *conffiles; /* sorted by path */
	size_t n_conffiles;
	struct text log; /* what was left out or hidden, and why: a line each */
	struct text why; /* the sentence of a failure */
};

/* Ends the build: keeps the first sentence "cannot FMT: errno text"; returns -error. */
int build_fail(struct build *b, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A line in the image's log. */
void build_note(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* build.c: makes DIR/KEY if it is not there. 0 and key, or -errno and a sentence in *why. */
int image_build(const struct image_options *options, const char *dir, char *key, struct text *why);

/* The stages, in order; each 0 or -errno after build_fail(). */
int build_check_machine(struct build *b);  /* machine.c: family; refuses what cannot work */
int build_make_skeleton(struct build *b);  /* skeleton.c: top folders and the links into usr */
int build_copy_conffiles(struct build *b); /* conffiles.c: those that are as published */
int build_copy_vendor(struct build *b);	   /* vendor.c: the same, from /usr/etc */
int build_copy_listed(struct build *b);	   /* listed.c: the whitelist */
int build_generate(struct build *b);	   /* generate.c: accounts, hosts, sudoers, … */
int build_copy_packages(struct build *b);  /* packages.c: the package manager's own state */
int build_make_dirs(struct build *b);	   /* packages.c: empty folders that packages own */
int build_copy_added(struct build *b);	   /* listed.c: what the administrator adds */
int build_mask_usr(struct build *b);	   /* usrmask.c */

#endif
