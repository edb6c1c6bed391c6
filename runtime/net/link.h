/* SPDX-License-Identifier: MIT */
/*
 * Links, addresses and routes by rtnetlink(7). A struct mnl_socket works in the network namespace in
 * which it was opened, wherever the process has gone since. Functions return 0 or -errno.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct mnl_socket;

/* An address and how many of its bits count. family 0: none. */
struct net_address {
	int family;
	uint8_t bytes[16];
	unsigned int prefix;
};

/* A request socket of the caller's present namespace, NULL with errno; close with mnl_socket_close.
 * groups: of rtnetlink notifications (RTMGRP_*), non-blocking then. */
struct mnl_socket *link_open(unsigned int groups);
void link_close(struct mnl_socket *nl);
int link_fd(const struct mnl_socket *nl);

/* One end of a pair. */
struct link_end {
	const char *name;
	int index; /* 0: as the kernel likes, then for both */
	int ns;	   /* -1: that of the socket; must be so for the first end */
};
/* A veth pair. */
int link_make_pair(struct mnl_socket *nl, const struct link_end *one, const struct link_end *other,
		   unsigned int mtu);
/* Without link-local IPv6. */
int link_set_up(struct mnl_socket *nl, const char *name);
int link_delete(struct mnl_socket *nl, const char *name);
/* Of the link, or -errno. */
int link_index(struct mnl_socket *nl, const char *name);

/* peer: the other end of a point-to-point link, or NULL. */
int link_add_address(struct mnl_socket *nl, int index, const struct net_address *local,
		     const struct net_address *peer);
/* to: prefix 0 for the default route; via, source: or NULL. The gateway is taken to be on the link. */
int link_add_route(struct mnl_socket *nl, int index, const struct net_address *to,
		   const struct net_address *via, const struct net_address *source);
/* A token bucket of so many bytes/s for what leaves by the link; 0 takes it away. */
int link_set_rate(struct mnl_socket *nl, int index, uint64_t rate);

/* Calls fn for each address, or each unicast route of the main tables, of the namespace. */
int link_each_address(struct mnl_socket *nl,
		      void (*fn)(const struct net_address *a, int index, void *ctx), void *ctx);
int link_each_route(struct mnl_socket *nl,
		    void (*fn)(const struct net_address *to, int index, void *ctx), void *ctx);
/* A socket that is told of each link that goes, and of nothing else; as link_open(). */
struct mnl_socket *link_open_gone(void);
/* Calls fn with the index of each that has gone since; some may be missed (a full socket). */
void link_each_gone(struct mnl_socket *nl, void (*fn)(int index, void *ctx), void *ctx);
/* Throws away what has been notified. True if there was something. */
bool link_drain(struct mnl_socket *nl);

#endif
