/* SPDX-License-Identifier: MIT */
/* env: one file for each exported variable of the default session. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "env.h"

/* The variable behind a node, NULL when it is not set. box->lock held. */
static struct env_var *variable(struct ctx *ctx)
{
	struct box *box = ctx->box;

	if (ctx->node.item >= box->n_env || !box->env[ctx->node.item].value)
		return NULL;
	return &box->env[ctx->node.item];
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

static int env_value_store(struct ctx *ctx, const char *value)
{
	struct box *box = ctx->box;
	int r = -ENOENT;

	pthread_mutex_lock(&box->lock);
	if (ctx->node.item < box->n_env)
		r = env_set(box, box->env[ctx->node.item].name, value);
	pthread_mutex_unlock(&box->lock);
	return r;
}

static struct node env_node(struct ctx *ctx, const struct env_var *v)
{
	return (struct node){ .kind = DIR_ENV,
			      .row = ROW_DYNAMIC,
			      .box = ctx->node.box,
			      .item = (uint32_t)(v - ctx->box->env) };
}

static int env_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct env_var *v;

	pthread_mutex_lock(&ctx->box->lock);
	v = env_find(ctx->box, name);
	if (v && v->value)
		*child = (struct child){ .node = env_node(ctx, v) };
	pthread_mutex_unlock(&ctx->box->lock);
	return v && v->value ? 0 : -ENOENT;
}

static int env_list(struct ctx *ctx, struct dir_list *list)
{
	pthread_mutex_lock(&ctx->box->lock);
	for (size_t i = 0; i < ctx->box->n_env; i++) {
		const struct env_var *v = &ctx->box->env[i];

		if (v->value)
			dir_list_add(list, v->name, env_node(ctx, v), S_IFREG);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int env_create(struct ctx *ctx, const char *name, struct child *child)
{
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
	r = env_set(ctx->box, name, "");
	if (r == 0)
		*child = (struct child){ .node = env_node(ctx, env_find(ctx->box, name)) };
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static int env_unlink(struct ctx *ctx, const char *name)
{
	struct env_var *v;
	int r = -ENOENT;

	pthread_mutex_lock(&ctx->box->lock);
	v = env_find(ctx->box, name);
	if (v && v->value)
		r = env_set(ctx->box, name, NULL);
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
