/* SPDX-License-Identifier: MIT */
/*
 * The keeper's side of the link to the daemon: the socket it was born with, and the socket file
 * on which later daemons come. One daemon at a time gets what is said; a newer one replaces it.
 * With none connected, what is said is lost, and the next one is told the state anew.
 */
#ifndef KEEPER_DAEMON_H
#define KEEPER_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/loop.h"
#include "protocol.h"

struct daemon_conn;

struct daemon {
	struct loop *loop;
	struct loop_source listener;
	struct daemon_conn *conns;   /* all; current is among them */
	struct daemon_conn *current; /* who is spoken to */
	int n_conns;
	/* A message of the current daemon, or the first one of a new one (MSG_HELLO). */
	void (*handle)(struct daemon *daemon, const struct msg *m, char *payload);
};

void daemon_init(struct daemon *daemon, struct loop *loop);
/* Takes a link that is up already (the maker's), as the current daemon. 0 or -errno. */
int daemon_take(struct daemon *daemon, struct msg_link *link);
/* Binds KEEPER_SOCKET in the box's folder, replacing a stale one. 0 or -errno. */
int daemon_listen(struct daemon *daemon, int box_dir);
/* Removes the socket file and closes everything, after at most timeout_ms for what still waits. */
void daemon_close(struct daemon *daemon, int box_dir, int timeout_ms);

/* m->len says how long payload is. */
void daemon_send(struct daemon *daemon, const struct msg *m, const void *payload);
void daemon_send_fds(struct daemon *daemon, const struct msg *m, const void *payload,
		     const int *fds, int n_fds);
/* A sentence for the box's `why`, and the log. */
void daemon_why(struct daemon *daemon, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* error: 0 or -errno. */
void daemon_reply(struct daemon *daemon, uint64_t tag, int error, const char *why);

#endif
