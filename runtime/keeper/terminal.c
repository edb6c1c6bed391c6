/* SPDX-License-Identifier: MIT */
/*
 * The life of terminals: from a request of the daemon to the end of the shell, and who comes and
 * goes meanwhile. Must not block. One thread, no locks; whatever frees a terminal goes through
 * terminal_settle(), which each callback calls last.
 */
#include "keeper/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "keeper/session.h"
#include "runtime.h"

enum {
	NUDGE_MS = 200,
	DRAIN_MAX = 1 << 20, /* after the shell's end */
	STREAM_BYTES = 64 << 10,
	CODE_HUNG_UP = 128 + SIGHUP,
	CODE_KILLED = 128 + SIGKILL,
};

/* --- attachments ------------------------------------------------------------------------------ */

static void say_end(const struct attachment *a, int code)
{
	const struct msg m = { .type = MSG_TERMINAL_END, .v = { (int64_t)a->number, code } };

	daemon_send(&a->terminal->keeper->daemon, &m, NULL);
}

static void attachment_free(struct attachment *a)
{
	loop_remove(&a->terminal->keeper->loop, &a->stream);
	close_fd(&a->stream.fd);
	close_fd(&a->theirs);
	text_free(&a->intro);
	free(a);
}

static struct attachment *attachment_new(struct terminal *t, uint64_t tag)
{
	struct attachment *a = calloc(1, sizeof(*a));
	const int bytes = STREAM_BYTES;
	int pair[2];

	if (!a)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		free(a);
		return NULL;
	}
	/* What lies in the socket is what Ctrl-C comes too late for. */
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*a = (struct attachment){
		.terminal = t,
		.number = ++t->keeper->terminals.last_number,
		.tag = tag,
		.theirs = pair[1],
		.stream = { pair[0], terminal_stream_ready },
		.taken_ms = monotonic_ms(),
		.next = t->attachments,
	};
	/* Nothing is asked for before the request is answered. */
	if (loop_add(&t->keeper->loop, &a->stream, 0) < 0) {
		attachment_free(a);
		return NULL;
	}
	t->attachments = a;
	return a;
}

/* It is open: the daemon gets its end. */
static void answer(struct attachment *a)
{
	struct daemon *daemon = &a->terminal->keeper->daemon;
	const struct msg m = { .type = MSG_TERMINAL_FD,
			       .tag = a->tag,
			       .v = { (int64_t)a->number } };

	daemon_send_fds(daemon, &m, NULL, &a->theirs, 1);
	close_fd(&a->theirs);
	daemon_reply(daemon, a->tag, 0, NULL);
}

static void refuse(struct attachment *a, int error, const char *why)
{
	daemon_reply(&a->terminal->keeper->daemon, a->tag, error, why);
	close_fd(&a->theirs);
	a->gone = true;
}

/* --- terminals -------------------------------------------------------------------------------- */

static void terminal_free(struct terminal *t)
{
	struct keeper *k = t->keeper;
	struct terminal **at = &k->terminals.first;

	while (*at && *at != t)
		at = &(*at)->next;
	if (*at)
		*at = t->next;
	while (t->attachments) {
		struct attachment *a = t->attachments;

		t->attachments = a->next;
		attachment_free(a);
	}
	terminal_drop_line(t);
	loop_timer_clear(&k->loop, &t->nudge_timer);
	loop_timer_clear(&k->loop, &t->slow_timer);
	spawned_forget(&k->spawns, &t->spawned);
	close_fd(&t->pidfd);
	free(t->ring);
	free(t->session);
	free(t);
}

void terminal_settle(struct terminal *t)
{
	struct attachment **at = &t->attachments;

	while (*at) {
		struct attachment *a = *at;

		if (t->state == TERMINAL_ENDED && t->master.fd < 0 && attachment_is_done(a))
			a->gone = true;
		if (!a->gone) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		attachment_free(a);
	}
	/* What still runs of one that nobody can come back to has had its SIGHUP. */
	if (!t->attachments && (!t->session || (t->state == TERMINAL_ENDED && t->master.fd < 0)))
		terminal_free(t);
	else
		terminal_watch(t);
}

/* A full-screen program draws its screen anew when the size changes, and stays so for a moment. */
static void nudge(struct terminal *t)
{
	pty_set_size(t->master.fd, t->rows > 1 ? t->rows - 1 : 2, t->columns);
	loop_timer_set(&t->keeper->loop, &t->nudge_timer, NUDGE_MS);
}

static void nudge_fire(struct loop_timer *timer)
{
	struct terminal *t = container_of(timer, struct terminal, nudge_timer);

	if (t->master.fd >= 0)
		pty_set_size(t->master.fd, t->rows, t->columns);
}

/* 0 keeps what was. */
static void set_size(struct terminal *t, uint64_t rows, uint64_t columns)
{
	t->rows = rows ? (unsigned int)MIN(rows, 65535u) : t->rows;
	t->columns = columns ? (unsigned int)MIN(columns, 65535u) : t->columns;
	if (t->master.fd >= 0 && !t->nudge_timer.armed)
		pty_set_size(t->master.fd, t->rows, t->columns);
}

