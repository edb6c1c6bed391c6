/* SPDX-License-Identifier: MIT */
/* What the files of group.h share: group.c (life), group_kill.c (its processes), group_usage.c. */
#ifndef KEEPER_GROUP_INSIDE_H
#define KEEPER_GROUP_INSIDE_H

#include "keeper/cgroup.h"
#include "keeper/group.h"

/* Files that are read again and again stay open. */
enum group_file {
	FILE_CPU,
	FILE_CPU_USER,
	FILE_CPU_SYSTEM,
	FILE_MEMORY_PEAK,
	FILE_IO,
	FILE_OOM,
	N_GROUP_FILES,
};

struct groups {
	struct box *box;   /* NULL once it is gone */
	struct loop *loop; /* NULL until it is served */
	struct group *first;
	struct group *spare; /* ready for the next one; in no list */
	uint64_t last;	     /* number */
	struct loop_task spare_task;
};

struct group {
	struct group *next, **prev;
	struct groups *groups;
	char name[24];
	int dirs[CGROUP_MAX_GROUP_DIRS];
	int doors[CGROUP_MAX_GROUP_DIRS];
	int files[N_GROUP_FILES]; /* -1: not open yet, -2: there is none */
	uint64_t oom_seen;

	/* Until it is empty one of its processes is watched at a time, by its pidfd. */
	void (*empty)(void *owner);
	void *owner;
	struct loop_source member;
	struct loop_timer look;
	int64_t look_ms;
	bool freed;

	bool killing;
	pid_t kill_except;
	int kill_rounds;
	struct loop_timer kill_timer;
};

void group_kill_timer_fire(struct loop_timer *timer);

#endif
