/* SPDX-License-Identifier: MIT */
/*
 * What keepers say, turned into changes of boxes and runs, and who waited for them is answered.
 * Runs on the event thread (and in keeper_adopt, before there are threads). box->lock is held
 * while messages are handled; replies go out after it is let go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "base/log.h"
#include "box_disk.h"
#include "dirs.h"
#include "events.h"
#include "input.h"
#include "keeper.h"
#include "keeper_private.h"
#include "mount.h"
#include "net.h"
#include "store.h"
#include "stream.h"
#include "tree.h"
#include "tty.h"

static void collect_run(struct keeper *k, struct run *run, int error)
{
	k->answers = park_collect(&run->parks, error, k->answers);
	k->streams_moved = true;
}

static void collect_box(struct keeper *k)
{
	k->answers = park_collect(&k->box->parks, 0, k->answers);
}

static void on_welcome(struct keeper *k, const struct msg *m, const char *payload, int *fds,
		       int n_fds)
{
	struct box *box = k->box;
	const char *cgroup = field_get(payload, m->len, "cgroup");

	if (cgroup)
		snprintf(box->cgroup, sizeof(box->cgroup), "%s", cgroup);
	for (int i = 0; i < N_MEASURES; i++)
		string_replace(&box->measured[i], field_get(payload, m->len, measure_fields[i]));
	if (n_fds == 2)
		box_volumes_live(box, take_fd(&fds[0]), take_fd(&fds[1]));
	if (m->v[1] < 0 || m->v[1] >= N_BOX_STATES || box->state == (enum box_state)m->v[1])
		return;
	if (box->state == BOX_STARTING) {
		box_set_state(box, (enum box_state)m->v[1], NULL);
		return;
	}
	/* Adopted: it is news to us only. */
	box->state = (enum box_state)m->v[1];
	event_add(box, "found", "{s:s}", "state", box_state_word(box->state));
}

static void on_state(struct keeper *k, const struct msg *m, const char *payload)
{
	if (m->v[0] < 0 || m->v[0] >= N_BOX_STATES)
		return;
	if (m->v[0] == BOX_STOPPED)
		k->said_goodbye = true;
	/* Its end brings the rest: see keeper_ended(). */
	if (m->v[0] == BOX_STOPPED || k->box->removed)
		return;
	if (m->v[0] == BOX_FAILED)
		k->said_goodbye = true;
	box_set_state(k->box, (enum box_state)m->v[0], m->len ? payload : NULL);
	collect_box(k);
}

static void refuse_run(struct keeper *k, struct run *run, int error, const char *why)
{
	struct box *box = k->box;

	run->refused = error;
	run->state = RUN_FAILED;
	run->ended = run->closed = true;
	run->end_size[STREAM_OUT] = run->end_size[STREAM_ERR] = 0;
	store_run_refused(box, run, run->script ? run->script : "", run->script_len);
	log_add_refused(box, run->session, run->number, run->script, run->script_len);
	why_add(&box->why, box->uid, "run %llu was not started: %s (%s)",
		(unsigned long long)run->number, strerror(error), why);
	event_run_ended(box, run, why);
	collect_run(k, run, 0);
	box_run_forget(box, run);
}

static void on_run_reply(struct keeper *k, uint64_t number, int error, const char *why)
{
	struct run *run = box_live_run(k->box, number);

	if (!run)
		return;
	run->answered = true;
	if (error) {
		refuse_run(k, run, error, why);
		return;
	}
	free(run->script);
	run->script = NULL;
	collect_run(k, run, 0);
	if (run->name[0])
		collect_box(k); /* who waits to write to its input */
}

static void on_start_reply(struct keeper *k, int error, const char *why)
{
	struct box *box = k->box;

	if (error) {
		k->said_goodbye = true;
		box->start_errno = error;
		why_add(&box->why, box->uid, "the box did not start: %s", why);
		if (!box->removed)
			box_set_state(box, BOX_FAILED, why);
	} else {
		k->ready = true;
		if (box->state == BOX_STARTING)
			box_set_state(box, BOX_RUNNING, NULL);
		store_save(box);
		box_disk_started(box);
		mounts_started(box);
		keeper_started();
	}
	collect_box(k);
}

static void on_input_reply(struct keeper *k, uint64_t number, int error)
{
	struct run *run = box_live_run(k->box, number);

	if (run && run->input && error)
		k->answers = input_refused(run->input, k->answers);
}

static void on_input_fd(struct keeper *k, uint64_t number, int *fd)
{
	struct run *run = box_live_run(k->box, number);

	if (run && run->input)
		k->answers = input_take_fd(run->input, take_fd(fd), k->answers);
}

static void on_usage(struct keeper *k, const struct msg *m, const char *payload)
{
	struct run *run = box_live_run(k->box, m->run);
	const char *f = NULL;

	while (run && (f = field_next(payload, m->len, f))) {
		const char *eq = strchr(f, '=');
		char key[32];
		uint64_t value;

		if (!eq || parse_u64(eq + 1, 0, UINT64_MAX, &value) < 0)
			continue;
		snprintf(key, sizeof(key), "%.*s", (int)(eq - f), f);
		run_usage_set(&run->usage, key, value);
	}
}

