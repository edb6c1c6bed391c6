/* SPDX-License-Identifier: MIT */
/*
 * The processes of one run, session or terminal, held together by a cgroup of their own below the
 * box's: whatever they fork stays in it, however it forks or detaches itself. On a machine with
 * controllers of the first version that is one folder in each hierarchy that measures, of which the
 * first one also tells who is in it.
 */
#ifndef KEEPER_GROUP_H
#define KEEPER_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/box.h"
#include "keeper/loop.h"
#include "keeper/usage.h"

/* All groups of a box: box.groups, NULL where the machine can make none. */
struct groups;

struct group; /* opaque */

/*
 * groups_new() is a part of the box's start and makes the first group's folders while the keeper
 * has to wait anyway; groups_serve() lets them be watched from then on. NULL is fine for the last
 * two. groups_close() comes before the cgroup of the box is taken away: groups that are still held
 * then are empty, and can do nothing but be freed.
 */
int groups_new(struct box *box, struct groups **out);
void groups_serve(struct groups *groups, struct loop *loop);
void groups_close(struct groups *groups);

/* 0 or -errno: -EOPNOTSUPP where groups is NULL. Nothing is left behind on an error. */
int group_new(struct groups *groups, struct group **out);
/* Lets go of it: its folders are removed now, or when the last process has ended. NULL is fine. */
void group_free(struct group *group);
/*
 * Called from the loop when the group has become empty, or is empty at the first look. owner is
 * handed through; empty may free the group. It is looked after from this call on, or from
 * group_watch() on again once it has been called.
 */
void group_on_empty(struct group *group, void (*empty)(void *owner), void *owner);
/* Looks anew, soon: what it was made for has ended, or did not start. */
void group_watch(struct group *group);
/* Descriptors for init_spawn.doors; stay the group's. Their number, or -errno. */
int group_doors(struct group *group, int doors[INIT_MAX_DOORS]);
/* They are needed no more, as init was asked. */
void group_close_doors(struct group *group);
/* Moves a process of one thread here from another group. May take 10 ms. */
int group_move_in(struct group *group, pid_t pid);
/* Number of processes in it but `except` (a host pid or 0); -errno. */
int group_count(const struct group *group, pid_t except);
/* Sends sig to each process but `except`; how many there were, or -errno. */
int group_signal(struct group *group, int sig, pid_t except);
/*
 * SIGKILL for all, also what is being forked meanwhile: once now, and from the loop again until
 * nothing is left. 0 or -errno.
 */
int group_kill(struct group *group);
/* The same for all but one process. */
int group_kill_but(struct group *group, pid_t except);
/* Who comes from now on is spared. */
void group_stop_killing(struct group *group);
/* What its processes have used, together with those that have ended. */
void group_usage(const struct group *group, struct usage *out);
/* From now on memory_peak counts anew, where the machine can do that. */
void group_reset_peak(struct group *group);
/* True if the memory limit has killed something of it since the last call. */
bool group_oom_killed(struct group *group);
/* What these three keep open is closed; it is opened again when they are called. */
void group_close_files(struct group *group);

#endif
