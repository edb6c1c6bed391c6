/* SPDX-License-Identifier: MIT */
/* Environments. Pure: no I/O, must not know boxes. Lock: box->lock, held by the callers. */
#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"

static const struct {
	const char *name, *value;
	bool of_root; /* another user has his own */
	bool of_host; /* an imported image may have no such file */
} first_env[] = {
	{ "HOME", "/root", true, false },
	{ "LANG", "C.UTF-8", false, false },
	{ "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", false, false },
	{ "SHELL", "/bin/bash", true, true },
	/* Node has certificates of its own and would not know those of the machine. */
	{ "NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt", false, true },
};

struct env_var *env_find(const struct env *env, const char *name)
{
	for (size_t i = 0; i < env->n; i++) {
		if (!strcmp(env->vars[i].name, name))
			return &env->vars[i];
	}
	return NULL;
}

static struct env_var *env_add(struct env *env, const char *name)
{
	struct env_var *v = env_find(env, name);
	struct env_var *bigger;

	if (v)
		return v;
	if (env->n == ENV_MAX_VARS)
		return NULL;
	bigger = realloc(env->vars, (env->n + 1) * sizeof(*bigger));
	if (!bigger)
		return NULL;
	env->vars = bigger;
	v = &env->vars[env->n];
	*v = (struct env_var){ .name = strdup(name) };
	if (!v->name)
		return NULL;
	env->n++;
	return v;
}

static bool is_asked_for(const struct env *env, const char *name)
{
	const struct env_var *v = env_find(env, name);

	return v && (v->wanted || v->unwanted);
}

/* What the image says of it, or asks from outside say: the default does not count. */
static bool has_default(const struct env *env, size_t i, bool of_root)
{
	const struct env_var *v = env_find(env, first_env[i].name);

	return (of_root || !first_env[i].of_root) && (!env->of_image || !first_env[i].of_host) &&
	       !(v && v->base);
}

