/* SPDX-License-Identifier: MIT */
/*
 * The name server of the boxes: a process of its own, because it reads what boxes and strangers
 * write. It runs as nobody, without capabilities, in the machine's network namespace; the two
 * sockets on which boxes ask are of the router's. It forwards to the machine's own servers
 * (resolv.conf(5)), after sandbox-net has said that the box may ask, and gives the answer only
 * after it has heard of the addresses in it. Private to sandbox-net.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "dns_packet.h"

/* To sandbox-net, one packet each. */
struct dns_heard {
	uint32_t serial;	 /* to be said back in an order; 0: needs none */
	bool asks;		 /* nothing was heard yet: may the box ask for the name? */
	struct net_address from; /* the box that asked; family 0: it was an order of ours */
	uint32_t ttl, n;
	char name[NET_MAX_NAME + 1];
	struct net_address addresses[DNS_MAX_ADDRESSES];
};

/* From sandbox-net. */
struct dns_order {
	uint32_t serial; /* of what has been heard; 0 none */
	uint8_t code;	 /* 0: it may go on; else the box gets this instead (RFC 1035) */
	char name[NET_MAX_NAME + 1]; /* to be asked for; "" none */
};

/* Serves until sandbox-net is gone. link: to it. ipv6: boxes have it. */
_Noreturn void dns_main(int link, int udp, int tcp, bool ipv6);

#endif