int terminal_resize(struct keeper *k, uint64_t number, uint64_t rows, uint64_t columns)
{
	for (struct terminal *t = k->terminals.first; t; t = t->next) {
		for (struct attachment *a = t->attachments; a; a = a->next) {
			if (a->number != number)
				continue;
			set_size(t, rows, columns);
			return 0;
		}
	}
	return -ESRCH;
}

/* --- the shell -------------------------------------------------------------------------------- */

static int code_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void shell_ended(struct terminal *t, int code)
{
	t->state = TERMINAL_ENDED;
	t->code = code;
	t->drain_until = t->end + DRAIN_MAX;
	close_fd(&t->pidfd);
	for (struct attachment *a = t->attachments; a; a = a->next)
		say_end(a, code);
	terminal_pump(t);
}

static void shell_failed(struct terminal *t, int error)
{
	t->state = TERMINAL_ENDED;
	terminal_drop_line(t);
	for (struct attachment *a = t->attachments; a; a = a->next)
		refuse(a, -error, "the login shell could not be started");
}

static const struct session *session_of(const struct terminal *t)
{
	return session_find(t->keeper, t->session ? t->session : DEFAULT_SESSION);
}

static int start_shell(struct terminal *t, const char *cwd, const struct session_env *env)
{
	const struct pty pty = { t->master.fd, t->slave };
	struct session *s = t->session ? session_find(t->keeper, t->session) : NULL;
	struct keeper *k = t->keeper;
	int doors[INIT_MAX_DOORS], n = 0, r;

	/* What a session's terminals start ends with the session, nohup or not. */
	if (s && !s->terminal_group)
		group_new(k->box.groups, &s->terminal_group);
	if (s && s->terminal_group)
		n = group_doors(s->terminal_group, doors);
	r = pty_start_shell(&k->box, &k->spawns, &t->spawned, &pty, &t->user, cwd, env, doors,
			    MAX(n, 0));
	if (n > 0)
		group_close_doors(s->terminal_group);
	return r;
}

/* The user may not be allowed into the directory: then as after a login, in the root. */
static bool try_again(struct terminal *t)
{
	const struct session *s = session_of(t);

	if (t->second_try || !s || t->keeper->ending)
		return false;
	t->second_try = true;
	return start_shell(t, "/", &s->env) == 0;
}

static void note_init(struct spawned *spawned, const struct init_event *event)
{
	struct terminal *t = container_of(spawned, struct terminal, spawned);

	switch (event->type) {
	case INIT_STARTED:
		t->state = TERMINAL_RUNNING;
		t->pidfd = event->pidfd;
		for (struct attachment *a = t->attachments; a; a = a->next)
			answer(a);
		break;
	case INIT_FAILED:
		if (!try_again(t))
			shell_failed(t, event->status ? event->status : EIO);
		break;
	case INIT_EXITED:
		if (t->state == TERMINAL_STARTING) /* killed before it was anything */
			shell_failed(t, EIO);
		else
			shell_ended(t, code_of(event->status));
		break;
	}
	terminal_settle(t);
}

/* --- opening ---------------------------------------------------------------------------------- */

static struct terminal *find_of_session(const struct keeper *k, const char *session)
{
	struct terminal *t = k->terminals.first;

	while (t && (!t->session || strcmp(t->session, session) || t->state == TERMINAL_ENDED ||
		     t->master.fd < 0))
		t = t->next;
	return t;
}

static bool too_many(const struct keeper *k)
{
	unsigned int terminals = 0, attachments = 0;

	for (const struct terminal *t = k->terminals.first; t; t = t->next) {
		terminals += t->state != TERMINAL_ENDED;
		for (const struct attachment *a = t->attachments; a; a = a->next)
			attachments++;
	}
	return terminals >= TERMINALS_MAX || attachments >= TERMINALS_MAX;
}

static struct terminal *terminal_alloc(struct keeper *k, const char *session)
{
	struct terminal *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct terminal){
		.next = k->terminals.first,
		.keeper = k,
		.session = session ? strdup(session) : NULL,
		.spawned = { .event = note_init },
		.pidfd = -1,
		.master = { -1, terminal_master_ready },
		.slave = -1,
		.ring_size = session ? TERMINAL_HISTORY : TERMINAL_LAG,
		.rows = 24,
		.columns = 80,
		.nudge_timer = { .fire = nudge_fire },
		.slow_timer = { .fire = terminal_slow_fire },
	};
	t->ring = malloc(t->ring_size);
	k->terminals.first = t;
	if (t->ring && (t->session || !session))
		return t;
	terminal_free(t);
	return NULL;
}

/* The session's environment, and that of the request over it. */
static int shell_env(const struct session *s, const char *fields, size_t len,
		     struct session_env *env)
{
	const char *f = NULL;
	int r = session_env_copy(env, &s->env);

