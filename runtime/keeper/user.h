/* SPDX-License-Identifier: MIT */
/*
 * Users of a box, from its own /etc/passwd and /etc/group. Those files are the box's: whatever they
 * say is taken for what it is, ids within the box's own range, and reading them is bounded.
 */
#ifndef KEEPER_USER_H
#define KEEPER_USER_H

#include <stdint.h>

#include "keeper/box.h"

struct box_user {
	char name[64]; /* as in the box's passwd, or the number where it has none */
	uint32_t uid, gid;
	uint32_t groups[INIT_MAX_GROUPS], n_groups; /* gid among them */
	char home[256];				    /* "/" where passwd does not say */
	char shell[256]; /* "" where passwd does not say, or says no absolute path */
};

/*
 * name: of the box's passwd, or a number below BOX_IDS (its entry if it has one, else that uid and
 * gid alone), with :GROUP (a name of the box's group, or a number) behind it where its group is to
 * be another; NULL or "" is the image's user, else root, who is there even without a passwd. 0, -ENOENT there is no such
 * user, -EINVAL no name nor number, or an id outside the box's range.
 */
int user_find(const struct box *box, const char *name, struct box_user *out);

#endif
