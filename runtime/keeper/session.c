/* SPDX-License-Identifier: MIT */
/*
 * A session's queue, and a command from its start in the shell to its end. What the client waits
 * for is said first; records, new FIFOs and the environment come after. One thread, no locks.
 */
#include "keeper/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/processes.h"
#include "keeper/tree.h"
#include "runtime.h"

enum {
	SYNC_AFTER_MS = 50, /* idle time before the environment is asked for */
	HOLD_MS = 100,	    /* how long an end may wait for the environment */
	WATCH_FIRST_MS = 100,
};

static const char no_shell_why[] = "the image has neither bash nor sh";

static void prepare_task_run(struct loop_task *task)
{
	struct session *s = container_of(task, struct session, prepare_task);

	/*
	 * Not under a command: it has yet to open those that are there. What stands in the way is
	 * met again, and reported, when a command starts.
	 */
	if (s->command.kind != COMMAND_NONE)
		return;
	session_settle(s);
	if (s->shell.alive)
		control_prepare(&s->control);
}

static void sync_timer_fire(struct loop_timer *timer)
{
	struct session *s = container_of(timer, struct session, sync_timer);

	if (s->env_stale && s->shell.alive && s->command.kind == COMMAND_NONE &&
	    s->keeper->state == BOX_RUNNING && !s->keeper->ending)
		session_sync(s);
}

static void hold_timer_fire(struct loop_timer *timer)
{
	session_release(container_of(timer, struct session, hold_timer));
}

struct session *session_new(struct keeper *k)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->keeper = k;
	s->queue_tail = &s->queue;
	s->watch_timer.fire = session_watch;
	s->sync_timer.fire = sync_timer_fire;
	s->hold_timer.fire = hold_timer_fire;
	s->start_timer.fire = session_start_again;
	s->end_timer.fire = session_end_step;
	s->prepare_task.run = prepare_task_run;
	shell_init(&s->shell, &k->spawns, session_note_init);
	return s;
}

void session_free(struct session *s)
{
	struct loop *loop = &s->keeper->loop;

	loop_timer_clear(loop, &s->watch_timer);
	loop_timer_clear(loop, &s->sync_timer);
	loop_timer_clear(loop, &s->hold_timer);
	loop_timer_clear(loop, &s->start_timer);
	loop_timer_clear(loop, &s->end_timer);
	loop_task_cancel(loop, &s->prepare_task);
	session_drop_sync(s);
	text_free(&s->command.sync_text);
	text_free(&s->setup);
	text_free(&s->functions);
	shell_close(&s->shell);
	if (s->unsettled)
		session_settle(s);
	group_free(s->group);
	group_free(s->terminal_group);
	control_close(&s->control);
	session_env_free(&s->env);
	session_env_free(&s->set);
	session_env_free(&s->unset);
	session_env_free(&s->next_env);
	free(s->next_cwd);
	free(s->name);
	free(s->cwd);
	free(s);
}

int session_give_script(struct session *s, enum command_kind kind, const char *script, size_t len)
{
	struct command *c = &s->command;
	int r = control_prepare(&s->control);

	if (r == 0)
		r = control_write_script(&s->control, script, len);
	if (r < 0)
		return r;
	shell_clear_base(&s->shell);
	/* A shell that has left so many numbers unread has died, or never will answer. */
	r = control_go(&s->control);
	if (r < 0)
		return r;
	c->kind = kind;
	c->wanted_signal = c->unheard_signals = c->late.sig = 0;
	c->started_ms = monotonic_ms();
	c->started_ticks = processes_now_ticks();
	c->watch_ms = WATCH_FIRST_MS;
	loop_timer_clear(&s->keeper->loop, &s->sync_timer);
	loop_timer_set(&s->keeper->loop, &s->watch_timer, c->watch_ms);
	return 0;
}

/* script: as submitted, or NULL: it is read from the run's folder. */
static void session_start_run(struct session *s, struct run *run, const char *script, size_t len)
{
	_cleanup_free_ char *read_script = NULL;
	int r = run_unpark(run);

	if (r == 0 && !script) {
		r = read_file_at(run->folder.dir, RUN_SCRIPT, MAX_SCRIPT_BYTES, &read_script, &len);
		script = read_script;
	}
	if (r == 0)
		r = session_give_script(s, COMMAND_RUN, script, len);
	if (r < 0) {
		run_fail(run, strerror(-r));
		return;
	}
	s->command.run = run;
	run->box_pid = s->shell.box_pid;
	run_begin(run, s->cwd, s->control.next);
	tree_begin(run, &s->base);
	memset(s->control.next, 0, sizeof(s->control.next));
	run_say(run);
	s->command.may_change_env = session_env_script_may_change(script, len);
}

static void queue_add(struct session *s, struct run *run)
{
	run->next_queued = NULL;
	*s->queue_tail = run;
	s->queue_tail = &run->next_queued;
}

static struct run *queue_take(struct session *s)
{
	struct run *run = s->queue;

	s->queue = run->next_queued;
	if (!s->queue)
		s->queue_tail = &s->queue;
	run->next_queued = NULL;
	return run;
}

void session_requeue(struct session *s, struct run *run)
{
	run_rewind(run);
	tree_rewind(run);
	run->next_queued = s->queue;
	s->queue = run;
	if (!run->next_queued)
		s->queue_tail = &run->next_queued;
}

