/* SPDX-License-Identifier: MIT */
/*
 * Connections of daemons. Must not know what the messages mean, but for MSG_HELLO as the first.
 * One thread, no locks.
 */
#include "keeper/daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime.h"

enum { MAX_CONNS = 8 };

struct daemon_conn {
	struct daemon_conn *next;
	struct loop_source source;
	struct daemon *daemon;
	struct msg_link link;
	bool writing; /* EPOLLOUT is asked for */
};

static void conn_free(struct daemon_conn *conn)
{
	struct daemon *daemon = conn->daemon;
	struct daemon_conn **at = &daemon->conns;

	while (*at != conn)
		at = &(*at)->next;
	*at = conn->next;
	daemon->n_conns--;
	if (daemon->current == conn)
		daemon->current = NULL;
	loop_remove(daemon->loop, &conn->source);
	msg_link_close(&conn->link);
	free(conn);
}

static void conn_watch(struct daemon_conn *conn)
{
	bool write = msg_wants_write(&conn->link);

	if (write == conn->writing)
		return;
	conn->writing = write;
	loop_change(conn->daemon->loop, &conn->source, EPOLLIN | (write ? EPOLLOUT : 0));
}

static void conn_ready(struct loop_source *source, uint32_t events)
{
	struct daemon_conn *conn = container_of(source, struct daemon_conn, source);
	struct daemon *daemon = conn->daemon;
	int fds[MSG_MAX_FDS], n_fds, r;
	char *payload;
	struct msg m;

	if (events & EPOLLOUT) {
		msg_flush(&conn->link);
		conn_watch(conn);
	}
	r = msg_receive(&conn->link, &m, &payload, fds, &n_fds);
	if (r == 0)
		return;
	if (r < 0) {
		if (r != -EPIPE)
			log_warn("the daemon's link: %s", strerror(-r));
		conn_free(conn);
		return;
	}
	while (n_fds > 0)
		close(fds[--n_fds]); /* nothing but MSG_START brings any */
	if (daemon->current != conn) {
		if (m.type != MSG_HELLO) {
			conn_free(conn);
			return;
		}
		if (daemon->current)
			conn_free(daemon->current);
		daemon->current = conn;
	}
	daemon->handle(daemon, &m, payload);
}

/* Takes the link's socket and queue. */
static struct daemon_conn *conn_new(struct daemon *daemon, struct msg_link *link)
{
	struct daemon_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->daemon = daemon;
	conn->link = *link;
	if (!conn->link.queue)
		conn->link.tail = &conn->link.queue;
	conn->source = (struct loop_source){ .fd = link->sock, .ready = conn_ready };
	if (loop_add(daemon->loop, &conn->source, EPOLLIN) < 0) {
		free(conn);
		return NULL;
	}
	*link = (struct msg_link){ .sock = -1 };
	conn->next = daemon->conns;
	daemon->conns = conn;
	daemon->n_conns++;
	return conn;
}

int daemon_take(struct daemon *daemon, struct msg_link *link)
{
	struct daemon_conn *conn = conn_new(daemon, link);

	if (!conn)
		return -ENOMEM;
	daemon->current = conn;
	conn_watch(conn);
	return 0;
}

static bool peer_is_allowed(int sock)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == getuid());
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct daemon *daemon = container_of(source, struct daemon, listener);
	int sock = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct msg_link link;

	(void)events;
	if (sock < 0)
		return;
	msg_link_init(&link, sock);
	if (!peer_is_allowed(sock) || daemon->n_conns >= MAX_CONNS || !conn_new(daemon, &link))
		msg_link_close(&link);
}

void daemon_init(struct daemon *daemon, struct loop *loop)
{
	*daemon = (struct daemon){ .loop = loop };
	daemon->listener = (struct loop_source){ .fd = -1, .ready = listener_ready };
}

int daemon_listen(struct daemon *daemon, int box_dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (sock < 0)
		return -errno;
	/* sun_path holds 108 bytes; the folder's own path may be longer. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" KEEPER_SOCKET, box_dir);
	unlinkat(box_dir, KEEPER_SOCKET, 0);
	if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    fchmodat(box_dir, KEEPER_SOCKET, 0600, 0) < 0 || listen(sock, MAX_CONNS) < 0)
		return -errno;
	daemon->listener.fd = sock;
	r = loop_add(daemon->loop, &daemon->listener, EPOLLIN);
	if (r < 0)
		daemon->listener.fd = -1;
	else
		take_fd(&sock);
	return r;
}

void daemon_close(struct daemon *daemon, int box_dir, int timeout_ms)
{
	int64_t until = monotonic_ms() + timeout_ms;

	if (daemon->listener.fd >= 0) {
		unlinkat(box_dir, KEEPER_SOCKET, 0);
		loop_remove(daemon->loop, &daemon->listener);
		close_fd(&daemon->listener.fd);
	}
	while (daemon->current && msg_wants_write(&daemon->current->link)) {
		struct pollfd p = { .fd = daemon->current->link.sock, .events = POLLOUT };
		int64_t left = until - monotonic_ms();

		if (left <= 0 || poll(&p, 1, (int)left) <= 0 ||
		    msg_flush(&daemon->current->link) < 0)
			break;
	}
	while (daemon->conns)
		conn_free(daemon->conns);
}

void daemon_send_fds(struct daemon *daemon, const struct msg *m, const void *payload,
		     const int *fds, int n_fds)
{
	struct daemon_conn *conn = daemon->current;

	if (!conn)
		return;
	/* A broken link stays readable (end of file or not): conn_ready() takes it away. */
	if (msg_send(&conn->link, m, payload, fds, n_fds) < 0)
		shutdown(conn->link.sock, SHUT_RDWR);
	conn_watch(conn);
}

void daemon_send(struct daemon *daemon, const struct msg *m, const void *payload)
{
	daemon_send_fds(daemon, m, payload, NULL, 0);
}

void daemon_why(struct daemon *daemon, const char *fmt, ...)
{
	_cleanup_text_ struct text t = { 0 };
	struct msg m = { .type = MSG_WHY };
	char sentence[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	text_add_escaped(&t, sentence, strlen(sentence));
	if (t.failed)
		return;
	log_warn("%s", t.data);
	m.len = t.len;
	daemon_send(daemon, &m, t.data);
}

void daemon_reply(struct daemon *daemon, uint64_t tag, int error, const char *why)
{
	struct msg m = { .type = MSG_REPLY, .tag = tag, .v = { error < 0 ? -error : 0 } };

	if (!tag)
		return;
	if (error < 0 && why)
		m.len = strlen(why);
	daemon_send(daemon, &m, why);
}
