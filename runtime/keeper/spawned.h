/* SPDX-License-Identifier: MIT */
/*
 * Programs that init was asked to start, and who is told of what becomes of them: sessions' shells,
 * runs of their own, terminals.
 */
#ifndef KEEPER_SPAWNED_H
#define KEEPER_SPAWNED_H

#include <stdint.h>

#include "keeper/box.h"

/* Embedded in its owner (container_of). */
struct spawned {
	struct spawned *next;
	uint64_t id; /* 0: not listed */
	/* A started program's event->pidfd is the owner's from then on. After INIT_FAILED and
	 * INIT_EXITED the program is off the list. */
	void (*event)(struct spawned *spawned, const struct init_event *event);
};

/* All of a box. */
struct spawns {
	struct spawned *first;
	uint64_t last_id;
};

/* Fills request->id and asks init. 0, and spawned->event will be called; or -errno. */
int spawned_start(struct spawns *spawns, struct spawned *spawned, struct box *box,
		  struct init_spawn *request);
/* Its owner goes: nothing of the program is told any more. Fine when it is not listed. */
void spawned_forget(struct spawns *spawns, struct spawned *spawned);
/* An event of init's, for whoever it is; a descriptor that nobody takes is closed. */
void spawns_dispatch(struct spawns *spawns, struct init_event *event);

#endif
