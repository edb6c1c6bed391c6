/* SPDX-License-Identifier: MIT */
/*
 * The name server: queries by datagram, the machine's servers, what is told to sandbox-net. Must not
 * trust a byte of a query or an answer; must not wait. One thread, no locks.
 */
#include "dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "dns_private.h"

enum { ROUND = 32, MAX_RESOLV_CONF = 64 << 10 };

static uint16_t random16(void)
{
	uint16_t n = 0;

	if (getrandom(&n, sizeof(n), 0) < 0)
		n = (uint16_t)hash_u64((uint64_t)monotonic_us());
	return n;
}

/* --- the machine's servers ---------------------------------------------------------------------- */

static bool parse_server(char *text, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	char *scope;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(DNS_PORT);
		return true;
	}
	scope = strchr(text, '%');
	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(DNS_PORT);
	v6->sin6_scope_id = scope ? if_nametoindex(scope) : 0;
	return true;
}

/* Read again when it has changed. */
static void read_servers(struct dns *dns)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL, local[] = "127.0.0.1", *path = realpath("/etc/resolv.conf", NULL);
	struct stat st;
	int64_t changed;

	if (!path || stat(path, &st) < 0)
		st = (struct stat){ 0 };
	changed = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec + (int64_t)st.st_ino;
	if (dns->n_servers && changed == dns->servers_changed_ns) {
		free(path);
		return;
	}
	dns->servers_changed_ns = changed;
	dns->n_servers = 0;
	if (path && read_file_at(AT_FDCWD, path, MAX_RESOLV_CONF, &text, NULL) == 0) {
		for (char *line = strtok_r(text, "\n", &save); line && dns->n_servers < MAX_SERVERS;
		     line = strtok_r(NULL, "\n", &save)) {
			if (!strncmp(line, "nameserver", 10) &&
			    (line[10] == ' ' || line[10] == '\t'))
				dns->n_servers += parse_server(text_strip(line + 10),
							       &dns->servers[dns->n_servers]);
		}
	}
	free(path);
	if (!dns->n_servers)
		dns->n_servers = parse_server(local, &dns->servers[0]); /* resolv.conf(5) */
}

/* --- a query ------------------------------------------------------------------------------------ */

void query_free(struct query *q)
{
	struct query **at = &q->dns->queries;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	q->dns->n_queries--;
	q->dns->n_orders -= q->ours;
	loop_timer_clear(&q->dns->loop, &q->timer);
	if (q->up.fd >= 0) {
		loop_remove(&q->dns->loop, &q->up);
		close(q->up.fd);
	}
	free(q->text);
	free(q->answer);
	free(q->got);
	free(q);
}

/* Gives the answer to who asked, and is done with it. */
static void deliver(struct query *q, const uint8_t *text, size_t len)
{
	if (q->stream)
		stream_answer(q->stream, text, len);
	else if (!q->ours)
		sendto(q->dns->udp.fd, text, len, MSG_DONTWAIT, (const struct sockaddr *)&q->from,
		       sizeof(q->from));
}

static void finish(struct query *q, const uint8_t *text, size_t len)
{
	_cleanup_free_ uint8_t *copy = len ? malloc(len) : NULL;

	if (copy) {
		memcpy(copy, text, len);
		dns_set_id(copy, q->question.id);
		deliver(q, copy, len);
	}
	query_free(q);
}

static void give_empty(struct query *q, uint8_t code)
{
	finish(q, q->text, dns_make_empty(q->text, &q->question, code));
}

static void on_timer(struct loop_timer *timer)
{
	struct query *q = container_of(timer, struct query, timer);

	/* sandbox-net does not say that it has heard: then nobody gets it. */
	if (q->answer || q->unsure)
		give_empty(q, DNS_SERVFAIL);
	else
		query_try(q);
}