/* What its box's settings say now, the box that was found running may not be able to take on. */
static void on_limit_reply(struct keeper *k, uint64_t which, int error, const char *why)
{
	/* EOPNOTSUPP: a keeper of an older version. */
	if (error && error != EOPNOTSUPP && which < N_LIMITS)
		why_add(&k->box->why, k->box->uid,
			"limits/%s holds from the box's next start on: %s", limit_types[which].name,
			why);
}

static void on_reply(struct keeper *k, const struct msg *m, const char *payload)
{
	int error = m->v[0] >= 0 && m->v[0] < 4096 ? (int)m->v[0] : EIO;

	if (m->tag == KEEPER_START_TAG) {
		on_start_reply(k, error, payload);
		return;
	}
	if (m->tag & KEEPER_RUN_TAG) {
		on_run_reply(k, m->tag & ~KEEPER_RUN_TAG, error, payload);
		return;
	}
	if (m->tag & KEEPER_SESSION_TAG) {
		if (error)
			session_open_failed(k->box, (uint32_t)(m->tag & NODE_MAX_ITEM));
		return;
	}
	if (m->tag & KEEPER_INPUT_TAG) {
		on_input_reply(k, m->tag & NODE_MAX_ITEM, error);
		return;
	}
	if (m->tag & KEEPER_LIMIT_TAG) {
		on_limit_reply(k, m->tag & ~KEEPER_LIMIT_TAG, error, payload);
		return;
	}
	if (m->tag & KEEPER_MOUNT_TAG) {
		mounts_replied(k->box, m->tag, error, payload);
		collect_box(k);
		return;
	}
	for (struct park *p = k->box->parks.first; p; p = p->next) {
		if (p->wait.tag != m->tag)
			continue;
		p->done = true;
		p->error = error;
		/* What was asked about may have ended meanwhile. */
		if (error && error != ESRCH)
			why_add(&k->box->why, fuse_req_ctx(p->req)->uid, "%s %s: %s",
				p->handle->row->name,
				p->handle->text.data ? p->handle->text.data : "",
				*payload ? payload : strerror(error));
	}
	collect_box(k);
}

static void run_event(struct keeper *k, struct run *run, enum run_state was, bool was_ended)
{
	if (run->ended && !was_ended)
		event_run_ended(k->box, run, NULL);
	else if (!k->ready)
		return; /* an adopted keeper tells what has been so for long */
	else if (run->state == RUN_QUEUED && !run->answered)
		event_run_queued(k->box, run);
	else if (run->state == RUN_RUNNING && was != RUN_RUNNING)
		event_run_started(k->box, run);
}

static void on_run(struct keeper *k, const struct msg *m)
{
	struct box *box = k->box;
	enum run_state was;
	struct run *run;
	bool was_ended;

	if (m->v[0] < 0 || m->v[0] >= N_RUN_STATES || !m->run || m->run > NODE_MAX_ITEM)
		return;
	run = box_live_run(box, m->run);
	if (!run && !k->ready && !(m->flags & MSG_RUN_CLOSED))
		run = box_run_adopt(box, m->run);
	if (!run)
		return;
	was_ended = run->ended;
	was = run->state;
	run->state = (enum run_state)m->v[0];
	run->pid = m->tag;
	if (run->state == RUN_RUNNING)
		run->started_us = m->v[1];
	else
		run->code = (int)m->v[1];
	run->truncated |= m->flags & MSG_RUN_TRUNCATED;
	if (run_state_is_end(run->state) && !run->ended) {
		run->ended = true;
		/* What the limit becomes later was not its. */
		if (run->timeout_ms < 0)
			run->timeout_ms = (int64_t)limit_to_wire(box_limit(box, LIMIT_TIMEOUT));
		run->end_size[STREAM_OUT] = (uint64_t)m->v[2];
		run->end_size[STREAM_ERR] = (uint64_t)m->v[3];
	}
	run->closed |= m->flags & MSG_RUN_CLOSED;
	if (run->ended)
		box->last_ended_run = MAX(box->last_ended_run, run->number);
	if (run->ended)
		k->answers = input_close(run, EPIPE, k->answers);
	run_event(k, run, was, was_ended);
	run->answered = true;
	collect_run(k, run, 0);
	if (run->closed && run->unwanted)
		box_run_remove(box, run->number);
	else if (run->closed)
		box_run_forget(box, run);
}

static void on_grown(struct keeper *k, const struct msg *m)
{
	struct run *run = box_live_run(k->box, m->run);

	if (!run || m->v[0] < 0 || m->v[0] >= N_STREAMS)
		return;
	run->watching[m->v[0]] = false;
	collect_run(k, run, 0);
}