int env_init(struct env *env, bool of_root)
{
	for (size_t i = 0; i < ARRAY_SIZE(first_env); i++) {
		struct env_var *v;

		if (is_asked_for(env, first_env[i].name))
			continue;
		v = env_add(env, first_env[i].name);
		if (!v ||
		    string_replace(&v->value,
				   has_default(env, i, of_root) ? first_env[i].value : NULL) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < env->n; i++) {
		struct env_var *v = &env->vars[i];

		if (v->base && !v->wanted && !v->unwanted && string_replace(&v->value, v->base) < 0)
			return -ENOMEM;
	}
	return 0;
}

int env_set_base(struct env *env, const char *fields, size_t len)
{
	const char *f = NULL;

	env->of_image = fields != NULL;
	for (size_t i = 0; i < env->n; i++) {
		struct env_var *v = &env->vars[i];

		if (v->base && !v->wanted && !v->unwanted)
			string_replace(&v->value, NULL);
		string_replace(&v->base, NULL);
	}
	while (fields && (f = field_next(fields, len, f))) {
		const char *eq = strchr(f, '=');
		struct env_var *v;
		char name[256];

		if (!eq || eq - f >= (long)sizeof(name))
			continue;
		memcpy(name, f, (size_t)(eq - f));
		name[eq - f] = '\0';
		v = env_name_is_valid(name) ? env_add(env, name) : NULL;
		if (v && string_replace(&v->base, eq + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

void env_free(struct env *env)
{
	for (size_t i = 0; i < env->n; i++) {
		free(env->vars[i].name);
		free(env->vars[i].value);
		free(env->vars[i].wanted);
		free(env->vars[i].base);
	}
	free(env->vars);
	*env = (struct env){ 0 };
}

void env_wanted_fields(const struct env *env, struct text *fields)
{
	for (size_t i = 0; i < env->n; i++) {
		const struct env_var *v = &env->vars[i];

		if (!v->wanted)
			continue;
		text_add_str(fields, "env.");
		field_add(fields, v->name, v->wanted);
	}
}

void env_start_fields(const struct env *env, bool of_root, struct text *fields)
{
	for (size_t i = 0; i < ARRAY_SIZE(first_env); i++) {
		char key[64];

		if (is_asked_for(env, first_env[i].name) || !has_default(env, i, of_root))
			continue;
		snprintf(key, sizeof(key), "env.%s", first_env[i].name);
		field_add(fields, key, first_env[i].value);
	}
	for (size_t i = 0; i < env->n; i++) {
		const struct env_var *v = &env->vars[i];

		if (!v->base || v->wanted || v->unwanted)
			continue;
		text_add_str(fields, "env.");
		field_add(fields, v->name, v->base);
	}
	env_wanted_fields(env, fields);
}

/* Was it set from outside, and is this still from before that? Then what was asked for stands. */
static bool is_pending(struct env_var *v, uint64_t last_ended, const char *fields, size_t len)
{
	char key[300];
	const char *now;

	if (!v->since)
		return false;
	snprintf(key, sizeof(key), "env.%s", v->name);
	now = field_get(fields, len, key);
	if (last_ended >= v->since || (now && v->value && !strcmp(now, v->value)) ||
	    (!now && !v->value))
		v->since = 0;
	return v->since != 0;
}

void env_take_session(struct env *env, uint64_t last_ended, const char *fields, size_t len)
{
	const char *f = NULL;
	bool any = false;

	while ((f = field_next(fields, len, f)))
		any |= !strncmp(f, "env.", 4);
	if (!any)
		return; /* only the directory changed */
	for (size_t i = 0; i < env->n; i++) {
		if (!is_pending(&env->vars[i], last_ended, fields, len))
			string_replace(&env->vars[i].value, NULL);
	}
	while ((f = field_next(fields, len, f))) {
		const char *eq = strchr(f, '=');
		char name[256];
		struct env_var *v;

		if (strncmp(f, "env.", 4) || !eq || eq - f - 4 >= (long)sizeof(name))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(eq - f - 4), f + 4);
		if (!env_name_is_valid(name))
			continue;
		v = env_add(env, name);
		if (!v)
			return;
		if (!v->since)
			string_replace(&v->value, eq + 1);
	}
}

bool env_name_is_valid(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return n && n < 256 && !name[n] && !(name[0] >= '0' && name[0] <= '9');
}

size_t env_wanted_bytes(const struct env *env)
{
	size_t sum = 0;

	for (size_t i = 0; i < env->n; i++) {
		if (env->vars[i].wanted)
			sum += strlen(env->vars[i].name) + strlen(env->vars[i].wanted) + 2;
	}
	return sum;
}

int env_want(struct env *env, const char *name, const char *value, uint64_t next_run)
{
	struct env_var *v = env_add(env, name);
	size_t old = v && v->wanted ? strlen(v->wanted) : 0;

	if (!v)
		return env->n == ENV_MAX_VARS ? -E2BIG : -ENOMEM;
	if (value && env_wanted_bytes(env) - old + strlen(name) + strlen(value) > ENV_MAX_BYTES)
		return -E2BIG;
	if (string_replace(&v->wanted, value) < 0 || string_replace(&v->value, value) < 0)
		return -ENOMEM;
	v->unwanted = !value;
	v->since = next_run;
	return 0;
}

int env_restore(struct env *env, const char *name, const char *value)
{
	struct env_var *v = env_name_is_valid(name) ? env_add(env, name) : NULL;

	if (!v)
		return -EINVAL;
	v->unwanted = !value;
	return string_replace(&v->wanted, value) < 0 || string_replace(&v->value, value) < 0
		       ? -ENOMEM
		       : 0;
}

int env_copy_wanted(struct env *to, const struct env *from)
{
	to->of_image = from->of_image;
	for (size_t i = 0; i < from->n; i++) {
		const struct env_var *v = &from->vars[i];
		struct env_var *copy = v->base ? env_add(to, v->name) : NULL;

		if (v->base && (!copy || string_replace(&copy->base, v->base) < 0))
			return -ENOMEM;
		if ((v->wanted || v->unwanted) && env_restore(to, v->name, v->wanted) < 0)
			return -ENOMEM;
	}
	return 0;
}

void env_record(const struct env *env, struct text *record)
{
	for (size_t i = 0; i < env->n; i++) {
		const struct env_var *v = &env->vars[i];
		char key[512];

		if (!v->wanted && !v->unwanted)
			continue;
		if (snprintf(key, sizeof(key), "%s.%s", v->wanted ? "env" : "unset", v->name) <
		    (int)sizeof(key))
			record_add(record, key, v->wanted ? v->wanted : "");
	}
}

int env_record_line(struct env *env, const char *key, const char *value)
{
	int r;

	if (!strncmp(key, "env.", 4))
		r = env_restore(env, key + 4, value);
	else if (!strncmp(key, "unset.", 6))
		r = env_restore(env, key + 6, NULL);
	else
		return 0;
	return r < 0 ? r : 1;
}
