/* SPDX-License-Identifier: MIT */
/*
 * Who speaks to sandbox-net: one daemon at a time, and a keeper for each box with a network. A
 * keeper's connection is the life of its box: when it ends, the link goes. Must not wait for any of
 * them. One thread, no locks.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "net.h"
#include "network.h"

enum { MAX_CONNS = 1 << 15 };

struct conn {
	struct conn *next;
	struct loop_source source;
	struct msg_link link;
	bool writing, is_daemon;
	uint64_t box; /* of a keeper, once it has said so */
	uint64_t tag; /* of its NET_ATTACH, not answered yet */
	int ns;	      /* of its NET_ATTACH, until the box is known */
};

static struct net *owner;
static struct conn *conns;
static unsigned int n_conns;
static struct loop_source listener;
static bool end_wanted; /* the daemon has said goodbye */

static struct conn *daemon_conn(void)
{
	struct conn *conn = conns;

	while (conn && !conn->is_daemon)
		conn = conn->next;
	return conn;
}

/* Nobody is left for whom we would be here. */
static void look_for_end(void)
{
	if (!owner->n_attached && (end_wanted || !daemon_conn()))
		owner->loop.stop = true;
}

static void conn_free(struct conn *conn)
{
	struct conn **at = &conns;

	while (*at != conn)
		at = &(*at)->next;
	*at = conn->next;
	n_conns--;
	loop_remove(&owner->loop, &conn->source);
	msg_link_close(&conn->link);
	close_fd(&conn->ns);
	free(conn);
}

static void conn_end(struct conn *conn)
{
	struct net_box *box = conn->box ? box_find(owner, conn->box) : NULL;

	if (box && box->keeper == conn) {
		box->keeper = NULL;
		box_detach(owner, box, false);
	}
	conn_free(conn);
	look_for_end();
}

void peers_cut(struct net *net, struct conn *keeper)
{
	(void)net;
	conn_free(keeper);
}

static void conn_send(struct conn *conn, const struct msg *m, const char *payload)
{
	bool write;

	msg_send(&conn->link, m, payload, NULL, 0);
	write = msg_wants_write(&conn->link);
	if (write != conn->writing)
		loop_change(&owner->loop, &conn->source, EPOLLIN | (write ? EPOLLOUT : 0));
	conn->writing = write;
}

static void reply(struct conn *conn, uint64_t tag, uint64_t box, int r, const char *payload)
{
	const struct msg m = { .type = NET_REPLY,
			       .tag = tag,
			       .run = box,
			       .v = { -r },
			       .len = payload ? (uint32_t)strlen(payload) : 0 };

	if (tag)
		conn_send(conn, &m, payload);
}

void peers_unable(struct net *net)
{
	const struct msg m = { .type = NET_UNABLE,
			       .v = { net->failed_errno },
			       .len = (uint32_t)strlen(net->failed) };
	struct conn *conn = daemon_conn();

	if (conn)
		conn_send(conn, &m, net->failed);
}

void peers_warn(struct net *net, const char *fmt, ...)
{
	struct conn *conn = daemon_conn();
	struct msg m = { .type = NET_WARN };
	char sentence[512];
	va_list ap;

	(void)net;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	log_warn("%s", sentence);
	m.len = (uint32_t)strlen(sentence);
	if (conn)
		conn_send(conn, &m, sentence);
}

/* --- keepers ------------------------------------------------------------------------------------ */

static void attach(struct conn *conn, struct net_box *box)
{
	int r;

	if (box->keeper && box->keeper != conn)
		conn_free(box->keeper);
	box->keeper = conn;
	r = box_attach(owner, box, take_fd(&conn->ns));
	reply(conn, conn->tag, conn->box, r,
	      r == -EADDRNOTAVAIL ? "no address is free for the box (network.subnet)"
	      : r < 0		  ? strerror(-r)
				  : NULL);
	conn->tag = 0;
}

void peers_box_known(struct net *net, struct net_box *box)
{
	(void)net;
	for (struct conn *conn = conns; conn; conn = conn->next) {
		if (conn->box == box->number && conn->ns >= 0) {
			attach(conn, box);
			return;
		}
	}
}

static void on_attach(struct conn *conn, const struct msg *m, int *ns)
{
	struct net_box *box = box_find(owner, m->run);

	conn->box = m->run;
	conn->tag = m->tag;
	if (owner->failed[0]) {
		reply(conn, m->tag, m->run, -owner->failed_errno, owner->failed);
		return;
	}
	if (*ns < 0) {
		reply(conn, m->tag, m->run, -EPROTO, "no network namespace came");
		return;
	}
	conn->ns = take_fd(ns);
	if (box)
		attach(conn, box);
}

static void on_detach(const struct conn *conn)
{
	struct net_box *box = conn->box ? box_find(owner, conn->box) : NULL;

	if (box && box->keeper == conn)
		box_detach(owner, box, true);
}

