/* SPDX-License-Identifier: MIT */
/*
 * What the daemon asks: each message goes to who it is for, and is answered once. Must not wait for
 * the box or for the daemon. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "keeper/keeper.h"
#include "keeper/box_limits.h"
#include "keeper/buckets.h"
#include "keeper/idle.h"
#include "keeper/own.h"
#include "keeper/session.h"
#include "keeper/terminal.h"
#include "keeper/tree.h"
#include "keeper/uplink.h"
#include "runtime.h"

/* A request as its handler sees it. 0 or -errno is replied at once; REPLIES_LATER says that the
 * handler has taken the tag. */
struct request {
	const struct msg *m;
	char *payload;
	struct session *session; /* of session=, where the message has fields */
	const char *why;
	struct failure failure; /* for a why that is made up */
};

enum { REPLIES_LATER = 1 };

#define TIMEOUT_MAX_MS (INT64_C(1) << 50)

static void say_run(struct run *run, void *ctx)
{
	(void)ctx;
	run_say(run);
}

static int handle_hello(struct keeper *k, struct request *q)
{
	(void)q;
	k->idle.n_messages = 1;
	/* Who waited for these has gone, and the new daemon counts its own. */
	k->stop_tag = k->destroy_tag = k->kill_tag = 0;
	buckets_forget_daemon(k);
	for (struct session *s = k->sessions; s; s = s->next)
		s->end_tag = 0;
	/* What has ended meanwhile is found on disk, by its record. */
	runs_write_records(&k->runs);
	keeper_say_welcome(k);
	runs_each(&k->runs, say_run, NULL);
	return 0;
}

/* A run of its own, beside all sessions? */
static bool is_own(const struct request *q)
{
	const char *own = field_get(q->payload, (size_t)q->m->v[0], "own");

	return own && !strcmp(own, "yes");
}

/* Its own, or what the box's limit gives. */
static int64_t submitted_timeout(const struct keeper *k, const struct request *q, size_t len)
{
	uint64_t limit = limit_to_wire(k->set.limits.of[LIMIT_TIMEOUT]);

	return (int64_t)MIN(field_get_u64(q->payload, len, "timeout", limit), TIMEOUT_MAX_MS);
}

static int handle_submit(struct keeper *k, struct request *q)
{
	size_t fields_len = (size_t)q->m->v[0];
	size_t len = q->m->len - fields_len;
	const struct run_options options = {
		.name = field_get(q->payload, fields_len, "name"),
		.user = field_get(q->payload, fields_len, "user"),
		.timeout_ms = submitted_timeout(k, q, fields_len),
		.timeout_is_default = !field_get(q->payload, fields_len, "timeout"),
	};

	if (k->ending) {
		q->why = "the box is being stopped";
		return -ESHUTDOWN;
	}
	if (len > MAX_SCRIPT_BYTES) {
		q->why = "a script may have 1 MiB at the most";
		return -EFBIG;
	}
	if (is_own(q))
		return own_submit(k, q->m->run, q->payload, fields_len, &options,
				  q->payload + fields_len, len, &q->why);
	return session_submit(q->session, q->m->run, &options, q->payload + fields_len, len,
			      &q->why);
}

static int handle_cancel(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	return run && run->state == RUN_QUEUED
		       ? session_cancel(run->of, run, "it was taken off the queue")
		       : -ESRCH;
}

static int handle_signal(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	int r = -ESRCH, sig = (int)q->m->v[0];

	if (q->m->v[0] < 1 || q->m->v[0] > SIGRTMAX)
		return -EINVAL;
	if (run && q->m->flags & MSG_SIGNAL_TREE)
		r = tree_signal(run, sig);
	else if (run && !*run->session)
		r = own_signal(run, sig);
	else if (run && run->of && (!run->said_closed || run->group))
		r = session_signal(run->of, run, sig);
	if (r == -ESRCH)
		q->why = "nothing of this run is left to get a signal";
	return r;
}

static int handle_end(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	if (!run)
		return 0; /* nothing of it is left */
	tree_end(run, q->m->tag);
	return REPLIES_LATER;
}

static int handle_timeout(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	if (!run)
		return -ESRCH;
	run->timeout_is_default = false;
	return tree_set_timeout(run, MIN(q->m->v[0], (int64_t)TIMEOUT_MAX_MS));
}

static int handle_usage(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	return run ? tree_say_usage(run) : -ESRCH;
}

static int handle_input(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	return run ? own_say_input(run) : -EPIPE;
}

static int handle_input_end(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	return run ? own_end_input(run) : -EPIPE;
}