/* To sandbox-net, which says the serial back. 0 or -errno. */
static int tell(struct query *q, struct dns_heard *heard)
{
	memcpy(heard->name, q->question.name, sizeof(heard->name));
	if (!q->ours) {
		heard->from = (struct net_address){ .family = AF_INET, .prefix = 32 };
		memcpy(heard->from.bytes, &q->from.sin_addr, 4);
		q->serial = q->dns->last_serial = MAX(q->dns->last_serial + 1, 1u);
		heard->serial = q->serial;
	}
	return send_packet(q->dns->link.fd, heard, sizeof(*heard), NULL, 0);
}

/* What sandbox-net has to know of an answer; false: nothing. */
static bool find_addresses(const struct query *q, const uint8_t *text, size_t len,
			   struct dns_heard *heard)
{
	unsigned int ttl;

	if (q->question.type != DNS_TYPE_A && q->question.type != DNS_TYPE_AAAA)
		return false;
	heard->n = (uint32_t)dns_addresses(text, len, &q->question, heard->addresses, &ttl);
	heard->ttl = ttl;
	return heard->n && q->question.name[0];
}

void query_answered(struct query *q, const uint8_t *text, size_t len)
{
	struct dns_heard heard = { .ttl = 0 };

	if (!find_addresses(q, text, len, &heard)) {
		finish(q, text, len);
		return;
	}
	q->answer = q->ours ? NULL : malloc(len);
	/* Who cannot be told of an address must not get it. */
	if (tell(q, &heard) < 0 || !q->answer) {
		give_empty(q, DNS_SERVFAIL);
		return;
	}
	memcpy(q->answer, text, len);
	q->answer_len = len;
	loop_timer_set(&q->dns->loop, &q->timer, QUERY_MS);
}

static void on_datagram_answer(struct loop_source *source, uint32_t events)
{
	struct query *q = container_of(source, struct query, up);
	static uint8_t text[DNS_MAX];
	ssize_t n = recv(source->fd, text, sizeof(text), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		query_try(q); /* nobody listens there */
		return;
	}
	if ((size_t)n < DNS_HEAD || (text[0] << 8 | text[1]) != q->id ||
	    !dns_answers(text, (size_t)n, q->text, &q->question))
		return; /* not from the one that was asked */
	query_answered(q, text, (size_t)n);
}

static socklen_t address_len(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static int query_send(struct query *q, const struct sockaddr_storage *server)
{
	int fd = socket(server->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)server, address_len(server)) < 0 ||
	    send(fd, q->text, q->len, 0) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	q->up = (struct loop_source){ fd, on_datagram_answer };
	return loop_add(&q->dns->loop, &q->up, EPOLLIN);
}

void query_try(struct query *q)
{
	struct dns *dns = q->dns;
	int r = -EIO;

	if (q->up.fd >= 0) {
		loop_remove(&dns->loop, &q->up);
		close_fd(&q->up.fd);
	}
	while (r < 0 && q->tries < TRIES) {
		const struct sockaddr_storage *server =
			&dns->servers[(unsigned int)q->tries++ % dns->n_servers];

		q->id = random16();
		dns_set_id(q->text, q->id);
		r = q->stream ? query_connect(q, server) : query_send(q, server);
	}
	if (r < 0)
		give_empty(q, DNS_SERVFAIL);
	else
		loop_timer_set(&dns->loop, &q->timer, QUERY_MS);
}

static unsigned int queries_of(const struct dns *dns, in_addr_t from)
{
	unsigned int n = 0;

	for (const struct query *q = dns->queries; q; q = q->next)
		n += q->from.sin_addr.s_addr == from;
	return n;
}

static void begin(struct query *q)
{
	struct dns_heard ask = { .asks = true };

	if (q->question.type == DNS_TYPE_AAAA && !q->dns->ipv6) {
		give_empty(q, 0); /* or every program would try them first, in vain */
	} else if (q->ours) {
		query_try(q);
	} else if (tell(q, &ask) < 0) {
		give_empty(q, DNS_SERVFAIL);
	} else {
		q->unsure = true;
		loop_timer_set(&q->dns->loop, &q->timer, QUERY_MS);
	}
}

