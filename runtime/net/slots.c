/* SPDX-License-Identifier: MIT */
/*
 * The places for boxes' links: which are free, and when one is again. A link goes with its box's
 * namespace, which the kernel takes away on its own time, many together; to delete it here would
 * wait for that, 20 ms and more in which no other box is served. So the kernel's word is awaited,
 * and only what has not gone by itself is deleted. Must not know boxes. One thread, no locks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "net.h"

enum {
	FIRST_INDEX = 1000, /* above what the kernel gives by itself */
	LATE_MS = 4000,	    /* once or twice that long a link may take to go */
	CALM_MS = 100,	    /* since a box has ended */
	FEW = 4,
	FEW_MS = 5,
};

void slot_link_name(unsigned int slot, char name[16])
{
	snprintf(name, 16, "sbx%u", slot);
}

int slot_index(unsigned int slot)
{
	return FIRST_INDEX + (int)slot;
}

/* --- what ended boxes left ---------------------------------------------------------------------- */

/* Takes all of it away. */
static void clear(struct net *net, unsigned int slot)
{
	unsigned int left = net->slot_left[slot];
	char name[16];
	int r;

	slot_link_name(slot, name);
	r = left & SLOT_LINK ? link_delete(net->router_nl, name) : 0;
	if (r < 0 && r != -ENODEV) /* it went just now */
		log_error("take link %s away: %s", name, strerror(-r));
	if (left & SLOT_RULES)
		rules_clear_box(net->router_nft, slot);
	net->slot_left[slot] = 0;
}

static bool is_due(unsigned int left)
{
	return left && (!(left & SLOT_LINK) || left & SLOT_DUE);
}

/* One at a time, when nobody waits for anything else. */
static void bury(struct loop_task *task)
{
	struct net *net = container_of(task, struct net, bury);

	for (unsigned int slot = 1, found = 0; slot <= net->n_slots; slot++) {
		if (!is_due(net->slot_left[slot]))
			continue;
		if (found++) {
			loop_task_add(&net->loop, task);
			return;
		}
		clear(net, slot);
	}
}

/* Has anything been there for longer than since the last time? Somebody holds its namespace, or the
 * kernel's word was lost. */
static void look_for_late(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, late);
	bool more = false;

	for (unsigned int slot = 1; slot <= net->n_slots; slot++) {
		uint8_t *left = &net->slot_left[slot];

		if (!(*left & SLOT_LINK))
			continue;
		*left |= *left & SLOT_LATE ? SLOT_DUE : SLOT_LATE;
		more = true;
	}
	if (!more)
		return;
	loop_task_add(&net->loop, &net->bury);
	loop_timer_set(&net->loop, timer, LATE_MS);
}

static void link_gone(int index, void *ctx)
{
	struct net *net = ctx;
	uint8_t *left;

	if (index <= FIRST_INDEX || index - FIRST_INDEX > (int)net->n_slots)
		return;
	left = &net->slot_left[index - FIRST_INDEX];
	if (!(*left & SLOT_LINK)) /* it has a box, or none */
		return;
	*left &= SLOT_RULES;
	if (*left)
		loop_task_add(&net->loop, &net->bury);
}

static void on_gone(struct loop_source *source, uint32_t events)
{
	struct net *net = container_of(source, struct net, gone_events);

	(void)events;
	link_each_gone(net->gone, link_gone, net);
}

/* --- their namespaces ---------------------------------------------------------------------------- */

/*
 * The kernel takes a namespace away once nobody holds it any more, and links and rules of all others
 * wait meanwhile: about 1 ms for a few, 50 ms and more for a hundred at once. So the last
 * descriptors are closed a few at a time: behind a start, as one may follow, or when no box ends any
 * more, so that those who end do not wait for each other.
 */
void slots_let_go(struct net *net)
{
	for (int i = 0; i < FEW && net->n_held; i++)
		close(net->held[--net->n_held]);
}

static void on_calm(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, calm);

	slots_let_go(net);
	if (net->n_held)
		loop_timer_set(&net->loop, timer, FEW_MS);
}

static void hold(struct net *net, int ns)
{
	if (net->n_held == MAX_HELD)
		slots_let_go(net);
	net->held[net->n_held++] = ns;
	loop_timer_set(&net->loop, &net->calm, CALM_MS);
}

void slot_leave(struct net *net, unsigned int slot, unsigned int left, int ns, bool now)
{
	net->slot_left[slot] = (uint8_t)left;
	if (now) {
		close_fd(&ns);
		clear(net, slot);
		return;
	}
	hold(net, ns);
	if (!net->late.armed)
		loop_timer_set(&net->loop, &net->late, LATE_MS);
}

/* --- places --------------------------------------------------------------------------------------- */

static unsigned int find_free(struct net *net)
{
	for (unsigned int i = 1; i <= net->n_slots; i++) {
		unsigned int slot = 1 + (net->last_slot + i - 1) % net->n_slots;

		if (!net->by_slot[slot] && !net->slot_left[slot])
			return slot;
	}
	return 0;
}

unsigned int slot_find(struct net *net)
{
	unsigned int slot = find_free(net);

	if (slot)
		return slot;
	for (slot = 1; slot <= net->n_slots; slot++) {
		if (net->slot_left[slot])
			clear(net, slot);
	}
	return find_free(net);
}

int slots_make(struct net *net)
{
	net->bury.run = bury;
	net->late.fire = look_for_late;
	net->calm.fire = on_calm;
	net->by_slot = calloc(net->n_slots + 1, sizeof(*net->by_slot));
	net->slot_left = calloc(net->n_slots + 1, sizeof(*net->slot_left));
	if (!net->by_slot || !net->slot_left)
		return -ENOMEM;
	net->gone = link_open_gone();
	if (!net->gone)
		return -errno;
	net->gone_events = (struct loop_source){ link_fd(net->gone), on_gone };
	return loop_add(&net->loop, &net->gone_events, EPOLLIN);
}

void slots_free(struct net *net)
{
	while (net->n_held)
		slots_let_go(net);
	if (net->gone_events.fd > 0)
		loop_remove(&net->loop, &net->gone_events);
	link_close(net->gone);
	free(net->by_slot);
	free(net->slot_left);
}
