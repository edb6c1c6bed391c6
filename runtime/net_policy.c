/* SPDX-License-Identifier: MIT */
/*
 * Parsing of allow and deny lists. Pure: no I/O, must not know boxes or the kernel's rules. The
 * ranges are those of the IANA registries for special purposes (RFC 6890 and its successors), and
 * the addresses at which clouds hand out keys. No locks.
 */
#include "net_policy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

const struct net_range net_ranges[] = {
	{ "0.0.0.0/8", true, "this machine" },
	{ "127.0.0.0/8", true, "loopback" },
	{ "169.254.0.0/16", true, "link-local, where clouds hand out keys" },
	{ "168.63.129.16/32", true, "a cloud's metadata" },
	{ "100.100.100.200/32", true, "a cloud's metadata" },
	{ "192.0.0.192/32", true, "a cloud's metadata" },
	{ "224.0.0.0/4", true, "multicast" },
	{ "255.255.255.255/32", true, "broadcast" },
	{ "10.0.0.0/8", false, "private" },
	{ "172.16.0.0/12", false, "private" },
	{ "192.168.0.0/16", false, "private" },
	{ "100.64.0.0/10", false, "a provider's own" },
	{ "192.0.0.0/24", false, "reserved" },
	{ "192.0.2.0/24", false, "for documentation" },
	{ "192.88.99.0/24", false, "reserved" },
	{ "198.18.0.0/15", false, "for benchmarks" },
	{ "198.51.100.0/24", false, "for documentation" },
	{ "203.0.113.0/24", false, "for documentation" },
	{ "240.0.0.0/4", false, "reserved" },
	{ "::/128", true, "this machine" },
	{ "::1/128", true, "loopback" },
	{ "::/96", true, "IPv4 in disguise" },
	{ "::ffff:0:0/96", true, "IPv4 in disguise" },
	{ "64:ff9b:1::/48", true, "IPv4 in disguise" },
	{ "2001::/32", true, "IPv4 in disguise" },
	{ "2002::/16", true, "IPv4 in disguise" },
	{ "fe80::/10", true, "link-local" },
	{ "fec0::/10", true, "site-local" },
	{ "ff00::/8", true, "multicast" },
	{ "fd00:ec2::254/128", true, "a cloud's metadata" },
	{ "fd20:ce::254/128", true, "a cloud's metadata" },
	{ "fc00::/7", false, "private" },
	{ "100::/64", false, "reserved" },
	{ "2001::/23", false, "reserved" },
	{ "2001:db8::/32", false, "for documentation" },
	{ "3fff::/20", false, "for documentation" },
};
const size_t net_n_ranges = ARRAY_SIZE(net_ranges);

static bool bit_at(const uint8_t *addr, unsigned int i)
{
	return addr[i / 8] >> (7 - i % 8) & 1;
}

bool net_cidr_holds(const uint8_t *a, unsigned int a_len, const uint8_t *b, unsigned int b_len)
{
	if (b_len < a_len || memcmp(a, b, a_len / 8))
		return false;
	for (unsigned int i = a_len / 8 * 8; i < a_len; i++) {
		if (bit_at(a, i) != bit_at(b, i))
			return false;
	}
	return true;
}

