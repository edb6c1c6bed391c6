/* SPDX-License-Identifier: MIT */
/*
 * Queries over TCP, for answers too long for a datagram (RFC 7766): a box's connection, whose
 * queries are answered one after the other, and for each a connection to a server. One thread, no
 * locks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "dns_private.h"

struct dns_stream {
	struct dns_stream *next;
	struct dns *dns;
	struct loop_source source;
	struct loop_timer timer;
	struct sockaddr_in from;
	uint8_t in[2 + MAX_QUERY];
	size_t in_len;
	uint8_t *out; /* an answer on its way to the box */
	size_t out_len, out_sent;
	bool asking; /* a query of it is on its way */
	bool broken; /* closed meanwhile; freed when the query is done */
};

static void stream_free(struct dns_stream *s)
{
	struct dns_stream **at = &s->dns->streams;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->dns->n_streams--;
	loop_timer_clear(&s->dns->loop, &s->timer);
	if (s->source.fd >= 0) {
		loop_remove(&s->dns->loop, &s->source);
		close(s->source.fd);
	}
	free(s->out);
	free(s);
}

/* A query that is on its way still points to it. */
static void stream_end(struct dns_stream *s)
{
	if (!s->asking) {
		stream_free(s);
		return;
	}
	loop_remove(&s->dns->loop, &s->source);
	close_fd(&s->source.fd);
	loop_timer_clear(&s->dns->loop, &s->timer);
	s->broken = true;
}

static void on_timer(struct loop_timer *timer)
{
	stream_end(container_of(timer, struct dns_stream, timer));
}

/* Begins with the next query that has come, if it is whole. False: the stream is gone. */
static bool stream_next(struct dns_stream *s)
{
	size_t len = s->in_len < 2 ? 0 : (size_t)(s->in[0] << 8 | s->in[1]);
	uint8_t text[MAX_QUERY];

	if (s->in_len < 2 || (len <= MAX_QUERY && s->in_len < 2 + len)) {
		loop_change(&s->dns->loop, &s->source, EPOLLIN);
		return true;
	}
	if (len > MAX_QUERY) {
		stream_end(s);
		return false;
	}
	memcpy(text, s->in + 2, len);
	s->in_len -= 2 + len;
	memmove(s->in, s->in + 2 + len, s->in_len);
	s->asking = true;
	/* While it is asked for nothing more is read, so that a box cannot pile up queries. */
	loop_change(&s->dns->loop, &s->source, 0);
	if (query_begin(s->dns, text, len, &s->from, s) == 0)
		return true; /* it may even be answered already */
	s->asking = false;
	stream_end(s);
	return false;
}

static void stream_write(struct dns_stream *s)
{
	ssize_t n = send(s->source.fd, s->out + s->out_sent, s->out_len - s->out_sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		stream_end(s);
		return;
	}
	s->out_sent += n > 0 ? (size_t)n : 0;
	if (s->out_sent < s->out_len) {
		loop_change(&s->dns->loop, &s->source, EPOLLOUT);
		return;
	}
	free(take_ptr(s->out));
	loop_timer_set(&s->dns->loop, &s->timer, STREAM_MS);
	stream_next(s);
}

void stream_answer(struct dns_stream *s, const uint8_t *text, size_t len)
{
	s->asking = false;
	if (s->broken || len > DNS_MAX) {
		stream_end(s);
		return;
	}
	s->out = malloc(2 + len);
	if (!s->out) {
		stream_end(s);
		return;
	}
	s->out[0] = (uint8_t)(len >> 8);
	s->out[1] = (uint8_t)len;
	memcpy(s->out + 2, text, len);
	s->out_len = 2 + len;
	s->out_sent = 0;
	/* Not from here: the query that gives it is not done with the stream yet. */
	loop_change(&s->dns->loop, &s->source, EPOLLOUT);
}

