/* SPDX-License-Identifier: MIT */
/*
 * The life of one mounted bucket:
 *
 *   WAITING -> MOUNTING -> OPENING -> UP           and back to WAITING whenever it fails,
 *   UP -> LEAVING -> UNMOUNTING -> SAVING -> gone  when the daemon says so (UP again, if it cannot),
 *   any -> SAVING -> gone                          at the end of the box.
 *
 * One that was never up and is not of the stored ones is taken away again when it fails. Nothing here
 * waits: each phase has an answer that ends it, or a time. One thread, no locks.
 */
#include "keeper/bucket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"

enum {
	MOUNTER_LATE_MS = MOUNTER_PATIENCE_MS + 2000,
	SERVER_LATE_MS = 60000, /* more than the first request is tried for */
	LEAVE_LATE_MS = 15000,	/* likewise, to say whether it can go */
	SAVE_MAX_MS = 600000,
	FIRST_RETRY_MS = 250,
	MAX_RETRY_MS = 60000,
	SETTLED_MS = 30000, /* it is up for so long: failures before do not count */
	MAX_ASKS = 64,
};

static void fail(struct bucket *b, int error, const char *why);

static void enter(struct bucket *b, enum bucket_phase phase, int64_t patience_ms)
{
	b->phase = phase;
	if (patience_ms > 0)
		loop_timer_set(&b->k->loop, &b->timer, patience_ms);
	else
		loop_timer_clear(&b->k->loop, &b->timer);
}

/* --- telling -------------------------------------------------------------------------------------- */

void bucket_say(struct bucket *b)
{
	_cleanup_text_ struct text t = { 0 };
	struct msg m = { .type = MSG_BUCKET_STATE, .v = { b->said } };

	if (b->k->state == BOX_STARTING)
		return; /* the daemon is told with MSG_WELCOME */
	field_add(&t, "bucket", b->name);
	if (b->said == BUCKET_FAILED)
		field_add(&t, "why", b->why);
	if (t.failed)
		return;
	m.len = t.len;
	daemon_send(&b->k->daemon, &m, t.data);
}

static void say_state(struct bucket *b, enum bucket_state state)
{
	bool news = b->said != state || state == BUCKET_FAILED;

	b->said = state;
	if (news)
		bucket_say(b);
}

static void reply(struct bucket *b, uint64_t *tag, int error, const char *why)
{
	uint64_t to = *tag;

	*tag = 0;
	if (to)
		daemon_reply(&b->k->daemon, to, error, why && *why ? why : strerror(-error));
}

void bucket_drop_asks(struct bucket *b, int error, const char *why)
{
	while (b->asks) {
		struct bucket_ask *ask = b->asks;

		b->asks = ask->next;
		daemon_reply(&b->k->daemon, ask->tag, error, why);
		free(ask);
	}
	b->n_asks = 0;
}

/* --- coming up ------------------------------------------------------------------------------------ */

static void mounter_close(struct bucket *b)
{
	if (b->mounter.fd < 0)
		return;
	loop_remove(&b->k->loop, &b->mounter);
	close_fd(&b->mounter.fd);
}

/* The mounter has made it: fuse is taken. */
static void mounted(struct bucket *b, const struct mounter_answer *answer, int fuse)
{
	int r;

	if (!b->is_mounted)
		b->n_made = answer->n_made;
	b->is_mounted = true;
	b->mount_id = answer->mount_id;
	r = bucket_server_start(b, fuse);
	close(fuse);
	if (r < 0) {
		fail(b, r, NULL);
		return;
	}
	enter(b, PHASE_OPENING, SERVER_LATE_MS + b->retry_for_ms);
	say_state(b, BUCKET_STARTING);
}

/* It is not there any more, nor wanted. */
static void unmounted(struct bucket *b)
{
	b->is_mounted = false;
	if (b->death.fd >= 0) {
		bucket_save(b, SAVE_MAX_MS);
		return;
	}
	say_state(b, BUCKET_GONE);
	reply(b, &b->mount_tag, b->error ? b->error : -ECANCELED, b->why);
	reply(b, &b->end_tag, 0, NULL);
	bucket_remove_spool(b);
	buckets_remove(b);
}

