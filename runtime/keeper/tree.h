/* SPDX-License-Identifier: MIT */
/*
 * A run with everything that it started, as one: signals to all of it, its deadline, its end by
 * force, and what it used. Works for sessions' commands and runs of their own alike, also for those
 * that have ended and left processes.
 */
#ifndef KEEPER_TREE_H
#define KEEPER_TREE_H

#include <stdint.h>

#include "keeper/keeper.h"
#include "keeper/run.h"

/* The run's command has begun: its deadline counts from here. base: what group had used before. */
void tree_begin(struct run *run, const struct usage *base);
/* It has not begun after all. */
void tree_rewind(struct run *run);
/* Notes what it has used, once; group may be NULL. */
void tree_note_used(struct run *run, const struct group *group);
/*
 * It is about to end: the same, and makes state and code those of a
 * timeout where it was one.
 */
void tree_note_end(struct run *run, const struct group *group, enum run_state *state, int *code);
/* It has ended; group is what may be left of it, which is taken (NULL: nothing). */
void tree_leave(struct run *run, struct group *group);
/* The box is gone, and so is everything of the run. */
void tree_cut(struct run *run);

/* MSG_SIGNAL with MSG_SIGNAL_TREE. 0 or -errno. */
int tree_signal(struct run *run, int sig);
/* MSG_TIMEOUT. 0 or -errno. */
int tree_set_timeout(struct run *run, int64_t timeout_ms);
/* MSG_END: replies to tag when nothing is left. */
void tree_end(struct run *run, uint64_t tag);
/* MSG_USAGE: says it. 0 or -ESRCH. */
int tree_say_usage(struct run *run);

/* The box is frozen, or thawed: its time counts against no deadline meanwhile. */
void trees_suspend(struct runs *runs);
void trees_resume(struct runs *runs);

#endif
