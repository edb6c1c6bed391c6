/* SPDX-License-Identifier: MIT */
/* Shared by dns.c (queries, datagrams) and dns_stream.c (connections). */
#ifndef NET_DNS_PRIVATE_H
#define NET_DNS_PRIVATE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "dns.h"
#include "keeper/loop.h"

enum {
	MAX_QUERIES = 1024,
	MAX_QUERIES_EACH = 48, /* of one box */
	MAX_ORDERS = 128,      /* of our own */
	MAX_STREAMS = 512,
	MAX_STREAMS_EACH = 8,
	QUERY_MS = 2000, /* for one server; then the next */
	TRIES = 4,
	STREAM_MS = 10000, /* for all of a connection's next query */
	MAX_QUERY = 4096,
	MAX_SERVERS = 3,
	DNS_PORT = 53,
};

struct dns;
struct dns_stream;

/* A question on its way: allowed by sandbox-net, asked, answered, heard of by sandbox-net, and given to
 * who asked. */
struct query {
	struct query *next;
	struct dns *dns;
	struct loop_source up; /* socket to a server; -1 none */
	struct loop_timer timer;
	struct dns_question question;
	uint8_t *text; /* as sent */
	size_t len;
	uint16_t id; /* ours */
	int tries;
	struct sockaddr_in from;   /* of a datagram */
	struct dns_stream *stream; /* or a connection */
	bool ours;		   /* an order */
	bool unsure;		   /* sandbox-net has not said yet that it may be asked */
	uint8_t *answer;	   /* until sandbox-net has heard */
	size_t answer_len;
	uint32_t serial;
	uint8_t *got; /* of a server's stream, behind two bytes of length */
	size_t got_len, sent;
};

struct dns {
	struct loop loop;
	struct loop_source link, udp, tcp;
	bool ipv6;
	struct query *queries;
	unsigned int n_queries, n_orders;
	uint32_t last_serial;
	struct dns_stream *streams;
	unsigned int n_streams;
	struct sockaddr_storage servers[MAX_SERVERS];
	unsigned int n_servers;
	int64_t servers_changed_ns; /* of /etc/resolv.conf */
};

/* Takes a query of so many bytes. 0, or -errno: nobody will answer it. stream: it came by that. */
int query_begin(struct dns *dns, const uint8_t *text, size_t len, const struct sockaddr_in *from,
		struct dns_stream *stream);
void query_free(struct query *query);
/* A server's answer, whole. */
void query_answered(struct query *query, const uint8_t *text, size_t len);
/* Goes on with the next server; SERVFAIL when it was the last. */
void query_try(struct query *query);

/* dns_stream.c */
void streams_accept(struct loop_source *source, uint32_t events);
/* The answer to the connection's query. */
void stream_answer(struct dns_stream *stream, const uint8_t *text, size_t len);
/* Asks a server by a connection; -errno. */
int query_connect(struct query *query, const struct sockaddr_storage *server);

#endif
