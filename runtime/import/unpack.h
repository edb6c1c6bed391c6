/* SPDX-License-Identifier: MIT */
/* The entries of a tar, made as files of a folder. */
#ifndef IMPORT_UNPACK_H
#define IMPORT_UNPACK_H

#include "import/archive.h"

/*
 * Makes all entries below folder, which is empty. Whiteouts of image layers (.wh.NAME) become those
 * of overlayfs with userxattr. 0, or -errno after import_fail(); what was made stays then.
 */
int unpack_tar(struct tar *tar, int folder, struct budget *budget, struct import_why *why);

#endif
