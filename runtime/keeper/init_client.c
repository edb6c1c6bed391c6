/* SPDX-License-Identifier: MIT */
/*
 * The keeper's end of init's socket. Trusts no number in a packet: a process is known by the
 * credentials that the kernel added to its own packet. Must never block. One thread, no locks.
 */
#include "init_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#ifndef SO_PASSPIDFD /* Linux 6.5 */
#define SO_PASSPIDFD 76
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

enum { SEND_BUFFER = 1 << 20 }; /* some requests of full size */

/* A process that has said FORKED and not become its program yet. */
struct forked {
	uint64_t id;
	pid_t pid, box_pid;
	int pidfd;
};

struct init_client {
	struct forked forked[INIT_MAX_CHILDREN];
	int n_forked;
	char text[INIT_MAX_TEXT];
};

struct init_client *init_client_new(void)
{
	return calloc(1, sizeof(struct init_client));
}

void init_client_free(struct init_client *client)
{
	if (!client)
		return;
	for (int i = 0; i < client->n_forked; i++)
		close_fd(&client->forked[i].pidfd);
	free(client);
}

int init_client_pair(int *keepers, int *inits)
{
	const int on = 1, size = SEND_BUFFER;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	*keepers = ends[0];
	*inits = ends[1];
	if (setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	/* Older kernels give no descriptor: open_pidfd() below. */
	setsockopt(ends[0], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on));
	/* A machine that keeps CAP_NET_ADMIN from us gives what its net.core.wmem_max allows. */
	if (setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 &&
	    (errno != EPERM || setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0))
		return -errno;
	return set_nonblock(ends[0]);
}

static void take_ancillary(struct msghdr *msg, struct init_packet *packet)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct ucred sender;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
			packet->pid = sender.pid;
		} else if (c->cmsg_type == SCM_PIDFD) {
			memcpy(&packet->pidfd, CMSG_DATA(c), sizeof(packet->pidfd));
			if (packet->pidfd < 0)
				packet->pidfd = -1;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			/* Nobody sends us any; what should not be is closed. */
			for (size_t at = CMSG_LEN(0); at < c->cmsg_len; at += sizeof(int)) {
				int fd;

				memcpy(&fd, (char *)c + at, sizeof(fd));
				close(fd);
			}
		}
	}
}

int init_client_receive(int sock, struct init_packet *packet)
{
	struct iovec io[] = {
		{ .iov_base = &packet->head, .iov_len = sizeof(packet->head) },
		{ .iov_base = packet->text, .iov_len = sizeof(packet->text) },
	};
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int)) + 64];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = io,
		.msg_iovlen = ARRAY_SIZE(io),
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	packet->pid = 0;
	packet->pidfd = -1;
	packet->text[0] = '\0';
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	take_ancillary(&msg, packet);
	packet->text[sizeof(packet->text) - 1] = '\0';
	if ((size_t)n < sizeof(packet->head) || packet->pid <= 0) {
		close_fd(&packet->pidfd);
		return -EPROTO;
	}
	return 1;
}

/* --- requests ------------------------------------------------------------------------------ */

struct text_out {
	char *at, *end;
};

static int put(struct text_out *out, const char *s)
{
	size_t len = strlen(s) + 1;

	if (len > (size_t)(out->end - out->at))
		return -E2BIG;
	memcpy(out->at, s, len);
	out->at += len;
	return 0;
}

static int put_all(struct text_out *out, const char *const *strings, uint32_t *n)
{
	for (; *strings; strings++, ++*n) {
		int r = put(out, *strings);

		if (r < 0)
			return r;
	}
	return 0;
}

