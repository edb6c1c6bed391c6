/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink(7) by libmnl. Must not know boxes. Each request is one message with an acknowledgement,
 * so nothing is ever waited for but the kernel's answer. No locks.
 */
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum {
	REQUEST_BYTES = 2048,
	ANSWER_BYTES = 32 << 10,
	GONE_BYTES = 2 << 20, /* some hundreds of links at once */
	BURST_MIN = 64 << 10, /* a bucket smaller than a large packet lets nothing through */
	LATENCY_DIV = 10,     /* of a second, that a queue may grow */
};

struct request {
	struct nlmsghdr *head;
	char bytes[REQUEST_BYTES];
};

struct mnl_socket *link_open(unsigned int groups)
{
	struct mnl_socket *nl =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | (groups ? SOCK_NONBLOCK : 0));

	if (nl && mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(nl);
		return NULL;
	}
	return nl;
}

void link_close(struct mnl_socket *nl)
{
	if (nl)
		mnl_socket_close(nl);
}

int link_fd(const struct mnl_socket *nl)
{
	return mnl_socket_get_fd(nl);
}

bool link_drain(struct mnl_socket *nl)
{
	char buf[ANSWER_BYTES];
	bool any = false;
	ssize_t n;

	/* ENOBUFS: some were lost, which is as good as having read them. */
	while ((n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) > 0 || (n < 0 && errno == ENOBUFS))
		any = true;
	return any;
}

struct mnl_socket *link_open_gone(void)
{
	/* By type, which is at 4; a load takes it for the network's byte order. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog filter = { .len = ARRAY_SIZE(code), .filter = code };
	struct mnl_socket *nl = link_open(RTMGRP_LINK);
	int room = GONE_BYTES;

	if (nl && setsockopt(link_fd(nl), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter))) {
		mnl_socket_close(nl);
		return NULL;
	}
	if (nl) /* where it may not be more, it stays as it is */
		setsockopt(link_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return nl;
}

void link_each_gone(struct mnl_socket *nl, void (*fn)(int index, void *ctx), void *ctx)
{
	char buf[ANSWER_BYTES];
	ssize_t n;

	while ((n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) > 0 || (n < 0 && errno == ENOBUFS)) {
		const struct nlmsghdr *head = (struct nlmsghdr *)buf;
		int left = (int)n;

		for (; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
			const struct ifinfomsg *info = mnl_nlmsg_get_payload(head);

			if (head->nlmsg_type == RTM_DELLINK &&
			    mnl_nlmsg_get_payload_len(head) >= sizeof(*info))
				fn(info->ifi_index, ctx);
		}
	}
}

static void *begin(struct request *q, uint16_t type, uint16_t flags, size_t size)
{
	q->head = mnl_nlmsg_put_header(q->bytes);
	q->head->nlmsg_type = type;
	q->head->nlmsg_flags = NLM_F_REQUEST | flags;
	return mnl_nlmsg_put_extra_header(q->head, size);
}

/* Sends it and takes the answers; data is called for those that are no acknowledgement. */
static int ask(struct mnl_socket *nl, struct request *q, mnl_cb_t data, void *ctx)
{
	_cleanup_free_ char *buf = malloc(ANSWER_BYTES);
	static unsigned int last;
	unsigned int seq = ++last;
	int r = 1;

	if (!buf)
		return -ENOMEM;
	q->head->nlmsg_seq = seq;
	/* Half of NLM_F_DUMP means something else in requests that change. */
	if ((q->head->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		q->head->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(nl, q->head, q->head->nlmsg_len) < 0)
		return -errno;
	while (r > 0) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, ANSWER_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), data, ctx);
		if (r < 0)
			return -errno;
	}
	return 0;
}

static size_t address_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

static struct ifinfomsg *begin_link(struct request *q, uint16_t type, uint16_t flags,
				    const char *name)
{
	struct ifinfomsg *info = begin(q, type, flags, sizeof(*info));

	mnl_attr_put_strz(q->head, IFLA_IFNAME, name);
	return info;
}

