/* SPDX-License-Identifier: MIT */
/*
 * Which processes belong to which command of a session. The shell lives in a group; all others in it
 * were started by the latest command. What is left when that has ended keeps the group, and the
 * shell goes on in a new one. That is looked at while the session is idle, or else before the next
 * command begins. Must not wait but where the shell has to move. One thread, no locks.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/session.h"
#include "keeper/tree.h"

/* From here on everything counts for the next command. */
static void mark_group(struct session *s)
{
	s->marked = true;
	if (!s->group)
		return;
	group_stop_killing(s->group);
	group_usage(s->group, &s->base);
	group_reset_peak(s->group);
	/* Kills that ended no command are nobody's. */
	group_oom_killed(s->group);
}

/* The group without the shell, or NULL: both stay together. */
static struct group *part_from_shell(struct session *s)
{
	struct group *left, *fresh;
	int r = group_new(s->keeper->box.groups, &fresh);

	if (r == 0) {
		r = group_move_in(fresh, s->shell.pid);
		if (r < 0)
			group_free(fresh);
	}
	if (r < 0) {
		log_warn("session %s: what a command left counts for the next one: %s", s->name,
			 strerror(-r));
		return NULL;
	}
	left = s->group;
	s->group = fresh;
	return left;
}

bool session_settle(struct session *s)
{
	struct run *run = s->unsettled;
	struct group *left = NULL;
	int n;

	if (run) {
		n = s->group ? group_count(s->group, s->shell.pid) : 0;
		/* A shell that init has not told of yet is the one that is there. */
		if (s->shell.alive && s->shell.pid <= 0 && n > 1)
			return false;
		if (s->shell.alive && s->shell.pid > 0 && n > 0) {
			left = part_from_shell(s);
		} else if (!s->shell.alive && n > 0) {
			left = take_ptr(s->group);
		}
		s->unsettled = NULL;
		tree_leave(run, left);
	}
	if (!s->marked)
		mark_group(s);
	return true;
}

struct group *session_new_group(struct session *s)
{
	int r;

	session_settle(s);
	group_free(take_ptr(s->group));
	s->marked = false;
	r = group_new(s->keeper->box.groups, &s->group);
	if (r < 0 && r != -EOPNOTSUPP)
		log_warn("session %s: its shell has no cgroup of its own: %s", s->name,
			 strerror(-r));
	return s->group;
}

void session_note_used(struct session *s, struct run *run, enum run_state *state, int *code)
{
	bool oom = s->group ? *code != 0 && group_oom_killed(s->group)
			    : *code != 0 && box_oom_killed(&s->keeper->box);

	if (oom)
		*state = RUN_OOM;
	else if ((s->keeper->ending || s->end) && *code > 128)
		*state = RUN_SIGNALLED;
	tree_note_end(run, s->group, state, code);
	run->unsettled = true;
	s->unsettled = run;
	s->marked = false;
}
