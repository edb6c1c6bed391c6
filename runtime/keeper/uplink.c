/* SPDX-License-Identifier: MIT */
/* Asking sandbox-net for a link. Must not wait but at the box's start. One thread, no locks. */
#include "keeper/uplink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/keeper.h"
#include "keeper/stages.h"
#include "network.h"
#include "protocol.h"

enum { PATIENCE_MS = 20000, ATTACH_TAG = 1 };

int network_connect(int box_dir, int *sock, struct failure *why)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/../../%s", box_dir,
		 NET_SOCKET);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return failure_set(why, errno, NET_PROGRAM " does not answer: %s", strerror(errno));
	*sock = take_fd(&fd);
	return 0;
}

int network_ask(int sock, uint64_t box, int ns)
{
	const struct msg m = { .type = NET_ATTACH, .tag = ATTACH_TAG, .run = box };

	return send_packet(sock, &m, sizeof(m), &ns, 1);
}

/* 1 with the answer's errno in *error, 0 none yet, -errno. */
static int receive(int sock, int *error, char *text, size_t size)
{
	char packet[sizeof(struct msg) + 512];
	struct msg m;
	int none = 0;
	ssize_t n = recv_packet(sock, packet, sizeof(packet), NULL, &none);

	if (n == -EAGAIN)
		return 0;
	if (n < (ssize_t)sizeof(m))
		return n < 0 ? (int)n : -EPIPE;
	memcpy(&m, packet, sizeof(m));
	if (m.type != NET_REPLY || m.tag != ATTACH_TAG)
		return 0;
	*error = (int)m.v[0];
	snprintf(text, size, "%.*s", (int)(n - (ssize_t)sizeof(m)), packet + sizeof(m));
	return 1;
}

int network_wait(int sock, struct failure *why)
{
	int64_t until = monotonic_ms() + PATIENCE_MS;

	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int64_t left = until - monotonic_ms();
		char text[200] = "";
		int error, r;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return failure_set(why, ETIMEDOUT,
					   NET_PROGRAM " did not answer within %d s",
					   PATIENCE_MS / 1000);
		r = receive(sock, &error, text, sizeof(text));
		if (r < 0)
			return failure_set(why, EIO, NET_PROGRAM " ended");
		if (r == 1)
			return error ? failure_set(why, error, "%s", text) : 0;
	}
}

/* --- later -------------------------------------------------------------------------------------- */

static void stop_waiting(struct keeper *k, int r, const char *why)
{
	uint64_t tag = k->network_tag;

	if (!k->network_events.ready)
		return;
	loop_remove(&k->loop, &k->network_events);
	k->network_events.ready = NULL;
	k->network_tag = 0;
	daemon_reply(&k->daemon, tag, r, why);
}

void network_end(struct keeper *k)
{
	stop_waiting(k, -ECANCELED, "the box has ended");
	close_fd(&k->box.network);
}

static void on_answer(struct loop_source *source, uint32_t events)
{
	struct keeper *k = container_of(source, struct keeper, network_events);
	char text[200] = "";
	int error = 0, r = receive(source->fd, &error, text, sizeof(text));

	(void)events;
	if (r < 0)
		stop_waiting(k, -EIO, NET_PROGRAM " ended");
	else if (r == 1)
		stop_waiting(k, -error, error ? text : NULL);
}

/* The connection may end with the box, or before it. */
static void let_go(struct keeper *k)
{
	const struct msg m = { .type = NET_DETACH };

	if (k->box.network < 0)
		return;
	send_packet(k->box.network, &m, sizeof(m), NULL, 0);
	close_fd(&k->box.network);
}

int network_change(struct keeper *k, int64_t wanted, uint64_t tag, const char **why)
{
	struct failure failure = { 0 };
	int r;

	stop_waiting(k, -ECANCELED, "asked for anew");
	let_go(k);
	if (!wanted)
		return 0;
	r = network_connect(k->box_dir, &k->box.network, &failure);
	*why = NET_PROGRAM " does not answer";
	if (r == 0)
		r = network_ask(k->box.network, k->set.number, k->box.network_ns);
	if (r == 0)
		r = set_nonblock(k->box.network);
	if (r < 0)
		return r;
	k->network_events = (struct loop_source){ k->box.network, on_answer };
	k->network_tag = tag;
	r = loop_add(&k->loop, &k->network_events, EPOLLIN);
	if (r < 0)
		k->network_events.ready = NULL;
	return r < 0 ? r : 1;
}