/* It is left alone while somebody has something open to ask of it, or has just asked. */
static void on_idle(struct keeper *k, const struct msg *m)
{
	struct box *box = k->box;

	if ((uint64_t)m->v[0] != k->n_sent || box->state != BOX_RUNNING || box->writers)
		return;
	if (m->v[1])
		keeper_freeze_idle(box);
	else
		keeper_stop(box, the_options.stop_timeout_ms, 0, "idle");
}

static void on_message(struct keeper *k, const struct msg *m, const char *payload, int *fds,
		       int n_fds)
{
	switch (m->type) {
	case MSG_WELCOME:
		on_welcome(k, m, payload, fds, n_fds);
		break;
	case MSG_REPLY:
		on_reply(k, m, payload);
		break;
	case MSG_STATE:
		on_state(k, m, payload);
		break;
	case MSG_RUN:
		on_run(k, m);
		break;
	case MSG_GROWN:
		on_grown(k, m);
		break;
	case MSG_SESSION:
		session_told(k->box, payload, m->len, (pid_t)m->v[0]);
		break;
	case MSG_INPUT_FD:
		if (n_fds == 1)
			on_input_fd(k, m->run, &fds[0]);
		break;
	case MSG_RUN_USAGE:
		on_usage(k, m, payload);
		break;
	case MSG_TERMINAL_FD:
		if (n_fds == 1)
			tty_take_stream(k->box, m->tag, (uint64_t)m->v[0], &fds[0]);
		break;
	case MSG_TERMINAL_END:
		k->answers = tty_note_end(k->box, (uint64_t)m->v[0], (int)m->v[1], k->answers);
		break;
	case MSG_IDLE:
		on_idle(k, m);
		break;
	case MSG_BUCKET_STATE:
		mounts_told_state(k->box, payload, m->len, (int)m->v[0], !k->ready);
		break;
	case MSG_BUCKET_TEXT:
		mounts_told_text(k->box, m->tag, payload);
		break;
	case MSG_WHY:
		why_add(&k->box->why, k->box->uid, "%s", payload);
		break;
	default: /* of a newer version: not for us */
		break;
	}
}

int keeper_take_messages(struct keeper *k)
{
	for (;;) {
		int fds[MSG_MAX_FDS] = { -1, -1 }, n_fds = 0;
		struct msg m;
		char *payload;
		int r = msg_receive(&k->link, &m, &payload, fds, &n_fds);

		if (r <= 0)
			return r;
		on_message(k, &m, payload, fds, n_fds);
		for (int i = 0; i < n_fds; i++)
			close_fd(&fds[i]);
	}
}

/* Has the box's system been asked for anew once it has stopped? */
static void after_stop(struct box *box)
{
	bool start = box->after_stop_start;

	if (box->cleaning)
		return; /* box_clean_now() goes on */
	if (box->after_stop_reset) {
		daemon_later(box, box_reset_now);
		return;
	}
	box->after_stop_start = false;
	if (start && !box->removed)
		keeper_start(box);
}

/* The keeper is gone, after its goodbye or without. */
static void keeper_ended(struct keeper *k)
{
	struct box *box = k->box;

	box->keeper = NULL;
	if (box->net_private)
		net_forget(box);
	sessions_keeper_gone(box);
	box_runs_lost(box, &k->answers);
	k->answers = ttys_lost(box, EIO, k->answers);
	k->streams_moved = true;
	box_volumes_stopped(box);
	if (k->said_goodbye) {
		keeper_block_free(box);
	} else { /* freed when nothing of it is left */
		log_warn("box %s: its keeper died", box->name);
		box->cleaning = true;
		daemon_later(box, box_clean_now);
	}
	if (box->removed)
		daemon_kick();
	else if (!k->said_goodbye)
		box_set_state(box, BOX_FAILED, "its keeper died; its files are kept");
	else if (box->state != BOX_FAILED)
		box_set_state(box, BOX_STOPPED, NULL);
	store_save(box);
	mounts_ended(box);
	if (box->sessions->next)
		store_sessions_save(box); /* where they were */
	after_stop(box);
	for (struct park *p = box->parks.first; p; p = p->next) {
		p->done = true;
		p->error = EIO; /* what was asked for may not have been done */
	}
	collect_box(k);
}

void keeper_ready(struct watch *watch, uint32_t events)
{
	struct keeper *k = container_of(watch, struct keeper, watch);
	struct box *box = box_ref(k->box);
	struct park *answers;
	bool moved;
	int r = 0;

	pthread_mutex_lock(&box->lock);
	k->answers = NULL;
	k->streams_moved = false;
	if (events & EPOLLOUT) {
		r = msg_flush(&k->link);
		if (r == 0 && !msg_wants_write(&k->link))
			daemon_watch_change(&k->watch, EPOLLIN);
	}
	/* Also after a failed send: what it said before it went counts. */
	r = keeper_take_messages(k) < 0 ? -EPIPE : r;
	if (r < 0)
		keeper_ended(k);
	answers = k->answers;
	k->answers = NULL;
	moved = k->streams_moved;
	if (r < 0)
		keeper_free(k);
	pthread_mutex_unlock(&box->lock);
	park_answer(answers);
	if (moved)
		stream_notify_polls(box);
	box_put(box);
}
