/* SPDX-License-Identifier: MIT */
/* The list of programs that init was asked to start. One thread, no locks. */
#include "keeper/spawned.h"

#include "base/cleanup.h"

int spawned_start(struct spawns *spawns, struct spawned *spawned, struct box *box,
		  struct init_spawn *request)
{
	int r;

	request->id = ++spawns->last_id;
	r = init_spawn(box, request);
	if (r < 0)
		return r;
	spawned->id = request->id;
	spawned->next = spawns->first;
	spawns->first = spawned;
	return 0;
}

void spawned_forget(struct spawns *spawns, struct spawned *spawned)
{
	struct spawned **at = &spawns->first;

	if (!spawned->id)
		return;
	while (*at && *at != spawned)
		at = &(*at)->next;
	if (*at)
		*at = spawned->next;
	spawned->id = 0;
}

void spawns_dispatch(struct spawns *spawns, struct init_event *event)
{
	struct spawned *spawned = spawns->first;

	while (spawned && spawned->id != event->id)
		spawned = spawned->next;
	if (!spawned) {
		if (event->type == INIT_STARTED)
			close_fd(&event->pidfd);
		return;
	}
	if (event->type != INIT_STARTED)
		spawned_forget(spawns, spawned);
	spawned->event(spawned, event);
}