static void take_mounter(struct bucket *b)
{
	struct mounter_answer answer;
	int fuse, r = mounter_receive(b->mounter.fd, &answer, &fuse);

	if (r == -EAGAIN)
		return;
	mounter_close(b);
	if (r == -EIO)
		snprintf(answer.why, sizeof(answer.why), "%s does not answer", b->target);
	if (b->phase == PHASE_UNMOUNTING) {
		if (r < 0)
			log_warn("bucket %s: unmount %s: %s", b->name, b->target, strerror(-r));
		unmounted(b);
	} else if (r < 0) {
		fail(b, r, answer.why);
	} else {
		mounted(b, &answer, fuse);
	}
}

static void mounter_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	take_mounter(container_of(source, struct bucket, mounter));
}

static int ask_mounter(struct bucket *b, enum mounter_op op)
{
	static struct mounter_request request;
	const char *readonly = field_get(b->fields.data, b->fields.len, "readonly");
	int r;

	request = (struct mounter_request){
		.op = op,
		.readonly = readonly && !strcmp(readonly, "yes"),
		.n_made = b->n_made,
		.mount_id = b->mount_id,
	};
	snprintf(request.target, sizeof(request.target), "%s", b->target);
	snprintf(request.source, sizeof(request.source), "%s", b->source);
	r = mounter_ask(b->k->box.mounter, &request, &b->mounter.fd);
	if (r < 0)
		return r;
	b->mounter.ready = mounter_ready;
	r = loop_add(&b->k->loop, &b->mounter, EPOLLIN);
	if (r < 0)
		close_fd(&b->mounter.fd);
	return r;
}

void bucket_start(struct bucket *b)
{
	int r;

	if (b->in && b->in->phase != PHASE_UP) {
		enter(b, PHASE_WAITING, 0);
		return;
	}
	r = ask_mounter(b, b->is_mounted ? MOUNTER_REPLACE : MOUNTER_MOUNT);
	if (r < 0)
		fail(b, r, "the mounter has ended");
	else
		enter(b, PHASE_MOUNTING, MOUNTER_LATE_MS);
}

void bucket_start_now(struct bucket *b)
{
	struct pollfd p;

	bucket_start(b);
	if (b->phase != PHASE_MOUNTING)
		return;
	p = (struct pollfd){ .fd = b->mounter.fd, .events = POLLIN };
	if (poll(&p, 1, MOUNTER_LATE_MS) > 0)
		take_mounter(b);
}

/* --- failing -------------------------------------------------------------------------------------- */

static void try_later(struct bucket *b)
{
	int64_t wait_ms = FIRST_RETRY_MS;

	for (unsigned i = 1; i < b->failures && wait_ms < MAX_RETRY_MS; i++)
		wait_ms *= 2;
	enter(b, PHASE_WAITING, MIN(wait_ms, (int64_t)MAX_RETRY_MS));
}

static void unmount(struct bucket *b)
{
	int r = ask_mounter(b, MOUNTER_UNMOUNT);

	enter(b, PHASE_UNMOUNTING, MOUNTER_LATE_MS);
	if (r < 0) {
		log_warn("bucket %s: the mounter has ended", b->name);
		unmounted(b);
	}
}

/* why NULL: b->why has it. */
static void fail(struct bucket *b, int error, const char *why)
{
	b->error = error;
	if (why)
		text_escape(b->why, sizeof(b->why), *why ? why : strerror(-error));
	log_warn("bucket %s: %s", b->name, b->why);
	bucket_drop_asks(b, -ENOTCONN, b->why);
	bucket_server_kill(b);
	bucket_server_close(b);
	if (b->is_new && b->is_mounted) {
		unmount(b);
		return;
	}
	if (b->is_new) {
		unmounted(b);
		return;
	}
	b->failures++;
	say_state(b, BUCKET_FAILED);
	try_later(b);
	buckets_changed(b->k);
}

