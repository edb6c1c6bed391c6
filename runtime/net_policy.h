/* SPDX-License-Identifier: MIT */
/*
 * The text of a box's `net/allow` and `net/deny`, and what no box may reach unless told. Pure.
 *
 * One entry a line: a host name, `*.domain` (names below it), an address, a CIDR, or `*` (anything);
 * each may have `:PORT` behind it (TCP and UDP), IPv6 then in brackets: [2001:db8::/32]:443. Empty
 * lines and those that begin with # count for nothing.
 */
#ifndef RUNTIME_NET_POLICY_H
#define RUNTIME_NET_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum {
	NET_MAX_TEXT = 16 << 10, /* bytes of each list */
	NET_MAX_RULES = 256,
	NET_MAX_NAME = 253,
};

/* One line. family 0: a name, without a dot at its end, in small letters; below: names below it. */
struct net_rule {
	int family; /* AF_INET, AF_INET6, 0 */
	uint8_t addr[16];
	unsigned int prefix;
	uint16_t port; /* 0: any, and other protocols too */
	bool below;
	char name[NET_MAX_NAME + 1];
};

struct net_policy {
	struct net_rule *rules;
	size_t n;
};

/*
 * Parses text; 0, -ENOMEM, or -EINVAL with a sentence in why. allow: refuses what can never be
 * allowed. The policy is the caller's to free.
 */
int net_policy_parse(const char *text, bool allow, struct net_policy *policy, char *why,
		     size_t why_size);
void net_policy_free(struct net_policy *policy);
/* Does the rule of a name speak of this one? */
bool net_rule_names(const struct net_rule *rule, const char *name);

/*
 * Ranges that are no public addresses. never: not even `allow` opens them. Those of IPv4 stand for
 * the NAT64 forms of their addresses, too.
 */
struct net_range {
	const char *cidr;
	bool never;
	const char *what;
};
extern const struct net_range net_ranges[];
extern const size_t net_n_ranges;

/* "10.0.0.0/8" or "10.1.2.3"; 0 or -EINVAL. */
int net_parse_cidr(const char *text, int *family, uint8_t addr[16], unsigned int *prefix);
/* Is b/b_len inside a/a_len? Both of the same family. */
bool net_cidr_holds(const uint8_t *a, unsigned int a_len, const uint8_t *b, unsigned int b_len);
/* NAT64: is it inside 64:ff9b::/96? The form of an IPv4 block. */
bool net_is_nat64(const uint8_t *addr, unsigned int prefix);
void net_make_nat64(const uint8_t *v4, unsigned int v4_prefix, uint8_t addr[16],
		    unsigned int *prefix);
/* Is that address one of net_ranges? */
const struct net_range *net_range_of(int family, const uint8_t *addr);

#endif