static int handle_watch(struct keeper *k, struct request *q)
{
	struct run *run = runs_find(&k->runs, q->m->run);

	if (q->m->v[0] < 0 || q->m->v[0] >= N_STREAMS || q->m->v[1] < 0)
		return -EINVAL;
	return run ? run_watch(run, q->m->v[0], q->m->v[1])
		   : runs_watch_ended(&k->runs, q->m->run, q->m->v[0]);
}

static int handle_refused(struct keeper *k, struct request *q)
{
	const char *session = field_get(q->payload, q->m->len, "session");
	const char *newline = field_get(q->payload, q->m->len, "newline");

	run_log_refused(&k->runs, session, (uint64_t)q->m->v[0],
			field_get_u64(q->payload, q->m->len, "script", 0),
			newline && !strcmp(newline, "yes"));
	return 0;
}

static int handle_setenv(struct keeper *k, struct request *q)
{
	const char *f = NULL, *unset = field_get(q->payload, q->m->len, "unset");

	(void)k;
	if (unset)
		return session_set_env(q->session, unset, NULL, &q->why);
	while ((f = field_next(q->payload, q->m->len, f))) {
		_cleanup_free_ char *name = NULL;
		const char *eq = strchr(f, '=');

		if (strncmp(f, "set.", 4) || !eq)
			continue;
		name = strndup(f + 4, eq - f - 4);
		return name ? session_set_env(q->session, name, eq + 1, &q->why) : -ENOMEM;
	}
	return -EINVAL;
}

static int handle_chdir(struct keeper *k, struct request *q)
{
	const char *path = field_get(q->payload, q->m->len, "path");

	(void)k;
	return path ? session_chdir(q->session, path, &q->why) : -EINVAL;
}

static int handle_session_open(struct keeper *k, struct request *q)
{
	return session_open(k, q->payload, q->m->len, &q->why);
}

static int handle_session_close(struct keeper *k, struct request *q)
{
	int r = session_close(q->session, q->m->tag, &q->why);

	(void)k;
	return r < 0 ? r : REPLIES_LATER;
}

static int handle_session_reset(struct keeper *k, struct request *q)
{
	int r = session_reset(q->session, q->payload, q->m->len, q->m->tag, &q->why);

	(void)k;
	return r < 0 ? r : REPLIES_LATER;
}

static int handle_limit(struct keeper *k, struct request *q)
{
	int r;

	q->failure = (struct failure){ 0 };
	r = limits_change(k, q->payload, q->m->len, &q->failure);
	if (q->failure.text[0])
		q->why = q->failure.text;
	return r;
}

static int handle_terminal(struct keeper *k, struct request *q)
{
	int r = terminal_open(k, q->m, q->payload, &q->why);

	return r < 0 ? r : REPLIES_LATER;
}

static int handle_terminal_size(struct keeper *k, struct request *q)
{
	return terminal_resize(k, (uint64_t)q->m->v[0], (uint64_t)q->m->v[1], (uint64_t)q->m->v[2]);
}

static int handle_stop(struct keeper *k, struct request *q)
{
	if (k->stop_tag)
		return -EALREADY;
	k->stop_tag = q->m->tag;
	ending_begin(k, MAX(q->m->v[0], 0));
	return REPLIES_LATER;
}

static int handle_destroy(struct keeper *k, struct request *q)
{
	if (k->destroy_tag)
		return -EALREADY;
	k->destroy_tag = q->m->tag;
	ending_begin(k, -1);
	return REPLIES_LATER;
}

static int handle_kill(struct keeper *k, struct request *q)
{
	if (k->ending || k->killing)
		return -EALREADY;
	ending_kill_processes(k, q->m->tag);
	return REPLIES_LATER;
}

static int handle_freeze(struct keeper *k, struct request *q)
{
	int r = k->ending ? -ESHUTDOWN : 0;

	if (r == 0 && q->m->flags & MSG_FREEZE_IDLE)
		return k->state == BOX_FROZEN ? 0 : idle_freeze(k);
	k->idle.froze = false; /* it is wanted so */
	if (r == 0)
		r = box_freeze(&k->box);
	if (r < 0)
		q->why = "freeze the box";
	else if (k->state != BOX_FROZEN) {
		trees_suspend(&k->runs);
		keeper_set_state(k, BOX_FROZEN, NULL);
	}
	return r;
}

static int handle_thaw(struct keeper *k, struct request *q)
{
	int r = k->ending ? -ESHUTDOWN : box_thaw(&k->box);

	if (r < 0)
		q->why = "thaw the box";
	else
		keeper_thawed(k);
	return r;
}