int init_spawn(struct box *box, const struct init_spawn *request)
{
	struct text_out out = { box->init->text, box->init->text + INIT_MAX_TEXT };
	const size_t fds_size = sizeof(int) * (INIT_PROGRAM_FDS + (size_t)request->n_doors);
	struct init_request head = {
		.id = request->id,
		.uid = request->uid,
		.gid = request->gid,
		.flags = request->flags,
		.n_groups = request->n_groups,
		.n_doors = (uint32_t)request->n_doors,
	};
	struct iovec io[] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = box->init->text },
	};
	union {
		char bytes[CMSG_SPACE(INIT_REQUEST_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = {
		.msg_iov = io,
		.msg_iovlen = ARRAY_SIZE(io),
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(fds_size),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;
	int r = put(&out, request->cwd);

	memcpy(head.groups, request->groups, sizeof(head.groups));

	if (r == 0)
		r = put_all(&out, request->argv, &head.argc);
	if (r == 0)
		r = put_all(&out, request->envp, &head.envc);
	if (r < 0)
		return r;
	head.text_len = (uint32_t)(out.at - box->init->text);
	io[1].iov_len = head.text_len;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(fds_size);
	memcpy(CMSG_DATA(c), request->fds, sizeof(request->fds));
	memcpy(CMSG_DATA(c) + sizeof(request->fds), request->doors,
	       fds_size - sizeof(request->fds));
	do {
		n = sendmsg(box->init_sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* --- events -------------------------------------------------------------------------------- */

/*
 * For kernels before 6.5. The number may have gone to another process meanwhile, so it only counts
 * if it still is one of the box: of init's pid namespace, as a box cannot make others.
 */
static int open_pidfd(const struct box *box, pid_t pid)
{
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	struct stat its, inits;
	char path[32];

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	if (stat(path, &its) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", box->init_pid);
	if (stat(path, &inits) < 0 || its.st_ino != inits.st_ino || its.st_dev != inits.st_dev)
		return -1;
	return take_fd(&fd);
}

static int note_forked(struct box *box, struct init_packet *packet)
{
	struct init_client *client = box->init;

	if (client->n_forked == INIT_MAX_CHILDREN)
		return -EPROTO;
	if (packet->pidfd < 0)
		packet->pidfd = open_pidfd(box, packet->pid);
	client->forked[client->n_forked++] = (struct forked){
		.id = packet->head.id,
		.pid = packet->pid,
		.box_pid = packet->head.pid,
		.pidfd = take_fd(&packet->pidfd),
	};
	return 0;
}

/* Takes the forked process of an id off the list. */
static bool take_forked(struct init_client *client, uint64_t id, struct forked *out)
{
	for (int i = 0; i < client->n_forked; i++) {
		if (client->forked[i].id != id)
			continue;
		*out = client->forked[i];
		client->forked[i] = client->forked[--client->n_forked];
		return true;
	}
	return false;
}

/* A packet as an event: 1, 0 if it is none yet, -EPROTO. */
static int to_event(struct box *box, struct init_packet *packet, struct init_event *event)
{
	struct forked forked = { .pidfd = -1 };

	*event = (struct init_event){ .id = packet->head.id, .pidfd = -1 };
	if (packet->head.type == INIT_REPORT_FORKED)
		return note_forked(box, packet);
	if (packet->pid != box->init_pid)
		return -EPROTO; /* everything else is init's own to say */
	switch (packet->head.type) {
	case INIT_REPORT_STARTED:
		/* Killed before it could say that it was there; its EXITED follows. */
		if (!take_forked(box->init, event->id, &forked))
			return 0;
		event->type = INIT_STARTED;
		event->pid = forked.pid;
		event->box_pid = forked.box_pid;
		event->pidfd = forked.pidfd;
		return 1;
	case INIT_REPORT_REFUSED:
		if (take_forked(box->init, event->id, &forked))
			close_fd(&forked.pidfd);
		event->type = INIT_FAILED;
		event->status = packet->head.status;
		return event->status > 0 ? 1 : -EPROTO;
	case INIT_REPORT_EXITED:
		event->type = INIT_EXITED;
		event->status = packet->head.status;
		return 1;
	default:
		return -EPROTO;
	}
}

int init_next_event(struct box *box, struct init_event *event)
{
	struct init_packet packet;
	int r;

	do {
		r = init_client_receive(box->init_sock, &packet);
		if (r <= 0)
			return r;
		r = to_event(box, &packet, event);
		close_fd(&packet.pidfd);
	} while (r == 0);
	return r;
}
