/* SPDX-License-Identifier: MIT */
/*
 * The log of connections: what the router's rules hand over (nfnetlink_log) becomes lines in the
 * box's folder, newest last, in two files of at most NET_LOG_MAX bytes. Must not wait and must not
 * keep the kernel waiting: what comes too fast is lost there. Packets are a box's: only numbers are
 * taken from them, and names only from answers of our own. One thread, no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "net.h"
#include "network.h"

enum {
	RECEIVE_BYTES = 64 << 10,
	SOCKET_BYTES = 1 << 20,
	ROUND_PACKETS = 64,
	MAX_REFUSED = 20 /* names, a second */
};

static struct mnl_socket *nflog;
static struct loop_source source;
static struct net *owner;
static char received[RECEIVE_BYTES];

static const struct {
	char verdict;
	const char *word;
} verdicts[] = {
	{ RULES_ALLOWED, "allowed" },
	{ RULES_DENIED, "refused denied" },
	{ RULES_PRIVATE, "refused not-public" },
	{ RULES_NEVER, "refused never" },
	{ RULES_HOST, "refused host" },
	{ RULES_BOX, "refused box" },
	{ RULES_SPOOFED, "refused spoofed" },
	{ RULES_TOO_MANY, "refused too-many" },
};

static const char *verdict_word(char verdict)
{
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
		if (verdicts[i].verdict == verdict)
			return verdicts[i].word;
	}
	return "refused";
}

/* --- a packet ----------------------------------------------------------------------------------- */

struct packet {
	struct net_address from, to;
	uint8_t protocol;
	int port; /* of the other side; -1 none */
};

/* Of a header that may be cut or lie; false: not to be told from it. */
static bool read_packet(const uint8_t *p, size_t len, struct packet *out)
{
	size_t head;

	*out = (struct packet){ .port = -1 };
	if (len >= 20 && p[0] >> 4 == 4) {
		head = (p[0] & 15) * 4u;
		out->protocol = p[9];
		out->from.family = out->to.family = AF_INET;
		memcpy(out->from.bytes, p + 12, 4);
		memcpy(out->to.bytes, p + 16, 4);
	} else if (len >= 40 && p[0] >> 4 == 6) {
		head = 40;
		out->protocol = p[6];
		out->from.family = out->to.family = AF_INET6;
		memcpy(out->from.bytes, p + 8, 16);
		memcpy(out->to.bytes, p + 24, 16);
	} else {
		return false;
	}
	if ((out->protocol == IPPROTO_TCP || out->protocol == IPPROTO_UDP) && len >= head + 4)
		out->port = p[head + 2] << 8 | p[head + 3];
	return true;
}

static void add_protocol(struct text *line, uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		text_add_str(line, " tcp");
		break;
	case IPPROTO_UDP:
		text_add_str(line, " udp");
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		text_add_str(line, " icmp");
		break;
	default:
		text_printf(line, " protocol-%u", protocol);
	}
}

static void add_place(struct text *line, const struct net_address *a, int port)
{
	char address[INET6_ADDRSTRLEN];

	inet_ntop(a->family, a->bytes, address, sizeof(address));
	text_printf(line, a->family == AF_INET6 && port >= 0 ? " [%s]" : " %s", address);
	if (port >= 0)
		text_printf(line, ":%d", port);
}

static void add_name(struct text *line, const struct net_box *box, const struct net_address *a)
{
	for (unsigned int i = 1; i <= MAX_NAMES; i++) {
		const struct answer *answer =
			&box->answers[(box->next_answer + MAX_NAMES - i) % MAX_NAMES];

		if (!answer->name || answer->a.family != a->family ||
		    memcmp(answer->a.bytes, a->bytes, sizeof(a->bytes)))
			continue;
		text_add_char(line, ' ');
		text_add_escaped(line, answer->name, strlen(answer->name));
		return;
	}
}

static void add_time(struct text *line)
{
	int64_t us = realtime_us();
	time_t s = us / 1000000;
	struct tm tm;

	gmtime_r(&s, &tm);
	text_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", tm.tm_year + 1900, tm.tm_mon + 1,
		    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us / 1000 % 1000));
}

/* --- the files ---------------------------------------------------------------------------------- */

