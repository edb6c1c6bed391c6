/* SPDX-License-Identifier: MIT */
/*
 * A session's shell: starting it, what its end means for the command it was at, and looking after
 * one that does not answer. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/session.h"

enum {
	MAX_FAILED_STARTS = 3,
	MAX_ATTEMPTS = 4,     /* to start one command */
	UNOPENED_MS = 5000,   /* a shell that has not opened the streams by then is broken */
	SYNC_INT_MS = 5000,   /* a command of ours is interrupted, */
	SYNC_KILL_MS = 10000, /* then ended with its shell */
	WATCH_MAX_MS = 5000,
	START_AGAIN_MS = 5,
};

/* What a shell starts with: the session's environment, or hardly any when that ends every shell. */
static const struct session_env *start_env(struct session *s, struct session_env *fallback)
{
	const char *path = session_env_get(&s->env, "PATH"),
		   *home = session_env_get(&s->env, "HOME");

	if (s->failed_starts < MAX_FAILED_STARTS - 1)
		return &s->env;
	if (path)
		session_env_set(fallback, "PATH", path);
	if (home)
		session_env_set(fallback, "HOME", home);
	return fallback;
}

void session_start_again(struct loop_timer *timer)
{
	session_pump(container_of(timer, struct session, start_timer));
}

int session_start_shell(struct session *s)
{
	struct keeper *k = s->keeper;
	struct session_env fallback = { 0 };
	struct shell_start start = {
		.dir = s->dir,
		/* Its user may not go where the last one could not start. */
		.cwd = s->failed_starts ? "/" : s->cwd,
		.user = &s->user,
	};
	int r = s->control.dir < 0 ? control_open(&s->control) : 0;

	text_reset(&s->setup);
	s->broken = false;
	start.env = start_env(s, &fallback);
	start.group = session_new_group(s);
	if (r == 0)
		r = control_renew(&s->control, session_status_ready);
	if (r == 0)
		r = shell_start(&s->shell, &k->box, &k->loop, &start, &s->setup);
	session_env_free(&fallback);
	if (r == -EAGAIN) {
		loop_timer_set(&k->loop, &s->start_timer, START_AGAIN_MS);
		return r;
	}
	session_drop_changes(s);
	if (r == 0 && s->shell.kind == DRIVER_BASH && s->functions.len && !s->failed_starts)
		text_add(&s->setup, s->functions.data, s->functions.len);
	if (r < 0) {
		char why[128];

		snprintf(why, sizeof(why), "start the session's shell: %s",
			 r == -ENOEXEC ? "the image has neither bash nor sh" : strerror(-r));
		session_fail_queue(s, why);
	}
	return r;
}

/* Has the script begun to run? If not, another shell may run it. err is what is opened last. */
bool session_command_has_begun(struct session *s)
{
	return fifo_was_opened(s->command.run->streams[STREAM_ERR]);
}

/* What the shell itself printed goes where the command's output goes. */
void session_append_base(struct session *s)
{
	struct run *run = s->command.run;

	shell_drain_base(&s->shell);
	for (int i = 0; i < N_STREAMS; i++) {
		struct text *left = &s->shell.base[i].text;

		fifo_drain(run->streams[i]);
		if (left->len && !left->failed)
			run_append(run, i, left->data, left->len);
	}
}

/* A run whose shell ended before the script had begun: another shell has it, or why it ends. */
static bool retry_run(struct session *s, enum run_state *state, int *code)
{
	struct run *run = s->command.run;
	struct keeper *k = s->keeper;
	int asked = k->killing || s->end ? SIGKILL : s->command.late.sig;

	if (asked) {
		*state = RUN_SIGNALLED;
		*code = 128 + asked;
		return false;
	}
	if (run->attempts + 1 < MAX_ATTEMPTS && !k->ending) {
		s->command.run = NULL;
		s->command.kind = COMMAND_NONE;
		loop_timer_clear(&k->loop, &s->watch_timer);
		session_requeue(s, run);
		return true;
	}
	daemon_why(&k->daemon, "run %llu was not carried out: the shell ended before it began",
		   (unsigned long long)run->number);
	*state = RUN_FAILED;
	return false;
}

/* The run that a shell's end ends. status: of wait(2). */
static void finish_with_shell(struct session *s, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	enum run_state state = WIFEXITED(status) ? RUN_EXITED : RUN_SIGNALLED;

	if (!session_command_has_begun(s)) {
		if (retry_run(s, &state, &code))
			return;
	} else if (s->broken) {
		state = RUN_FAILED;
	}
	session_append_base(s);
	session_finish_run(s, state, code);
}

