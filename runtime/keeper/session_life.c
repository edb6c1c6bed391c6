/* SPDX-License-Identifier: MIT */
/*
 * A session's beginning and its end: opening, closing, resetting. An end takes everything that the
 * session has started with it, and nothing of another's. Must not wait for any of it: an end is
 * looked after by a timer, and is over after END_PATIENCE_MS whatever hangs. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "keeper/processes.h"
#include "keeper/session.h"
#include "keeper/terminal.h"
#include "keeper/tree.h"
#include "runtime.h"

enum {
	MAX_SESSIONS = 1000, /* a box */
	END_PATIENCE_MS = 5000,
	LOOK_EVERY_MS = 3,
	KILL_EVERY = 16, /* looks */
};

static const char default_cwd[] = "/workspace";

struct session *session_find(struct keeper *k, const char *name)
{
	struct session *s = k->sessions;

	while (s && (s->end == SESSION_END_CLOSE || strcmp(s->name, name)))
		s = s->next;
	return s;
}

/* --- beginning ----------------------------------------------------------------------------- */

/* The env.NAME fields. 0 or -errno and *why. */
static int env_from_fields(struct session_env *env, const char *fields, size_t len,
			   const char **why)
{
	const char *f = NULL;
	size_t bytes = 0;

	while ((f = field_next(fields, len, f))) {
		if (strncmp(f, "env.", 4))
			continue;
		if (f[4] == '=' || !strncmp(f + 4, "__sbx_", 6)) {
			*why = "no name of a variable";
			return -EINVAL;
		}
		bytes += strlen(f);
	}
	if (bytes > ENV_BYTES_MAX / 2) {
		*why = "the session's environment would be larger than 512 KiB";
		return -E2BIG;
	}
	return session_env_add_fields(env, fields, len);
}

