/* SPDX-License-Identifier: MIT */
/* A box's environment. Must not wait for the box. Lock: box->lock, held by the callers. */
#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "keeper.h"
#include "store.h"

static const struct {
	const char *name, *value;
} first_env[] = {
	{ "HOME", "/root" },
	{ "LANG", "C.UTF-8" },
	{ "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
	{ "SHELL", "/bin/bash" },
	/* Node has certificates of its own and would not know those of the machine. */
	{ "NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt" },
};

struct env_var *env_find(struct box *box, const char *name)
{
	for (size_t i = 0; i < box->n_env; i++) {
		if (!strcmp(box->env[i].name, name))
			return &box->env[i];
	}
	return NULL;
}

static struct env_var *env_add(struct box *box, const char *name)
{
	struct env_var *v = env_find(box, name);
	struct env_var *bigger;

	if (v)
		return v;
	bigger = realloc(box->env, (box->n_env + 1) * sizeof(*bigger));
	if (!bigger)
		return NULL;
	box->env = bigger;
	v = &box->env[box->n_env];
	*v = (struct env_var){ .name = strdup(name) };
	if (!v->name)
		return NULL;
	box->n_env++;
	return v;
}

static int assign(char **field, const char *value)
{
	char *copy = value ? strdup(value) : NULL;

	if (value && !copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int env_init(struct box *box)
{
	for (size_t i = 0; i < ARRAY_SIZE(first_env); i++) {
		struct env_var *v = env_find(box, first_env[i].name);

		if (v && (v->wanted || v->unwanted))
			continue;
		v = env_add(box, first_env[i].name);
		if (!v || assign(&v->value, first_env[i].value) < 0)
			return -ENOMEM;
	}
	return 0;
}

void env_free(struct box *box)
{
	for (size_t i = 0; i < box->n_env; i++) {
		free(box->env[i].name);
		free(box->env[i].value);
		free(box->env[i].wanted);
	}
	free(box->env);
	box->env = NULL;
	box->n_env = 0;
}

/* What a new shell starts with: the image's, and what was asked for over it. */
void env_start_fields(const struct box *box, struct text *fields)
{
	for (size_t i = 0; i < ARRAY_SIZE(first_env); i++) {
		const struct env_var *v = env_find((struct box *)box, first_env[i].name);
		char key[64];

		if (v && (v->wanted || v->unwanted))
			continue;
		snprintf(key, sizeof(key), "env.%s", first_env[i].name);
		field_add(fields, key, first_env[i].value);
	}
	for (size_t i = 0; i < box->n_env; i++) {
		const struct env_var *v = &box->env[i];

		if (!v->wanted)
			continue;
		text_add_str(fields, "env.");
		field_add(fields, v->name, v->wanted);
	}
}

/* Was it set from outside, and is this still from before that? Then what was asked for stands. */
static bool is_pending(const struct box *box, struct env_var *v, const char *fields, size_t len)
{
	char key[300];
	const char *now;

	if (!v->since)
		return false;
	snprintf(key, sizeof(key), "env.%s", v->name);
	now = field_get(fields, len, key);
	if (box->last_ended_run >= v->since || (now && v->value && !strcmp(now, v->value)) ||
	    (!now && !v->value))
		v->since = 0;
	return v->since != 0;
}

void env_take_session(struct box *box, const char *fields, size_t len)
{
	const char *f = NULL;
	bool any = false;

	while ((f = field_next(fields, len, f)))
		any |= !strncmp(f, "env.", 4);
	if (!any)
		return; /* only the directory changed */
	for (size_t i = 0; i < box->n_env; i++) {
		if (!is_pending(box, &box->env[i], fields, len))
			assign(&box->env[i].value, NULL);
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
		v = env_add(box, name);
		if (!v)
			return;
		if (!v->since)
			assign(&v->value, eq + 1);
	}
}

bool env_name_is_valid(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return n && n < 256 && !name[n] && !(name[0] >= '0' && name[0] <= '9');
}

int env_set(struct box *box, const char *name, const char *value)
{
	_cleanup_text_ struct text fields = { 0 };
	struct env_var *v = env_add(box, name);

	if (!v || assign(&v->wanted, value) < 0 || assign(&v->value, value) < 0)
		return -ENOMEM;
	v->unwanted = !value;
	box_load_runs(box);
	v->since = box->keeper ? box->next_run : 0;
	field_add(&fields, "session", DEFAULT_SESSION);
	if (value) {
		text_add_str(&fields, "set.");
		field_add(&fields, name, value);
	} else {
		field_add(&fields, "unset", name);
	}
	if (box->keeper)
		keeper_request(box, MSG_SETENV, 0, 0, &fields);
	return store_save(box);
}
