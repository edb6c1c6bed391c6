/* SPDX-License-Identifier: MIT */
/*
 * A way to a server that takes time: connections to 127.0.0.1:PORT go on to 127.0.0.1:TARGET, each byte
 * as much later as it is told, in either direction; the first bytes of a connection one round trip later
 * still, for what a handshake takes. Bandwidth is not limited. What passed is counted.
 *
 *   delay PORT TARGET MICROSECONDS COUNTERS
 *
 * COUNTERS is a file of three 64-bit numbers: bytes from the server, bytes to it, connections. Writes a
 * newline to standard output when it listens; lives until it is killed. One thread, no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS_MAX = 256, CHUNK_MAX = 256 << 10, HELD_MAX = 32 << 20 };

struct chunk {
	struct chunk *next;
	int64_t due_us;
	size_t len, done; /* len 0: the end */
	char bytes[];
};

struct way {
	int from, to;
	struct chunk *first, **end;
	size_t held;
	bool ended, over, full; /* no more comes; the end was passed on; `to` takes nothing now */
	uint64_t *counter;
};

struct pair {
	int64_t open_us; /* nothing passes before */
	struct way ways[2];
};

static struct pair *pairs[PAIRS_MAX];
static int64_t delay_us;
static uint64_t *counters;
static uint16_t target;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

static struct sockaddr_in address(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void prepare(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(int listener)
{
	int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC), server, i = 0;
	struct sockaddr_in to = address(target);
	struct pair *p;

	if (client < 0)
		return;
	server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (i < PAIRS_MAX && pairs[i])
		i++;
	p = calloc(1, sizeof(*p));
	if (i == PAIRS_MAX || !p || server < 0 ||
	    connect(server, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(client);
		if (server >= 0)
			close(server);
		free(p);
		return;
	}
	prepare(client);
	prepare(server);
	p->open_us = now_us() + 3 * delay_us;
	p->ways[0] = (struct way){ .from = server, .to = client, .counter = &counters[0] };
	p->ways[1] = (struct way){ .from = client, .to = server, .counter = &counters[1] };
	for (int w = 0; w < 2; w++)
		p->ways[w].end = &p->ways[w].first;
	counters[2]++;
	pairs[i] = p;
}

/* False: that connection is lost. */
static bool take(const struct pair *p, struct way *w)
{
	static char buffer[CHUNK_MAX];
	ssize_t n = read(w->from, buffer, sizeof(buffer));
	struct chunk *c;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c = malloc(sizeof(*c) + (size_t)n);
	if (!c)
		return false;
	*c = (struct chunk){ .due_us = now_us() + delay_us, .len = (size_t)n };
	if (c->due_us < p->open_us)
		c->due_us = p->open_us;
	memcpy(c->bytes, buffer, (size_t)n);
	*w->end = c;
	w->end = &c->next;
	w->held += (size_t)n;
	w->ended = n == 0;
	*w->counter += (uint64_t)n;
	return true;
}

static bool pass(struct way *w)
{
	int64_t now = now_us();

	for (struct chunk *c = w->first; c && c->due_us <= now; c = w->first) {
		ssize_t n = 0;

		if (!c->len) {
			shutdown(w->to, SHUT_WR);
			w->over = true;
		} else {
			n = send(w->to, c->bytes + c->done, c->len - c->done, MSG_NOSIGNAL);
			w->full = n < 0 && errno == EAGAIN;
			if (w->full)
				return true;
			if (n < 0)
				return false;
		}
		c->done += (size_t)n;
		w->held -= (size_t)n;
		if (c->done < c->len)
			continue;
		w->first = c->next;
		if (!w->first)
			w->end = &w->first;
		free(c);
	}
	return true;
}

static void end_pair(struct pair **slot)
{
	struct pair *p = *slot;

	for (int w = 0; w < 2; w++) {
		for (struct chunk *c = p->ways[w].first, *next; c; c = next) {
			next = c->next;
			free(c);
		}
		close(p->ways[w].from);
	}
	free(p);
	*slot = NULL;
}

/* What to wait for at each socket, and until when something is due at the latest. */
static int64_t watch(const struct pair *p, struct pollfd fds[2], int64_t due)
{
	for (int w = 0; w < 2; w++) {
		const struct way *way = &p->ways[w], *other = &p->ways[!w];

		fds[w] = (struct pollfd){ .fd = way->from };
		if (!way->ended && way->held < HELD_MAX)
			fds[w].events |= POLLIN;
		if (other->full)
			fds[w].events |= POLLOUT;
		if (!fds[w].events)
			fds[w].fd = -1;
		if (way->first && !way->full && way->first->due_us < due)
			due = way->first->due_us;
	}
	return due;
}

static void move(struct pair **slot, const struct pollfd fds[2])
{
	struct pair *p = *slot;
	bool good = true;

	for (int w = 0; w < 2 && good; w++) {
		struct way *way = &p->ways[w];

		if (fds[w].revents & (POLLIN | POLLHUP | POLLERR) && !way->ended)
			good = take(p, way);
		if (fds[!w].revents & (POLLOUT | POLLHUP | POLLERR))
			way->full = false;
		if (good && !way->full)
			good = pass(way);
	}
	if (!good || (p->ways[0].over && p->ways[1].over))
		end_pair(slot);
}

static void serve(int listener)
{
	static struct pollfd fds[2 * PAIRS_MAX + 1];

	for (;;) {
		int64_t now = now_us(), due = now + 1000000;
		struct timespec wait;

		for (int i = 0; i < PAIRS_MAX; i++) {
			fds[2 * i] = fds[2 * i + 1] = (struct pollfd){ .fd = -1 };
			if (pairs[i])
				due = watch(pairs[i], &fds[2 * i], due);
		}
		fds[2 * PAIRS_MAX] = (struct pollfd){ .fd = listener, .events = POLLIN };
		due = due > now ? due - now : 0;
		wait = (struct timespec){ .tv_sec = due / 1000000,
					  .tv_nsec = due % 1000000 * 1000 };
		if (ppoll(fds, 2 * PAIRS_MAX + 1, &wait, NULL) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < PAIRS_MAX; i++)
			if (pairs[i])
				move(&pairs[i], &fds[2 * i]);
		if (fds[2 * PAIRS_MAX].revents)
			accept_one(listener);
	}
}

int main(int argc, char **argv)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, fd;
	struct sockaddr_in at;

	if (argc != 5) {
		fputs("usage: delay PORT TARGET MICROSECONDS COUNTERS\n", stderr);
		return 2;
	}
	at = address((uint16_t)strtoul(argv[1], NULL, 10));
	target = (uint16_t)strtoul(argv[2], NULL, 10);
	delay_us = strtol(argv[3], NULL, 10);
	fd = open(argv[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		die(argv[4]);
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED)
		die(argv[4]);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 256) < 0)
		die("listen");
	if (write(1, "\n", 1) != 1)
		die("ready");
	serve(listener);
}
