/* SPDX-License-Identifier: MIT */
/*
 * Runs with all that they started. A deadline and an end by force are one small machine: TERM at the
 * deadline, KILL after a moment of grace, and looks until nothing is left. Must not wait. One thread,
 * no locks.
 */
#include "keeper/tree.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "keeper/own.h"
#include "keeper/record.h"
#include "keeper/session.h"

enum {
	GRACE_MS = 2000,    /* between TERM and KILL */
	LOOK_MS = 3,	    /* while all is being killed */
	LOOK_LATER_MS = 50, /* after LOOKS_FAST of these looks */
	LOOKS_FAST = 100,
	LOOKS_FOR_SHELL = 15, /* then the shell itself is what runs */
	LOOKS_MAX = 200,      /* something hangs in the kernel */
	CODE_TIMEOUT = 124,
};

static struct keeper *keeper_of(const struct run *run)
{
	return container_of(run->runs, struct keeper, runs);
}

static struct session *session_of(const struct run *run)
{
	return run->of;
}

/* The session whose present command it is. */
static struct session *session_at_work(const struct run *run)
{
	struct session *s = session_of(run);

	return s && s->command.kind == COMMAND_RUN && s->command.run == run ? s : NULL;
}

/* The group in which its processes are now, maybe together with a session's shell; or NULL. */
static struct group *group_of(const struct run *run)
{
	struct session *s = session_at_work(run);

	return s ? s->group : run->group;
}

/* --- what is left of it -------------------------------------------------------------------- */

static void group_emptied(void *owner)
{
	struct run *run = owner;

	group_free(take_ptr(run->group));
	run_settle(run);
}

void tree_leave(struct run *run, struct group *group)
{
	run->unsettled = false;
	run->group = group;
	if (group) {
		group_close_files(group);
		group_on_empty(group, group_emptied, run);
	}
	loop_task_add(run->runs->loop, &run->record_task);
}

void tree_cut(struct run *run)
{
	loop_timer_clear(run->runs->loop, &run->force_timer);
	run->force = FORCE_NONE;
	run->unsettled = false;
	daemon_reply(run->runs->daemon, run->end_tag, 0, NULL);
	run->end_tag = 0;
	group_free(take_ptr(run->group));
	run_settle(run);
}

/* Has everything of it ended? What its session does not know yet is found out. */
static bool nothing_is_left(struct run *run)
{
	struct session *s = session_of(run);

	if (!run_state_is_end(run->state))
		return false;
	if (run->unsettled && s)
		session_settle(s);
	return !run->unsettled && (!run->group || group_count(run->group, 0) == 0);
}

/* --- signals ------------------------------------------------------------------------------- */

int tree_signal(struct run *run, int sig)
{
	struct session *s = session_at_work(run);
	int n;

	if (sig < 1 || sig > SIGRTMAX)
		return -EINVAL;
	if (s && s->group)
		return session_signal_tree(s, sig);
	if (run->own && run->state == RUN_STARTING)
		return own_signal(run, sig);
	if (run->unsettled && session_of(run))
		session_settle(session_of(run));
	if (!run->group)
		return session_of(run) ? session_signal(session_of(run), run, sig) : -ESRCH;
	if (sig == SIGKILL) {
		n = group_count(run->group, 0);
		return n > 0 ? group_kill(run->group) : -ESRCH;
	}
	n = group_signal(run->group, sig, 0);
	return n > 0 ? 0 : n < 0 ? n : -ESRCH;
}

/* --- by force ------------------------------------------------------------------------------ */

/* For a box that stands still the time stands still too. */
static void force_set(struct run *run, enum force force, int64_t in_ms)
{
	bool frozen = keeper_of(run)->state == BOX_FROZEN && force != FORCE_KILL;

	run->force = force;
	run->force_at_ms = frozen ? in_ms : monotonic_ms() + in_ms;
	if (frozen)
		loop_timer_clear(run->runs->loop, &run->force_timer);
	else
		loop_timer_set(run->runs->loop, &run->force_timer, in_ms);
}

static void force_done(struct run *run, int r)
{
	uint64_t tag = run->end_tag;

	loop_timer_clear(run->runs->loop, &run->force_timer);
	run->force = FORCE_NONE;
	run->end_tag = 0;
	daemon_reply(run->runs->daemon, tag, r, "some process did not end");
	run_settle(run);
}

/* A session's command: its script is dropped, its processes are killed; or if it is the shell
 * itself that runs and does not listen, the shell. */
static void kill_command(struct session *s, struct run *run)
{
	if (run->force_rounds == 0 && s->group)
		session_signal_tree(s, SIGKILL);
	else if (run->force_rounds == 0)
		session_signal(s, run, SIGKILL);
	if (run->force_rounds >= LOOKS_FOR_SHELL)
		shell_kill(&s->shell);
}

static void kill_step(struct run *run)
{
	struct session *s = session_at_work(run);

	if (nothing_is_left(run)) {
		force_done(run, 0);
		return;
	}
	if (s)
		kill_command(s, run);
	else if (run->group && run->force_rounds % LOOKS_FOR_SHELL == 0)
		group_kill(run->group); /* goes on by itself, but for who came in after that */
	if (++run->force_rounds >= LOOKS_MAX)
		force_done(run, -EBUSY);
	else
		force_set(run, FORCE_KILL,
			  run->force_rounds < LOOKS_FAST ? LOOK_MS : LOOK_LATER_MS);
}

