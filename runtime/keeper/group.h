/* SPDX-License-Identifier: MIT */
/*
 * The processes of one run, session or terminal, held together by a cgroup of their own below the
 * box's: whatever they fork stays in it, however it forks or detaches itself. On a machine with
 * controllers of the first version there is one folder in cgroup2 (where it is mounted, else in the
 * freezer's hierarchy) that tells who is in it and kills, and one in each of those that measure.
 */
#ifndef KEEPER_GROUP_H
#define KEEPER_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/box.h"
#include "keeper/loop.h"

/* All groups of a box; part of struct keeper. */
struct groups;

/* What its processes have used, together with those that have ended. UINT64_MAX: the machine cannot
 * tell. */
struct usage {
	uint64_t cpu_user_us, cpu_system_us;
	uint64_t memory_peak;	/* bytes */
	uint64_t read, written; /* bytes, of block devices */
};

struct group; /* opaque but for these two, which its owner sets after group_new() */

/* 0 or -errno. Nothing is left behind on an error. */
int group_new(struct groups *groups, struct group **out);
/* Lets go of it: its folders are removed now, or when the last process has ended. NULL is fine. */
void group_free(struct group *group);
/* Called from the loop each time the group has become empty. owner is handed through. */
void group_on_empty(struct group *group, void (*empty)(void *owner), void *owner);
/* Descriptors for init_spawn.doors; stay the group's. Their number, or -errno. */
int group_doors(struct group *group, int doors[INIT_MAX_DOORS]);
/* Moves a process of one thread here from another group. May take 10 ms. */
int group_move_in(struct group *group, pid_t pid);
/* Number of processes in it but `except` (a host pid or 0); -errno. */
int group_count(const struct group *group, pid_t except);
/* Sends sig to each process but `except`; how many there were, or -errno. */
int group_signal(struct group *group, int sig, pid_t except);
/* SIGKILL for all, also what is being forked meanwhile. 0 or -errno. */
int group_kill(struct group *group);
/* The same for all but one process. */
int group_kill_but(struct group *group, pid_t except);
void group_usage(const struct group *group, struct usage *out);
/* From now on memory_peak counts anew, where the machine can do that. */
void group_reset_peak(struct group *group);
/* True if the memory limit has killed something of it since the last call. */
bool group_oom_killed(struct group *group);

#endif
