/* SPDX-License-Identifier: MIT */
/*
 * Who may do what to control entries. The kernel checks nothing (no default_permissions), so
 * every request is checked here by the ordinary rules of user, group and others.
 */
#ifndef SANDBOXFS_PERM_H
#define SANDBOXFS_PERM_H

#include <stdbool.h>
#include <sys/types.h>

#include "tree.h"

enum { PERM_X = 1, PERM_W = 2, PERM_R = 4 };

/* May a process with these ids do `mask` to something of that owner and mode? tid is used to look
 * up supplementary groups when they matter. Root passes. */
bool perm_mode(uid_t uid, gid_t gid, pid_t tid, uid_t owner, gid_t group, mode_t mode, int mask);
/* Is gid the caller's, or among his supplementary groups? */
bool perm_in_group(gid_t gid, pid_t tid, gid_t group);

/* The box itself (its directory's mode). 0 or -EACCES. Takes box->lock. */
int perm_box(struct ctx *ctx, int mask);
/* An entry of the box with the owner's permission bits `bits` (r4 w2 x1): group and others get
 * of them what the box's mode gives them. The full mode: */
mode_t perm_entry_mode(mode_t box_mode, mode_t bits);
/* May he open the entry so? Also search permission on the box. 0 or -EACCES. */
int perm_entry(struct ctx *ctx, mode_t bits, int mask);
/* The mount's root directory. 0 or -EACCES. */
int perm_root(const struct ctx *ctx, int mask);
/* Is he the box's owner or root? */
bool perm_owns(struct ctx *ctx);

void perm_init(uid_t root_owner, gid_t root_group, mode_t root_mode);

#endif