static void force_fire(struct loop_timer *timer)
{
	struct run *run = container_of(timer, struct run, force_timer);

	switch (run->force) {
	case FORCE_DEADLINE:
		run->timed_out = true;
		tree_signal(run, SIGTERM);
		tree_signal(run, SIGCONT); /* who is stopped could not listen */
		force_set(run, FORCE_TERM, GRACE_MS);
		break;
	case FORCE_TERM:
		run->force_rounds = 0;
		kill_step(run);
		break;
	case FORCE_KILL:
		kill_step(run);
		break;
	case FORCE_NONE:
		break;
	}
}

void tree_end(struct run *run, uint64_t tag)
{
	struct session *s = session_of(run);

	if (run->state == RUN_QUEUED && s) {
		session_cancel(s, run, "it was ended before it began");
		daemon_reply(run->runs->daemon, tag, 0, NULL);
		return;
	}
	if (run->end_tag)
		daemon_reply(run->runs->daemon, run->end_tag, 0, NULL); /* the later one is told */
	run->end_tag = tag;
	run->force_timer.fire = force_fire;
	run->force_rounds = 0;
	run->force = FORCE_KILL;
	kill_step(run);
}

/* --- the deadline -------------------------------------------------------------------------- */

/* How much of its time is gone, but for that in which the box stood still. */
static int64_t age_ms(const struct run *run)
{
	int64_t now = run->frozen_since_ms ? run->frozen_since_ms : monotonic_ms();

	return now - run->begin_ms - run->frozen_ms;
}

static void arm_deadline(struct run *run, int64_t in_ms)
{
	run->force_timer.fire = force_fire;
	force_set(run, FORCE_DEADLINE, MAX(in_ms, 0));
}

void tree_rewind(struct run *run)
{
	loop_timer_clear(run->runs->loop, &run->force_timer);
	run->force = FORCE_NONE;
	run->timed_out = false;
}

int tree_set_timeout(struct run *run, int64_t timeout_ms)
{
	if (timeout_ms < 0)
		return -EINVAL;
	if (run_state_is_end(run->state) || run->end_state)
		return -ESRCH;
	run->timeout_ms = timeout_ms;
	run_touch_record(run);
	if (run->state != RUN_RUNNING || run->force > FORCE_DEADLINE)
		return 0;
	tree_rewind(run);
	if (timeout_ms)
		arm_deadline(run, timeout_ms - age_ms(run));
	return 0;
}

void tree_begin(struct run *run, const struct usage *base)
{
	run->base = *base;
	run->begin_ms = monotonic_ms();
	run->frozen_ms = 0;
	run->frozen_since_ms = keeper_of(run)->state == BOX_FROZEN ? run->begin_ms : 0;
	if (run->timeout_ms)
		arm_deadline(run, run->timeout_ms);
}

static void suspend(struct run *run, void *ctx)
{
	(void)ctx;
	run->frozen_since_ms = monotonic_ms();
	if (run->force != FORCE_DEADLINE && run->force != FORCE_TERM)
		return;
	loop_timer_clear(run->runs->loop, &run->force_timer);
	run->force_at_ms = MAX(run->force_at_ms - monotonic_ms(), 0);
}

static void resume(struct run *run, void *ctx)
{
	(void)ctx;
	if (run->frozen_since_ms)
		run->frozen_ms += monotonic_ms() - run->frozen_since_ms;
	run->frozen_since_ms = 0;
	if (run->force != FORCE_DEADLINE && run->force != FORCE_TERM)
		return;
	loop_timer_set(run->runs->loop, &run->force_timer, run->force_at_ms);
	run->force_at_ms += monotonic_ms();
}

void trees_suspend(struct runs *runs)
{
	runs_each(runs, suspend, NULL);
}

void trees_resume(struct runs *runs)
{
	runs_each(runs, resume, NULL);
}

/* --- what it used -------------------------------------------------------------------------- */

static uint64_t difference(uint64_t now, uint64_t before)
{
	if (now == UINT64_MAX || before == UINT64_MAX)
		return UINT64_MAX;
	return now > before ? now - before : 0;
}

static struct usage used_since(const struct group *group, const struct usage *base)
{
	struct usage now;

	group_usage(group, &now);
	now.cpu_user_us = difference(now.cpu_user_us, base->cpu_user_us);
	now.cpu_system_us = difference(now.cpu_system_us, base->cpu_system_us);
	now.read = difference(now.read, base->read);
	now.written = difference(now.written, base->written);
	return now;
}

void tree_note_used(struct run *run, const struct group *group)
{
	if (run->has_usage)
		return;
	run->used = group ? used_since(group, &run->base) : USAGE_UNKNOWN;
	run->has_usage = true;
}

void tree_note_end(struct run *run, const struct group *group, enum run_state *state, int *code)
{
	tree_note_used(run, group);
	if (run->timed_out) {
		*state = RUN_TIMEOUT;
		*code = CODE_TIMEOUT;
	}
	/* What came in time has no deadline any more; of what did not, the rest has a moment. */
	if (run->force == FORCE_DEADLINE) {
		loop_timer_clear(run->runs->loop, &run->force_timer);
		run->force = FORCE_NONE;
	}
}

int tree_say_usage(struct run *run)
{
	_cleanup_text_ struct text fields = { 0 };
	struct group *group = group_of(run);
	struct msg m = { .type = MSG_RUN_USAGE, .run = run->number };
	int64_t until = run->ended_us ? run->ended_us : realtime_us();
	struct usage used;

	if (!run->started_us)
		return -ESRCH;
	used = group ? used_since(group, &run->base) : run->has_usage ? run->used : USAGE_UNKNOWN;
	record_add_usage(&fields, MAX(until - run->started_us, 0), &used, field_add_u64);
	if (fields.failed)
		return -ENOMEM;
	m.len = fields.len;
	daemon_send(run->runs->daemon, &m, fields.data);
	return 0;
}
