/* SPDX-License-Identifier: MIT */
/* Names of an archive's entries, and the folders they lead to. */
#ifndef IMPORT_NAMES_H
#define IMPORT_NAMES_H

#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>

/* For openat2(2): nothing outside the folder that is opened from, and through no link. */
#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

/*
 * A name without "." and doubled slashes; the root is "". 0, -EINVAL for an absolute one and one
 * with "..", -ENAMETOOLONG.
 */
int entry_name(const char *path, char *out, size_t size);
/* Splits a clean name in place: the last component is returned, *parent is what stands before. */
const char *entry_split(char *name, const char **parent);
/* Opens (O_PATH) the folder of that clean name below root; make: with what is missing on the way.
 * A descriptor of the caller's, or -errno: ELOOP, ENOTDIR and EXDEV where it goes elsewhere. */
int entry_open_folder(int root, const char *path, bool make);

#endif
