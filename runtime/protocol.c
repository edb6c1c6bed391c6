/* SPDX-License-Identifier: MIT */
/* Framing of messages between daemon and keeper. No locks: one thread owns a link at a time. */
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum { FRAGMENT_BYTES = 64 << 10 };

struct msg_packet {
	struct msg_packet *next;
	int fds[MSG_MAX_FDS];
	int n_fds;
	size_t len;
	char bytes[];
};

static const char *const box_words[N_BOX_STATES] = {
	[BOX_NEW] = "new",	 [BOX_STARTING] = "starting", [BOX_RUNNING] = "running",
	[BOX_FROZEN] = "frozen", [BOX_STOPPING] = "stopping", [BOX_STOPPED] = "stopped",
	[BOX_FAILED] = "failed",
};

static const char *const run_words[N_RUN_STATES] = {
	[RUN_QUEUED] = "queued", [RUN_STARTING] = "starting",	[RUN_RUNNING] = "running",
	[RUN_EXITED] = "exited", [RUN_SIGNALLED] = "signalled", [RUN_TIMEOUT] = "timeout",
	[RUN_OOM] = "oom",	 [RUN_FAILED] = "failed",	[RUN_LOST] = "lost",
};

static const char *const bucket_words[N_BUCKET_STATES] = {
	[BUCKET_STARTING] = "starting",
	[BUCKET_MOUNTED] = "mounted",
	[BUCKET_FAILED] = "failed",
	[BUCKET_GONE] = "gone",
};

const char *bucket_state_word(enum bucket_state state)
{
	return state < N_BUCKET_STATES ? bucket_words[state] : "unknown";
}

const char *box_state_word(enum box_state state)
{
	return state < N_BOX_STATES ? box_words[state] : "unknown";
}

const char *run_state_word(enum run_state state)
{
	return state < N_RUN_STATES ? run_words[state] : "unknown";
}

int run_state_parse(const char *word)
{
	for (int i = 0; i < N_RUN_STATES; i++) {
		if (!strcmp(word, run_words[i]))
			return i;
	}
	return -EINVAL;
}

void msg_link_init(struct msg_link *link, int sock)
{
	*link = (struct msg_link){ .sock = sock };
	link->tail = &link->queue;
	if (sock >= 0)
		set_nonblock(sock);
}

static void packet_free(struct msg_packet *p)
{
	for (int i = 0; i < p->n_fds; i++)
		close(p->fds[i]);
	free(p);
}

void msg_link_close(struct msg_link *link)
{
	while (link->queue) {
		struct msg_packet *p = link->queue;

		link->queue = p->next;
		packet_free(p);
	}
	while (link->n_fds > 0)
		close(link->fds[--link->n_fds]);
	free(link->payload);
	close_fd(&link->sock);
	msg_link_init(link, -1);
	link->broken = true;
}

static int link_break(struct msg_link *link)
{
	link->broken = true;
	return -EPIPE;
}

int msg_flush(struct msg_link *link)
{
	if (link->broken)
		return -EPIPE;
	while (link->queue) {
		struct msg_packet *p = link->queue;
		int r = send_packet(link->sock, p->bytes, p->len, p->fds, p->n_fds);

		if (r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS)
			return 0;
		if (r < 0)
			return link_break(link);
		link->queue = p->next;
		if (!link->queue)
			link->tail = &link->queue;
		link->queued -= p->len;
		packet_free(p);
	}
	return 0;
}

static int queue_fragment(struct msg_link *link, const struct msg *m, const void *bytes, size_t len,
			  const int *fds, int n_fds)
{
	struct msg_packet *p = malloc(sizeof(*p) + sizeof(*m) + len);

	if (!p)
		return -ENOMEM;
	*p = (struct msg_packet){ .len = sizeof(*m) + len };
	memcpy(p->bytes, m, sizeof(*m));
	if (len)
		memcpy(p->bytes + sizeof(*m), bytes, len);
	for (int i = 0; i < n_fds; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (copy < 0) {
			packet_free(p);
			return -errno;
		}
		p->fds[p->n_fds++] = copy;
	}
	*link->tail = p;
	link->tail = &p->next;
	link->queued += p->len;
	return 0;
}

int msg_send(struct msg_link *link, const struct msg *m, const void *payload, const int *fds,
	     int n_fds)
{
	struct msg head = *m;
	size_t at = 0;

	if (link->broken || link->sock < 0)
		return -EPIPE;
	if (m->len > MSG_MAX_PAYLOAD || n_fds > MSG_MAX_FDS)
		return -EMSGSIZE;
	if (link->queued + m->len > MSG_QUEUE_MAX)
		return link_break(link);
	do {
		size_t len = MIN(m->len - at, (size_t)FRAGMENT_BYTES);
		int r;

		head.at = at;
		r = queue_fragment(link, &head, (const char *)payload + at, len, fds,
				   at ? 0 : n_fds);
		if (r < 0)
			/* A message cut in the middle would garble the stream. */
			return at ? link_break(link) : r;
		at += len;
	} while (at < m->len);
	return msg_flush(link);
}

/* Takes one packet into the reassembly; 1 when a message is whole. */
static int take_fragment(struct msg_link *link, const char *packet, size_t n, const int *fds,
			 int n_fds)
{
	struct msg m;
	size_t len = n - sizeof(m);

	memcpy(&m, packet, sizeof(m));
	if (m.len > MSG_MAX_PAYLOAD || m.at > m.len || len > m.len - m.at)
		return -EPROTO;
	if (!link->partial) {
		if (m.at != 0)
			return -EPROTO;
		link->head = m;
		link->got = 0;
		free(link->payload);
		link->payload = malloc((size_t)m.len + 1);
		if (!link->payload)
			return -ENOMEM;
		memcpy(link->fds, fds, n_fds * sizeof(*fds));
		link->n_fds = n_fds;
		link->partial = true;
	} else if (m.type != link->head.type || m.at != link->got || m.len != link->head.len ||
		   n_fds) {
		return -EPROTO;
	}
	memcpy(link->payload + link->got, packet + sizeof(m), len);
	link->got += len;
	if (link->got < link->head.len)
		return len ? 0 : -EPROTO;
	link->payload[link->got] = '\0';
	link->partial = false;
	return 1;
}

int msg_receive(struct msg_link *link, struct msg *m, char **payload, int *fds, int *n_fds)
{
	char packet[sizeof(struct msg) + FRAGMENT_BYTES];

	for (;;) {
		int got[MSG_MAX_FDS], n_got = MSG_MAX_FDS;
		ssize_t n = recv_packet(link->sock, packet, sizeof(packet), got, &n_got);
		int r;

		if (n == -EAGAIN)
			return 0;
		if (n == 0 || n == -ECONNRESET || n == -EPIPE)
			return -EPIPE;
		if (n < 0)
			return n == -EMSGSIZE ? -EPROTO : (int)n;
		r = n < (ssize_t)sizeof(*m) ? -EPROTO : take_fragment(link, packet, n, got, n_got);
		if (r < 0) {
			/* Descriptors that the link has taken over are closed with it. */
			if (!link->n_fds || link->fds[0] != got[0])
				while (n_got > 0)
					close(got[--n_got]);
			return r;
		}
		if (r == 1)
			break;
	}
	*m = link->head;
	*payload = link->payload;
	memcpy(fds, link->fds, sizeof(link->fds));
	*n_fds = link->n_fds;
	link->n_fds = 0;
	return 1;
}