int net_parse_cidr(const char *text, int *family, uint8_t addr[16], unsigned int *prefix)
{
	char host[INET6_ADDRSTRLEN + 4];
	const char *slash = strchrnul(text, '/');
	unsigned int bits;
	uint64_t len;

	if ((size_t)(slash - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	memset(addr, 0, 16);
	if (inet_pton(AF_INET, host, addr) == 1)
		*family = AF_INET;
	else if (inet_pton(AF_INET6, host, addr) == 1)
		*family = AF_INET6;
	else
		return -EINVAL;
	bits = *family == AF_INET ? 32 : 128;
	len = bits;
	if (*slash && parse_u64(slash + 1, 0, bits, &len) < 0)
		return -EINVAL;
	*prefix = (unsigned int)len;
	for (unsigned int i = *prefix; i < bits; i++) {
		if (bit_at(addr, i))
			return -ERANGE; /* 10.1.2.3/8: which of the two was meant? */
	}
	return 0;
}

/* NAT64 (RFC 6052): what lies behind is the IPv4 address in the last four bytes. */
static const uint8_t nat64[16] = { 0x00, 0x64, 0xff, 0x9b };
enum { NAT64_PREFIX = 96 };

bool net_is_nat64(const uint8_t *addr, unsigned int prefix)
{
	return net_cidr_holds(nat64, NAT64_PREFIX, addr, prefix);
}

void net_make_nat64(const uint8_t *v4, unsigned int v4_prefix, uint8_t addr[16],
		    unsigned int *prefix)
{
	memcpy(addr, nat64, sizeof(nat64));
	memcpy(addr + 12, v4, 4);
	*prefix = NAT64_PREFIX + v4_prefix;
}

const struct net_range *net_range_of(int family, const uint8_t *addr)
{
	if (family == AF_INET6 && net_is_nat64(addr, 128))
		return net_range_of(AF_INET, addr + 12);
	for (size_t i = 0; i < net_n_ranges; i++) {
		uint8_t range[16];
		unsigned int prefix;
		int of;

		if (net_parse_cidr(net_ranges[i].cidr, &of, range, &prefix) == 0 && of == family &&
		    net_cidr_holds(range, prefix, addr, family == AF_INET ? 32 : 128))
			return &net_ranges[i];
	}
	return NULL;
}

/* --- one line ----------------------------------------------------------------------------------- */

struct parse {
	const char *line;
	bool allow;
	char *why;
	size_t why_size;
};

static int refuse(const struct parse *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int refuse(const struct parse *p, const char *fmt, ...)
{
	char line[80], text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(p->why, p->why_size, "\"%s\": %s", text_escape(line, sizeof(line), p->line), text);
	return -EINVAL;
}

/* Cuts the port off the end of line, in place. */
static int take_port(const struct parse *p, char *line, char **host, uint16_t *port)
{
	char *colon = NULL;
	uint64_t n = 0;

	*host = line;
	*port = 0;
	if (line[0] == '[') {
		char *end = strchr(line, ']');

		if (!end || (end[1] && end[1] != ':'))
			return refuse(p, "an IPv6 address with a port is [ADDRESS]:PORT");
		*end = '\0';
		*host = line + 1;
		colon = end[1] ? end + 1 : NULL;
	} else if (strchr(line, ':') && strchr(line, ':') == strrchr(line, ':')) {
		colon = strchr(line, ':');
		*colon = '\0';
	}
	if (!colon)
		return 0;
	if (parse_u64(colon + 1, 1, UINT16_MAX, &n) < 0)
		return refuse(p, "a port is a number from 1 to 65535");
	*port = (uint16_t)n;
	return 0;
}

static bool label_is_valid(const char *s, size_t len)
{
	if (!len || len > 63 || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && s[i] != '-' && s[i] != '_')
			return false;
	}
	return true;
}

static int take_name(const struct parse *p, const char *host, struct net_rule *rule)
{
	size_t len = strlen(host);
	bool letter = false;

	if (!strncmp(host, "*.", 2)) {
		rule->below = true;
		host += 2;
		len -= 2;
	}
	if (len && host[len - 1] == '.')
		len--;
	if (!len || len > NET_MAX_NAME)
		return refuse(p, "a host name has 1 to %d letters", NET_MAX_NAME);
	for (size_t i = 0; i < len; i++) {
		rule->name[i] = (char)tolower((unsigned char)host[i]);
		letter |= isalpha((unsigned char)host[i]) != 0;
	}
	for (const char *s = rule->name; s; s = strchr(s, '.') ? strchr(s, '.') + 1 : NULL) {
		if (!label_is_valid(s, strcspn(s, ".")))
			return refuse(p, "neither a host name nor an address nor a CIDR");
	}
	return letter ? 0 : refuse(p, "neither a host name nor an address nor a CIDR");
}

static int check_allowed(const struct parse *p, const struct net_rule *rule)
{
	bool disguised = rule->family == AF_INET6 && net_is_nat64(rule->addr, rule->prefix);
	const uint8_t *addr = rule->addr + (disguised ? 12 : 0);
	unsigned int len = rule->prefix - (disguised ? NAT64_PREFIX : 0);

	for (size_t i = 0; p->allow && i < net_n_ranges; i++) {
		uint8_t range[16];
		unsigned int prefix;
		int family;

		if (net_ranges[i].never &&
		    net_parse_cidr(net_ranges[i].cidr, &family, range, &prefix) == 0 &&
		    family == (disguised ? AF_INET : rule->family) &&
		    net_cidr_holds(range, prefix, addr, len))
			return refuse(p, "no box may go there (%s: %s)", net_ranges[i].cidr,
				      net_ranges[i].what);
	}
	return 0;
}

static int take_line(struct parse *p, char *line, struct net_policy *policy)
{
	struct net_rule *rule = &policy->rules[policy->n];
	char *host;
	int r;

	*rule = (struct net_rule){ 0 };
	r = take_port(p, line, &host, &rule->port);
	if (r < 0)
		return r;
	if (!strcmp(host, "*")) {
		rule[1] = *rule;
		rule[0].family = AF_INET;
		rule[1].family = AF_INET6;
		policy->n += 2;
		return 0;
	}
	r = net_parse_cidr(host, &rule->family, rule->addr, &rule->prefix);
	if (r == -ERANGE)
		return refuse(p, "the address has bits beyond its prefix");
	if (r < 0) {
		rule->family = 0;
		r = strpbrk(host, "/:") ? refuse(p, "neither a host name nor an address nor a CIDR")
					: take_name(p, host, rule);
	}
	if (r == 0 && rule->family)
		r = check_allowed(p, rule);
	policy->n += r == 0;
	return r;
}

int net_policy_parse(const char *text, bool allow, struct net_policy *policy, char *why,
		     size_t why_size)
{
	struct parse p = { .allow = allow, .why = why, .why_size = why_size };
	_cleanup_free_ char *copy = strdup(text), *shown = NULL;
	char *next, *line;
	int r = 0;

	*policy = (struct net_policy){ 0 };
	why[0] = '\0';
	if (strlen(text) > NET_MAX_TEXT) {
		snprintf(why, why_size, "a list has %d KiB at the most", NET_MAX_TEXT >> 10);
		return -EINVAL;
	}
	if (!*text)
		return 0;
	/* `*` is two rules. */
	policy->rules = calloc(NET_MAX_RULES + 2, sizeof(*policy->rules));
	if (!copy || !policy->rules)
		r = -ENOMEM;
	for (line = copy; r == 0 && *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		line = text_strip(line);
		if (!*line || *line == '#')
			continue;
		free(shown);
		p.line = shown = strdup(line);
		if (!shown)
			r = -ENOMEM;
		else if (policy->n >= NET_MAX_RULES)
			r = refuse(&p, "a list has %d entries at the most", NET_MAX_RULES);
		else
			r = take_line(&p, line, policy);
	}
	if (r < 0) {
		net_policy_free(policy);
	} else {
		struct net_rule *less =
			realloc(policy->rules, MAX(policy->n, 1) * sizeof(*policy->rules));

		if (less)
			policy->rules = less;
	}
	return r;
}

void net_policy_free(struct net_policy *policy)
{
	free(policy->rules);
	*policy = (struct net_policy){ 0 };
}

bool net_rule_names(const struct net_rule *rule, const char *name)
{
	size_t len = strlen(name), tail = strlen(rule->name);

	if (rule->family)
		return false;
	if (!rule->below)
		return !strcmp(rule->name, name);
	return len > tail + 1 && name[len - tail - 1] == '.' &&
	       !strcmp(name + len - tail, rule->name);
}