static void on_stream(struct loop_source *source, uint32_t events)
{
	struct dns_stream *s = container_of(source, struct dns_stream, source);
	ssize_t n;

	if (s->out) {
		stream_write(s);
		return;
	}
	if (s->asking) {
		if (events & (EPOLLHUP | EPOLLERR))
			stream_end(s);
		return;
	}
	n = recv(source->fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		stream_end(s);
		return;
	}
	s->in_len += (size_t)n;
	stream_next(s);
}

static unsigned int streams_of(const struct dns *dns, in_addr_t from)
{
	unsigned int n = 0;

	for (const struct dns_stream *s = dns->streams; s; s = s->next)
		n += s->from.sin_addr.s_addr == from;
	return n;
}

void streams_accept(struct loop_source *source, uint32_t events)
{
	struct dns *dns = container_of(source, struct dns, tcp);
	struct sockaddr_in from = { 0 };
	socklen_t size = sizeof(from);
	_cleanup_close_ int fd =
		accept4(source->fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct dns_stream *s;

	(void)events;
	if (fd < 0 || dns->n_streams >= MAX_STREAMS ||
	    streams_of(dns, from.sin_addr.s_addr) >= MAX_STREAMS_EACH)
		return;
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	*s = (struct dns_stream){ .dns = dns, .from = from };
	s->timer.fire = on_timer;
	s->source = (struct loop_source){ take_fd(&fd), on_stream };
	s->next = dns->streams;
	dns->streams = s;
	dns->n_streams++;
	if (loop_add(&dns->loop, &s->source, EPOLLIN) < 0)
		stream_free(s);
	else
		loop_timer_set(&dns->loop, &s->timer, STREAM_MS);
}

/* --- to a server -------------------------------------------------------------------------------- */

static bool send_query(struct query *q)
{
	uint8_t text[2 + MAX_QUERY];
	ssize_t n;

	text[0] = (uint8_t)(q->len >> 8);
	text[1] = (uint8_t)q->len;
	memcpy(text + 2, q->text, q->len);
	n = send(q->up.fd, text + q->sent, 2 + q->len - q->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN;
	q->sent += (size_t)n;
	if (q->sent == 2 + q->len)
		loop_change(&q->dns->loop, &q->up, EPOLLIN);
	return true;
}

/* False: this server is no good. */
static bool receive_answer(struct query *q)
{
	size_t len;
	ssize_t n = recv(q->up.fd, q->got + q->got_len, 2 + DNS_MAX - q->got_len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN;
	q->got_len += (size_t)n;
	len = q->got_len < 2 ? 0 : (size_t)(q->got[0] << 8 | q->got[1]);
	if (q->got_len < 2 || q->got_len < 2 + len)
		return n > 0;
	if (len < DNS_HEAD || (q->got[2] << 8 | q->got[3]) != q->id ||
	    !dns_answers(q->got + 2, len, q->text, &q->question))
		return false;
	loop_remove(&q->dns->loop, &q->up);
	close_fd(&q->up.fd);
	query_answered(q, q->got + 2, len);
	return true;
}

static void on_server(struct loop_source *source, uint32_t events)
{
	struct query *q = container_of(source, struct query, up);
	bool well;

	if (q->sent < 2 + q->len)
		well = !(events & (EPOLLERR | EPOLLHUP)) && send_query(q);
	else
		well = receive_answer(q);
	if (!well)
		query_try(q);
}

int query_connect(struct query *q, const struct sockaddr_storage *server)
{
	socklen_t size = server->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						      : sizeof(struct sockaddr_in6);
	int fd = socket(server->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (fd < 0)
		return -errno;
	if (!q->got)
		q->got = malloc(2 + DNS_MAX);
	if (!q->got ||
	    (connect(fd, (const struct sockaddr *)server, size) < 0 && errno != EINPROGRESS)) {
		r = q->got ? -errno : -ENOMEM;
		close(fd);
		return r;
	}
	q->sent = q->got_len = 0;
	q->up = (struct loop_source){ fd, on_server };
	return loop_add(&q->dns->loop, &q->up, EPOLLOUT);
}
