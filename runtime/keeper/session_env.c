/* SPDX-License-Identifier: MIT */
/*
 * Environments of sessions: the set, which names go where, and commands that set them. Pure: no
 * I/O, no locks. Reading `export -p` is in session_env_parse.c.
 */
#include "keeper/session_env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"

enum {
	OF_SHELL = 1,	 /* kept by the shell itself: hidden, not settable */
	NOT_GIVEN = 2,	 /* a new shell does not get it */
	GIVEN_LATER = 4, /* would change how the shell starts: set by its first command */
};

static const struct name_rule {
	const char *name;
	int rule;
} name_rules[] = {
	{ "_", OF_SHELL | NOT_GIVEN },
	{ "PWD", OF_SHELL | NOT_GIVEN },
	{ "OLDPWD", OF_SHELL },
	{ "SHLVL", OF_SHELL | NOT_GIVEN },
	{ "SHELLOPTS", OF_SHELL | NOT_GIVEN },
	{ "BASHOPTS", OF_SHELL | NOT_GIVEN },
	{ "PPID", OF_SHELL | NOT_GIVEN },
	{ "UID", OF_SHELL | NOT_GIVEN },
	{ "EUID", OF_SHELL | NOT_GIVEN },
	{ "BASH_ENV", GIVEN_LATER },
	{ "ENV", GIVEN_LATER },
	{ "POSIXLY_CORRECT", GIVEN_LATER },
	{ "TMOUT", GIVEN_LATER },
};

static int name_rule(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(name_rules); i++) {
		if (!strcmp(name, name_rules[i].name))
			return name_rules[i].rule;
	}
	return 0;
}

bool session_env_name_is_shells(const char *name)
{
	return name_rule(name) & OF_SHELL;
}

int session_env_add_fields(struct session_env *env, const char *fields, size_t len)
{
	const char *f = NULL;

	while ((f = field_next(fields, len, f))) {
		_cleanup_free_ char *name = NULL;
		const char *eq = strchr(f, '=');

		if (strncmp(f, "env.", 4) || !eq || eq == f + 4)
			continue;
		name = strndup(f + 4, eq - f - 4);
		if (!name || session_env_set(env, name, eq + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

bool session_env_name_is_valid(const char *name)
{
	const char *p = name;

	if (!strncmp(name, "__sbx_", 6) || !*p || (*p >= '0' && *p <= '9'))
		return false;
	for (; *p; p++) {
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '_'))
			return false;
	}
	return true;
}

void session_env_free(struct session_env *env)
{
	for (size_t i = 0; i < env->n; i++)
		free(env->vars[i].name);
	free(env->vars);
	*env = (struct session_env){ 0 };
}

/* Index of name, or of where it would be; *found says which. */
static size_t env_find(const struct session_env *env, const char *name, bool *found)
{
	size_t low = 0, high = env->n;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(env->vars[mid].name, name);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const char *session_env_get(const struct session_env *env, const char *name)
{
	bool found;
	size_t i = env_find(env, name, &found);

	return found ? env->vars[i].value : NULL;
}

static int var_make(struct env_var *var, const char *name, const char *value)
{
	size_t name_size = strlen(name) + 1, value_size = strlen(value) + 1;

	var->name = malloc(name_size + value_size);
	if (!var->name)
		return -ENOMEM;
	var->value = var->name + name_size;
	memcpy(var->name, name, name_size);
	memcpy(var->value, value, value_size);
	return 0;
}

int session_env_set(struct session_env *env, const char *name, const char *value)
{
	struct env_var var;
	bool found;
	size_t i = env_find(env, name, &found);

	if (!value) {
		if (!found)
			return 0;
		free(env->vars[i].name);
		memmove(&env->vars[i], &env->vars[i + 1], (--env->n - i) * sizeof(var));
		return 0;
	}
	if (var_make(&var, name, value) < 0)
		return -ENOMEM;
	if (found) {
		free(env->vars[i].name);
		env->vars[i] = var;
		return 0;
	}
	if (env->n == env->size) {
		size_t size = env->size ? env->size * 2 : 32;
		struct env_var *vars = realloc(env->vars, size * sizeof(*vars));

		if (!vars) {
			free(var.name);
			return -ENOMEM;
		}
		env->vars = vars;
		env->size = size;
	}
	memmove(&env->vars[i + 1], &env->vars[i], (env->n++ - i) * sizeof(var));
	env->vars[i] = var;
	return 0;
}

bool session_env_equal(const struct session_env *a, const struct session_env *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->vars[i].name, b->vars[i].name) ||
		    strcmp(a->vars[i].value, b->vars[i].value))
			return false;
	}
	return true;
}

int session_env_copy(struct session_env *to, const struct session_env *from)
{
	struct session_env copy = { 0 };

	for (size_t i = 0; i < from->n; i++) {
		if (session_env_set(&copy, from->vars[i].name, from->vars[i].value) < 0) {
			session_env_free(&copy);
			return -ENOMEM;
		}
	}
	session_env_free(to);
	*to = copy;
	return 0;
}

void session_env_add_assignment(struct text *script, enum driver_kind kind, const char *name,
				const char *value)
{
	bool bash = kind == DRIVER_BASH;

	/* `command` keeps an assignment to a readonly variable from ending a POSIX shell. */
	if (value) {
		text_printf(script, "%s export %s=", bash ? "builtin" : "command", name);
		text_add_shell_quoted(script, value);
	} else {
		text_printf(script, "%s unset -v %s", bash ? "builtin" : "command", name);
	}
	text_printf(script, " || %s:\n", bash ? "builtin " : "");
}

void session_env_add_chdir(struct text *script, enum driver_kind kind, const char *path)
{
	text_printf(script, "%s cd -- ", kind == DRIVER_BASH ? "builtin" : "command");
	text_add_shell_quoted(script, path);
	text_printf(script, " || %s:\n", kind == DRIVER_BASH ? "builtin " : "");
}

int session_env_split_for_start(const struct session_env *env, enum driver_kind kind, size_t max,
				struct text *start, size_t *n_start, struct text *script)
{
	*n_start = 0;
	for (size_t i = 0; i < env->n; i++) {
		const struct env_var *var = &env->vars[i];
		size_t size = strlen(var->name) + strlen(var->value) + 2;
		int rule = name_rule(var->name);

		if (rule & NOT_GIVEN)
			continue;
		if (rule & GIVEN_LATER || size > max) {
			if (session_env_name_is_valid(var->name))
				session_env_add_assignment(script, kind, var->name, var->value);
			continue;
		}
		max -= size;
		text_printf(start, "%s=%s", var->name, var->value);
		text_add_char(start, '\0');
		++*n_start;
	}
	return start->failed || script->failed ? -ENOMEM : 0;
}

static bool starts_command(const char *script, size_t at)
{
	while (at > 0 && (script[at - 1] == ' ' || script[at - 1] == '\t'))
		at--;
	return at == 0 || strchr("\n;&|({", script[at - 1]);
}

bool session_env_script_may_change(const char *script, size_t len)
{
	static const char *const words[] = { "=",     "export",	   "declare", "typeset",
					     "unset", "eval",	   "source",  "readonly",
					     "read ", "printf -v", "local",   "getopts" };
	const char *at = script;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (memmem(script, len, words[i], strlen(words[i])))
			return true;
	}
	while ((at = memmem(at, len - (at - script), ". ", 2))) {
		if (starts_command(script, at - script))
			return true;
		at += 2;
	}
	return false;
}
