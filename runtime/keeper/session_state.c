/* SPDX-License-Identifier: MIT */
/*
 * What a session's next command starts with: exported variables and working directory. What is
 * known of them comes from the shell by a command of our own, and from what it leaves when it ends;
 * changes from outside are applied the same way. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "keeper/session.h"

enum { FUNCTIONS_BYTES_MAX = 256 << 10 };

static const char being_reset[] = "the session is being reset";

/* Ends the sync and gives the next command the last one's $?. */
static const char bash_ask[] =
	"builtin export -p\nbuiltin export -f\nbuiltin return \"$__sbx_s\"\n";
static const char sh_ask[] = "export -p\nreturn \"$__sbx_s\"\n";

void session_say(struct session *s)
{
	_cleanup_text_ struct text fields = { 0 };
	struct msg m = { .type = MSG_SESSION, .v = { s->shell.pid } };

	/* Of one that goes nothing is new any more. */
	if (s->end == SESSION_END_CLOSE)
		return;
	field_add(&fields, "session", s->name);
	field_add(&fields, "user", s->user.name);
	field_add(&fields, "cwd", s->cwd);
	for (size_t i = 0; i < s->env.n; i++) {
		const struct env_var *var = &s->env.vars[i];

		if (session_env_name_is_shells(var->name))
			continue;
		text_printf(&fields, "env.%s=%s", var->name, var->value);
		text_add_char(&fields, '\0');
	}
	if (fields.failed || fields.len > MSG_MAX_PAYLOAD)
		return;
	m.len = fields.len;
	daemon_send(&s->keeper->daemon, &m, fields.data);
}

bool session_has_changes(const struct session *s)
{
	return s->set.n || s->unset.n || s->chdir || s->setup.len;
}

void session_drop_changes(struct session *s)
{
	session_env_free(&s->set);
	session_env_free(&s->unset);
	s->chdir = false;
}

/* value NULL: unset. Only what the shell does not know yet is kept. */
static int note_change(struct session *s, const char *name, const char *value)
{
	int r = session_env_set(value ? &s->set : &s->unset, name, value ? value : "");

	if (r == 0)
		r = session_env_set(value ? &s->unset : &s->set, name, NULL);
	return r < 0 ? r : session_env_set(&s->env, name, value);
}

int session_set_env(struct session *s, const char *name, const char *value, const char **why)
{
	size_t bytes = value ? strlen(name) + strlen(value) : 0;
	int r;

	if (s->end) {
		*why = being_reset;
		return -EBUSY;
	}
	if (!session_env_name_is_valid(name) || session_env_name_is_shells(name)) {
		*why = "no name of a variable, or one that the shell keeps itself";
		return -EINVAL;
	}
	for (size_t i = 0; i < s->env.n; i++)
		bytes += strlen(s->env.vars[i].name) + strlen(s->env.vars[i].value) + 2;
	if (value && bytes > ENV_BYTES_MAX / 2) {
		*why = "the session's environment would be larger than 512 KiB";
		return -E2BIG;
	}
	r = note_change(s, name, value);
	session_say(s);
	session_pump(s);
	return r;
}