int query_begin(struct dns *dns, const uint8_t *text, size_t len, const struct sockaddr_in *from,
		struct dns_stream *stream)
{
	struct query *q;

	if (dns->n_queries >= MAX_QUERIES || len > MAX_QUERY ||
	    (!from && dns->n_orders >= MAX_ORDERS) ||
	    (from && queries_of(dns, from->sin_addr.s_addr) >= MAX_QUERIES_EACH))
		return -EBUSY;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	*q = (struct query){ .dns = dns, .up.fd = -1, .stream = stream, .ours = !from };
	q->timer.fire = on_timer;
	if (from)
		q->from = *from;
	q->text = malloc(len);
	q->len = len;
	if (!q->text || dns_read_query(text, len, &q->question) < 0) {
		free(q->text);
		free(q);
		return -EINVAL;
	}
	memcpy(q->text, text, len);
	q->next = dns->queries;
	dns->queries = q;
	dns->n_queries++;
	dns->n_orders += q->ours;
	read_servers(dns);
	begin(q);
	return 0;
}

/* --- who asks ----------------------------------------------------------------------------------- */

static void on_datagrams(struct loop_source *source, uint32_t events)
{
	struct dns *dns = container_of(source, struct dns, udp);
	uint8_t text[MAX_QUERY];

	(void)events;
	for (int i = 0; i < ROUND; i++) {
		struct sockaddr_in from = { 0 };
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(source->fd, text, sizeof(text), MSG_DONTWAIT,
				     (struct sockaddr *)&from, &size);

		if (n < 0)
			break;
		query_begin(dns, text, (size_t)n, &from, NULL);
	}
}

static void ask_for(struct dns *dns, const char *name)
{
	uint8_t text[512];

	query_begin(dns, text, dns_make_query(text, 0, name, DNS_TYPE_A), NULL, NULL);
	if (dns->ipv6)
		query_begin(dns, text, dns_make_query(text, 0, name, DNS_TYPE_AAAA), NULL, NULL);
}

/* sandbox-net has spoken. */
static void go_on(struct query *q, uint8_t code)
{
	if (code) {
		give_empty(q, code);
	} else if (q->unsure) {
		q->unsure = false;
		query_try(q);
	} else {
		finish(q, q->answer, q->answer_len);
	}
}

static void on_order(struct loop_source *source, uint32_t events)
{
	struct dns *dns = container_of(source, struct dns, link);
	struct dns_order order;
	int none = 0;
	ssize_t n = recv_packet(source->fd, &order, sizeof(order), NULL, &none);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(order))
		_exit(0);
	order.name[sizeof(order.name) - 1] = '\0';
	if (order.name[0])
		ask_for(dns, order.name);
	for (struct query *q = order.serial ? dns->queries : NULL; q; q = q->next) {
		if (q->serial == order.serial && (q->unsure || q->answer)) {
			go_on(q, order.code);
			return;
		}
	}
}

_Noreturn void dns_main(int link, int udp, int tcp, bool ipv6)
{
	static struct dns dns;

	dns.ipv6 = ipv6;
	dns.link = (struct loop_source){ link, on_order };
	dns.udp = (struct loop_source){ udp, on_datagrams };
	dns.tcp = (struct loop_source){ tcp, streams_accept };
	if (loop_open(&dns.loop) < 0 || loop_add(&dns.loop, &dns.link, EPOLLIN) < 0 ||
	    loop_add(&dns.loop, &dns.udp, EPOLLIN) < 0 ||
	    loop_add(&dns.loop, &dns.tcp, EPOLLIN) < 0)
		_exit(1);
	_exit(loop_serve(&dns.loop) < 0);
}
