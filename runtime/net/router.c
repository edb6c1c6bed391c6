/* SPDX-License-Identifier: MIT */
/*
 * The router between the machine and its boxes: the plan of addresses, two namespaces, the link
 * between them, the machine's own addresses as they come and go. Must not know single boxes.
 * One thread, no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "forward.h"
#include "net.h"
#include "network.h"

enum {
	MIN_PREFIX = 8,
	MAX_PREFIX = 29,
	AUTO_PREFIX = 20,
	AUTO_BLOCKS = 16,
	FIRST_SLOT = 4, /* before it: the net, the machine's end, the router's, none */
	MAX_ADDRESSES = 4096,
	CONNTRACK_SHARE = 64, /* a box may have one part of so many */
	MAX_CONNECTIONS = 4096,
	MIN_CONNECTIONS = 256,
};

/* Where an automatic block is looked for; rarely in use, and private everywhere. */
static const char *const auto_ranges[] = { "10.197.0.0", "172.29.0.0", "100.99.0.0" };

/* --- addresses ---------------------------------------------------------------------------------- */

static uint32_t number_of(const struct net_address *a)
{
	uint32_t n;

	memcpy(&n, a->bytes, sizeof(n));
	return ntohl(n);
}

static void plus(const struct net_address *subnet, uint32_t n, struct net_address *a)
{
	uint32_t last;

	*a = *subnet;
	a->prefix = a->family == AF_INET ? 32 : 128;
	if (a->family == AF_INET) {
		last = htonl(number_of(subnet) + n);
		memcpy(a->bytes, &last, sizeof(last));
	} else {
		last = htonl(n);
		memcpy(a->bytes + 12, &last, sizeof(last));
	}
}

void router_address(const struct net *net, unsigned int slot, int family, struct net_address *a)
{
	plus(family == AF_INET ? &net->plan.subnet : &net->plan.subnet6, slot + FIRST_SLOT - 1, a);
}

unsigned int router_slot(const struct net *net, const struct net_address *a)
{
	const struct net_address *subnet = &net->plan.subnet;
	uint32_t n;

	if (a->family != AF_INET || !net_cidr_holds(subnet->bytes, subnet->prefix, a->bytes, 32))
		return 0;
	n = number_of(a) - number_of(subnet);
	return n >= FIRST_SLOT && n - FIRST_SLOT < net->n_slots ? n - FIRST_SLOT + 1 : 0;
}

struct collision {
	const struct net_address *subnet;
	int except; /* the link that is our own */
	bool found;
};

static void look_for_collision(const struct net_address *a, int index, void *ctx)
{
	struct collision *c = ctx;

	(void)index;
	if (a->family != c->subnet->family || !a->prefix)
		return; /* a default route holds everything */
	c->found |= net_cidr_holds(a->bytes, MIN(a->prefix, c->subnet->prefix), c->subnet->bytes,
				   MIN(a->prefix, c->subnet->prefix));
}

static bool collides(struct net *net, const struct net_address *subnet)
{
	struct collision c = { .subnet = subnet };

	link_each_route(net->host_nl, look_for_collision, &c);
	link_each_address(net->host_nl, look_for_collision, &c);
	return c.found;
}

static int fail(struct net *net, int r, const char *what)
{
	if (!net->failed[0])
		snprintf(net->failed, sizeof(net->failed), "%s: %s%s", what, strerror(-r),
			 r == -EPERM ? " (CAP_NET_ADMIN is needed)" : "");
	if (!net->failed_errno)
		net->failed_errno = EOPNOTSUPP;
	return r;
}

static int choose_given(struct net *net, const char *text)
{
	struct net_address *s = &net->plan.subnet;

	if (net_parse_cidr(text, &s->family, s->bytes, &s->prefix) < 0 || s->family != AF_INET ||
	    s->prefix < MIN_PREFIX || s->prefix > MAX_PREFIX) {
		snprintf(net->failed, sizeof(net->failed),
			 "network.subnet is no IPv4 block from /%d to /%d: %.100s", MIN_PREFIX,
			 MAX_PREFIX, text);
		return -EINVAL;
	}
	if (!collides(net, s))
		return 0;
	snprintf(net->failed, sizeof(net->failed),
		 "network.subnet %.100s overlaps with an address or route of this machine; choose "
		 "another, or auto",
		 text);
	return -EADDRINUSE;
}

