/* SPDX-License-Identifier: MIT */
/*
 * `ctl`: verbs, one a line; the write returns when the verb is done. And `cwd`, whose write asks the
 * box as well. Must not wait: writes are parked on the box. Lock: box->lock.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "keeper.h"
#include "submit.h"

enum { MAX_VERBS = 4096 };

/* --- waiting ---------------------------------------------------------------------------------------- */

static enum park_verdict reply_look(struct park *park)
{
	return park->done ? PARK_ANSWER : PARK_WAIT;
}

static enum park_verdict stopped_look(struct park *park)
{
	const struct box *box = park->box;

	if (box->keeper || box->after_stop_reset || box->state == BOX_STARTING)
		return PARK_WAIT;
	park->error = 0;
	return PARK_ANSWER;
}

/* Started anew: waits until it runs again. */
static enum park_verdict restarted_look(struct park *park)
{
	return park->box->after_stop_start ? PARK_WAIT : start_look(park);
}

/* What the write still has to do, with the same request. 0 nothing, -errno, TREE_ANSWERED. */
static int ctl_go_on(struct ctx *ctx, struct handle *h, size_t size);
static int cwd_go_on(struct ctx *ctx, struct handle *h, size_t size);

static void go_on(struct park *park, int error,
		  int (*next)(struct ctx *ctx, struct handle *h, size_t size))
{
	const struct fuse_ctx *caller = fuse_req_ctx(park->req);
	struct ctx ctx = { .req = park->req,
			   .node = park->handle->node,
			   .box = park->box,
			   .uid = caller->uid,
			   .gid = caller->gid,
			   .pid = caller->pid };
	int r = error ? -error : next(&ctx, park->handle, park->wait.size);

	if (r < 0)
		fuse_reply_err(park->req, -r);
	else if (r == 0)
		fuse_reply_write(park->req, park->wait.size);
}

static void write_answer(struct park *park, int error)
{
	go_on(park, error, ctl_go_on);
}

static void cwd_started_answer(struct park *park, int error)
{
	go_on(park, error, cwd_go_on);
}

static void cwd_answer(struct park *park, int error)
{
	struct box *box = park->box;

	if (error) {
		fuse_reply_err(park->req, error);
		return;
	}
	pthread_mutex_lock(&box->lock);
	snprintf(box->cwd, sizeof(box->cwd), "%s", park->handle->text.data);
	box->cwd_wanted = true;
	pthread_mutex_unlock(&box->lock);
	fuse_reply_write(park->req, park->wait.size);
}

static const struct park_type reply_park = { reply_look, write_answer, NULL };
static const struct park_type stopped_park = { stopped_look, write_answer, NULL };
static const struct park_type started_park = { start_look, write_answer, NULL };
static const struct park_type restarted_park = { restarted_look, write_answer, NULL };
static const struct park_type cwd_started_park = { start_look, cwd_started_answer, NULL };
static const struct park_type cwd_park = { reply_look, cwd_answer, NULL };

/* --- verbs ------------------------------------------------------------------------------------------ */

struct verb_call {
	struct ctx *ctx;
	struct handle *h;
	size_t size; /* of the write, for its reply */
};

static int park_on_box(const struct verb_call *call, const struct park_type *type, uint64_t tag)
{
	const struct park_wait wait = { .size = call->size, .tag = tag };
	struct box *box = call->ctx->box;
	int r = park_add(&box->parks, &box->lock, type, call->ctx->req, call->h, box, &wait);

	return r < 0 ? r : TREE_ANSWERED;
}

static int ask(const struct verb_call *call, enum msg_type type)
{
	uint64_t tag = keeper_new_tag();
	int r = keeper_request(call->ctx->box, type, tag, 0, NULL);

	return r < 0 ? r : park_on_box(call, &reply_park, tag);
}

static int verb_start(const struct verb_call *call)
{
	const struct park_wait wait = { .size = call->size };

	return box_need_running(call->ctx, call->h, &started_park, &wait);
}

static int stop_box(struct box *box)
{
	box->after_stop_start = false;
	if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	return keeper_stop(box, the_options.stop_timeout_ms, 0);
}

static int verb_stop(const struct verb_call *call)
{
	struct box *box = call->ctx->box;
	int r = stop_box(box);

	if (r < 0 || !box->keeper)
		return r;
	return park_on_box(call, &stopped_park, 0);
}

static int verb_restart(const struct verb_call *call)
{
	struct box *box = call->ctx->box;
	int r = stop_box(box);

	if (r < 0)
		return r;
	if (!box->keeper)
		return verb_start(call);
	box->after_stop_start = true;
	return park_on_box(call, &restarted_park, 0);
}

static int verb_reset(const struct verb_call *call)
{
	struct box *box = call->ctx->box;
	bool was_running = box->keeper != NULL;
	int r;

	if (box->state == BOX_NEW)
		return 0;
	r = stop_box(box);
	if (r < 0)
		return r;
	box->after_stop_reset = true;
	box->after_stop_start = was_running;
	if (!box->keeper)
		daemon_later(box, box_reset_now);
	return park_on_box(call, was_running ? &restarted_park : &stopped_park, 0);
}

static int need_state(const struct verb_call *call, const char *verb, enum box_state a,
		      enum box_state b)
{
	enum box_state state = call->ctx->box->state;

	if (state == a || state == b)
		return 0;
	tree_refuse(call->ctx, "%s: the box is %s, not %s", verb, box_state_word(state),
		    box_state_word(a));
	return -EINVAL;
}

