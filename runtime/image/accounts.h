/* SPDX-License-Identifier: MIT */
/* The account files of the image from those of the machine. Pure: text in, text out. */
#ifndef IMAGE_ACCOUNTS_H
#define IMAGE_ACCOUNTS_H

#include <sys/types.h>

#include "base/text.h"

/* passwd(5): the system's accounts (below 1000, and nobody), nobody's password, root's home. */
void accounts_make_passwd(struct text *out, const char *passwd);
/* group(5): the system's groups, without members. */
void accounts_make_group(struct text *out, const char *group);
/* shadow(5) and gshadow(5) in which no password matches, for the rows of the two above. */
void accounts_make_shadow(struct text *out, const char *passwd);
void accounts_make_gshadow(struct text *out, const char *group);
/* The gid of a group(5) row, or 0. */
gid_t accounts_find_gid(const char *group, const char *name);

#endif