static int choose_auto(struct net *net)
{
	struct net_address *s = &net->plan.subnet;
	uint32_t first = (uint32_t)hash_bytes(net->state_path, strlen(net->state_path));

	for (size_t i = 0; i < ARRAY_SIZE(auto_ranges) * AUTO_BLOCKS; i++) {
		uint32_t block = (first + (uint32_t)i) % AUTO_BLOCKS, n;

		*s = (struct net_address){ .family = AF_INET, .prefix = AUTO_PREFIX };
		inet_pton(AF_INET, auto_ranges[i / AUTO_BLOCKS], s->bytes);
		n = htonl(number_of(s) + (block << (32 - AUTO_PREFIX)));
		memcpy(s->bytes, &n, sizeof(n));
		if (!collides(net, s))
			return 0;
	}
	snprintf(net->failed, sizeof(net->failed),
		 "no block of addresses is free for boxes: set network.subnet");
	return -EADDRINUSE;
}

static void note_default6(const struct net_address *a, int index, void *ctx)
{
	(void)index;
	*(bool *)ctx |= a->family == AF_INET6 && !a->prefix;
}

/* Boxes have IPv6 where the machine has a way out by it, and behind an address of its own. */
static void choose_ipv6(struct net *net)
{
	struct net_address *s = &net->plan.subnet6;
	uint64_t id =
		hash_bytes(net->state_path, strlen(net->state_path)) ^ hash_u64((uint64_t)getpid());
	bool way_out = false;

	link_each_route(net->host_nl, note_default6, &way_out);
	if (!way_out || !forward_has_ipv6())
		return;
	*s = (struct net_address){ .family = AF_INET6, .prefix = 64, .bytes = { 0xfd } };
	memcpy(s->bytes + 1, &id, 7);
	net->ipv6 = true;
}

/* --- namespaces --------------------------------------------------------------------------------- */

int router_enter(const struct net *net, int ns)
{
	(void)net;
	return setns(ns, CLONE_NEWNET) < 0 ? -errno : 0;
}

void router_leave(const struct net *net)
{
	if (setns(net->host_ns, CLONE_NEWNET) == 0)
		return;
	/* In the wrong place nothing may be done any more; the end of the process undoes it all. */
	log_error("return to the machine's network: %s", strerror(errno));
	_exit(1);
}

static int make_namespaces(struct net *net)
{
	net->host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (net->host_ns < 0)
		return -errno;
	net->host_nl = link_open(0);
	net->host_nft = rules_open();
	net->monitor = link_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
	if (!net->host_nl || !net->host_nft || !net->monitor)
		return -ENOMEM;
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	net->router_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	net->router_nl = link_open(0);
	net->router_nft = rules_open();
	return net->router_ns < 0 || !net->router_nl || !net->router_nft ? -ENOMEM : 0;
}

