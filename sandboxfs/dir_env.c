/* SPDX-License-Identifier: MIT */
/*
 * env: one file for each variable. Of a session, what its commands see, and every change reaches its
 * shell before the next command; of a named run, what its next run gets over the box's.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "named.h"
#include "store.h"

/* The environment behind a node; NULL: there is none (any more). box->lock held. */
static struct env *env_of(struct ctx *ctx)
{
	struct session *s;
	struct named *named;

	switch (ctx->node.kind) {
	case DIR_NAMED_ENV:
		named = named_by_id(ctx->box, ctx->node.item);
		break;
	case DIR_RUN_ENV:
		named = named_of_run(ctx->box, ctx->node.item);
		break;
	default:
		s = session_of(ctx);
		return s ? &s->env : NULL;
	}
	return named ? &named->env : NULL;
}

/* Sets what is asked for (NULL: removes it), tells the shell, and keeps it. box->lock held. */
static int change(struct ctx *ctx, const char *name, const char *value)
{
	struct box *box = ctx->box;
	_cleanup_text_ struct text fields = { 0 };
	struct env *env = env_of(ctx);
	struct session *s = session_of(ctx);
	int r;

	if (!env)
		return -ESTALE;
	if (ctx->node.kind == DIR_NAMED_ENV) {
		if (value && named_env_bytes(box) + strlen(value) > NAMES_ENV_BYTES)
			return -EDQUOT;
		r = env_want(env, name, value, 0);
		return r < 0 ? r : store_name_save(box, named_by_id(box, ctx->node.item));
	}
	box_load_runs(box);
	r = env_want(env, name, value, box->keeper ? box->next_run : 0);
	if (r < 0)
		return r;
	field_add(&fields, "session", s->key);
	if (value) {
		text_add_str(&fields, "set.");
		field_add(&fields, name, value);
	} else {
		field_add(&fields, "unset", name);
	}
	if (box->keeper && (s->opened || !s->id))
		keeper_request(box, MSG_SETENV, 0, 0, &fields);
	return s->id ? store_sessions_save(box) : store_save(box);
}

/* The variable behind a node, NULL when it is not set. box->lock held. */
static struct env_var *variable(struct ctx *ctx)
{
	const struct env *env = env_of(ctx);
	struct env_var *v;

	if (!env || !ctx->node.sub || ctx->node.sub > env->n)
		return NULL;
	v = &env->vars[ctx->node.sub - 1];
	return v->value ? v : NULL;
}

static int env_value_show(struct ctx *ctx, struct text *out)
{
	const struct env_var *v;

	pthread_mutex_lock(&ctx->box->lock);
	v = variable(ctx);
	if (v)
		text_printf(out, "%s\n", v->value);
	pthread_mutex_unlock(&ctx->box->lock);
	return v ? 0 : -ENOENT;
}

static int refuse_too_big(struct ctx *ctx, int r)
{
	if (r == -E2BIG)
		tree_refuse(ctx, "env: an environment has %d variables and %d KiB at most",
			    ENV_MAX_VARS, ENV_MAX_BYTES >> 10);
	else if (r == -EDQUOT)
		tree_refuse(ctx,
			    "env: those of all names of runs have %d MiB at most, those of all "
			    "sessions %d",
			    NAMES_ENV_BYTES >> 20, SESSIONS_BYTES >> 20);
	return r;
}

static int env_value_store(struct ctx *ctx, const char *value)
{
	const struct env *env;
	int r = -ENOENT;

	pthread_mutex_lock(&ctx->box->lock);
	env = env_of(ctx);
	if (env && ctx->node.sub && ctx->node.sub <= env->n)
		r = change(ctx, env->vars[ctx->node.sub - 1].name, value);
	pthread_mutex_unlock(&ctx->box->lock);
	return refuse_too_big(ctx, r);
}

static struct node env_node(struct ctx *ctx, const struct env *env, const struct env_var *v)
{
	struct node node = ctx->node;

	node.row = ROW_DYNAMIC;
	node.sub = 1 + (uint32_t)(v - env->vars);
	return node;
}

static int env_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct env_var *v;
	const struct env *env;

	pthread_mutex_lock(&ctx->box->lock);
	env = env_of(ctx);
	v = env ? env_find(env, name) : NULL;
	if (v && !v->value)
		v = NULL;
	if (v)
		*child = (struct child){ .node = env_node(ctx, env, v) };
	pthread_mutex_unlock(&ctx->box->lock);
	return v ? 0 : -ENOENT;
}

static int env_list(struct ctx *ctx, struct dir_list *list)
{
	const struct env *env;

	pthread_mutex_lock(&ctx->box->lock);
	env = env_of(ctx);
	for (size_t i = 0; env && i < env->n; i++) {
		const struct env_var *v = &env->vars[i];

		if (v->value)
			dir_list_add(list, v->name, env_node(ctx, env, v), S_IFREG);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int env_create(struct ctx *ctx, const char *name, struct child *child)
{
	const struct env *env;
	int r;

	if (!env_name_is_valid(name)) {
		tree_refuse(
			ctx,
			"env/%s: a variable's name has letters, digits and _, and does not begin "
			"with a digit",
			name);
		return -EINVAL;
	}
	pthread_mutex_lock(&ctx->box->lock);
	r = change(ctx, name, "");
	env = env_of(ctx);
	if (r == 0)
		*child = (struct child){ .node = env_node(ctx, env, env_find(env, name)) };
	pthread_mutex_unlock(&ctx->box->lock);
	return refuse_too_big(ctx, r);
}

static int env_unlink(struct ctx *ctx, const char *name)
{
	const struct env_var *v;
	const struct env *env;
	int r = -ENOENT;

	pthread_mutex_lock(&ctx->box->lock);
	env = env_of(ctx);
	v = env ? env_find(env, name) : NULL;
	if (v && v->value)
		r = change(ctx, v->name, NULL);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static const struct row env_value = {
	"", S_IFREG | 0600, ROW_SIZED, .show = env_value_show, .store = env_value_store,
};

const struct dir_type dir_env = {
	.mode = 0700,
	.lookup = env_lookup,
	.list = env_list,
	.create = env_create,
	.unlink = env_unlink,
	.dynamic = &env_value,
	.hint = "one file a variable: echo production > env/NODE_ENV",
};

const struct dir_type dir_named_env = {
	.mode = 0700,
	.lookup = env_lookup,
	.list = env_list,
	.create = env_create,
	.unlink = env_unlink,
	.dynamic = &env_value,
	.hint = "one file a variable: echo production > env/NODE_ENV",
};

static const struct row env_shown = {
	"",
	S_IFREG | 0400,
	ROW_SIZED,
	.show = env_value_show,
};

const struct dir_type dir_run_env = {
	.mode = 0700, /* though nothing changes: an owner's rm -r must get through */
	.lookup = env_lookup,
	.list = env_list,
	.unlink = entry_unlink,
	.dynamic = &env_shown,
	.hint = "a run's record cannot be changed",
};
