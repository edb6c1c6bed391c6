/* SPDX-License-Identifier: MIT */
/*
 * The keeper: makes the box, tells the daemon of it, and serves both until the box has ended. Must
 * not wait for the box or for the daemon. One thread, no locks.
 */
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "keeper/box_limits.h"
#include "keeper/group.h"
#include "keeper/idle.h"
#include "keeper/session.h"
#include "keeper/terminal.h"
#include "keeper/tree.h"
#include "runtime.h"

enum {
	SIGTERM_PATIENCE_MS = 2000,
	LOCK_MS = 10000,
	LOCK_LOOK_US = 2000,
	FLUSH_MS = 1000, /* for what the daemon has not read yet when we exit */
};

void keeper_set_state(struct keeper *k, enum box_state state, const char *why)
{
	struct msg m = { .type = MSG_STATE, .v = { state }, .len = why ? strlen(why) : 0 };

	k->state = state;
	daemon_send(&k->daemon, &m, why);
}

void keeper_say_welcome(struct keeper *k)
{
	_cleanup_text_ struct text fields = { 0 };
	int fds[MSG_MAX_FDS] = { k->box.workspace, k->box.root };
	struct msg m = {
		.type = MSG_WELCOME,
		.v = { PROTOCOL_VERSION, k->state, k->box.init_pid },
	};

	field_add(&fields, "cgroup", box_cgroup_path(&k->box));
	box_add_cgroups(&k->box, &fields);
	field_add_u64(&fields, "started", k->started_us);
	if (fields.failed)
		return;
	m.len = fields.len;
	daemon_send_fds(&k->daemon, &m, fields.data, fds, 2);
	for (struct session *s = k->sessions; s; s = s->next)
		session_say(s);
	buckets_say(k);
}

void keeper_thawed(struct keeper *k)
{
	bool was_frozen = k->state == BOX_FROZEN;

	keeper_set_state(k, BOX_RUNNING, NULL);
	if (was_frozen) {
		trees_resume(&k->runs);
		idle_begin(k);
	}
}

/* --- what the box says -------------------------------------------------------------------- */

static void init_ready(struct loop_source *source, uint32_t events)
{
	struct keeper *k = container_of(source, struct keeper, init_events);
	struct init_event event;
	int r;

	(void)events;
	while ((r = init_next_event(&k->box, &event)) > 0)
		spawns_dispatch(&k->spawns, &event);
	if (r < 0)
		ending_box_lost(k, "its init broke off the conversation");
}

static void init_died(struct loop_source *source, uint32_t events)
{
	(void)events;
	ending_box_lost(container_of(source, struct keeper, init_death), "its init died");
}

static void signal_ready(struct loop_source *source, uint32_t events)
{
	struct keeper *k = container_of(source, struct keeper, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) == sizeof(info))
		ending_begin(k, SIGTERM_PATIENCE_MS);
}

/* --- start and end ------------------------------------------------------------------------ */

static int fail(struct failure *why, int r, const char *step)
{
	if (!why->error) {
		why->error = -r;
		why->step = step;
	}
	return r;
}

/*
 * One keeper a box: the lock lives as long as we do. The last one may still be on its way out, after
 * its socket has closed: then the kernel writes the box's files to disk.
 */
static int lock_box(struct keeper *k, struct failure *why)
{
	int64_t deadline = monotonic_ms() + LOCK_MS;

	k->lock = openat(k->box_dir, KEEPER_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (k->lock < 0)
		return fail(why, -errno, "open " KEEPER_LOCK);
	while (flock(k->lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || monotonic_ms() >= deadline)
			return fail(why, errno == EWOULDBLOCK ? -EBUSY : -errno,
				    "lock the box: another keeper runs it");
		usleep(LOCK_LOOK_US);
	}
	return 0;
}

static int watch_signals(struct keeper *k)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a full disk is an errno, so is a limit */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	k->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	k->signals.ready = signal_ready;
	return k->signals.fd < 0 ? -errno : loop_add(&k->loop, &k->signals, EPOLLIN);
}

static int watch_box(struct keeper *k)
{
	int r;

	k->init_events = (struct loop_source){ k->box.init_sock, init_ready };
	k->init_death = (struct loop_source){ k->box.init_pidfd, init_died };
	r = loop_add(&k->loop, &k->init_events, EPOLLIN);
	if (r == 0)
		r = loop_add(&k->loop, &k->init_death, EPOLLIN);
	return r < 0 ? r : watch_signals(k);
}