static int set_switches(struct net *net)
{
	static const struct {
		const char *path, *value;
		bool ipv6;
	} switches[] = {
		{ "/proc/sys/net/ipv4/ip_forward", "1", false },
		{ "/proc/sys/net/ipv4/conf/all/rp_filter", "0", false }, /* the rules do it */
		{ "/proc/sys/net/ipv4/conf/default/rp_filter", "0", false },
		{ "/proc/sys/net/ipv4/conf/all/send_redirects", "0", false },
		{ "/proc/sys/net/ipv4/conf/default/send_redirects", "0", false },
		{ "/proc/sys/net/ipv4/conf/all/accept_redirects", "0", false },
		{ "/proc/sys/net/ipv4/ip_unprivileged_port_start", "53", false },
		{ "/proc/sys/net/ipv6/conf/all/forwarding", "1", true },
		{ "/proc/sys/net/ipv6/conf/all/accept_ra", "0", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		int r = switches[i].ipv6 && !net->ipv6
				? 0
				: write_control_at(AT_FDCWD, switches[i].path, switches[i].value);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The router's own name server address, which every box sees at its end of the link. */
static int set_resolver_address(struct net *net)
{
	struct net_address a = { .family = AF_INET, .prefix = 32 };
	int lo = link_index(net->router_nl, "lo");

	inet_pton(AF_INET, NET_RESOLVER, a.bytes);
	return lo < 0 ? lo : link_add_address(net->router_nl, lo, &a, NULL);
}

/* Without one nobody on the link can ask for a neighbour in the name of a third. */
static int add_link_local(struct mnl_socket *nl, int index, const char *address)
{
	struct net_address a = { .family = AF_INET6, .prefix = 64 };

	inet_pton(AF_INET6, address, a.bytes);
	return link_add_address(nl, index, &a, NULL);
}

/* One end of the link to the machine: its address, and by the other's the way to `to`. */
static int set_end(struct mnl_socket *nl, const char *link, const struct net_address *own,
		   const struct net_address *other, const struct net_address *to)
{
	int index, r = link_set_up(nl, link);

	if (r < 0)
		return r;
	index = link_index(nl, link);
	if (index < 0)
		return index;
	r = link_add_address(nl, index, own, other);
	if (r == 0 && own->family == AF_INET6)
		r = add_link_local(nl, index, to->prefix ? "fe80::1" : "fe80::2");
	if (r < 0)
		return r;
	return link_add_route(nl, index, to, other, to->prefix ? own : NULL);
}

static int join(struct net *net, const struct net_address *subnet)
{
	struct net_address machine, router, any = { .family = subnet->family };
	int r;

	plus(subnet, 1, &machine);
	plus(subnet, 2, &router);
	r = set_end(net->host_nl, net->host_link, &machine, &router, subnet);
	return r < 0 ? r : set_end(net->router_nl, "up", &router, &machine, &any);
}

static int make_uplink(struct net *net)
{
	const struct link_end machine = { .name = net->host_link, .ns = -1 };
	const struct link_end router = { .name = "up", .ns = net->router_ns };
	int r;

	/* A killed one's goes with its namespace, which may take the kernel a moment. */
	link_delete(net->host_nl, net->host_link);
	r = link_make_pair(net->host_nl, &machine, &router, BOX_MTU);
	if (r == 0)
		r = join(net, &net->plan.subnet);
	if (r == 0 && net->ipv6)
		r = join(net, &net->plan.subnet6);
	return r;
}

/* --- the machine's own addresses ---------------------------------------------------------------- */

struct collected {
	struct net_address *a;
	size_t n;
};

static void collect(const struct net_address *a, int index, void *ctx)
{
	struct collected *c = ctx;

	(void)index;
	if (c->n < MAX_ADDRESSES)
		c->a[c->n++] = *a;
}

static int take_addresses(struct net *net)
{
	_cleanup_free_ struct net_address *a = calloc(MAX_ADDRESSES, sizeof(*a));
	struct collected c = { .a = a };
	int r = a ? link_each_address(net->host_nl, collect, &c) : -ENOMEM;

	return r < 0 ? r : rules_set_addresses(net->router_nft, a, c.n);
}

int router_forwarding(struct net *net)
{
	bool guard = net->guard;
	int r = 0;

	if (!net->n_attached) {
		if (net->forwarding)
			forward_release();
		net->forwarding = false;
		return 0;
	}
	r = forward_hold(net->ipv6, &guard);
	if (r < 0)
		return r;
	net->forwarding = true;
	if (guard != net->guard)
		r = rules_set_machine(net->host_nft, &net->plan, guard);
	if (r == 0)
		net->guard = guard;
	return r;
}

static void on_monitor(struct loop_source *source, uint32_t events)
{
	struct net *net = container_of(source, struct net, monitor_events);
	int r;

	(void)events;
	if (!link_drain(net->monitor))
		return;
	r = take_addresses(net);
	if (r == 0)
		r = router_forwarding(net);
	if (r < 0)
		log_error("the machine's addresses have changed: %s", strerror(-r));
}

/* The machine's table of connections is everybody's: no box shall fill it. */
static unsigned int connections_of_a_box(void)
{
	_cleanup_free_ char *text = NULL;
	uint64_t room = UINT64_MAX;

	if (read_file_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_max", 32, &text, NULL) ==
	    0)
		parse_u64(text_strip(text), 0, UINT64_MAX, &room);
	return (unsigned int)MAX(MIN(room / CONNTRACK_SHARE, (uint64_t)MAX_CONNECTIONS),
				 (uint64_t)MIN_CONNECTIONS);
}

static int make_tables(struct net *net)
{
	int r;

	net->plan.connections = connections_of_a_box();
	r = rules_set_machine(net->host_nft, &net->plan, false);

	if (r == 0)
		r = rules_set_router(net->router_nft, &net->plan);
	return r < 0 ? r : take_addresses(net);
}

/* The parts that are made from inside the router. */
static int furnish(struct net *net)
{
	uint32_t room = 1u << (32 - net->plan.subnet.prefix);
	int r = set_switches(net);

	if (r < 0)
		return fail(net, r, "set the router's switches");
	r = link_set_up(net->router_nl, "lo");
	if (r == 0)
		r = set_resolver_address(net);
	if (r < 0)
		return fail(net, r, "make the router's own link");
	r = log_open(net);
	if (r < 0)
		return fail(net, r, "listen to the packet filter's log (nfnetlink_log)");
	net->n_slots = MIN(room - FIRST_SLOT - 1, (uint32_t)MAX_SLOTS);
	r = slots_make(net);
	if (r < 0)
		return fail(net, r, "watch the router's links");
	r = resolver_start(net);
	return r < 0 ? fail(net, r, "start the name server") : 0;
}

int router_make(struct net *net, const char *subnet)
{
	int r;

	snprintf(net->host_link, sizeof(net->host_link), "sbxh%08x",
		 (unsigned int)hash_bytes(net->state_path, strlen(net->state_path)));
	net->plan.host_link = net->host_link;
	r = make_namespaces(net);
	if (r < 0)
		return fail(net, r, "make the router's network namespace");
	/* From here the process is in the router's namespace, until all that belongs there is made.
	 * netlink sockets stay where they were opened. */
	r = strcmp(subnet, "auto") ? choose_given(net, subnet) : choose_auto(net);
	router_leave(net);
	if (r < 0) {
		net->failed_errno = EADDRINUSE;
		return r;
	}
	choose_ipv6(net);
	r = router_enter(net, net->router_ns);
	if (r == 0)
		r = furnish(net);
	router_leave(net);
	if (r < 0)
		return fail(net, r, "furnish the router");
	r = make_uplink(net);
	if (r < 0)
		return fail(net, r, "join router and machine by a veth link");
	r = make_tables(net);
	if (r < 0)
		return fail(net, r, "set the rules of the packet filter (nf_tables)");
	net->monitor_events = (struct loop_source){ link_fd(net->monitor), on_monitor };
	r = loop_add(&net->loop, &net->monitor_events, EPOLLIN);
	return r < 0 ? fail(net, r, "watch the machine's addresses") : 0;
}

void router_free(struct net *net)
{
	resolver_stop(net);
	log_close(net);
	if (net->forwarding)
		forward_release();
	if (net->host_nl)
		link_delete(net->host_nl, net->host_link);
	if (net->monitor_events.fd > 0)
		loop_remove(&net->loop, &net->monitor_events);
	link_close(net->monitor);
	link_close(net->host_nl);
	link_close(net->router_nl);
	rules_close(net->host_nft);
	rules_close(net->router_nft);
	close_fd(&net->router_ns);
	close_fd(&net->host_ns);
	slots_free(net);
}
