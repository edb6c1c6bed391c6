/* SPDX-License-Identifier: MIT */
/*
 * The processes of a group: counting, signals, and killing all of them however fast they fork. Every
 * signal goes by a pidfd that was checked (box_signal_pids), so that a reused pid is never hit. Must
 * not wait. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/group_inside.h"

enum {
	ROUND_MS = 2,
	ROUND_MAX_MS = 200,	     /* for those in uninterruptible sleep */
	ROUNDS_WITHOUT_FREEZING = 2, /* who forks on is held still after so many */
};

int group_count(const struct group *group, pid_t except)
{
	struct pids list = { 0 };
	int n = 0, r;

	if (!group->groups->box)
		return 0;
	r = cgroup_read_procs(group->dirs[0], &list);
	for (size_t i = 0; i < list.n; i++)
		n += list.pids[i] != except;
	free(list.pids);
	return r < 0 ? r : n;
}

int group_signal(struct group *group, int sig, pid_t except)
{
	struct pids list = { 0 };
	int r;

	if (!group->groups->box)
		return 0;
	r = cgroup_read_procs(group->dirs[0], &list);
	if (r == 0)
		r = box_signal_pids(group->groups->box, list.pids, list.n, except, sig);
	free(list.pids);
	return r;
}

/* One look and one kill; how many there were, or -errno. */
static int kill_round(struct group *group)
{
	struct cgroup *cg = group->groups->box->cgroup;
	bool freeze = group->kill_rounds++ >= ROUNDS_WITHOUT_FREEZING && !cg->frozen;
	int n;

	/* Need not be complete, as the next round follows. */
	if (freeze)
		cg->ops->set_frozen(cg, true);
	n = group_signal(group, SIGKILL, group->kill_except);
	if (freeze)
		cg->ops->set_frozen(cg, false);
	return n;
}

static void next_round(struct group *group)
{
	struct loop *loop = group->groups->loop;
	int ms = group->kill_rounds < 16 ? ROUND_MS : MIN(group->kill_rounds, ROUND_MAX_MS);

	if (loop)
		loop_timer_set(loop, &group->kill_timer, ms);
}

void group_kill_timer_fire(struct loop_timer *timer)
{
	struct group *group = container_of(timer, struct group, kill_timer);

	if (!group->groups->box || !group->killing)
		return;
	if (kill_round(group) == 0)
		group->killing = false;
	else
		next_round(group);
}

int group_kill_but(struct group *group, pid_t except)
{
	int n;

	if (!group->groups->box)
		return 0;
	group->kill_except = except;
	group->kill_rounds = 0;
	n = kill_round(group);
	if (n < 0)
		return n;
	group->killing = n > 0;
	if (n > 0)
		next_round(group);
	return 0;
}

void group_stop_killing(struct group *group)
{
	group->killing = false;
	if (group->groups->loop)
		loop_timer_clear(group->groups->loop, &group->kill_timer);
}

int group_kill(struct group *group)
{
	/* The second version does it at one stroke; what it cannot (a kernel before 5.14), or does
	 * while a process forks, is done by the rounds. */
	if (group->groups->box)
		write_control_at(group->dirs[0], "cgroup.kill", "1");
	return group_kill_but(group, 0);
}
