/* SPDX-License-Identifier: MIT */
/* Which capabilities a box may ever have, and which its keeper, its mounter and sandbox-net keep. */
#ifndef KEEPER_CAPS_H
#define KEEPER_CAPS_H

#include <sys/types.h>

/*
 * The keeper's effective user, all capabilities kept: what is made meanwhile counts as that user's
 * (inotify and mqueue objects of a user namespace count for its maker, user_namespaces(7)). 0 goes
 * back. 0 or -errno.
 */
int caps_count_as(uid_t uid);

/* In the child: the most that any process of the box can get. 0 or -errno. */
int caps_cut_box(void);

/* In the keeper, once the box runs: what it still needs, and no new privilege ever. */
int caps_cut_keeper(void);

/* In the mounter, as it begins. 0 or -errno. */
int caps_cut_mounter(void);

/* In sandbox-net, as it begins. 0 or -errno. */
int caps_cut_net(void);

#endif
