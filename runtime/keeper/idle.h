/* SPDX-License-Identifier: MIT */
/*
 * limits/idle: a box that nobody has asked for anything, that works on no session's command and that
 * uses less than a hundredth of a CPU, for that long, is frozen where something runs in it, and
 * stopped where nothing does. What is asked of it next thaws it.
 */
#ifndef KEEPER_IDLE_H
#define KEEPER_IDLE_H

#include "keeper/box_limits.h"

/* The box runs, from its start or again: its time begins anew. */
void idle_begin(struct keeper *k);
/* A message came. acts: somebody wants something of the box, which is thawed if it was idle. */
void idle_note(struct keeper *k, bool acts);
/* MSG_FREEZE with MSG_FREEZE_IDLE: it is frozen until the next one that acts. */
int idle_freeze(struct keeper *k);
/* The limit has changed. */
int idle_set(struct keeper *k, enum limit which, uint64_t value, struct failure *why);

#endif