int link_make_pair(struct mnl_socket *nl, const struct link_end *one, const struct link_end *other,
		   unsigned int mtu)
{
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *head;
	struct request q;

	head = begin_link(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, one->name);
	head->ifi_index = one->index;
	mnl_attr_put_u32(q.head, IFLA_MTU, mtu);
	info = mnl_attr_nest_start(q.head, IFLA_LINKINFO);
	mnl_attr_put_str(q.head, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(q.head, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(q.head, VETH_INFO_PEER);
	head = mnl_nlmsg_put_extra_header(q.head, sizeof(*head));
	head->ifi_index = other->index;
	mnl_attr_put_strz(q.head, IFLA_IFNAME, other->name);
	mnl_attr_put_u32(q.head, IFLA_MTU, mtu);
	if (other->ns >= 0)
		mnl_attr_put_u32(q.head, IFLA_NET_NS_FD, (uint32_t)other->ns);
	mnl_attr_nest_end(q.head, peer);
	mnl_attr_nest_end(q.head, data);
	mnl_attr_nest_end(q.head, info);
	return ask(nl, &q, NULL, NULL);
}

static void no_link_local(struct request *q)
{
	struct nlattr *spec = mnl_attr_nest_start(q->head, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(q->head, AF_INET6);

	mnl_attr_put_u8(q->head, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(q->head, inet6);
	mnl_attr_nest_end(q->head, spec);
}

static int index_of(const struct nlmsghdr *head, void *index)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(head);

	*(int *)index = info->ifi_index;
	return MNL_CB_OK;
}

int link_index(struct mnl_socket *nl, const char *name)
{
	struct request q;
	int index = -ENODEV, r;

	begin_link(&q, RTM_GETLINK, 0, name);
	r = ask(nl, &q, index_of, &index);
	return r < 0 ? r : index;
}

int link_set_up(struct mnl_socket *nl, const char *name)
{
	struct ifinfomsg *info;
	struct request q;
	int r;

	/* First, and by itself: in one message the link would come up before. -EAFNOSUPPORT: this
	 * kernel has no IPv6. */
	begin_link(&q, RTM_NEWLINK, 0, name);
	no_link_local(&q);
	r = ask(nl, &q, NULL, NULL);
	if (r < 0 && r != -EAFNOSUPPORT)
		return r;
	info = begin_link(&q, RTM_NEWLINK, 0, name);
	info->ifi_flags = info->ifi_change = IFF_UP;
	return ask(nl, &q, NULL, NULL);
}

int link_delete(struct mnl_socket *nl, const char *name)
{
	struct request q;

	begin_link(&q, RTM_DELLINK, 0, name);
	return ask(nl, &q, NULL, NULL);
}

int link_add_address(struct mnl_socket *nl, int index, const struct net_address *local,
		     const struct net_address *peer)
{
	const struct net_address *other = peer ? peer : local;
	size_t size = address_size(local->family);
	struct ifaddrmsg *info;
	struct request q;

	info = begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));
	info->ifa_family = (uint8_t)local->family;
	info->ifa_prefixlen = (uint8_t)other->prefix;
	info->ifa_flags = local->family == AF_INET6 ? IFA_F_NODAD : 0;
	info->ifa_index = (uint32_t)index;
	mnl_attr_put(q.head, IFA_LOCAL, size, local->bytes);
	mnl_attr_put(q.head, IFA_ADDRESS, size, other->bytes);
	return ask(nl, &q, NULL, NULL);
}

int link_add_route(struct mnl_socket *nl, int index, const struct net_address *to,
		   const struct net_address *via, const struct net_address *source)
{
	size_t size = address_size(to->family);
	struct rtmsg *info;
	struct request q;

	info = begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));
	info->rtm_family = (uint8_t)to->family;
	info->rtm_dst_len = (uint8_t)to->prefix;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = RTPROT_STATIC;
	info->rtm_scope = via || to->family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	info->rtm_type = RTN_UNICAST;
	if (to->prefix)
		mnl_attr_put(q.head, RTA_DST, size, to->bytes);
	if (via) {
		info->rtm_flags = RTNH_F_ONLINK;
		mnl_attr_put(q.head, RTA_GATEWAY, size, via->bytes);
	}
	if (source)
		mnl_attr_put(q.head, RTA_PREFSRC, size, source->bytes);
	mnl_attr_put_u32(q.head, RTA_OIF, (uint32_t)index);
	return ask(nl, &q, NULL, NULL);
}

/* --- rates -------------------------------------------------------------------------------------- */

static struct tcmsg *begin_qdisc(struct request *q, uint16_t type, uint16_t flags, int index)
{
	struct tcmsg *info = begin(q, type, flags, sizeof(*info));

	info->tcm_family = AF_UNSPEC;
	info->tcm_ifindex = index;
	info->tcm_parent = TC_H_ROOT;
	return info;
}