/* Its first words may still lie in the pipe when its end is told. */
static bool has_spoken(struct session *s)
{
	int code;

	if (!s->shell.spoke && s->control.status.fd >= 0)
		s->shell.spoke = control_read_status(&s->control, &code) > 0;
	return s->shell.spoke;
}

static void shell_died(struct session *s, int status)
{
	struct keeper *k = s->keeper;
	enum command_kind kind = s->command.kind;
	bool changed = session_take_left(s);
	char why[160];

	s->failed_starts = has_spoken(s) || k->killing || s->end ? 0 : s->failed_starts + 1;
	if (kind == COMMAND_RUN)
		finish_with_shell(s, status);
	if (kind == COMMAND_SYNC) {
		/* Functions that end the shell (one named builtin) are not given again. */
		text_reset(&s->functions);
		session_drop_sync(s);
	}
	s->command.kind = COMMAND_NONE;
	loop_timer_clear(&k->loop, &s->watch_timer);
	shell_close(&s->shell);
	session_settle(s);
	control_retire(&s->control);
	s->broken = false;
	s->env_stale = false;
	if (changed)
		session_say(s);
	session_release(s);
	if (s->failed_starts >= MAX_FAILED_STARTS) {
		snprintf(why, sizeof(why), "the session's shell ends before it is ready, %s %d",
			 WIFEXITED(status) ? "with code" : "by signal",
			 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		session_fail_queue(s, why);
		s->failed_starts = 0;
		session_say(s);
		return;
	}
	/* One that ended while idle is replaced when there is a command for it; after a MSG_KILL
	 * all are, when everything is dead. */
	if (!k->ending && !k->killing && !s->end && (s->queue || kind == COMMAND_RUN))
		session_start_shell(s);
	if (!s->shell.alive)
		session_say(s);
	session_pump(s);
}

void session_note_init(struct spawned *spawned, const struct init_event *event)
{
	struct session *s = container_of(spawned, struct session, shell.spawned);

	switch (event->type) {
	case INIT_STARTED:
		shell_note_started(&s->shell, event);
		if (s->command.run)
			run_note_pid(s->command.run, event->box_pid);
		if (s->held)
			run_note_pid(s->held, event->box_pid);
		session_note_cwd(s);
		session_say(s);
		session_release_if_known(s);
		session_pump(s); /* one may have waited to know which process the shell is */
		break;
	case INIT_FAILED:
		log_warn("start the session's shell: %s", strerror(event->status));
		shell_died(s, 126 << 8);
		break;
	case INIT_EXITED:
		shell_died(s, event->status);
		break;
	}
}

void session_break(struct session *s, const char *why)
{
	if (s->broken)
		return;
	daemon_why(&s->keeper->daemon, "session %s: the shell was ended and replaced: %s", s->name,
		   why);
	s->broken = true;
	shell_kill(&s->shell);
}

static void watch_run(struct session *s, int64_t age_ms)
{
	if (age_ms >= UNOPENED_MS && !session_command_has_begun(s))
		session_break(s, control_go_was_read(&s->control)
					 ? "it took a command and did not begin it"
					 : "it took no command");
}

void session_watch(struct loop_timer *timer)
{
	struct session *s = container_of(timer, struct session, watch_timer);
	struct command *c = &s->command;
	int64_t age_ms = monotonic_ms() - c->started_ms;

	if (c->kind == COMMAND_NONE)
		return;
	if (c->late.sig && session_signal_late(s))
		return;
	if (s->keeper->state == BOX_FROZEN) {
		c->started_ms = monotonic_ms();
	} else if (shell_is_stopped(&s->shell)) {
		/* Nobody else would: it is in no terminal's job list. */
		daemon_why(&s->keeper->daemon,
			   "session %s: the shell had been stopped by a signal and was continued",
			   s->name);
		shell_signal(&s->shell, SIGCONT);
	} else if (c->kind == COMMAND_RUN) {
		watch_run(s, age_ms);
	} else if (age_ms >= SYNC_KILL_MS) {
		session_break(s, "it did not say its environment");
	} else if (age_ms >= SYNC_INT_MS) {
		shell_signal_group(&s->shell, SIGINT);
	}
	c->watch_ms = MIN(c->watch_ms * 2, WATCH_MAX_MS);
	loop_timer_set(&s->keeper->loop, timer, c->watch_ms);
}
