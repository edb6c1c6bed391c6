/* SPDX-License-Identifier: MIT */
/*
 * A box:
 *
 *	cmd out err exit log       run a command, what it said, how it ended
 *	state why README           how the box is, what was refused, help
 *	files/ root                its /workspace, its whole filesystem
 *	procs/ ps                  its runs, its processes
 *	tty                        a terminal in it
 *	cwd env/                   of the default session
 *	sessions/                  further ones
 *	net/                       its network
 *	limits/ usage/             what it may use, and does
 *	mounts/                    buckets in it
 *	image ctl events
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "events.h"
#include "image.h"
#include "perm.h"
#include "store.h"
#include "stream.h"
#include "submit.h"
#include "tty.h"

static int box_state_show(struct ctx *ctx, struct text *out)
{
	struct box *box = ctx->box;
	char key[IMAGE_KEY_SIZE] = "";
	enum box_state state;

	pthread_mutex_lock(&box->lock);
	state = box->state;
	if (box->keeper && (state == BOX_RUNNING || state == BOX_FROZEN))
		strcpy(key, box->image_key);
	pthread_mutex_unlock(&box->lock);
	text_printf(out, "%s%s\n", box_state_word(state), image_is_stale(key) ? " stale" : "");
	return 0;
}

static int box_why_show(struct ctx *ctx, struct text *out)
{
	why_show(&ctx->box->why, out);
	return 0;
}

static int box_readme_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	text_add_str(out, "A sandbox. `echo 'ls -l' > cmd`, then `cat out err exit`.\n\n");
	dir_help(&dir_box, "", out);
	return 0;
}

/* From BOX/root. */
static int box_root_link(struct ctx *ctx, struct text *target)
{
	pthread_mutex_lock(&ctx->box->lock);
	text_printf(target, "../.sandboxfs/root/%s", ctx->box->name);
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int box_image_show(struct ctx *ctx, struct text *out)
{
	pthread_mutex_lock(&ctx->box->lock);
	text_printf(out, "%s\n", ctx->box->image);
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int box_image_store(struct ctx *ctx, const char *value)
{
	enum box_state state;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	state = ctx->box->state;
	pthread_mutex_unlock(&ctx->box->lock);
	if (state != BOX_NEW) {
		tree_refuse(ctx,
			    "image: the box is %s; an image can be chosen only while it is new",
			    box_state_word(state));
		return -EBUSY;
	}
	pthread_mutex_lock(&ctx->box->lock);
	r = ctx->box->state == BOX_NEW ? box_set_image(ctx->box, value) : -EBUSY;
	if (r == 0)
		r = store_save(ctx->box);
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -ENOENT)
		tree_refuse(ctx,
			    "image: there is no image \"%s\"; there are host and those in "
			    ".sandboxfs/images",
			    value);
	return r;
}

static int box_attr(struct ctx *ctx, struct stat *st)
{
	pthread_mutex_lock(&ctx->box->lock);
	st->st_mode = S_IFDIR | ctx->box->mode;
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int box_setattr(struct ctx *ctx, const struct stat *st, int to_set)
{
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1;
	int r = 0;

	if (!perm_owns(ctx))
		return -EPERM;
	if (ctx->uid != 0) {
		/* As chown(2): giving away is root's, and a group must be one's own. */
		if (uid != (uid_t)-1 && uid != ctx->uid)
			return -EPERM;
		if (gid != (gid_t)-1 && !perm_in_group(ctx->gid, ctx->pid, gid))
			return -EPERM;
	}
	if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		r = box_set_owner(ctx->box, uid, gid);
	if (r == 0 && (to_set & FUSE_SET_ATTR_MODE))
		r = box_set_mode(ctx->box, st->st_mode);
	return r;
}

/*
 * mounts stands before files: who removes one entry after the other unmounts first, and finds
 * ordinary folders in files/ where buckets were.
 */
static const struct row box_rows[] = {
	{ "cmd", S_IFREG | 0200, ROW_FRESH, .ops = &cmd_ops,
	  .help = "write a command: it runs, and closing waits for its end" },
	{ "out", S_IFREG | 0400, .ops = &out_ops, .size = out_size,
	  .help = "its standard output; waits while more may come" },
	{ "err", S_IFREG | 0400, .ops = &err_ops, .size = err_size, .help = "its standard error" },
	{ "exit", S_IFREG | 0400, .ops = &exit_ops, .size = exit_size,
	  .help = "its exit code; waits for its end" },
	{ "log", S_IFREG | 0400, .ops = &log_ops, .size = log_size, .view = log_view,
	  .help = "the transcript of all commands; never waits" },
	{ "state", S_IFREG | 0400, ROW_SIZED, .show = box_state_show,
	  .help = "new starting running frozen stopping stopped failed" },
	{ "why", S_IFREG | 0400, ROW_SIZED, .show = box_why_show,
	  .help = "the last refusals and failures, and what would help" },
	{ "README", S_IFREG | 0400, ROW_SIZED, .show = box_readme_show, .help = "this" },
	{ "mounts", S_IFDIR | 0700, .dir = DIR_MOUNTS,
	  .help = "buckets mounted in it: echo s3://BUCKET > mounts/NAME" },
	{ "files", S_IFDIR | 0700, .volume = 1 + FILES_WORKSPACE,
	  .help = "/workspace of the box, an ordinary folder" },
	{ "root", S_IFLNK | 0777, .link = box_root_link,
	  .help = "its whole filesystem, while it runs" },
	{ "procs", S_IFDIR | 0700, .dir = DIR_PROCS, .help = "one folder for each command run" },
	{ "sessions", S_IFDIR | 0700, .dir = DIR_SESSIONS,
	  .help = "further sessions; mkdir makes one" },
	{ "ps", S_IFREG | 0400, .show = ps_show, .help = "the processes in the box" },
	{ "tty", S_IFREG | 0600, ROW_FRESH, .ops = &tty_ops,
	  .help = "a terminal with a login shell, while it is open; see sandboxfs shell" },
	{ "cwd", S_IFREG | 0600, ROW_SIZED, .show = cwd_show, .ops = &cwd_ops,
	  .help = "the session's working directory; may be written" },
	{ "env", S_IFDIR | 0700, .dir = DIR_ENV, .help = "its environment, one file a variable" },
	{ "net", S_IFDIR | 0700, .dir = DIR_NET, .help = "its network: mode, allow, deny, log" },
	{ "image", S_IFREG | 0600, ROW_SIZED, .show = box_image_show, .store = box_image_store,
	  .help = "what the box is made from; may be written while it is new" },
	{ "limits", S_IFDIR | 0700, .dir = DIR_LIMITS, .help = "what it may use; may be written" },
	{ "usage", S_IFDIR | 0700, .dir = DIR_USAGE, .help = "what it uses" },
	{ "ctl", S_IFREG | 0200, ROW_FRESH, .ops = &ctl_ops,
	  .help = "verbs: start stop restart freeze thaw kill reset" },
	{ "events", S_IFREG | 0400, .ops = &events_ops,
	  .help = "the box's events, JSON lines; waits for more" },
};

/* Removing a control entry is accepted and has no effect, so that rm -r reaches the last rmdir. */
int entry_unlink(struct ctx *ctx, const char *name)
{
	struct child child;
	int r = tree_lookup(ctx, name, &child);

	if (r < 0)
		return r;
	if (!child.volume && node_is_dir(child.node))
		return -EISDIR;
	if (child.volume)
		return -EISDIR;
	tree_refuse(ctx,
		    "rm %s: control entries stay as long as the box; rmdir the box to destroy it",
		    name);
	return 0;
}

int entry_rmdir(struct ctx *ctx, const char *name)
{
	struct child child;
	int r = tree_lookup(ctx, name, &child);

	if (r < 0)
		return r;
	if (!child.volume && !node_is_dir(child.node))
		return -ENOTDIR;
	tree_refuse(
		ctx,
		"rmdir %s: control entries stay as long as the box; rmdir the box to destroy it",
		name);
	return 0;
}

const struct dir_type dir_box = {
	.rows = box_rows,
	.n_rows = ARRAY_SIZE(box_rows),
	.mode = 0700,
	.attr = box_attr,
	.setattr = box_setattr,
	.rmdir = entry_rmdir,
	.unlink = entry_unlink,
	.hint = "to run a command write to cmd; your files belong into files/",
};