/* --- the daemon --------------------------------------------------------------------------------- */

static void on_box(struct conn *conn, const struct msg *m, const char *payload, int *dir)
{
	const char *allow = field_get(payload, m->len, "allow");
	const char *deny = field_get(payload, m->len, "deny");
	struct net_box *box;
	char why[256] = "";
	int r;

	if (owner->failed[0]) {
		reply(conn, m->tag, m->run, -owner->failed_errno, owner->failed);
		return;
	}
	r = box_set(owner, m->run, allow ? allow : "", deny ? deny : "",
		    field_get_u64(payload, m->len, "bandwidth", 0), take_fd(dir), why, sizeof(why));
	reply(conn, m->tag, m->run, r, r < 0 ? (why[0] ? why : strerror(-r)) : NULL);
	box = r == 0 ? box_find(owner, m->run) : NULL;
	if (box)
		peers_box_known(owner, box);
}

static void on_drop(struct conn *conn, const struct msg *m)
{
	struct net_box *box = box_find(owner, m->run);

	if (box)
		box_forget(owner, box);
	reply(conn, m->tag, m->run, 0, NULL);
	look_for_end();
}

static void on_rules(struct conn *conn, const struct msg *m)
{
	struct net_box *box = box_find(owner, m->run);
	_cleanup_text_ struct text rules = { 0 };
	int r = box ? box_show_rules(owner, box, &rules) : 0;

	if (rules.failed)
		r = -ENOMEM;
	reply(conn, m->tag, m->run, r, r < 0 ? strerror(-r) : rules.data);
}

static void on_hello(struct conn *conn, const struct msg *m)
{
	struct conn *old = daemon_conn();

	if (old && old != conn)
		conn_free(old);
	conn->is_daemon = true;
	end_wanted = false;
	reply(conn, m->tag, m->run, 0, NULL);
	if (owner->failed[0])
		peers_unable(owner);
}

static void on_message(struct conn *conn, const struct msg *m, const char *payload, int *fd)
{
	if (m->type == NET_HELLO)
		on_hello(conn, m);
	else if (m->type == NET_ATTACH && !conn->is_daemon)
		on_attach(conn, m, fd);
	else if (m->type == NET_DETACH && !conn->is_daemon)
		on_detach(conn);
	else if (!conn->is_daemon)
		reply(conn, m->tag, m->run, -EPERM, "not from a keeper");
	else if (m->type == NET_BOX)
		on_box(conn, m, payload, fd);
	else if (m->type == NET_DROP)
		on_drop(conn, m);
	else if (m->type == NET_RULES)
		on_rules(conn, m);
	else if (m->type == NET_END)
		end_wanted = true;
	else
		reply(conn, m->tag, m->run, -EOPNOTSUPP, "of a newer version");
	if (m->type == NET_END)
		look_for_end();
}

/* --- connections -------------------------------------------------------------------------------- */

static void on_conn(struct loop_source *source, uint32_t events)
{
	struct conn *conn = container_of(source, struct conn, source);
	int fds[MSG_MAX_FDS] = { -1, -1 }, n_fds = 0, r;
	char *payload;
	struct msg m;

	if (events & EPOLLOUT) {
		msg_flush(&conn->link);
		conn->writing = msg_wants_write(&conn->link);
		loop_change(&owner->loop, source, EPOLLIN | (conn->writing ? EPOLLOUT : 0));
	}
	r = msg_receive(&conn->link, &m, &payload, fds, &n_fds);
	if (r < 0) {
		conn_end(conn);
		return;
	}
	if (r == 1)
		on_message(conn, &m, payload, &fds[0]);
	for (int i = 0; i < n_fds; i++)
		close_fd(&fds[i]);
}

static struct conn *conn_new(int fd)
{
	struct conn *conn = n_conns < MAX_CONNS ? calloc(1, sizeof(*conn)) : NULL;

	if (!conn) {
		close(fd);
		return NULL;
	}
	msg_link_init(&conn->link, fd);
	conn->ns = -1;
	conn->source = (struct loop_source){ fd, on_conn };
	conn->next = conns;
	conns = conn;
	n_conns++;
	if (loop_add(&owner->loop, &conn->source, EPOLLIN) == 0)
		return conn;
	conn_free(conn);
	return NULL;
}

static void on_listener(struct loop_source *source, uint32_t events)
{
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0)
		conn_new(fd);
}

int peers_start(struct net *net)
{
	struct conn *first;

	owner = net;
	set_nonblock(NET_LISTEN_FD);
	listener = (struct loop_source){ NET_LISTEN_FD, on_listener };
	first = conn_new(NET_DAEMON_FD);
	if (!first)
		return -ENOMEM;
	first->is_daemon = true;
	return loop_add(&net->loop, &listener, EPOLLIN);
}

void peers_stop(struct net *net)
{
	loop_remove(&net->loop, &listener);
	while (conns)
		conn_free(conns);
}