static void saved_and_gone(struct bucket *b, bool saved)
{
	if (!saved && !b->unused)
		daemon_why(&b->k->daemon,
			   "bucket %s: not everything that was written is in the bucket", b->name);
	bucket_drop_asks(b, -ESHUTDOWN, "it has been unmounted");
	if (b->k->buckets.ending) {
		if (b->k->ending)
			loop_timer_set(&b->k->loop, &b->k->ending_timer, 0);
		return;
	}
	if (!b->again) {
		unmounted(b);
		return;
	}
	b->again = false;
	say_state(b, BUCKET_STARTING);
	bucket_start(b);
}

void bucket_server_died(struct bucket *b)
{
	bool was_wanted =
		b->phase == PHASE_OPENING || b->phase == PHASE_UP || b->phase == PHASE_LEAVING;
	bool saved = bucket_server_close(b);

	if (b->phase == PHASE_SAVING) {
		saved_and_gone(b, saved);
		return;
	}
	if (!was_wanted || b->k->buckets.ending)
		return; /* the mounter's answer goes on, or the box's end */
	reply(b, &b->end_tag, -EIO, "its server has ended");
	if (monotonic_ms() - b->up_ms > SETTLED_MS)
		b->failures = 0;
	if (b->phase == PHASE_OPENING && b->error)
		fail(b, b->error, NULL); /* it has said why */
	else
		fail(b, -EIO, "its server has ended unexpectedly");
}

static void timer_fire(struct loop_timer *timer)
{
	struct bucket *b = container_of(timer, struct bucket, timer);

	switch (b->phase) {
	case PHASE_WAITING:
		bucket_start(b);
		break;
	case PHASE_MOUNTING:
		mounter_close(b);
		fail(b, -ETIMEDOUT, "the mounter does not answer");
		break;
	case PHASE_OPENING:
		fail(b, -ETIMEDOUT, "its server does not answer");
		break;
	case PHASE_UP:
		b->failures = 0;
		break;
	case PHASE_LEAVING:
		enter(b, PHASE_UP, 0);
		b->leave_number = 0;
		reply(b, &b->end_tag, -EBUSY, "it does not answer");
		break;
	case PHASE_UNMOUNTING:
		mounter_close(b);
		unmounted(b);
		break;
	case PHASE_SAVING:
		log_warn("bucket %s: its server does not end, and is killed", b->name);
		bucket_server_kill(b);
		break;
	}
}

/* --- the server's words --------------------------------------------------------------------------- */

static void heard_ready(struct bucket *b)
{
	if (b->phase != PHASE_OPENING)
		return;
	b->is_new = false;
	b->error = 0;
	b->up_ms = monotonic_ms();
	enter(b, PHASE_UP, SETTLED_MS);
	say_state(b, BUCKET_MOUNTED);
	reply(b, &b->mount_tag, 0, NULL);
	buckets_changed(b->k);
}

static void heard_failed(struct bucket *b, const char *fields, size_t len)
{
	const char *why = field_get(fields, len, "why");

	b->error = -(int)field_get_u64(fields, len, "error", EIO);
	if (b->error >= 0 || b->error < -4095)
		b->error = -EIO;
	text_escape(b->why, sizeof(b->why), why ? why : strerror(-b->error));
}

/* May it go? */
static void heard_leave(struct bucket *b, int error, const char *why)
{
	b->leave_number = 0;
	if (b->phase != PHASE_LEAVING)
		return;
	if (error) {
		enter(b, PHASE_UP, 0);
		reply(b, &b->end_tag, error, why);
		return;
	}
	unmount(b);
}

static void heard_answer(struct bucket *b, const char *fields, size_t len)
{
	uint64_t number = field_get_u64(fields, len, "tag", 0);
	int error = -(int)(field_get_u64(fields, len, "error", EIO) & 0xfff);
	const char *why = field_get(fields, len, "why"), *text = field_get(fields, len, "text");
	struct bucket_ask **at = &b->asks, *ask;

	if (number && number == b->leave_number) {
		heard_leave(b, error, why);
		return;
	}
	while (*at && (*at)->number != number)
		at = &(*at)->next;
	ask = *at;
	if (!ask)
		return;
	*at = ask->next;
	b->n_asks--;
	if (ask->is_status && text) {
		struct msg m = { .type = MSG_BUCKET_TEXT, .tag = ask->tag, .len = strlen(text) };

		daemon_send(&b->k->daemon, &m, text);
	}
	daemon_reply(&b->k->daemon, ask->tag, error, why ? why : strerror(-error));
	free(ask);
}