static int handle_network(struct keeper *k, struct request *q)
{
	int r = k->ending ? -ESHUTDOWN : network_change(k, q->m->v[0], q->m->tag, &q->why);

	return r == 1 ? REPLIES_LATER : r;
}

/* 1, 0 or -errno, as the functions of buckets.h say it. */
static int later(int r)
{
	return r == 1 ? REPLIES_LATER : r;
}

static int handle_bucket(struct keeper *k, struct request *q)
{
	return later(buckets_mount(k, q->payload, q->m->len, q->m->tag, &q->why));
}

static const char *bucket_of(const struct request *q)
{
	return field_get(q->payload, q->m->len, "bucket");
}

static int handle_bucket_end(struct keeper *k, struct request *q)
{
	return later(buckets_end(k, bucket_of(q), q->m->tag, &q->why));
}

static int handle_bucket_flush(struct keeper *k, struct request *q)
{
	return later(buckets_flush(k, bucket_of(q), q->m->tag, &q->why));
}

static int handle_bucket_status(struct keeper *k, struct request *q)
{
	return later(buckets_status(k, bucket_of(q), q->m->tag, &q->why));
}

static const struct handler {
	enum msg_type type;
	bool fields; /* the payload begins with a field list that has session= */
	bool looks;  /* wants nothing of the box: one that is idle stays so */
	int (*handle)(struct keeper *k, struct request *q);
} handlers[] = {
	{ MSG_HELLO, false, true, handle_hello },
	{ MSG_SUBMIT, true, false, handle_submit },
	{ MSG_CANCEL, false, false, handle_cancel },
	{ MSG_SIGNAL, false, false, handle_signal },
	{ MSG_WATCH, false, true, handle_watch },
	{ MSG_SETENV, true, false, handle_setenv },
	{ MSG_CHDIR, true, false, handle_chdir },
	{ MSG_STOP, false, false, handle_stop },
	{ MSG_KILL, false, false, handle_kill },
	{ MSG_FREEZE, false, true, handle_freeze },
	{ MSG_THAW, false, false, handle_thaw },
	{ MSG_DESTROY, false, false, handle_destroy },
	{ MSG_SESSION_OPEN, false, false, handle_session_open },
	{ MSG_SESSION_CLOSE, true, false, handle_session_close },
	{ MSG_SESSION_RESET, true, false, handle_session_reset },
	{ MSG_REFUSED, false, true, handle_refused },
	{ MSG_TERMINAL, false, false, handle_terminal },
	{ MSG_TERMINAL_SIZE, false, false, handle_terminal_size },
	{ MSG_END, false, false, handle_end },
	{ MSG_TIMEOUT, false, false, handle_timeout },
	{ MSG_USAGE, false, true, handle_usage },
	{ MSG_INPUT, false, false, handle_input },
	{ MSG_INPUT_END, false, false, handle_input_end },
	{ MSG_NETWORK, false, true, handle_network },
	{ MSG_LIMIT, false, true, handle_limit },
	{ MSG_BUCKET, false, true, handle_bucket },
	{ MSG_BUCKET_END, false, true, handle_bucket_end },
	{ MSG_BUCKET_FLUSH, false, true, handle_bucket_flush },
	{ MSG_BUCKET_STATUS, false, true, handle_bucket_status },
};

static int find_session(struct keeper *k, struct request *q)
{
	bool submit = q->m->type == MSG_SUBMIT;
	size_t len = submit ? (size_t)q->m->v[0] : q->m->len;
	const char *name;

	if (submit && (q->m->v[0] < 0 || len > q->m->len))
		return -EPROTO;
	if (submit && is_own(q))
		return 0;
	name = field_get(q->payload, len, "session");
	q->session = session_find(k, name ? name : DEFAULT_SESSION);
	if (q->session)
		return 0;
	q->why = "there is no session of that name";
	return -ENOENT;
}

void requests_handle(struct daemon *daemon, const struct msg *m, char *payload)
{
	struct keeper *k = container_of(daemon, struct keeper, daemon);
	struct request q = { .m = m, .payload = payload };
	const struct handler *h = handlers;
	int r = 0;

	while (h < handlers + ARRAY_SIZE(handlers) && h->type != m->type)
		h++;
	if (h == handlers + ARRAY_SIZE(handlers))
		r = -EOPNOTSUPP; /* of a newer daemon */
	idle_note(k, r == 0 && !h->looks);
	if (r == 0 && h->fields)
		r = find_session(k, &q);
	if (r == 0)
		r = h->handle(k, &q);
	if (r != REPLIES_LATER)
		daemon_reply(daemon, m->tag, r, q.why ? q.why : strerror(-r));
}