static bool open_log(struct net_box *box)
{
	struct stat st;

	if (box->log >= 0)
		return true;
	box->log =
		openat(box->dir, NET_LOG,
		       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (box->log < 0)
		return false;
	box->log_size = fstat(box->log, &st) == 0 ? st.st_size : 0;
	return true;
}

void box_log_close(struct net_box *box)
{
	close_fd(&box->log);
}

static void write_line(struct net_box *box, const struct text *line)
{
	if (line->failed || box->dir < 0 || !open_log(box))
		return;
	if (box->log_size + (int64_t)line->len > NET_LOG_MAX) {
		box_log_close(box);
		renameat(box->dir, NET_LOG, box->dir, NET_LOG_OLD);
		if (!open_log(box))
			return;
	}
	if (write_full(box->log, line->data, line->len) == 0)
		box->log_size += (int64_t)line->len;
}

void box_log_refused(struct net_box *box, const char *name)
{
	_cleanup_text_ struct text line = { 0 };
	int64_t now_s = monotonic_ms() / 1000;

	if (box->refused_s != now_s)
		box->n_refused = 0;
	box->refused_s = now_s;
	if (box->n_refused++ >= MAX_REFUSED)
		return;
	add_time(&line);
	text_add_str(&line, "refused denied name ");
	text_add_escaped(&line, name[0] ? name : "-", strlen(name[0] ? name : "-"));
	text_add_char(&line, '\n');
	write_line(box, &line);
}

/* --- the kernel's side -------------------------------------------------------------------------- */

/* The process is in the router's namespace while this is asked. */
static struct net_box *box_by_link(uint32_t index)
{
	char name[IF_NAMESIZE];
	uint64_t slot;

	if (!if_indextoname(index, name) || strncmp(name, "sbx", 3) ||
	    parse_u64(name + 3, 1, owner->n_slots, &slot) < 0)
		return NULL;
	return owner->by_slot[slot];
}

static int on_packet(const struct nlmsghdr *head, void *ctx)
{
	const struct nlattr *attr, *found[NFULA_MAX + 1] = { 0 };
	_cleanup_text_ struct text line = { 0 };
	struct packet packet;
	struct net_box *box;
	const char *prefix;

	(void)ctx;
	mnl_attr_for_each(attr, head, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) <= NFULA_MAX)
			found[mnl_attr_get_type(attr)] = attr;
	}
	if (!found[NFULA_PAYLOAD] || !found[NFULA_PREFIX] || !found[NFULA_IFINDEX_INDEV] ||
	    !read_packet(mnl_attr_get_payload(found[NFULA_PAYLOAD]),
			 mnl_attr_get_payload_len(found[NFULA_PAYLOAD]), &packet))
		return MNL_CB_OK;
	box = box_by_link(ntohl(mnl_attr_get_u32(found[NFULA_IFINDEX_INDEV])));
	if (!box)
		return MNL_CB_OK;
	prefix = mnl_attr_get_str(found[NFULA_PREFIX]);
	add_time(&line);
	text_add_str(&line, verdict_word(prefix[0]));
	add_protocol(&line, packet.protocol);
	add_place(&line, &packet.to, packet.port);
	if (prefix[0] == RULES_SPOOFED) {
		text_add_str(&line, " from");
		add_place(&line, &packet.from, -1);
	}
	add_name(&line, box, &packet.to);
	text_add_char(&line, '\n');
	write_line(box, &line);
	return MNL_CB_OK;
}

static void on_log(struct loop_source *from, uint32_t events)
{
	(void)from;
	(void)events;
	if (router_enter(owner, owner->router_ns) < 0)
		return;
	for (int i = 0; i < ROUND_PACKETS; i++) {
		ssize_t n = mnl_socket_recvfrom(nflog, received, sizeof(received));

		if (n < 0 && errno == ENOBUFS)
			continue; /* some were lost */
		if (n <= 0)
			break;
		mnl_cb_run(received, (size_t)n, 0, mnl_socket_get_portid(nflog), on_packet, NULL);
	}
	router_leave(owner);
}

static int configure(uint8_t command, bool copy)
{
	char buf[256];
	struct nlmsghdr *head = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nf;
	int r;

	head->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nf = mnl_nlmsg_put_extra_header(head, sizeof(*nf));
	nf->nfgen_family = AF_UNSPEC;
	nf->version = NFNETLINK_V0;
	nf->res_id = htons(RULES_LOG_GROUP);
	if (copy) {
		struct nfulnl_msg_config_mode mode = { .copy_range = htonl(RULES_LOG_BYTES),
						       .copy_mode = NFULNL_COPY_PACKET };

		mnl_attr_put(head, NFULA_CFG_MODE, sizeof(mode), &mode);
		/* Each packet at once: the log shall be there when somebody looks. */
		mnl_attr_put_u32(head, NFULA_CFG_QTHRESH, htonl(1));
	} else {
		struct nfulnl_msg_config_cmd cmd = { .command = command };

		mnl_attr_put(head, NFULA_CFG_CMD, sizeof(cmd), &cmd);
	}
	if (mnl_socket_sendto(nflog, head, head->nlmsg_len) < 0)
		return -errno;
	r = (int)mnl_socket_recvfrom(nflog, received, sizeof(received));
	if (r < 0)
		return -errno;
	return mnl_cb_run(received, (size_t)r, 0, mnl_socket_get_portid(nflog), NULL, NULL) < 0
		       ? -errno
		       : 0;
}

int log_open(struct net *net)
{
	int size = SOCKET_BYTES, r;

	owner = net;
	nflog = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!nflog || mnl_socket_bind(nflog, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	setsockopt(mnl_socket_get_fd(nflog), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	r = configure(NFULNL_CFG_CMD_BIND, false);
	if (r == 0)
		r = configure(0, true);
	if (r == 0)
		r = set_nonblock(mnl_socket_get_fd(nflog));
	source = (struct loop_source){ mnl_socket_get_fd(nflog), on_log };
	return r < 0 ? r : loop_add(&net->loop, &source, EPOLLIN);
}

void log_close(struct net *net)
{
	if (!nflog)
		return;
	loop_remove(&net->loop, &source);
	mnl_socket_close(nflog);
	nflog = NULL;
}
