/* SPDX-License-Identifier: MIT */
/*
 * `ctl` of a box and of a session: verbs, one a line; the write returns when the verb is done. Must
 * not wait: writes are parked on the box. Lock: box->lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "keeper.h"
#include "store.h"
#include "wake.h"

enum { MAX_VERBS = 4096, LINE_SIZE = 128 };

/* --- waiting ---------------------------------------------------------------------------------------- */

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

static void write_answer(struct park *park, int error)
{
	write_go_on(park, error, ctl_go_on);
}

static const struct park_type reply_park = { reply_look, write_answer, NULL };
static const struct park_type stopped_park = { stopped_look, write_answer, NULL };
static const struct park_type started_park = { start_look, write_answer, NULL };
static const struct park_type restarted_park = { restarted_look, write_answer, NULL };

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
	return keeper_stop(box, the_options.stop_timeout_ms, 0, NULL);
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

/* A session's: everything it started ends, and a fresh shell begins in /workspace. */
static int verb_session_reset(const struct verb_call *call)
{
	_cleanup_text_ struct text fields = { 0 };
	struct session *s = session_of(call->ctx);
	struct box *box = call->ctx->box;
	uint64_t tag = keeper_new_tag();
	int r;

	if (!s)
		return -ESTALE;
	r = string_replace(&s->cwd, "/workspace");
	if (r < 0)
		return r;
	s->cwd_wanted = false;
	r = store_sessions_save(box);
	if (r < 0 || !s->opened)
		return r;
	if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	field_add(&fields, "session", s->key);
	session_start_fields(box, s, &fields);
	r = keeper_request(box, MSG_SESSION_RESET, tag, 0, &fields);
	return r < 0 ? r : park_on_box(call, &reply_park, tag);
}

struct verb {
	const char *name;
	int (*run)(const struct verb_call *call);
};

static const struct verb box_verbs[] = {
	{ "start", verb_start },   { "stop", verb_stop }, { "restart", verb_restart },
	{ "freeze", verb_freeze }, { "thaw", verb_thaw }, { "kill", verb_kill },
	{ "reset", verb_reset },   { NULL, NULL },
};

static const struct verb session_verbs[] = { { "reset", verb_session_reset }, { NULL, NULL } };

static const struct verb *verbs_of(const struct ctx *ctx)
{
	return ctx->node.kind == DIR_SESSION ? session_verbs : box_verbs;
}

static void refuse_verb(struct ctx *ctx, const char *word)
{
	_cleanup_text_ struct text list = { 0 };
	char shown[64];

	for (const struct verb *v = verbs_of(ctx); v->name; v++)
		text_printf(&list, " %s", v->name);
	tree_refuse(ctx, "ctl: no verb \"%s\"; there are, one a line:%s",
		    text_escape(shown, sizeof(shown), word), list.data ? list.data : "");
}

static int run_verb(const struct verb_call *call, const char *word)
{
	const struct verb *v = verbs_of(call->ctx);
	int r;

	while (v->name && strcmp(v->name, word))
		v++;
	if (!v->name) {
		refuse_verb(call->ctx, word);
		return -EINVAL;
	}
	pthread_mutex_lock(&call->ctx->box->lock);
	r = call->ctx->box->removed ? -ESTALE : v->run(call);
	pthread_mutex_unlock(&call->ctx->box->lock);
	return r;
}

/* The next line of h->text, cut to fit, without its newline. Threads may share the handle. */
static bool take_line(struct handle *h, char line[LINE_SIZE])
{
	size_t len, gone;
	char *end;

	pthread_mutex_lock(&h->box->lock);
	if (!h->text.len) {
		pthread_mutex_unlock(&h->box->lock);
		return false;
	}
	end = memchr(h->text.data, '\n', h->text.len);
	len = end ? (size_t)(end - h->text.data) : h->text.len;
	gone = end ? len + 1 : len;
	snprintf(line, LINE_SIZE, "%.*s", (int)MIN(len, (size_t)LINE_SIZE - 1), h->text.data);
	memmove(h->text.data, h->text.data + gone, h->text.len - gone);
	h->text.len -= gone;
	pthread_mutex_unlock(&h->box->lock);
	return true;
}

/* Takes the next line of h->text and does it; a verb that must be waited for parks the write. */
static int ctl_go_on(struct ctx *ctx, struct handle *h, size_t size)
{
	const struct verb_call call = { ctx, h, size };
	char line[LINE_SIZE];
	int r = 0;

	while (r == 0 && take_line(h, line)) {
		if (*text_strip(line))
			r = run_verb(&call, text_strip(line));
	}
	if (r < 0) {
		pthread_mutex_lock(&ctx->box->lock);
		text_reset(&h->text);
		pthread_mutex_unlock(&ctx->box->lock);
	}
	return r;
}

/* One verb a line; the write returns when the last is done. */
static int ctl_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	int r;

	if (size > MAX_VERBS || memchr(data, '\0', size)) {
		refuse_verb(ctx, "");
		return -EINVAL;
	}
	pthread_mutex_lock(&ctx->box->lock);
	if (h->text.len) {
		r = -EBUSY; /* another thread's write on this descriptor still waits */
	} else {
		text_reset(&h->text);
		text_add(&h->text, data, size);
		r = h->text.failed ? -ENOMEM : 0;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return r < 0 ? r : ctl_go_on(ctx, h, size);
}

const struct row_ops ctl_ops = { .write = ctl_write, .stream = true };
