/* SPDX-License-Identifier: MIT */
/*
 * sessions, and one of them:
 *
 *	NAME/  made by mkdir: cmd out err exit log state cwd env/ user tty ctl, as the box has them
 *	       for its default session
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "store.h"
#include "stream.h"
#include "submit.h"
#include "tty.h"

/* --- sessions ----------------------------------------------------------------------------------- */

static struct node session_node(const struct ctx *ctx, const struct session *s)
{
	return (struct node){ .kind = DIR_SESSION, .box = ctx->node.box, .item = s->id };
}

static int sessions_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct session *s;

	pthread_mutex_lock(&ctx->box->lock);
	s = session_by_name(ctx->box, name);
	if (s && s->id)
		*child = (struct child){ .node = session_node(ctx, s) };
	pthread_mutex_unlock(&ctx->box->lock);
	return s && s->id ? 0 : -ENOENT;
}

static int sessions_list(struct ctx *ctx, struct dir_list *list)
{
	pthread_mutex_lock(&ctx->box->lock);
	for (const struct session *s = ctx->box->sessions->next; s; s = s->next)
		dir_list_add(list, s->name, session_node(ctx, s), S_IFDIR);
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int sessions_mkdir(struct ctx *ctx, const char *name, mode_t mode, struct child *child)
{
	struct session *s = NULL;
	int r;

	(void)mode;
	pthread_mutex_lock(&ctx->box->lock);
	r = session_create(ctx->box, name, &s);
	if (r == 0)
		*child = (struct child){ .node = session_node(ctx, s) };
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EINVAL)
		tree_refuse(ctx,
			    "mkdir sessions/%s: a name has 1 to 63 bytes of UTF-8, no control "
			    "characters, no leading dot, no blank at either end",
			    name);
	else if (r == -EDQUOT)
		tree_refuse(ctx,
			    "mkdir sessions/%s: a box has %d sessions at most, and %d MiB of their "
			    "environments; rmdir some",
			    name, SESSIONS_MAX, SESSIONS_BYTES >> 20);
	else if (r == -EEXIST && !strcmp(name, DEFAULT_SESSION))
		tree_refuse(ctx, "mkdir sessions/%s: the entries of that one are the box's own",
			    name);
	return r;
}

static int sessions_rmdir(struct ctx *ctx, const char *name)
{
	struct session *s;
	struct child child;
	int r = tree_lookup(ctx, name, &child);

	if (r < 0)
		return r;
	pthread_mutex_lock(&ctx->box->lock);
	s = session_by_id(ctx->box, child.node.item);
	if (s)
		session_remove(ctx->box, s);
	pthread_mutex_unlock(&ctx->box->lock);
	return s ? 0 : -ENOENT;
}

const struct dir_type dir_sessions = {
	.mode = 0700,
	.lookup = sessions_lookup,
	.list = sessions_list,
	.mkdir = sessions_mkdir,
	.rmdir = sessions_rmdir,
	.hint = "mkdir makes a session",
};

/* --- one session --------------------------------------------------------------------------------- */

static int session_attr(struct ctx *ctx, struct stat *st)
{
	bool exists;

	(void)st;
	pthread_mutex_lock(&ctx->box->lock);
	exists = session_by_id(ctx->box, ctx->node.item);
	pthread_mutex_unlock(&ctx->box->lock);
	return exists ? 0 : -ESTALE;
}

static const char *state_word(struct box *box, const struct session *s)
{
	struct run *run, *next;

	HASH_ITER (hh, box->runs, run, next) {
		if (!run->ended && !strcmp(run->session, s->key))
			return "running";
	}
	return box->state == BOX_RUNNING ? "idle" : box_state_word(box->state);
}

static int session_state_show(struct ctx *ctx, struct text *out)
{
	const struct session *s;

	pthread_mutex_lock(&ctx->box->lock);
	s = session_of(ctx);
	if (s)
		text_printf(out, "%s\n", state_word(ctx->box, s));
	pthread_mutex_unlock(&ctx->box->lock);
	return s ? 0 : -ESTALE;
}

static int session_user_show(struct ctx *ctx, struct text *out)
{
	const struct session *s;

	pthread_mutex_lock(&ctx->box->lock);
	s = session_of(ctx);
	if (s)
		text_printf(out, "%s\n", box_user(ctx->box, s->user));
	pthread_mutex_unlock(&ctx->box->lock);
	return s ? 0 : -ESTALE;
}

static int session_user_store(struct ctx *ctx, const char *value)
{
	struct session *s;
	int r = -ESTALE;

	if (!entry_user_may_be(ctx, value))
		return -EINVAL;
	pthread_mutex_lock(&ctx->box->lock);
	s = session_of(ctx);
	if (s && s->opened)
		r = -EBUSY;
	else if (s) {
		box_user_note(ctx->box, s->user, value);
		env_init(&s->env, box_user_is_root(ctx->box, s->user));
		r = store_sessions_save(ctx->box);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EBUSY)
		tree_refuse(ctx,
			    "user: this session runs as its user already; make another session");
	return r;
}

static const struct row session_rows[] = {
	{ "cmd", S_IFREG | 0200, ROW_FRESH, .ops = &cmd_ops,
	  .help = "write a command: it runs in this session's shell" },
	{ "out", S_IFREG | 0400, .ops = &out_ops, .size = out_size,
	  .help = "standard output of its latest command; waits while more may come" },
	{ "err", S_IFREG | 0400, .ops = &err_ops, .size = err_size, .help = "its standard error" },
	{ "exit", S_IFREG | 0400, .ops = &exit_ops, .size = exit_size,
	  .help = "its exit code; waits for its end" },
	{ "log", S_IFREG | 0400, .ops = &log_ops, .size = log_size, .view = log_view,
	  .help = "the transcript of the session; never waits" },
	{ "state", S_IFREG | 0400, ROW_SIZED, .show = session_state_show,
	  .help = "idle or running; the box's state while that does not run" },
	{ "cwd", S_IFREG | 0600, ROW_SIZED, .show = cwd_show, .ops = &cwd_ops,
	  .help = "its working directory" },
	{ "env", S_IFDIR | 0700, .dir = DIR_ENV, .help = "its environment" },
	{ "user", S_IFREG | 0600, ROW_SIZED, .show = session_user_show, .store = session_user_store,
	  .help = "who runs it; to be set before its first command" },
	{ "tty", S_IFREG | 0600, ROW_FRESH, .ops = &tty_ops,
	  .help = "the session's own terminal, which lives on when nobody is attached" },
	{ "ctl", S_IFREG | 0200, ROW_FRESH, .ops = &ctl_ops,
	  .help = "verb: reset (what it started ends, a fresh shell begins)" },
};

const struct dir_type dir_session = {
	.rows = session_rows,
	.n_rows = ARRAY_SIZE(session_rows),
	.mode = 0700,
	.attr = session_attr,
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "to run a command in this session write to cmd",
};