void bucket_heard(struct bucket *b, const char *fields, size_t len)
{
	const char *word = field_get(fields, len, "say");

	if (!word)
		return;
	if (!strcmp(word, BUCKET_SAY_READY))
		heard_ready(b);
	else if (!strcmp(word, BUCKET_SAY_FAILED))
		heard_failed(b, fields, len);
	else if (!strcmp(word, BUCKET_SAY_ANSWER))
		heard_answer(b, fields, len);
	else if (!strcmp(word, BUCKET_SAY_HELD))
		bucket_answer_held(b, fields, len);
}

/* --- requests ------------------------------------------------------------------------------------- */

int bucket_ask(struct bucket *b, const char *word, uint64_t tag, bool is_status)
{
	struct bucket_ask *ask;
	int r;

	if (b->phase != PHASE_UP && b->phase != PHASE_LEAVING)
		return -ENOTCONN;
	if (b->n_asks >= MAX_ASKS)
		return -EAGAIN;
	ask = malloc(sizeof(*ask));
	if (!ask)
		return -ENOMEM;
	*ask = (struct bucket_ask){ b->asks, ++b->last_number, tag, is_status };
	r = bucket_server_say(b, word, ask->number);
	if (r < 0) {
		free(ask);
		return r;
	}
	b->asks = ask;
	b->n_asks++;
	return 1;
}

int bucket_note_inside(struct bucket *b)
{
	/* What is said comes before what the mounter asks for. */
	return b->phase < PHASE_OPENING ? 0 : bucket_server_say_inside(b, ++b->last_number);
}

void bucket_leave(struct bucket *b)
{
	b->leave_number = ++b->last_number;
	if (bucket_server_say(b, BUCKET_SAY_END, b->leave_number) < 0) {
		b->leave_number = 0;
		reply(b, &b->end_tag, -EBUSY, "it does not answer");
		return;
	}
	enter(b, PHASE_LEAVING, LEAVE_LATE_MS + b->retry_for_ms);
}

void bucket_save(struct bucket *b, int64_t within_ms)
{
	b->unused = b->phase == PHASE_OPENING;
	if (b->unused) /* it may be busy with the first request for long */
		bucket_server_kill(b);
	/* If it cannot be told: the end of the conversation says the same. */
	if (bucket_server_say(b, BUCKET_SAY_SAVE, ++b->last_number) < 0 && b->control.fd >= 0) {
		loop_remove(&b->k->loop, &b->control);
		close_fd(&b->control.fd);
	}
	enter(b, PHASE_SAVING, within_ms);
}

void bucket_restart(struct bucket *b)
{
	if (b->phase != PHASE_OPENING && b->phase != PHASE_UP && b->phase != PHASE_LEAVING)
		return;
	reply(b, &b->end_tag, -EBUSY, "what it is mounted in has failed");
	b->again = true;
	bucket_save(b, SAVE_MAX_MS);
}

void bucket_free(struct bucket *b)
{
	bucket_server_kill(b);
	bucket_server_close(b);
	mounter_close(b);
	loop_timer_clear(&b->k->loop, &b->timer);
	bucket_drop_asks(b, -ESHUTDOWN, "it has been unmounted");
	if (b->fields.data)
		explicit_bzero(b->fields.data, b->fields.len);
	text_free(&b->fields);
	free(b);
}

void bucket_init(struct bucket *b, struct keeper *k)
{
	b->k = k;
	b->said = BUCKET_STARTING;
	b->mounter.fd = b->control.fd = b->death.fd = -1;
	b->timer.fire = timer_fire;
}