	while (r == 0 && (f = field_next(fields, len, f))) {
		_cleanup_free_ char *name = NULL;
		const char *eq = strchr(f, '=');

		if (strncmp(f, "env.", 4) || !eq || eq == f + 4)
			continue;
		name = strndup(f + 4, (size_t)(eq - f - 4));
		r = name ? session_env_set(env, name, eq + 1) : -ENOMEM;
	}
	return r;
}

/* Its line and its shell. */
static int set_up(struct terminal *t, const struct session *s, const char *fields, size_t len,
		  const char **why)
{
	const char *cwd = field_get(fields, len, "cwd"), *user = field_get(fields, len, "user");
	struct keeper *k = t->keeper;
	struct session_env env = { 0 };
	struct pty pty;
	int r = user ? user_find(&k->box, user, &t->user) : 0;

	if (!user)
		t->user = s->user;
	if (r < 0) {
		*why = "the box has no such user";
		return r;
	}
	r = pty_open(&k->box, &t->user, &pty);
	if (r < 0) {
		*why = r == -EXDEV ? "what the box shows as /dev/pts is no devpts"
				   : "the box has no free terminal";
		return r;
	}
	t->master.fd = pty.master;
	t->slave = pty.slave;
	t->watched = EPOLLIN;
	pty_set_size(t->master.fd, t->rows, t->columns);
	r = loop_add(&k->loop, &t->master, t->watched);
	if (r == 0)
		r = shell_env(s, fields, len, &env);
	if (r == 0)
		r = start_shell(t, cwd ? cwd : s->cwd, &env);
	session_env_free(&env);
	if (r == -ENOEXEC)
		*why = "the image has neither bash nor sh";
	return r;
}

static int open_new(struct keeper *k, const struct msg *m, const char *fields,
		    const struct session *s, const char *name, const char **why)
{
	struct terminal *t = terminal_alloc(k, name);
	int r;

	if (!t)
		return -ENOMEM;
	set_size(t, (uint64_t)m->v[0], (uint64_t)m->v[1]);
	r = attachment_new(t, m->tag) ? 0 : -errno;
	if (r == 0)
		r = set_up(t, s, fields, m->len, why);
	if (r < 0)
		terminal_free(t);
	return r;
}

static int attach(struct terminal *t, const struct msg *m)
{
	struct attachment *a = attachment_new(t, m->tag);
	bool resized = (m->v[0] && m->v[0] != t->rows) || (m->v[1] && m->v[1] != t->columns);

	if (!a)
		return -ENOMEM;
	if (t->state == TERMINAL_STARTING)
		return 0; /* answered with the others */
	if (attachment_add_history(a) < 0) {
		a->gone = true;
		terminal_settle(t);
		return -ENOMEM;
	}
	answer(a);
	if (resized)
		set_size(t, (uint64_t)m->v[0], (uint64_t)m->v[1]);
	else
		nudge(t);
	terminal_pump(t);
	terminal_settle(t);
	return 0;
}

int terminal_open(struct keeper *k, const struct msg *m, const char *fields, const char **why)
{
	const char *name = field_get(fields, m->len, "session");
	const struct session *s = session_find(k, name ? name : DEFAULT_SESSION);
	struct terminal *t = name ? find_of_session(k, name) : NULL;
	int r;

	if (k->ending) {
		*why = "the box is being stopped";
		return -ESHUTDOWN;
	}
	if (m->v[0] < 0 || m->v[1] < 0)
		return -EINVAL;
	if (!s) {
		*why = "there is no session of that name";
		return -ENOENT;
	}
	if (too_many(k)) {
		*why = "a box may have 256 terminals at once";
		return -EDQUOT;
	}
	r = t ? attach(t, m) : open_new(k, m, fields, s, name, why);
	return r < 0 ? r : 1;
}

/* --- ends ------------------------------------------------------------------------------------- */

void terminals_hang_up(struct keeper *k)
{
	for (struct terminal *t = k->terminals.first; t; t = t->next)
		terminal_drop_line(t);
}

void terminals_end_session(struct keeper *k, const char *session)
{
	for (struct terminal *t = k->terminals.first; t; t = t->next) {
		if (!t->session || strcmp(t->session, session))
			continue;
		terminal_drop_line(t);
		if (t->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, t->pidfd, SIGKILL, NULL, 0);
	}
}

bool terminals_alive(const struct keeper *k)
{
	for (const struct terminal *t = k->terminals.first; t; t = t->next) {
		if (t->state == TERMINAL_RUNNING)
			return true;
	}
	return false;
}

void terminals_close(struct keeper *k)
{
	while (k->terminals.first) {
		struct terminal *t = k->terminals.first;

		for (struct attachment *a = t->attachments; a; a = a->next) {
			if (a->theirs >= 0)
				refuse(a, -ESHUTDOWN, "the box was stopped");
			else if (t->state != TERMINAL_ENDED)
				say_end(a, t->master.fd < 0 ? CODE_HUNG_UP : CODE_KILLED);
		}
		terminal_free(t);
	}
}