static int verb_freeze(const struct verb_call *call)
{
	int r = need_state(call, "freeze", BOX_RUNNING, BOX_FROZEN);

	if (r < 0 || call->ctx->box->state == BOX_FROZEN)
		return r;
	return ask(call, MSG_FREEZE);
}

static int verb_thaw(const struct verb_call *call)
{
	int r = need_state(call, "thaw", BOX_FROZEN, BOX_RUNNING);

	if (r < 0 || call->ctx->box->state == BOX_RUNNING)
		return r;
	return ask(call, MSG_THAW);
}

static int verb_kill(const struct verb_call *call)
{
	int r = need_state(call, "kill", BOX_RUNNING, BOX_FROZEN);

	return r < 0 ? r : ask(call, MSG_KILL);
}

static const struct {
	const char *name;
	int (*run)(const struct verb_call *call);
} verbs[] = {
	{ "start", verb_start },   { "stop", verb_stop }, { "restart", verb_restart },
	{ "freeze", verb_freeze }, { "thaw", verb_thaw }, { "kill", verb_kill },
	{ "reset", verb_reset },
};

static int run_verb(const struct verb_call *call, const char *word)
{
	char shown[64];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, word))
			continue;
		pthread_mutex_lock(&call->ctx->box->lock);
		r = call->ctx->box->removed ? -ESTALE : verbs[i].run(call);
		pthread_mutex_unlock(&call->ctx->box->lock);
		return r;
	}
	tree_refuse(call->ctx,
		    "ctl: no verb \"%s\"; there are: start stop restart freeze thaw kill reset",
		    text_escape(shown, sizeof(shown), word));
	return -EINVAL;
}

/* Takes the next line of h->text and does it; a verb that must be waited for parks the write. */
static int ctl_go_on(struct ctx *ctx, struct handle *h, size_t size)
{
	const struct verb_call call = { ctx, h, size };
	int r = 0;

	while (r == 0 && h->text.len) {
		char line[128], *end = memchr(h->text.data, '\n', h->text.len);
		size_t len = end ? (size_t)(end - h->text.data) : h->text.len;
		size_t gone = end ? len + 1 : len;

		snprintf(line, sizeof(line), "%.*s", (int)MIN(len, sizeof(line) - 1), h->text.data);
		memmove(h->text.data, h->text.data + gone, h->text.len - gone);
		h->text.len -= gone;
		if (*text_strip(line))
			r = run_verb(&call, text_strip(line));
	}
	if (r < 0)
		text_reset(&h->text);
	return r;
}

/* One verb a line; the write returns when the last is done. */
static int ctl_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	if (size > MAX_VERBS || memchr(data, '\0', size)) {
		tree_refuse(ctx,
			    "ctl: verbs, one a line: start stop restart freeze thaw kill reset");
		return -EINVAL;
	}
	if (h->text.len)
		return -EBUSY; /* another thread's write on this descriptor still waits */
	text_reset(&h->text);
	text_add(&h->text, data, size);
	return h->text.failed ? -ENOMEM : ctl_go_on(ctx, h, size);
}

const struct row_ops ctl_ops = { .write = ctl_write, .stream = true };

/* --- cwd ---------------------------------------------------------------------------------------------- */

static int cwd_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	_cleanup_text_ struct text shown = { 0 };
	struct box *box = ctx->box;
	char path[64], cwd[PATH_MAX];
	ssize_t n = -1;

	(void)h;
	pthread_mutex_lock(&box->lock);
	if (box->shell_pid > 0 && !box->cwd_wanted) {
		/* Right also while a command runs. */
		snprintf(path, sizeof(path), "/proc/%d/cwd", box->shell_pid);
		n = readlink(path, cwd, sizeof(cwd) - 1);
	}
	if (n <= 0)
		n = snprintf(cwd, sizeof(cwd), "%s", box->cwd);
	pthread_mutex_unlock(&box->lock);
	text_add_escaped(&shown, cwd, (size_t)n);
	text_add_char(&shown, '\n');
	if (shown.failed)
		return -ENOMEM;
	if ((size_t)offset >= shown.len)
		fuse_reply_buf(ctx->req, NULL, 0);
	else
		fuse_reply_buf(ctx->req, shown.data + offset,
			       MIN(size, shown.len - (size_t)offset));
	return TREE_ANSWERED;
}

/* box->lock held. */
static int cwd_ask(const struct verb_call *call, const char *path)
{
	const struct park_wait started = { .size = call->size };
	_cleanup_text_ struct text fields = { 0 };
	struct box *box = call->ctx->box;
	struct park_wait wait = { .size = call->size, .tag = keeper_new_tag() };
	int r = box_need_running(call->ctx, call->h, &cwd_started_park, &started);

	if (r != 0)
		return r;
	field_add(&fields, "session", DEFAULT_SESSION);
	field_add(&fields, "path", path);
	r = keeper_request(box, MSG_CHDIR, wait.tag, 0, &fields);
	if (r == 0)
		r = park_add(&box->parks, &box->lock, &cwd_park, call->ctx->req, call->h, box,
			     &wait);
	return r < 0 ? r : TREE_ANSWERED;
}

static int cwd_go_on(struct ctx *ctx, struct handle *h, size_t size)
{
	const struct verb_call call = { ctx, h, size };
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = ctx->box->removed ? -ESTALE : cwd_ask(&call, h->text.data);
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