/* Everything that stands on a box that runs. */
static int start_service(struct keeper *k, struct failure *why)
{
	int r = watch_box(k);

	umask(0); /* modes are given where things are made */
	if (r < 0)
		return fail(why, r, "watch the box");
	r = session_open_default(k, k->set.fields, k->set.fields_len, k->set.cwd);
	if (r < 0)
		return fail(why, r, "make the default session");
	r = runs_open(&k->runs, &k->loop, &k->daemon, k->box_dir, k->set.keep_runs, k->set.token);
	if (r < 0)
		return fail(why, r, "open the folder of runs");
	k->runs_open = true;
	runs_set_output_limit(&k->runs, k->set.limits.of[LIMIT_OUTPUT]);
	runs_set_output_total(&k->runs, k->set.limits.of[LIMIT_OUTPUT_TOTAL], false);
	/* It comes up while the daemon is told; a box without a shell is one all the same. */
	session_start_shell(k->sessions);
	r = daemon_listen(&k->daemon, k->box_dir);
	return r < 0 ? fail(why, r, "listen on " KEEPER_SOCKET) : 0;
}

static int keeper_start(struct keeper *k, const struct msg *start, struct failure *why)
{
	static char log_name[80];
	int r = box_settings_parse(&k->set, k->start_fields, start->len, why), dir;

	if (r < 0)
		return fail(why, r, "read the settings");
	snprintf(log_name, sizeof(log_name), "keeper %s", k->set.name);
	log_init(log_name, LOG_LEVEL_INFO);
	r = lock_box(k, why);
	if (r < 0)
		return r;
	r = keeper_leave_caller(&k->set, why);
	if (r < 0)
		return fail(why, r, "leave the caller's session");
	/* The box owns its descriptor, and closes it before we are done with ours. */
	dir = fcntl(k->box_dir, F_DUPFD_CLOEXEC, KEEPER_SOCKET_FD + 1);
	if (dir < 0)
		return fail(why, -errno, "hold the box's folder");
	r = box_start(&k->box, &k->set, dir, why);
	if (r < 0) {
		close(dir);
		return fail(why, r, "start the box");
	}
	if (k->box.network_why[0])
		daemon_why(&k->daemon, "this box has no network: %s", k->box.network_why);
	groups_serve(k->box.groups, &k->loop);
	k->started_us = realtime_us();
	r = limits_begin(k, why);
	if (r == 0) {
		r = buckets_begin(k);
		if (r < 0)
			fail(why, r, "mount the buckets");
	}
	if (r == 0)
		r = start_service(k, why);
	if (r < 0)
		box_destroy(&k->box);
	return r;
}

static void reply_failure(struct keeper *k, uint64_t tag, const struct failure *why)
{
	_cleanup_text_ struct text t = { 0 };

	text_printf(&t, "%s: %s", why->step ? why->step : "start the box",
		    why->text[0] ? why->text : strerror(why->error));
	if (t.failed)
		return;
	log_error("%s", t.data);
	daemon_reply(&k->daemon, tag, -why->error, t.data);
}

static void keeper_close(struct keeper *k)
{
	terminals_close(k);
	buckets_close(k);
	for (struct session *s = k->sessions; s; s = s->next)
		s->unsettled = NULL;
	if (k->runs_open)
		runs_close(&k->runs);
	while (k->sessions) {
		struct session *s = k->sessions;

		k->sessions = s->next;
		session_free(s);
	}
	daemon_close(&k->daemon, k->box_dir, FLUSH_MS);
	close_fd(&k->box_dir);
	loop_close(&k->loop);
	close_fd(&k->signals.fd);
	close_fd(&k->lock);
	free(k->start_fields);
	box_close(&k->box); /* last: it may wait for the disk */
}

int keeper_main(struct msg_link *link, const struct msg *start, char *fields, int dir)
{
	static struct keeper k = { .lock = -1, .signals = { .fd = -1 }, .state = BOX_STARTING };
	struct failure why = { 0 };
	int r;

	k.start_fields = fields;
	k.box_dir = dir;
	k.ending_timer.fire = ending_timer_fire;
	r = loop_open(&k.loop);
	if (r < 0)
		return 1;
	daemon_init(&k.daemon, &k.loop);
	k.daemon.handle = requests_handle;
	r = daemon_take(&k.daemon, link);
	if (r == 0)
		r = keeper_start(&k, start, &why);
	if (r < 0) {
		reply_failure(&k, start->tag, &why);
	} else {
		k.state = BOX_RUNNING;
		keeper_say_welcome(&k);
		keeper_set_state(&k, BOX_RUNNING, NULL);
		daemon_reply(&k.daemon, start->tag, 0, NULL);
		k.idle.n_messages = 1; /* start itself */
		idle_begin(&k);
		r = loop_serve(&k.loop);
		if (r < 0) {
			log_error("wait for events: %s", strerror(-r));
			box_destroy(&k.box);
		}
	}
	keeper_close(&k);
	return r < 0 ? 1 : 0;
}
