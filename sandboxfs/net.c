/* SPDX-License-Identifier: MIT */
/*
 * The daemon's link to sandbox-net. Must not wait for it, but at the daemon's own end. What it says is
 * handled on the event thread. Lock: net_lock, a leaf below box->lock, guards the link and its making.
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "daemon.h"
#include "keeper.h"
#include "network.h"
#include "spawn.h"
#include "store.h"
#include "tree.h"

enum {
	END_MS = 5000,
	HELLO_MS = 5000,
	CRASHES = 5, /* in CRASH_MS: then it is not started again by itself */
	CRASH_MS = 30000,
	BACKLOG = 4096,
};

static pthread_mutex_t net_lock = PTHREAD_MUTEX_INITIALIZER;
static struct msg_link net_link = { .sock = -1 };
static struct watch net_watch = { .fd = -1 };
static int64_t crashes[CRASHES];
static unsigned int n_crashes;
static bool ending;	 /* its end is what we asked for */
static char unable[256]; /* why no box can have a network; "" they can, as far as is known */
static bool fresh;	 /* it was started by this daemon, and knows no box yet */

static void on_net(struct watch *watch, uint32_t events);

/* --- its process -------------------------------------------------------------------------------- */

static void socket_address(struct sockaddr_un *addr, int dir)
{
	/* The path of the state directory may be longer than a socket's can be. */
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/" NET_SOCKET, dir);
}