/*
 * The kernel wants the time that a burst takes in ticks of 64 ns (PSCHED_SHIFT of
 * include/net/pkt_sched.h); a rate beyond 32 bits goes into an attribute of its own (tc-tbf(8)).
 */
static uint32_t ticks_of(uint64_t bytes, uint64_t rate)
{
	uint64_t ns = bytes * 1000000000 / rate;

	return (uint32_t)MIN(ns >> 6, (uint64_t)UINT32_MAX);
}

int link_set_rate(struct mnl_socket *nl, int index, uint64_t rate)
{
	uint64_t burst = MAX(rate / 100, (uint64_t)BURST_MIN);
	struct tc_tbf_qopt opt = { .rate = { .linklayer = TC_LINKLAYER_ETHERNET } };
	struct nlattr *nest;
	struct request q;
	int r;

	if (!rate) {
		begin_qdisc(&q, RTM_DELQDISC, 0, index);
		r = ask(nl, &q, NULL, NULL);
		return r == -ENOENT || r == -EINVAL ? 0 : r; /* there was none */
	}
	begin_qdisc(&q, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index);
	mnl_attr_put_strz(q.head, TCA_KIND, "tbf");
	burst = MIN(burst, (uint64_t)UINT32_MAX / 4);
	opt.rate.rate = (uint32_t)MIN(rate, (uint64_t)UINT32_MAX);
	opt.limit = (uint32_t)MIN(rate / LATENCY_DIV + burst, (uint64_t)UINT32_MAX / 2);
	opt.buffer = ticks_of(burst, rate);
	nest = mnl_attr_nest_start(q.head, TCA_OPTIONS);
	mnl_attr_put(q.head, TCA_TBF_PARMS, sizeof(opt), &opt);
	if (rate > UINT32_MAX)
		mnl_attr_put_u64(q.head, TCA_TBF_RATE64, rate);
	mnl_attr_put_u32(q.head, TCA_TBF_BURST, (uint32_t)burst);
	mnl_attr_nest_end(q.head, nest);
	return ask(nl, &q, NULL, NULL);
}

/* --- lists -------------------------------------------------------------------------------------- */

struct lister {
	void (*fn)(const struct net_address *a, int index, void *ctx);
	void *ctx;
};

static bool take_address(struct net_address *a, const struct nlattr *attr)
{
	size_t size = address_size(a->family);

	if (mnl_attr_get_payload_len(attr) < size)
		return false;
	memcpy(a->bytes, mnl_attr_get_payload(attr), size);
	return true;
}

static int list_address(const struct nlmsghdr *head, void *ctx)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(head);
	const struct lister *lister = ctx;
	struct net_address a = { .family = info->ifa_family, .prefix = info->ifa_prefixlen };
	const struct nlattr *attr;
	bool found = false;

	if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
		return MNL_CB_OK;
	/* IFA_LOCAL is our own end, where there is one; IFA_ADDRESS may be the other's. */
	mnl_attr_for_each(attr, head, sizeof(*info))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFA_LOCAL || (type == IFA_ADDRESS && !found))
			found = take_address(&a, attr);
	}
	if (found)
		lister->fn(&a, (int)info->ifa_index, lister->ctx);
	return MNL_CB_OK;
}

int link_each_address(struct mnl_socket *nl,
		      void (*fn)(const struct net_address *a, int index, void *ctx), void *ctx)
{
	struct lister lister = { fn, ctx };
	struct request q;

	begin(&q, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
	return ask(nl, &q, list_address, &lister);
}

static int list_route(const struct nlmsghdr *head, void *ctx)
{
	const struct rtmsg *info = mnl_nlmsg_get_payload(head);
	const struct lister *lister = ctx;
	struct net_address to = { .family = info->rtm_family, .prefix = info->rtm_dst_len };
	const struct nlattr *attr;
	int index = 0;

	if ((info->rtm_family != AF_INET && info->rtm_family != AF_INET6) ||
	    info->rtm_type != RTN_UNICAST || (info->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, head, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == RTA_DST)
			take_address(&to, attr);
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			index = (int)mnl_attr_get_u32(attr);
	}
	lister->fn(&to, index, lister->ctx);
	return MNL_CB_OK;
}

int link_each_route(struct mnl_socket *nl,
		    void (*fn)(const struct net_address *to, int index, void *ctx), void *ctx)
{
	struct lister lister = { fn, ctx };
	struct request q;

	begin(&q, RTM_GETROUTE, NLM_F_DUMP, sizeof(struct rtmsg));
	return ask(nl, &q, list_route, &lister);
}
