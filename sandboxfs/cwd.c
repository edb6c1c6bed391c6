/* SPDX-License-Identifier: MIT */
/*
 * `cwd` of a session: where its shell is, and where its next command begins. A write asks the box, so
 * that a directory that is not there is refused at once. Must not wait: writes are parked on the box.
 * Lock: box->lock.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "store.h"
#include "wake.h"

static int cwd_go_on(struct ctx *ctx, struct handle *h, size_t size);

/* The keeper has taken it: until its shell says where it is, it is what was asked for. */
static void note_wanted(struct handle *h)
{
	const struct ctx ctx = { .node = h->node, .box = h->box };
	struct session *s = session_of(&ctx);

	if (!s || string_replace(&s->cwd, h->text.data) < 0)
		return;
	s->cwd_wanted = true;
	if (s->id)
		store_sessions_save(h->box);
}

static void cwd_started_answer(struct park *park, int error)
{
	write_go_on(park, error, cwd_go_on);
}

static void cwd_answer(struct park *park, int error)
{
	struct box *box = park->box;

	if (error) {
		fuse_reply_err(park->req, error);
		return;
	}
	pthread_mutex_lock(&box->lock);
	note_wanted(park->handle);
	pthread_mutex_unlock(&box->lock);
	fuse_reply_write(park->req, park->wait.size);
}

static const struct park_type started_park = { start_look, cwd_started_answer, NULL };
static const struct park_type told_park = { reply_look, cwd_answer, NULL };

int cwd_show(struct ctx *ctx, struct text *out)
{
	struct box *box = ctx->box;
	const struct session *s;
	char path[64], cwd[PATH_MAX];
	ssize_t n = -1;

	pthread_mutex_lock(&box->lock);
	s = session_of(ctx);
	if (s && s->shell_pid > 0 && !s->cwd_wanted) {
		/* Right also while a command runs. */
		snprintf(path, sizeof(path), "/proc/%d/cwd", s->shell_pid);
		n = readlink(path, cwd, sizeof(cwd) - 1);
	}
	if (s && n <= 0)
		n = snprintf(cwd, sizeof(cwd), "%s", s->cwd);
	pthread_mutex_unlock(&box->lock);
	if (!s)
		return -ESTALE;
	text_add_escaped(out, cwd, (size_t)n);
	text_add_char(out, '\n');
	return out->failed ? -ENOMEM : 0;
}

static int cwd_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text shown = { 0 };
	int r = cwd_show(ctx, &shown);

	(void)h;
	if (r < 0)
		return r;
	if ((size_t)offset >= shown.len)
		fuse_reply_buf(ctx->req, NULL, 0);
	else
		fuse_reply_buf(ctx->req, shown.data + offset,
			       MIN(size, shown.len - (size_t)offset));
	return TREE_ANSWERED;
}

/* box->lock held. */
static int cwd_ask(struct ctx *ctx, struct handle *h, size_t size)
{
	const struct park_wait started = { .size = size };
	_cleanup_text_ struct text fields = { 0 };
	struct session *s = session_of(ctx);
	struct box *box = ctx->box;
	struct park_wait wait = { .size = size, .tag = keeper_new_tag() };
	int r = s ? box_need_running(ctx, h, &started_park, &started) : -ESTALE;

	if (r == 0)
		r = session_open(box, s);
	if (r != 0)
		return r;
	field_add(&fields, "session", s->key);
	field_add(&fields, "path", h->text.data);
	r = keeper_request(box, MSG_CHDIR, wait.tag, 0, &fields);
	if (r == 0)
		r = park_add(&box->parks, &box->lock, &told_park, ctx->req, h, box, &wait);
	return r < 0 ? r : TREE_ANSWERED;
}

static int cwd_go_on(struct ctx *ctx, struct handle *h, size_t size)
{
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = ctx->box->removed ? -ESTALE : cwd_ask(ctx, h, size);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static int cwd_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	size_t len = size - (size && data[size - 1] == '\n');

	if (size >= PATH_MAX)
		return -ENAMETOOLONG;
	if (memchr(data, '\0', size) || !size || data[0] != '/') {
		tree_refuse(ctx, "cwd: an absolute path in the box, as /workspace");
		return -EINVAL;
	}
	text_reset(&h->text);
	text_add(&h->text, data, len);
	return h->text.failed ? -ENOMEM : cwd_go_on(ctx, h, size);
}

const struct row_ops cwd_ops = { .read = cwd_read, .write = cwd_write };