int session_check_cwd(struct keeper *k, const char *path, const char **why)
{
	_cleanup_close_ int fd = -1;

	if (*path != '/') {
		*why = "the directory must be an absolute path of the box";
		return -EINVAL;
	}
	fd = open_how_at(k->box.root, path, O_PATH | O_DIRECTORY, 0,
			 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	return MIN(fd, 0);
}

int session_chdir(struct session *s, const char *path, const char **why)
{
	char *cwd;
	int r;

	if (s->end) {
		*why = being_reset;
		return -EBUSY;
	}
	r = session_check_cwd(s->keeper, path, why);
	if (r < 0)
		return r;
	cwd = strdup(path);
	if (!cwd)
		return -ENOMEM;
	free(s->cwd);
	s->cwd = cwd;
	s->chdir = true;
	session_say(s);
	session_pump(s);
	return 0;
}

bool session_note_cwd(struct session *s)
{
	_cleanup_free_ char *cwd = s->chdir ? NULL : shell_read_cwd(&s->shell);

	if (!cwd || !strcmp(cwd, s->cwd))
		return false;
	free(s->cwd);
	s->cwd = take_ptr(cwd);
	return true;
}

/* Adds what was changed from outside; the shell has not seen it yet. */
static int overlay_changes(const struct session *s, struct session_env *env)
{
	int r = 0;

	for (size_t i = 0; i < s->set.n && r == 0; i++)
		r = session_env_set(env, s->set.vars[i].name, s->set.vars[i].value);
	for (size_t i = 0; i < s->unset.n && r == 0; i++)
		r = session_env_set(env, s->unset.vars[i].name, NULL);
	/* What no shell can name it cannot print: kept as it was given. */
	for (size_t i = 0; i < s->env.n && r == 0; i++) {
		if (!session_env_name_is_valid(s->env.vars[i].name))
			r = session_env_set(env, s->env.vars[i].name, s->env.vars[i].value);
	}
	return r;
}

/* Replaces what is known by what the shell printed. True if something is new. */
static bool take_exports(struct session *s, const char *text)
{
	struct session_env env = { 0 };
	const char *functions;

	if (session_env_parse_exports(&env, text, &functions) < 0 || !env.n ||
	    overlay_changes(s, &env) < 0) {
		session_env_free(&env);
		return false;
	}
	text_reset(&s->functions);
	if (strlen(functions) <= FUNCTIONS_BYTES_MAX)
		text_add_str(&s->functions, functions);
	if (session_env_equal(&env, &s->env)) {
		session_env_free(&env);
		return false;
	}
	session_env_free(&s->env);
	s->env = env;
	return true;
}

bool session_take_left(struct session *s)
{
	_cleanup_free_ char *env = NULL, *cwd = NULL;
	bool changed = false;
	size_t len;

	env = control_read_left(s->control.env, ENV_BYTES_MAX, &len);
	if (env && strlen(env) == len)
		changed = take_exports(s, env);
	cwd = s->chdir ? NULL : control_read_left(s->control.cwd, 4096, &len);
	if (!cwd || *cwd != '/' || strlen(cwd) != len || cwd[len - 1] != '\n')
		return changed;
	cwd[len - 1] = '\0';
	if (!strcmp(cwd, s->cwd))
		return changed;
	free(s->cwd);
	s->cwd = take_ptr(cwd);
	return true;
}

static void add_changes(struct session *s, struct text *script)
{
	enum driver_kind kind = s->shell.kind;

	text_add(script, s->setup.data, s->setup.len);
	if (s->chdir)
		session_env_add_chdir(script, kind, s->cwd);
	for (size_t i = 0; i < s->set.n; i++)
		session_env_add_assignment(script, kind, s->set.vars[i].name, s->set.vars[i].value);
	for (size_t i = 0; i < s->unset.n; i++)
		session_env_add_assignment(script, kind, s->unset.vars[i].name, NULL);
}

void session_sync(struct session *s)
{
	_cleanup_text_ struct text script = { 0 };
	struct command *c = &s->command;

	add_changes(s, &script);
	text_add_str(&script, s->shell.kind == DRIVER_BASH ? bash_ask : sh_ask);
	session_drop_changes(s);
	text_reset(&s->setup);
	s->env_stale = false;
	if (script.failed || session_give_script(s, COMMAND_SYNC, script.data, script.len) < 0) {
		daemon_why(&s->keeper->daemon, "session %s: its environment could not be set",
			   s->name);
		return;
	}
	text_reset(&c->sync_text);
	for (int i = 0; i < N_STREAMS; i++) {
		c->sync[i] = take_ptr(s->control.next[i]);
		c->sync[i]->owner = s;
	}
	c->sync[STREAM_OUT]->memory = &c->sync_text;
	c->sync[STREAM_OUT]->memory_max = ENV_BYTES_MAX;
}

void session_sync_done(struct session *s)
{
	struct command *c = &s->command;
	bool changed;

	fifo_drain(c->sync[STREAM_OUT]);
	changed = c->sync_text.len < ENV_BYTES_MAX && !c->sync_text.failed && c->sync_text.data &&
		  take_exports(s, c->sync_text.data);
	session_drop_sync(s);
	if (c->sync_text.size > 64 << 10)
		text_free(&c->sync_text);
	changed |= session_note_cwd(s);
	if (changed)
		session_say(s);
	if (!s->group)
		box_oom_killed(&s->keeper->box); /* kills that ended no command are nobody's */
	session_release_if_known(s);
}
