/* SPDX-License-Identifier: MIT */
/*
 * sandbox-keeper: one process for each running box. Waits on descriptor 3 for the daemon's
 * MSG_START (a daemon may keep a few of us ready), makes the box, and keeps it until its end; the
 * daemon may come and go meanwhile. See runtime.h for how it is started.
 *
 *   main.c      this
 *   keeper.c    the box's state, the daemon's requests     ending.c    how a box ends
 *   session*.c  persistent shells and their commands       shell.c     one shell process
 *   driver.c    the loop that a shell runs                 control.c   the files it runs on
 *   run.c       a command's record and streams             fifo.c      output to disk
 *   folders.c   runs/ on disk                              daemon.c    the link
 *   processes.c who gets a signal                          loop.c      epoll, timers, tasks
 *   box.h       making, freezing, killing a box; its init
 *   bucket*.c   mounted buckets and their processes        mounter.c   the process that mounts
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/box.h"
#include "keeper/keeper.h"
#include "runtime.h"

/* Waits for the first message: 1, 0 when nobody wants us any more, -errno. */
static int wait_for_start(struct msg_link *link, struct msg *m, char **payload, int fds[],
			  int *n_fds)
{
	for (;;) {
		struct pollfd p = { .fd = link->sock, .events = POLLIN };
		int r;

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		r = msg_receive(link, m, payload, fds, n_fds);
		if (r)
			return r == -EPIPE ? 0 : r;
	}
}

int main(int argc, char **argv)
{
	int fds[MSG_MAX_FDS], n_fds, r;
	struct msg_link link;
	struct msg start;
	char *payload, *fields;

	log_init("keeper", LOG_LEVEL_INFO);
	if (argc == 3 && !strcmp(argv[1], "--remove-cgroup"))
		return box_remove_cgroup(argv[2]) < 0;
	msg_link_init(&link, KEEPER_SOCKET_FD);
	r = wait_for_start(&link, &start, &payload, fds, &n_fds);
	if (r == 0)
		return 0;
	if (r < 0 || start.type != MSG_START || !n_fds) {
		log_error("no MSG_START with a descriptor came: %s", strerror(r < 0 ? -r : EPROTO));
		return 1;
	}
	/* The link reuses its buffer, the settings stay. */
	fields = malloc((size_t)start.len + 1);
	if (!fields) {
		log_error("read the settings: %s", strerror(ENOMEM));
		return 1;
	}
	memcpy(fields, payload, (size_t)start.len + 1);
	return keeper_main(&link, &start, fields, fds[0]);
}
