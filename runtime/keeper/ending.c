/* SPDX-License-Identifier: MIT */
/*
 * How a box ends: asked to (TERM, patience, KILL), at once, or by itself. In each case every run
 * gets its end and its record before the daemon is told that the box is gone. Must not block but
 * for the last moment, when nothing is left to serve. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/buckets.h"
#include "keeper/keeper.h"
#include "keeper/uplink.h"
#include "keeper/processes.h"
#include "keeper/session.h"
#include "keeper/terminal.h"
#include "keeper/tree.h"

enum {
	LOOK_EVERY_MS = 3,
	LOOK_EVERY_BUCKETS_MS = 10, /* as it may take longer then */
	TERM_AGAIN_LOOKS = 15,	    /* in which who was being forked at the TERM gets it again */
	KILL_PATIENCE_MS = 5000,    /* for processes in uninterruptible sleep */
	ABORT_PATIENCE_MS = 2000,   /* for those of them whose files were being saved */
	SAVE_LOOK_MS = 50,
	DESTROY_TIMEOUT_MS = 1000,
	CODE_KILLED = 128 + SIGKILL,
};

static void end_run(struct run *run, void *ctx)
{
	const enum run_state *state = ctx;

	tree_note_used(run, run->group);
	tree_cut(run);
	if (run->said_closed)
		return;
	if (!run_state_is_end(run->state)) {
		if (run->state == RUN_QUEUED) {
			run_unpark(run);
			run_end(run, RUN_FAILED, 126);
		} else {
			enum run_state end = *state;
			int code = CODE_KILLED;

			tree_note_end(run, NULL, &end, &code);
			run_end(run, end, code);
		}
		run_say_end(run);
	}
	run_cut(run);
}

/* The box is gone or as good as gone: ends all that is left with that state. */
static void end_all_runs(struct keeper *k, enum run_state state)
{
	for (struct session *s = k->sessions; s; s = s->next) {
		session_release(s);
		if (s->command.run)
			tree_note_used(s->command.run, s->group);
		s->command.kind = COMMAND_NONE;
		s->command.run = NULL;
		s->unsettled = NULL;
		s->queue = NULL;
		s->queue_tail = &s->queue;
	}
	runs_each(&k->runs, end_run, &state);
	terminals_close(k);
	runs_write_records(&k->runs);
}

static void forget_box(struct keeper *k)
{
	loop_timer_clear(&k->loop, &k->ending_timer);
	loop_remove(&k->loop, &k->init_events);
	loop_remove(&k->loop, &k->init_death);
	network_end(k);
	box_destroy(&k->box);
	k->ending = ENDING_DONE;
	k->loop.stop = true;
}

static void answer_ends(struct keeper *k)
{
	for (struct session *s = k->sessions; s; s = s->next)
		session_answer_end(s);
}

/* No process but init is left, or patience is. */
static void ending_finish(struct keeper *k)
{
	box_kill_processes(&k->box, true, DESTROY_TIMEOUT_MS);
	end_all_runs(k, RUN_SIGNALLED);
	forget_box(k);
	keeper_set_state(k, BOX_STOPPED, NULL);
	answer_ends(k);
	daemon_reply(&k->daemon, k->kill_tag, 0, NULL);
	daemon_reply(&k->daemon, k->stop_tag, 0, NULL);
	daemon_reply(&k->daemon, k->destroy_tag, 0, NULL);
}

static void finish_lost(struct keeper *k)
{
	bool oom = box_oom_killed(&k->box);
	const char *why = k->lost_why;

	box_kill_processes(&k->box, true, DESTROY_TIMEOUT_MS);
	end_all_runs(k, oom ? RUN_OOM : RUN_LOST);
	forget_box(k);
	keeper_set_state(k, BOX_FAILED,
			 oom ? "the box ran out of memory, and its init was killed" : why);
	daemon_reply(&k->daemon, k->kill_tag, -EIO, why);
	daemon_reply(&k->daemon, k->stop_tag, 0, NULL);
	daemon_reply(&k->daemon, k->destroy_tag, 0, NULL);
	answer_ends(k);
}

/*
 * No process uses a file any more, or patience with them is at its end: true when all that they wrote
 * to buckets is saved, or cannot be.
 */
static bool save_buckets(struct keeper *k, bool alive)
{
	if (alive && buckets_patience_ms(k) && !k->aborted) {
		k->aborted = true;
		buckets_abort(k);
		k->ending_until_ms = monotonic_ms() + ABORT_PATIENCE_MS;
		loop_timer_set(&k->loop, &k->ending_timer, LOOK_EVERY_MS);
		return false;
	}
	if (buckets_save(k, k->at_once))
		return true;
	loop_timer_set(&k->loop, &k->ending_timer, SAVE_LOOK_MS);
	return false;
}

/* The box is lost, and its last processes may be closing files of its buckets. */
static void lost_step(struct keeper *k)
{
	bool alive = box_kill_processes(&k->box, true, 0) < 0;

	if (alive && monotonic_ms() < k->ending_until_ms)
		loop_timer_set(&k->loop, &k->ending_timer, SAVE_LOOK_MS);
	else if (save_buckets(k, alive))
		finish_lost(k);
}

