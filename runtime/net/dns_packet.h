/* SPDX-License-Identifier: MIT */
/* DNS messages (RFC 1035), as far as a forwarder must read them. Pure; every byte is a stranger's. */
#ifndef NET_DNS_PACKET_H
#define NET_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"
#include "net_policy.h"

enum {
	DNS_HEAD = 12,
	DNS_MAX = 65535,
	DNS_TYPE_A = 1,
	DNS_TYPE_AAAA = 28,
	DNS_SERVFAIL = 2,
	DNS_REFUSED = 5,
	DNS_MAX_ADDRESSES = 16,
};

struct dns_question {
	uint16_t id, type;
	size_t end; /* offset behind it */
	char name[NET_MAX_NAME +
		  1]; /* small letters, no dot at the end; "" the root, or a strange one */
};

/* A query with one question: 0, or -EINVAL. */
int dns_read_query(const uint8_t *p, size_t len, struct dns_question *q);
/* An answer to that query? The question must be the same, the id is the caller's to compare. */
bool dns_answers(const uint8_t *p, size_t len, const uint8_t *query, const struct dns_question *q);
/* The addresses in its answer section, and the least time to live of them. */
size_t dns_addresses(const uint8_t *p, size_t len, const struct dns_question *q,
		     struct net_address addresses[DNS_MAX_ADDRESSES], unsigned int *ttl);
/* Makes a query (with room for 512 bytes); its length. */
size_t dns_make_query(uint8_t *p, uint16_t id, const char *name, uint16_t type);
/* Makes an answer without content out of a query, in place; its length. */
size_t dns_make_empty(uint8_t *p, const struct dns_question *q, uint8_t code);
static inline void dns_set_id(uint8_t *p, uint16_t id)
{
	p[0] = (uint8_t)(id >> 8);
	p[1] = (uint8_t)id;
}

#endif