static int listen_socket(void)
{
	_cleanup_close_ int dir = open(store_path(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	if (dir < 0 || fd < 0)
		return -errno;
	socket_address(&addr, dir);
	if (unlinkat(dir, NET_SOCKET, 0) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

static int spawn_with(const char *program, int link, int listener)
{
	char state[4096],
		*argv[] = { (char *)NET_PROGRAM, state, the_options.network_subnet, NULL };
	char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;

	snprintf(state, sizeof(state), "%s", store_path());
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, link, NET_DAEMON_FD);
	posix_spawn_file_actions_adddup2(&actions, listener, NET_LISTEN_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, NET_LISTEN_FD + 1);
	return spawn_unblocked(program, &actions, argv, envp);
}

/* The link, watched. net_lock held. */
static int take_link(int sock)
{
	msg_link_init(&net_link, sock);
	net_watch = (struct watch){ .fd = sock, .ready = on_net };
	return daemon_watch_add(&net_watch, EPOLLIN);
}

/* Numbers beyond those that the child shall have, so that none is overwritten. */
static int above(int fd)
{
	int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);

	if (fd >= 0)
		close(fd);
	return moved;
}

/* net_lock held. */
static int start_process(void)
{
	_cleanup_close_ int listener = -1, theirs = -1;
	char program[4096];
	int pair[2], r = daemon_helper(NET_PROGRAM, program, sizeof(program));

	if (r < 0)
		return r;
	listener = above(listen_socket());
	if (listener < 0)
		return -EIO;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	theirs = above(pair[1]);
	r = theirs < 0 ? -EMFILE : spawn_with(program, theirs, listener);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	ending = false;
	unable[0] = '\0';
	return take_link(pair[0]);
}

static int send_message(const struct msg *m, const void *payload, const int *fds, int n_fds)
{
	int r = msg_send(&net_link, m, payload, fds, n_fds);

	if (msg_wants_write(&net_link))
		daemon_watch_change(&net_watch, EPOLLIN | EPOLLOUT);
	return r;
}

/*
 * One that just ends, for want of boxes, may still take a connection; once it has answered it stays.
 * Waits for that: it is the first thing a daemon does with it.
 */
static int say_hello(struct msg_link *link)
{
	const struct msg hello = { .type = NET_HELLO, .tag = 1, .v = { NET_VERSION } };
	int64_t until = monotonic_ms() + HELLO_MS;
	int r = msg_send(link, &hello, NULL, NULL, 0);

	while (r == 0) {
		struct pollfd p = { .fd = link->sock, .events = POLLIN };
		int64_t left = until - monotonic_ms();
		int fds[MSG_MAX_FDS], n_fds = 0;
		char *payload;
		struct msg m;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return -ETIMEDOUT;
		r = msg_receive(link, &m, &payload, fds, &n_fds);
		while (r == 1 && n_fds > 0)
			close(fds[--n_fds]);
		if (r == 1)
			r = m.type == NET_REPLY && m.tag == hello.tag ? 1 : 0;
	}
	return MIN(r, 0);
}

static int connect_living(void)
{
	_cleanup_close_ int dir = open(store_path(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	struct msg_link link;
	int r;

	if (dir < 0 || fd < 0)
		return -errno;
	socket_address(&addr, dir);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	msg_link_init(&link, take_fd(&fd));
	r = say_hello(&link);
	fd = r < 0 ? -1 : take_fd(&link.sock);
	msg_link_close(&link);
	return r < 0 ? r : take_link(take_fd(&fd));
}

/* net_lock held. */
static int ensure(void)
{
	int r = net_link.sock >= 0 ? 0 : connect_living();

	if (r == 0)
		return 0;
	fresh = true;
	return start_process();
}

void net_unable(char *why, size_t size)
{
	pthread_mutex_lock(&net_lock);
	snprintf(why, size, "%s", unable);
	pthread_mutex_unlock(&net_lock);
}

static void on_unable(const char *why)
{
	pthread_mutex_lock(&net_lock);
	snprintf(unable, sizeof(unable), "%s", why);
	pthread_mutex_unlock(&net_lock);
	log_warn("no box can have a network: %s", why);
	why_add(&root_why, 0, "no box can have a network: %s", why);
}

/* --- asking ------------------------------------------------------------------------------------- */

/* NET_BOX; net_lock held. */
static int send_box(struct box *box, uint64_t tag)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_text_ struct text fields = { 0 };
	struct msg m = { .type = NET_BOX, .run = box->id, .tag = tag };

	if (dir < 0)
		return dir;
	field_add(&fields, "allow", box->net_allow);
	field_add(&fields, "deny", box->net_deny);
	field_add_u64(&fields, "bandwidth",
		      box->net_bandwidth == UINT64_MAX ? 0 : box->net_bandwidth);
	if (fields.failed)
		return -ENOMEM;
	m.len = (uint32_t)fields.len;
	return send_message(&m, fields.data, &dir, 1);
}

static int send_plain(enum net_msg type, struct box *box, uint64_t tag)
{
	const struct msg m = { .type = type, .run = box ? box->id : 0, .tag = tag };

	return send_message(&m, NULL, NULL, 0);
}

int net_prepare(struct box *box, const char **why)
{
	int r;

	pthread_mutex_lock(&net_lock);
	r = ensure();
	*why = "start " NET_PROGRAM;
	if (r == 0)
		r = send_box(box, 0);
	pthread_mutex_unlock(&net_lock);
	return r;
}

int net_update(struct box *box, uint64_t tag)
{
	int r;

	if (!box->keeper || !box->net_private)
		return 0;
	pthread_mutex_lock(&net_lock);
	r = unable[0] ? 0 : net_link.sock < 0 ? -EIO : send_box(box, tag) ?: 1;
	pthread_mutex_unlock(&net_lock);
	return r;
}

int net_switch(struct box *box, uint64_t tag)
{
	const char *why;
	int r;

	if (!box->keeper)
		return 0;
	if (box->net_private) {
		r = net_prepare(box, &why);
	} else {
		net_forget(box);
		r = 0;
	}
	if (r == 0)
		r = keeper_request(box, MSG_NETWORK, tag, box->net_private, NULL);
	return r < 0 ? r : 1;
}

int net_ask_rules(struct box *box, uint64_t tag)
{
	int r;

	if (!box->keeper || !box->net_private)
		return 0;
	pthread_mutex_lock(&net_lock);
	r = unable[0] ? 0 : net_link.sock < 0 ? -EIO : send_plain(NET_RULES, box, tag) ?: 1;
	pthread_mutex_unlock(&net_lock);
	return r;
}

void net_forget(struct box *box)
{
	pthread_mutex_lock(&net_lock);
	if (net_link.sock >= 0)
		send_plain(NET_DROP, box, 0);
	pthread_mutex_unlock(&net_lock);
}

/* --- what it says ------------------------------------------------------------------------------- */

static void on_reply(const struct msg *m, const char *payload)
{
	struct box *box = m->run && m->run <= NODE_MAX_BOX ? box_get((uint32_t)m->run) : NULL;
	struct park *ready = NULL;

	if (!box)
		return;
	pthread_mutex_lock(&box->lock);
	for (struct park *p = box->parks.first; p; p = p->next) {
		if (!m->tag || p->wait.tag != m->tag)
			continue;
		p->done = true;
		p->error = m->v[0] >= 0 && m->v[0] < 4096 ? (int)m->v[0] : EIO;
		if (p->error) {
			why_add(&box->why, fuse_req_ctx(p->req)->uid, "net/%s: %s",
				p->handle->row->name, payload);
			continue;
		}
		if (p->chunk)
			continue; /* a write's: what it would have to undo */
		p->chunk = chunk_new(m->len);
		if (p->chunk)
			memcpy(p->chunk->bytes, payload, m->len);
	}
	ready = park_collect(&box->parks, 0, NULL);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	box_put(box);
}

/* Those who wait for it are told that it has gone. */
static int fail_waiting(struct box *box, void *ctx)
{
	struct park *ready = NULL;

	(void)ctx;
	pthread_mutex_lock(&box->lock);
	for (struct park *p = box->parks.first; p; p = p->next) {
		if (!p->wait.tag || p->handle->node.kind != DIR_NET)
			continue;
		p->done = true;
		p->error = EIO;
	}
	ready = park_collect(&box->parks, 0, NULL);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	return 0;
}

static int reattach(struct box *box, void *ctx)
{
	const char *why;

	(void)ctx;
	pthread_mutex_lock(&box->lock);
	/* One that is just starting fails by itself, and says why. */
	if (box->keeper && box->net_private &&
	    (box->state == BOX_RUNNING || box->state == BOX_FROZEN) && net_prepare(box, &why) == 0)
		keeper_request(box, MSG_NETWORK, 0, 1, NULL);
	pthread_mutex_unlock(&box->lock);
	return 0;
}

static bool crashes_too_often(void)
{
	int64_t now = monotonic_ms(), oldest;

	oldest = crashes[n_crashes % CRASHES];
	crashes[n_crashes++ % CRASHES] = now;
	return oldest && now - oldest < CRASH_MS;
}

static void on_gone(void)
{
	bool expected;

	pthread_mutex_lock(&net_lock);
	daemon_watch_remove(&net_watch);
	msg_link_close(&net_link);
	expected = ending;
	pthread_mutex_unlock(&net_lock);
	boxes_each(false, fail_waiting, NULL);
	if (expected)
		return;
	if (crashes_too_often()) {
		why_add(&root_why, 0,
			NET_PROGRAM " ends again and again; boxes have no network until the next "
				    "one starts");
		log_error(NET_PROGRAM " ends again and again; it is not started any more");
		return;
	}
	log_warn(NET_PROGRAM " has ended; starting it again");
	boxes_each(false, reattach, NULL);
}

static void on_net(struct watch *watch, uint32_t events)
{
	(void)watch;
	for (;;) {
		int fds[MSG_MAX_FDS], n_fds = 0, r;
		char *payload;
		struct msg m;

		pthread_mutex_lock(&net_lock);
		if (events & EPOLLOUT) {
			msg_flush(&net_link);
			if (!msg_wants_write(&net_link))
				daemon_watch_change(&net_watch, EPOLLIN);
			events = 0;
		}
		/* The payload stays until the next call, which only this thread makes. */
		r = msg_receive(&net_link, &m, &payload, fds, &n_fds);
		pthread_mutex_unlock(&net_lock);
		while (r == 1 && n_fds > 0)
			close(fds[--n_fds]);
		if (r == 0)
			return;
		if (r < 0) {
			on_gone();
			return;
		}
		if (m.type == NET_REPLY)
			on_reply(&m, payload);
		else if (m.type == NET_WARN)
			why_add(&root_why, 0, "%s", payload);
		else if (m.type == NET_UNABLE)
			on_unable(payload);
	}
}

/* --- start and end ------------------------------------------------------------------------------ */

static int tell_again(struct box *box, void *ctx)
{
	pthread_mutex_lock(&box->lock);
	if (box->keeper && box->net_private) {
		*(bool *)ctx = true;
		net_update(box, 0);
	}
	pthread_mutex_unlock(&box->lock);
	return 0;
}

void net_start(void)
{
	bool needed = false, is_fresh;
	int r;

	pthread_mutex_lock(&net_lock);
	r = net_link.sock >= 0 ? 0 : connect_living();
	is_fresh = fresh || r < 0;
	pthread_mutex_unlock(&net_lock);
	boxes_each(false, tell_again, &needed);
	if (!is_fresh)
		return;
	if (needed)
		boxes_each(false, reattach, NULL);
	if (needed || the_options.network_mode == NETWORK_NONE) {
		if (!needed)
			net_restore();
		return;
	}
	pthread_mutex_lock(&net_lock);
	r = ensure();
	pthread_mutex_unlock(&net_lock);
	if (r < 0)
		log_error("start " NET_PROGRAM ": %s", strerror(-r));
}

void net_restore(void)
{
	char program[4096], *argv[] = { (char *)NET_PROGRAM, (char *)"--restore", NULL };
	char *envp[] = { NULL };
	pid_t pid;

	if (daemon_helper(NET_PROGRAM, program, sizeof(program)) < 0 ||
	    posix_spawn(&pid, program, NULL, NULL, argv, envp) != 0)
		return;
	/* ECHILD: the event thread was faster, which is as good. */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void net_leave(void)
{
	pthread_mutex_lock(&net_lock);
	if (net_link.sock >= 0) {
		daemon_watch_remove(&net_watch);
		msg_link_close(&net_link);
	}
	pthread_mutex_unlock(&net_lock);
}

void net_end(void)
{
	struct pollfd p = { .events = POLLRDHUP };

	pthread_mutex_lock(&net_lock);
	ending = true;
	p.fd = net_link.sock;
	if (p.fd >= 0)
		send_plain(NET_END, NULL, 0);
	pthread_mutex_unlock(&net_lock);
	if (p.fd >= 0)
		poll(&p, 1, END_MS);
	net_leave();
}