static int64_t kill_patience_ms(const struct keeper *k)
{
	return MAX((int64_t)KILL_PATIENCE_MS, buckets_patience_ms(k));
}

void ending_box_lost(struct keeper *k, const char *why)
{
	if (k->ending == ENDING_DONE)
		return;
	/* init is not heard any more, and its end would be said for ever. */
	loop_remove(&k->loop, &k->init_events);
	loop_remove(&k->loop, &k->init_death);
	k->init_gone = true;
	if (k->ending) {
		loop_timer_set(&k->loop, &k->ending_timer, 0);
		return;
	}
	log_error("the box is lost: %s", why);
	k->lost_why = why;
	k->ending = ENDING_KILL;
	k->at_once = true;
	k->ending_until_ms = monotonic_ms() + kill_patience_ms(k);
	lost_step(k);
}

/* MSG_KILL: are all gone, and have the sessions seen their shells go? */
static void kill_step(struct keeper *k)
{
	uint64_t tag = k->kill_tag;
	int left = box_kill_processes(&k->box, false, 0);
	bool shells = false;

	for (struct session *s = k->sessions; s; s = s->next)
		shells |= s->shell.alive && s->shell.killed;
	if ((left < 0 || shells) && monotonic_ms() < k->ending_until_ms) {
		loop_timer_set(&k->loop, &k->ending_timer, LOOK_EVERY_MS);
		return;
	}
	k->killing = false;
	k->kill_tag = 0;
	daemon_reply(&k->daemon, tag, left, "some process did not end");
	for (struct session *s = k->sessions; s; s = s->next) {
		if (!s->shell.alive && !s->end && session_has_been_used(s))
			session_start_shell(s);
		session_pump(s);
	}
}

static bool has_shells(const struct keeper *k)
{
	for (const struct session *s = k->sessions; s; s = s->next) {
		if (s->shell.alive)
			return true;
	}
	return terminals_alive(k);
}

void ending_timer_fire(struct loop_timer *timer)
{
	struct keeper *k = container_of(timer, struct keeper, ending_timer);
	bool late = monotonic_ms() >= k->ending_until_ms;
	bool alive;

	if (k->lost_why) {
		lost_step(k);
		return;
	}
	if (k->killing && !k->ending) {
		kill_step(k);
		return;
	}
	/* A shell counts until init has said how it ended; one may also be on its way still. */
	alive = !k->init_gone &&
		(has_shells(k) || k->spawns.first || processes_count_children(k->box.init_pid) > 0);
	if (alive && k->ending == ENDING_TERM && !late) {
		if (++k->ending_looks <= TERM_AGAIN_LOOKS)
			processes_signal_young(k->box.init_pid, SIGTERM,
					       k->ending_ticks - YOUNG_TICKS);
	} else if (alive && k->ending == ENDING_TERM) {
		k->ending = ENDING_KILL;
		k->ending_until_ms = monotonic_ms() + kill_patience_ms(k);
		box_kill_processes(&k->box, false, 0);
	} else if (alive && !late) {
		box_kill_processes(&k->box, false, 0);
	} else {
		if (!save_buckets(k, alive))
			return;
		if (alive)
			log_warn("some processes did not end when they were killed");
		ending_finish(k);
		return;
	}
	loop_timer_set(&k->loop, timer,
		       buckets_patience_ms(k) ? LOOK_EVERY_BUCKETS_MS : LOOK_EVERY_MS);
}

void ending_begin(struct keeper *k, int64_t patience_ms)
{
	bool first = k->ending == ENDING_NOT;

	k->at_once |= patience_ms < 0;
	if (!first && (k->ending != ENDING_TERM || patience_ms >= 0))
		return;
	k->ending = patience_ms < 0 ? ENDING_KILL : ENDING_TERM;
	k->ending_until_ms = monotonic_ms() + (patience_ms < 0 ? kill_patience_ms(k) : patience_ms);
	if (k->state == BOX_FROZEN)
		box_thaw(&k->box);
	if (first)
		keeper_set_state(k, BOX_STOPPING, NULL);
	for (struct session *s = k->sessions; s; s = s->next)
		session_fail_queue(s, "the box was stopped");
	if (patience_ms < 0) {
		box_kill_processes(&k->box, false, 0);
	} else {
		box_signal_all(&k->box, SIGTERM);
		box_signal_all(&k->box, SIGCONT);
		terminals_hang_up(k); /* an interactive shell minds no TERM */
		k->ending_ticks = processes_now_ticks();
		k->ending_looks = 0;
	}
	loop_timer_set(&k->loop, &k->ending_timer, 0);
}

void ending_kill_processes(struct keeper *k, uint64_t tag)
{
	k->kill_tag = tag;
	k->killing = true;
	k->ending_until_ms = monotonic_ms() + KILL_PATIENCE_MS;
	for (struct session *s = k->sessions; s; s = s->next)
		s->shell.killed = s->shell.alive;
	box_kill_processes(&k->box, false, 0);
	if (k->state == BOX_FROZEN && box_thaw(&k->box) == 0)
		keeper_thawed(k);
	loop_timer_set(&k->loop, &k->ending_timer, 1);
}
