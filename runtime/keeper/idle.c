/* SPDX-License-Identifier: MIT */
/*
 * Looks from time to time. A daemon that is there is asked to freeze or stop the box itself, with the
 * number of messages that have come from it, so that what it has sent meanwhile is not lost in a box
 * that is going. Must not wait but for a freezing. One thread, no locks.
 */
#include "keeper/idle.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/cgroup.h"
#include "keeper/session.h"
#include "keeper/terminal.h"
#include "keeper/tree.h"

enum {
	LOOKS = 4, /* in the time of the limit */
	LOOK_MAX_MS = 10000,
	CPU_SHARE = 100,	 /* a hundredth of a CPU is not idle */
	STOP_PATIENCE_MS = 2000, /* where no daemon is there to say */
};

static bool works_on_a_command(const struct keeper *k)
{
	for (const struct session *s = k->sessions; s; s = s->next) {
		if (s->command.kind == COMMAND_RUN || s->queue)
			return true;
	}
	return false;
}

static bool computes(struct idle *idle, uint64_t cpu_us, int64_t now_ms)
{
	uint64_t used = cpu_us - idle->cpu_us, passed = (uint64_t)(now_ms - idle->looked_ms) * 1000;

	/* UINT64_MAX: this machine cannot tell, and what is asked of the box has to do. */
	return cpu_us != UINT64_MAX && idle->cpu_us != UINT64_MAX && used * CPU_SHARE > passed;
}

static void count_run(struct run *run, void *ctx)
{
	(void)run;
	++*(int *)ctx;
}

/* Something that would be lost by a stop. */
static bool has_runs(struct keeper *k)
{
	int n = 0;

	runs_each(&k->runs, count_run, &n);
	return n > 0 || terminals_alive(k);
}

int idle_freeze(struct keeper *k)
{
	int r = box_freeze(&k->box);

	if (r < 0)
		return r;
	k->idle.froze = true;
	trees_suspend(&k->runs);
	keeper_set_state(k, BOX_FROZEN, "idle");
	return 0;
}

static void end_idleness(struct keeper *k)
{
	bool freeze = has_runs(k);
	const struct msg m = { .type = MSG_IDLE, .v = { (int64_t)k->idle.n_messages, freeze } };

	if (k->daemon.current)
		daemon_send(&k->daemon, &m, NULL);
	else if (!freeze)
		ending_begin(k, STOP_PATIENCE_MS);
	else if (idle_freeze(k) < 0)
		log_warn("it is idle, and cannot be frozen");
}

static void look(struct loop_timer *timer)
{
	struct keeper *k = container_of(timer, struct keeper, idle.timer);
	uint64_t limit = k->set.limits.of[LIMIT_IDLE], cpu_us = cgroup_cpu_us(k->box.cgroup);
	struct idle *idle = &k->idle;
	int64_t now = monotonic_ms();

	if (k->state != BOX_RUNNING || k->ending || k->killing)
		return;
	if (idle->acted || works_on_a_command(k) || computes(idle, cpu_us, now))
		idle->since_ms = now;
	idle->acted = false;
	idle->cpu_us = cpu_us;
	idle->looked_ms = now;
	if ((uint64_t)(now - idle->since_ms) >= limit) {
		/* If it is not to be, it may be asked for again. */
		idle->since_ms = now;
		end_idleness(k);
	}
	if (k->state == BOX_RUNNING && !k->ending)
		loop_timer_set(&k->loop, timer, (int64_t)MIN(limit / LOOKS, (uint64_t)LOOK_MAX_MS));
}

void idle_begin(struct keeper *k)
{
	k->idle.timer.fire = look;
	k->idle.froze = false;
	k->idle.since_ms = k->idle.looked_ms = monotonic_ms();
	k->idle.cpu_us = cgroup_cpu_us(k->box.cgroup);
	if (k->set.limits.of[LIMIT_IDLE] == LIMIT_NONE)
		loop_timer_clear(&k->loop, &k->idle.timer);
	else
		loop_timer_set(&k->loop, &k->idle.timer, 0);
}

void idle_note(struct keeper *k, bool acts)
{
	k->idle.n_messages++;
	k->idle.acted |= acts;
	if (acts && k->idle.froze && k->state == BOX_FROZEN && box_thaw(&k->box) == 0)
		keeper_thawed(k);
}

int idle_set(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	(void)why;
	k->set.limits.of[which] = value;
	if (k->state == BOX_RUNNING)
		idle_begin(k);
	return 0;
}
