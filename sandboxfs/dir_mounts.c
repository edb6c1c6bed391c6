/* SPDX-License-Identifier: MIT */
/*
 * mounts: one file for each bucket that is mounted in the box.
 *
 *	echo s3://BUCKET/PREFIX > mounts/NAME    mounts it; also lines of key = value
 *	cat mounts/NAME                          its settings, and how it does
 *	echo flush > mounts/NAME                 waits until all is in the bucket
 *	rm mounts/NAME                           unmounts it
 *
 * What is written is collected per open handle and counts when the process that opened it closes its
 * last descriptor, as with cmd (submit.h); that close waits, parked. Must not wait itself. Locks:
 * handle->lock, then box->lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "caller.h"
#include "daemon.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "mount.h"
#include "submit.h"
#include "wake.h"

static struct node mount_node(const struct ctx *ctx, const struct box_mount *m)
{
	return (struct node){
		.kind = DIR_MOUNTS, .row = ROW_DYNAMIC, .box = ctx->node.box, .item = m->id
	};
}

/* --- showing ------------------------------------------------------------------------------------------ */

/* Lines "# key: value", so that what is read may be written again. */
static void show_state(const struct box *box, const struct box_mount *m, struct text *out)
{
	const char *word = !m->stored	  ? "new"
			   : !box->keeper ? "stopped"
					  : bucket_state_word(m->state);

	text_printf(out, "# state: %s\n", word);
	if (m->error[0])
		text_printf(out, "# last error: %s\n", m->error);
	for (const char *line = m->status; line && *line;) {
		size_t len = strcspn(line, "\n");

		text_add_str(out, "# ");
		text_add_escaped(out, line, len);
		text_add_char(out, '\n');
		line += len + (line[len] == '\n');
	}
}

static int mount_show(struct ctx *ctx, struct text *out)
{
	struct box *box = ctx->box;
	const struct box_mount *m;

	pthread_mutex_lock(&box->lock);
	m = mount_by_id(box, ctx->node.item);
	if (m) {
		mount_settings_show(&m->set, out);
		show_state(box, m, out);
	}
	pthread_mutex_unlock(&box->lock);
	return m ? 0 : -ESTALE;
}

static void status_answer(struct park *park, int error)
{
	struct ctx ctx = { .req = park->req, .node = park->handle->node, .box = park->box };
	int r;

	/* How it does is not known then; what it is, is. */
	r = error && error != EIO ? -error
				  : handle_reply_rendered(&ctx, park->handle, park->wait.size, 0);
	if (r < 0)
		fuse_reply_err(park->req, -r);
}

static const struct park_type status_park = { reply_look, status_answer, NULL };

static int mount_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	struct park_wait wait = { .size = size };
	struct box *box = ctx->box;
	struct box_mount *m;
	int r = 0;

	if (offset == 0 && !h->rendered) {
		if (h->text.len) /* written, and not closed yet */
			return -EBUSY;
		pthread_mutex_lock(&box->lock);
		m = box->removed ? NULL : mount_by_id(box, ctx->node.item);
		r = m ? mount_ask_status(box, m, &wait.tag) : -ESTALE;
		if (r == 1)
			r = park_add(&box->parks, &box->lock, &status_park, ctx->req, h, box, &wait)
				    ?: TREE_ANSWERED;
		pthread_mutex_unlock(&box->lock);
	}
	return r ? r : handle_reply_rendered(ctx, h, size, offset);
}

/* --- writing ------------------------------------------------------------------------------------------- */

static bool may_write(const struct handle *h)
{
	return (h->flags & O_ACCMODE) != O_RDONLY;
}

static int mount_open(struct ctx *ctx, struct handle *h)
{
	struct box_mount *m;

	if (!may_write(h))
		return 0;
	handle_note_opener(ctx, h);
	pthread_mutex_lock(&ctx->box->lock);
	m = mount_by_id(ctx->box, ctx->node.item);
	if (m)
		m->handles++;
	else
		h->submitted = true; /* it counts nowhere */
	pthread_mutex_unlock(&ctx->box->lock);
	return m ? 0 : -ESTALE;
}

/* h->lock held. */
static int collect(struct handle *h, const char *data, size_t size)
{
	if (h->rendered) /* opened for both, and read */
		text_reset(&h->text);
	h->rendered = false;
	if (h->text.len + size > MOUNT_TEXT_MAX)
		return -EFBIG;
	if (memchr(data, '\0', size))
		return -EINVAL;
	text_add(&h->text, data, size);
	return h->text.failed ? -ENOMEM : 0;
}

static int mount_collect(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	struct box_mount *m;
	int r;

	pthread_mutex_lock(&h->lock);
	r = collect(h, data, size);
	if (r < 0)
		h->refused = -r; /* never half a text */
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_lock(&ctx->box->lock);
	m = mount_by_id(ctx->box, ctx->node.item);
	if (m)
		m->asker = ctx->uid;
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EFBIG || r == -EINVAL)
		tree_refuse(ctx, "mounts: text of %d KiB at the most, without NUL",
			    MOUNT_TEXT_MAX >> 10);
	return m ? r : -ESTALE;
}

static void close_answer(struct park *park, int error)
{
	if (error == EINTR) {
		pthread_mutex_lock(&park->box->lock);
		mount_abandon(park->box, park->wait.tag);
		pthread_mutex_unlock(&park->box->lock);
	}
	fuse_reply_err(park->req, error);
}

/* Only a signal that ends a program ends the wait. */
static enum park_verdict close_interrupted(struct park *park)
{
	int sig = caller_signal(park->tid);

	if (!sig || sig == SIGTSTP || sig == SIGSTOP)
		return PARK_WAIT;
	return PARK_ANSWER;
}