/* What login(1) sets, where it was not given. */
static int add_account(struct session_env *env, const struct box *box, const struct box_user *user)
{
	enum driver_kind kind;
	const char *shell = *user->shell ? user->shell : shell_find(box, &kind);
	const struct env_var vars[] = {
		{ (char *)"HOME", (char *)user->home },
		{ (char *)"USER", (char *)user->name },
		{ (char *)"LOGNAME", (char *)user->name },
		{ (char *)"SHELL", (char *)shell },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++) {
		if (vars[i].value && !session_env_get(env, vars[i].name) &&
		    session_env_set(env, vars[i].name, vars[i].value) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* What a session begins with. */
struct beginning {
	struct session_env env;
	char *cwd;
	struct box_user user;
};

static void beginning_free(struct beginning *b)
{
	session_env_free(&b->env);
	free(b->cwd);
}

#define _cleanup_beginning_ __attribute__((cleanup(beginning_free)))

/* b->user is known already. cwd NULL: the usual one. */
static int begin_with(struct beginning *b, const struct box *box, const char *fields, size_t len,
		      const char *cwd, const char **why)
{
	int r = env_from_fields(&b->env, fields, len, why);

	if (r == 0)
		r = add_account(&b->env, box, &b->user);
	if (r < 0)
		return r;
	b->cwd = strdup(cwd ? cwd : default_cwd);
	return b->cwd ? 0 : -ENOMEM;
}

/* Takes what b holds. */
static int session_add(struct keeper *k, const char *name, struct beginning *b)
{
	struct session *s = session_new(k);
	char number[24];

	if (!s)
		return -ENOMEM;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)k->n_controls);
	snprintf(s->dir, sizeof(s->dir), "%s/%s", CONTROL_PATH, number);
	control_init(&s->control, &k->loop, k->box.control, number, k->set.uid_base + b->user.uid,
		     k->set.uid_base + b->user.gid);
	s->name = strdup(name);
	if (!s->name) {
		session_free(s);
		return -ENOMEM;
	}
	k->n_controls++;
	s->user = b->user;
	s->env = b->env;
	s->cwd = take_ptr(b->cwd);
	b->env = (struct session_env){ 0 };
	s->next = k->sessions;
	k->sessions = s;
	return 0;
}

int session_open_default(struct keeper *k, const char *fields, size_t len, const char *cwd)
{
	_cleanup_beginning_ struct beginning b = { 0 };
	const char *why;
	int r = user_find(&k->box, NULL, &b.user);

	if (r == 0)
		r = begin_with(&b, &k->box, fields, len, cwd, &why);
	return r < 0 ? r : session_add(k, DEFAULT_SESSION, &b);
}

static int check_new_name(struct keeper *k, const char *name, const char **why)
{
	int n = 0;

	if (!name || !name_is_valid(name)) {
		*why = "no name of a session: 1 to 63 bytes of UTF-8, no '/', no leading dot, no "
		       "control characters";
		return -EINVAL;
	}
	if (session_find(k, name)) {
		*why = "there is a session of that name";
		return -EEXIST;
	}
	for (struct session *s = k->sessions; s; s = s->next)
		n++;
	if (n < MAX_SESSIONS)
		return 0;
	*why = "a box may have 1000 sessions at the most";
	return -EDQUOT;
}

static int find_user(struct keeper *k, const char *name, struct box_user *user, const char **why)
{
	int r = user_find(&k->box, name, user);

	if (r == -ENOENT)
		*why = "the box has no user of that name";
	if (r == -EINVAL)
		*why = "no name of a user and no number below 65536, or the box's passwd gives "
		       "that user such an id";
	return r;
}

int session_open(struct keeper *k, const char *fields, size_t len, const char **why)
{
	_cleanup_beginning_ struct beginning b = { 0 };
	const char *name = field_get(fields, len, "session"), *cwd = field_get(fields, len, "cwd");
	int r = check_new_name(k, name, why);

	if (k->ending) {
		*why = "the box is being stopped";
		return -ESHUTDOWN;
	}
	if (r == 0)
		r = find_user(k, field_get(fields, len, "user"), &b.user, why);
	if (r == 0 && cwd)
		r = session_check_cwd(k, cwd, why);
	if (r == 0)
		r = begin_with(&b, &k->box, fields, len, cwd, why);
	if (r == 0)
		r = session_add(k, name, &b);
	if (r == 0)
		session_say(k->sessions);
	return r;
}

/* --- end ----------------------------------------------------------------------------------- */

struct killing {
	struct session *session;
	bool anew; /* with all its might; what came meanwhile is met in between */
	int n;	   /* how much there was */
};

static void kill_group(struct killing *killing, struct group *group)
{
	int n;

	if (!group)
		return;
	if (killing->anew)
		group_kill(group);
	n = group_signal(group, SIGKILL, 0);
	killing->n += MAX(n, 0);
}

/* What a command left. */
static void kill_left(struct run *run, void *ctx)
{
	struct killing *killing = ctx;
	struct session *s = killing->session;
	int fifos[N_STREAMS];

	if (run->of != s)
		return;
	kill_group(killing, run->group);
	if (s->keeper->box.groups)
		return;
	/* On a machine without groups: whoever may write to it. */
	for (int i = 0; i < N_STREAMS; i++)
		fifos[i] = run->streams[i] ? run->streams[i]->source.fd : -1;
	killing->n += processes_signal_holders(s->keeper->box.init_pid, SIGKILL, fifos, 0);
}

/* Kills everything that the session has started; how much there was. */
static int kill_all(struct session *s)
{
	struct killing killing = { .session = s, .anew = s->end_looks++ % KILL_EVERY == 0 };

	if (s->shell.alive)
		shell_kill(&s->shell);
	terminals_end_session(s->keeper, s->name);
	kill_group(&killing, s->group);
	kill_group(&killing, s->terminal_group);
	runs_each(&s->keeper->runs, kill_left, &killing);
	return killing.n;
}

static void cut_run(struct run *run, void *ctx)
{
	if (run->of != ctx)
		return;
	tree_cut(run);
	run->of = NULL;
	if (!run->said_closed)
		run_cut(run);
}

/* Nothing of it lives any more, or what does is given up. */
static void end_runs(struct session *s)
{
	if (s->command.kind == COMMAND_RUN)
		session_finish_run(s, RUN_SIGNALLED, 128 + SIGKILL);
	session_release(s);
	shell_close(&s->shell);
	session_settle(s);
	runs_each(&s->keeper->runs, cut_run, s);
}

static void close_finish(struct session *s)
{
	struct session **at = &s->keeper->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	run_log_remove(&s->keeper->runs, s->name);
	control_remove(&s->control);
	session_free(s);
}

static void reset_finish(struct session *s)
{
	session_drop_sync(s);
	s->command.kind = COMMAND_NONE;
	loop_timer_clear(&s->keeper->loop, &s->watch_timer);
	control_retire(&s->control);
	session_drop_changes(s);
	text_reset(&s->setup);
	text_reset(&s->functions);
	session_env_free(&s->env);
	s->env = s->next_env;
	s->next_env = (struct session_env){ 0 };
	free(s->cwd);
	s->cwd = take_ptr(s->next_cwd);
	s->env_stale = false;
	s->failed_starts = 0;
	s->end = SESSION_END_NOT;
	session_start_shell(s);
	session_say(s);
	session_pump(s);
}

void session_end_step(struct loop_timer *timer)
{
	struct session *s = container_of(timer, struct session, end_timer);
	struct keeper *k = s->keeper;
	int left = kill_all(s);
	uint64_t tag;

	/* A freezer of the first version holds even the killed. */
	if (left && k->state == BOX_FROZEN)
		box_thaw(&k->box);
	if ((left || s->shell.alive) && monotonic_ms() < s->end_until_ms) {
		loop_timer_set(&k->loop, timer, LOOK_EVERY_MS);
		return;
	}
	if (k->state == BOX_FROZEN)
		box_freeze(&k->box);
	if (left)
		daemon_why(&k->daemon, "session %s: %d processes did not end when they were killed",
			   s->name, left);
	tag = s->end_tag;
	s->end_tag = 0;
	end_runs(s);
	if (s->end == SESSION_END_CLOSE)
		close_finish(s);
	else
		reset_finish(s);
	daemon_reply(&k->daemon, tag, left ? -ETIMEDOUT : 0, "some process did not end");
}

static int session_begin_end(struct session *s, enum session_end end, uint64_t tag,
			     const char **why)
{
	struct keeper *k = s->keeper;

	if (k->ending) {
		*why = "the box is being stopped";
		return -ESHUTDOWN;
	}
	if (s->end_tag)
		daemon_reply(&k->daemon, s->end_tag, -ECANCELED,
			     "the session was closed meanwhile");
	s->end = end;
	s->end_tag = tag;
	s->end_looks = 0;
	s->end_until_ms = monotonic_ms() + END_PATIENCE_MS;
	loop_timer_clear(&k->loop, &s->sync_timer);
	session_fail_queue(s, end == SESSION_END_CLOSE ? "its session was closed"
						       : "its session was reset");
	loop_timer_set(&k->loop, &s->end_timer, 0);
	return 0;
}

int session_close(struct session *s, uint64_t tag, const char **why)
{
	if (!strcmp(s->name, DEFAULT_SESSION)) {
		*why = "the default session is as old as its box: it can be reset, not closed";
		return -EBUSY;
	}
	return session_begin_end(s, SESSION_END_CLOSE, tag, why);
}

int session_reset(struct session *s, const char *fields, size_t len, uint64_t tag, const char **why)
{
	_cleanup_beginning_ struct beginning b = { .user = s->user };
	const char *cwd = field_get(fields, len, "cwd");
	int r = cwd ? session_check_cwd(s->keeper, cwd, why) : 0;

	if (s->end) {
		*why = "the session is being reset";
		return -EALREADY;
	}
	if (r == 0)
		r = begin_with(&b, &s->keeper->box, fields, len, cwd, why);
	if (r == 0)
		r = session_begin_end(s, SESSION_END_RESET, tag, why);
	if (r < 0)
		return r;
	s->next_env = b.env;
	s->next_cwd = take_ptr(b.cwd);
	b.env = (struct session_env){ 0 };
	return 0;
}

void session_answer_end(struct session *s)
{
	daemon_reply(&s->keeper->daemon, s->end_tag, 0, NULL);
	s->end_tag = 0;
}
