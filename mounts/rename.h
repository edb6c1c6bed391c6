/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Renaming: a copy made by the server, and a deletion. A directory is moved object by object, at most
 * `rename_max` of them (then -EXDEV, so that mv copies it).
 */
#ifndef MOUNTS_RENAME_H
#define MOUNTS_RENAME_H

#include "node.h"

/* noreplace: -EEXIST if the new name is there. No locks held. */
int rename_name(struct node *dir, const char *name, struct node *new_dir, const char *new_name,
		bool noreplace);

#endif