static const struct park_type close_park = { reply_look, close_answer, close_interrupted };

/* What was collected is the caller's now; false: nothing was. */
static bool take_text(struct handle *h, struct text *text, int *refused)
{
	bool some;

	pthread_mutex_lock(&h->lock);
	some = (h->text.len && !h->rendered) || h->refused;
	if (some) {
		*text = h->text;
		*refused = h->refused;
		h->text = (struct text){ 0 };
		h->refused = 0;
	}
	pthread_mutex_unlock(&h->lock);
	return some;
}

/* As mount_write(). box->lock held. */
static int use_text(struct box *box, struct box_mount *m, const struct text *text, int refused)
{
	if (!refused)
		return mount_write(box, m, text->data);
	mount_drop_draft(box, m);
	return -refused;
}

static int mount_flush(struct ctx *ctx, struct handle *h)
{
	_cleanup_text_ struct text text = { 0 };
	struct park_wait waits = { 0 };
	struct box *box = ctx->box;
	struct box_mount *m;
	int refused = 0, r = 0;
	bool some, wait;

	if (!may_write(h) || !handle_is_complete(ctx, h, &wait))
		return 0;
	some = take_text(h, &text, &refused);
	pthread_mutex_lock(&box->lock);
	m = box->removed ? NULL : mount_by_id(box, ctx->node.item);
	if (!m) {
		r = some ? -ESTALE : 0;
	} else if (some) {
		r = use_text(box, m, &text, refused);
	} else if (!m->stored && !m->tag && m->handles == 1) {
		mount_drop_draft(box, m);
		r = -EINVAL;
	}
	if (r == 1 && wait) {
		waits.tag = m->tag;
		r = park_add(&box->parks, &box->lock, &close_park, ctx->req, h, box, &waits)
			    ?: TREE_ANSWERED;
	} else if (r == 1) {
		r = 0;
	}
	pthread_mutex_unlock(&box->lock);
	if (r < 0 && !some)
		tree_refuse(ctx, "mounts: nothing was written; echo s3://BUCKET/PREFIX > "
				 "mounts/NAME mounts a bucket");
	return r;
}

/* The last descriptor is gone, closed by anyone: nobody can wait any more. */
static void mount_release(struct handle *h)
{
	_cleanup_text_ struct text text = { 0 };
	struct box *box = h->box;
	struct box_mount *m;
	int refused = 0;
	bool some;

	if (!may_write(h) || h->submitted)
		return;
	some = take_text(h, &text, &refused);
	pthread_mutex_lock(&box->lock);
	m = mount_by_id(box, h->node.item);
	if (m)
		m->handles--;
	if (m && some && !h->killed && !box->removed)
		use_text(box, m, &text, refused);
	else if (m && !m->handles)
		mount_drop_draft(box, m);
	pthread_mutex_unlock(&box->lock);
}

static const struct row_ops mount_ops = {
	.open = mount_open,
	.read = mount_read,
	.write = mount_collect,
	.flush = mount_flush,
	.release = mount_release,
};

/* --- the directory --------------------------------------------------------------------------------------- */

static int mounts_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	const struct box_mount *m;

	pthread_mutex_lock(&ctx->box->lock);
	m = mount_by_name(ctx->box, name);
	if (m)
		*child = (struct child){ .node = mount_node(ctx, m) };
	pthread_mutex_unlock(&ctx->box->lock);
	return m ? 0 : -ENOENT;
}

static int mounts_list(struct ctx *ctx, struct dir_list *list)
{
	pthread_mutex_lock(&ctx->box->lock);
	for (const struct box_mount *m = ctx->box->mounts; m; m = m->next)
		dir_list_add(list, m->name, mount_node(ctx, m), S_IFREG);
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int mounts_create(struct ctx *ctx, const char *name, struct child *child)
{
	struct box_mount *m = NULL;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = ctx->box->removed ? -ESTALE : mount_create(ctx->box, name, &m);
	if (r == 0) {
		m->asker = ctx->uid;
		*child = (struct child){ .node = mount_node(ctx, m) };
	}
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EINVAL)
		tree_refuse(ctx,
			    "mounts/%s: a name has 1 to 63 bytes of UTF-8, no control characters, "
			    "no leading dot, no blank at either end",
			    name);
	else if (r == -EDQUOT)
		tree_refuse(ctx, "mounts/%s: a box may have %llu (buckets.max_mounts); rm some",
			    name, (unsigned long long)the_options.bucket_mounts);
	return r;
}

static void unlink_answer(struct park *park, int error)
{
	fuse_reply_err(park->req, error);
}

static const struct park_type unlink_park = { reply_look, unlink_answer, NULL };

static int mounts_unlink(struct ctx *ctx, const char *name)
{
	struct park_wait wait = { 0 };
	struct box *box = ctx->box;
	struct box_mount *m;
	int r;

	pthread_mutex_lock(&box->lock);
	m = mount_by_name(box, name);
	if (m) {
		m->asker = ctx->uid;
		r = mount_remove(box, m);
	} else {
		r = -ENOENT;
	}
	if (r == 1) {
		wait.tag = m->tag;
		r = park_add(&box->parks, &box->lock, &unlink_park, ctx->req, NULL, box, &wait)
			    ?: TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

static const struct row mount_row = {
	"", S_IFREG | 0600, ROW_SIZED, .show = mount_show, .ops = &mount_ops,
};

const struct dir_type dir_mounts = {
	.mode = 0700,
	.lookup = mounts_lookup,
	.list = mounts_list,
	.create = mounts_create,
	.unlink = mounts_unlink,
	.dynamic = &mount_row,
	.hint = "echo s3://BUCKET/PREFIX > mounts/NAME mounts a bucket; rm unmounts it",
};