int session_cancel(struct session *s, struct run *run, const char *why)
{
	struct run **at = &s->queue;

	while (*at && *at != run)
		at = &(*at)->next_queued;
	if (!*at)
		return -ESRCH;
	*at = run->next_queued;
	if (s->queue_tail == &run->next_queued)
		s->queue_tail = at;
	run->next_queued = NULL;
	run_fail(run, why);
	return 0;
}

void session_fail_queue(struct session *s, const char *why)
{
	while (s->queue)
		run_fail(queue_take(s), why);
}

static bool is_queued(const struct session *s, const struct run *run)
{
	const struct run *queued = s->queue;

	while (queued && queued != run)
		queued = queued->next_queued;
	return queued;
}

/* Can a command be given to the shell right now? */
static bool session_is_free(struct session *s)
{
	return s->shell.alive && s->command.kind == COMMAND_NONE && !session_has_changes(s) &&
	       !s->broken && !s->end && !s->keeper->killing && session_settle(s);
}

void session_pump(struct session *s)
{
	struct keeper *k = s->keeper;

	while (s->command.kind == COMMAND_NONE && !k->ending && !k->killing && !s->broken &&
	       !s->end) {
		if (!s->shell.alive && (!s->queue || session_start_shell(s) < 0))
			return;
		if (session_has_changes(s))
			session_sync(s);
		else if (s->queue && !session_settle(s))
			return;
		else if (s->queue)
			session_start_run(s, queue_take(s), NULL, 0);
		else
			break;
	}
	if (s->command.kind != COMMAND_NONE || !s->shell.alive)
		return;
	loop_task_add(&k->loop, &s->prepare_task);
	if (s->env_stale)
		loop_timer_set(&k->loop, &s->sync_timer, SYNC_AFTER_MS);
}

int session_submit(struct session *s, uint64_t number, const struct run_options *options,
		   const char *script, size_t len, const char **why)
{
	struct runs *runs = &s->keeper->runs;
	enum driver_kind kind;
	struct run *run;
	int r;

	if (!s->shell.alive && !shell_find(&s->keeper->box, &kind)) {
		*why = no_shell_why;
		return -ENOEXEC;
	}
	r = run_new(runs, number, s->name, options, script, len, &run);
	if (r < 0)
		return r;
	run->of = s;
	if (!s->queue && session_is_free(s)) {
		session_start_run(s, run, script, len);
		return 0;
	}
	queue_add(s, run);
	session_pump(s);
	/* It may have started, and even have failed and be gone. */
	if (is_queued(s, run)) {
		run_park(run);
		run_say(run);
	}
	return 0;
}

void session_drop_sync(struct session *s)
{
	for (int i = 0; i < N_STREAMS; i++)
		fifo_free(take_ptr(s->command.sync[i]));
}

void session_release(struct session *s)
{
	struct run *run = take_ptr(s->held);

	loop_timer_clear(&s->keeper->loop, &s->hold_timer);
	if (run)
		run_say_end(run);
}

void session_finish_run(struct session *s, enum run_state state, int code)
{
	struct run *run = take_ptr(s->command.run);

	/* A TERM or HUP drops the rest of a script by an INT to the shell. */
	if (s->command.wanted_signal && code == 130)
		code = 128 + s->command.wanted_signal;
	s->command.kind = COMMAND_NONE;
	loop_timer_clear(&s->keeper->loop, &s->watch_timer);
	session_note_used(s, run, &state, &code);
	run_end(run, state, code);
	session_release(s);
	s->held = run;
}

void session_release_if_known(struct session *s)
{
	if (s->shell.pid > 0 && s->command.kind != COMMAND_SYNC)
		session_release(s);
}

/*
 * The end is said behind the working directory and, where the script may have changed it, the
 * environment: who has seen a command end sees its effect. Both may take a moment (the shell's pid
 * can be late), but not longer than HOLD_MS.
 */
static void session_run_ended(struct session *s, int code)
{
	bool moved = session_note_cwd(s);
	enum run_state state = RUN_EXITED;

	if (!fifo_was_opened(s->command.run->streams[STREAM_ERR])) {
		/* Its redirections failed, so the script has not run at all. */
		session_break(s, "it cannot open the streams of its commands");
		session_append_base(s);
		state = RUN_FAILED;
	}
	session_finish_run(s, state, code);
	s->env_stale = true;
	if (s->command.may_change_env && !s->keeper->ending && !s->broken)
		session_sync(s);
	if (moved)
		session_say(s);
	session_release_if_known(s);
	if (s->held)
		loop_timer_set(&s->keeper->loop, &s->hold_timer, HOLD_MS);
}

/* The shell says that its command has ended. */
static void session_command_ended(struct session *s, int code)
{
	enum command_kind kind = s->command.kind;

	if (kind == COMMAND_SYNC) {
		s->command.kind = COMMAND_NONE;
		loop_timer_clear(&s->keeper->loop, &s->watch_timer);
		session_sync_done(s);
	} else if (kind == COMMAND_RUN) {
		session_run_ended(s, code);
	}
	session_pump(s);
}

void session_status_ready(struct loop_source *source, uint32_t events)
{
	struct session *s = container_of(source, struct session, control.status);
	int code, r = control_read_status(&s->control, &code);

	(void)events;
	if (r > 0) {
		s->shell.spoke = true;
		s->failed_starts = 0;
	}
	if (r == 1)
		session_command_ended(s, code);
	else if (r < 0)
		session_break(s, "something in the box fills its status pipe with garbage");
}
