/* SPDX-License-Identifier: MIT */
/*
 * The two tables. The machine's own is small and the same for all boxes; everything about single
 * boxes is in the router's namespace, which ends with this process. Must not know how boxes are kept.
 * The only file that sees libnftables. No locks.
 *
 * A packet of a box passes, in the router: the check of its source; the ranges that are never
 * reachable; the box's own chain if it has one (allow, then deny); what is not public. Every packet
 * does, not only a connection's first, so that a new rule also ends what runs already.
 */
#include "rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "network.h"

enum {
	LOGS_PER_SECOND = 50, /* of a box */
	QUERIES_PER_SECOND = 300,
};

#define TABLE "inet sandbox"
/* IPv6 finds its neighbours by these; with that hop limit they come from the link itself. */
#define NEIGHBOURS "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"

struct nft_ctx *rules_open(void)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	if (nft && (nft_ctx_buffer_output(nft) || nft_ctx_buffer_error(nft))) {
		nft_ctx_free(nft);
		return NULL;
	}
	return nft;
}

void rules_close(struct nft_ctx *nft)
{
	if (nft)
		nft_ctx_free(nft);
}

static int run(struct nft_ctx *nft, const struct text *t)
{
	char said[200];

	if (t->failed)
		return -ENOMEM;
	errno = 0;
	if (nft_run_cmd_from_buffer(nft, t->data) == 0)
		return 0;
	log_error("nftables: %s", text_escape(said, sizeof(said), nft_ctx_get_error_buffer(nft)));
	return errno ? -errno : -EIO;
}

static void add_address(struct text *t, const struct net_address *a)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(a->family, a->bytes, text, sizeof(text));
	text_printf(t, "%s/%u", text, a->prefix);
}

static const char *family_word(int family)
{
	return family == AF_INET ? "ip" : "ip6";
}

/* --- the machine's table ------------------------------------------------------------------------ */

static void add_masquerade(struct text *t, const struct net_address *subnet, const char *link)
{
	if (!subnet->family)
		return;
	text_printf(t, "  %s saddr ", family_word(subnet->family));
	add_address(t, subnet);
	text_printf(t, " oifname != \"%s\" masquerade\n", link);
}

int rules_set_machine(struct nft_ctx *nft, const struct rules_plan *plan, bool guard)
{
	const char *link = plan->host_link;
	_cleanup_text_ struct text t = { 0 };

	/* The link's name is the daemon's own, and so is the table's. */
	text_printf(&t, "table inet %s {\n flags owner\n}\nflush table inet %s\n", link, link);
	text_printf(&t, "table inet %s {\n flags owner\n", link);
	/* Before connection tracking and so before anybody's destination is rewritten. */
	text_printf(&t,
		    " chain before {\n  type filter hook prerouting priority -310\n"
		    "  iifname \"%s\" " NEIGHBOURS " accept\n"
		    "  iifname \"%s\" fib daddr type != unicast drop\n }\n",
		    link, link);
	text_printf(&t,
		    " chain inward {\n  type filter hook input priority -10\n"
		    "  iifname \"%s\" " NEIGHBOURS " accept\n"
		    "  iifname \"%s\" drop\n }\n",
		    link, link);
	text_printf(&t, " chain through {\n  type filter hook forward priority -10\n");
	text_printf(&t, "  oifname \"%s\" ct state established,related accept\n", link);
	text_printf(&t, "  oifname \"%s\" drop\n", link);
	if (guard)
		text_add_str(&t, "  iifname != \"sbx*\" oifname != \"sbx*\" drop\n");
	text_printf(&t, " }\n chain behind {\n  type nat hook postrouting priority 100\n");
	add_masquerade(&t, &plan->subnet, link);
	add_masquerade(&t, &plan->subnet6, link);
	text_add_str(&t, " }\n}\n");
	return run(nft, &t);
}

/* --- the router's table ------------------------------------------------------------------------- */

/* The range as an element of a set of this family: IPv4 ones are in IPv6's in their NAT64 form. */
static bool range_address(const struct net_range *range, int family, struct net_address *a)
{
	uint8_t v4[4];

	*a = (struct net_address){ 0 };
	if (net_parse_cidr(range->cidr, &a->family, a->bytes, &a->prefix) < 0)
		return false;
	if (a->family == AF_INET && family == AF_INET6) {
		memcpy(v4, a->bytes, sizeof(v4));
		net_make_nat64(v4, a->prefix, a->bytes, &a->prefix);
		a->family = AF_INET6;
	}
	return a->family == family;
}

static void add_ranges(struct text *t, const char *name, int family, bool never)
{
	const char *comma = "";

	text_printf(t, " set %s {\n  type %s\n  flags interval\n  auto-merge\n  elements = {", name,
		    family == AF_INET ? "ipv4_addr" : "ipv6_addr");
	for (size_t i = 0; i < net_n_ranges; i++) {
		struct net_address a;

		if (net_ranges[i].never != never || !range_address(&net_ranges[i], family, &a))
			continue;
		text_printf(t, "%s ", comma);
		add_address(t, &a);
		comma = ",";
	}
	text_add_str(t, " }\n }\n");
}

/* A line of the log for the first packet of each connection, as many as the box may have. */
static void add_log(struct text *t, char verdict)
{
	text_printf(t,
		    "  ct state != established add @logged { iifname limit rate %d/second burst %d "
		    "packets } log group %d snaplen %d prefix \"%c\"\n",
		    LOGS_PER_SECOND, LOGS_PER_SECOND * 4, RULES_LOG_GROUP, RULES_LOG_BYTES,
		    verdict);
}

static void add_refusals(struct text *t)
{
	static const struct {
		const char *chain;
		char verdict;
	} refusals[] = {
		{ "r_denied", RULES_DENIED }, { "r_private", RULES_PRIVATE },
		{ "r_never", RULES_NEVER },   { "r_host", RULES_HOST },
		{ "r_box", RULES_BOX },	      { "r_many", RULES_TOO_MANY },
	};

	text_add_str(t, " chain refuse {\n"
			"  ct state established meta l4proto tcp reject with tcp reset\n"
			"  reject with icmpx admin-prohibited\n }\n");
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		text_printf(t, " chain %s {\n", refusals[i].chain);
		add_log(t, refusals[i].verdict);
		text_add_str(t, "  goto refuse\n }\n");
	}
}

static void add_first_checks(struct text *t, const struct rules_plan *plan)
{
	text_add_str(t, " chain before {\n  type filter hook prerouting priority -310\n");
	if (!plan->subnet6.family)
		text_add_str(t, "  meta nfproto ipv6 drop\n");
	/* The route back must be the link it came by. */
	text_printf(
		t,
		"  iifname \"sbx*\" fib saddr . iif oif missing add @logged { iifname limit rate "
		"%d/second burst %d packets } log group %d snaplen %d prefix \"%c\"\n"
		"  iifname \"sbx*\" fib saddr . iif oif missing drop\n }\n",
		LOGS_PER_SECOND, LOGS_PER_SECOND * 4, RULES_LOG_GROUP, RULES_LOG_BYTES,
		RULES_SPOOFED);
}

static void add_input(struct text *t)
{
	text_printf(
		t,
		" chain inward {\n  type filter hook input priority 0\n  policy drop\n"
		"  iifname \"lo\" accept\n"
		"  ct state established,related accept\n"
		"  " NEIGHBOURS " accept\n"
		"  iifname \"up\" drop\n"
		"  meta pkttype != host drop\n"
		"  ip daddr " NET_RESOLVER " meta l4proto { tcp, udp } th dport 53 add @queries "
		"{ iifname limit rate %d/second burst %d packets } accept\n"
		"  ip daddr " NET_RESOLVER " meta l4proto { tcp, udp } th dport 53 drop\n"
		"  ip daddr " NET_RESOLVER " icmp type echo-request limit rate 100/second accept\n"
		"  goto r_host\n }\n",
		QUERIES_PER_SECOND, QUERIES_PER_SECOND * 2);
}

static void add_subnet_check(struct text *t, const struct net_address *subnet)
{
	if (!subnet->family)
		return;
	text_printf(t, "  %s daddr ", family_word(subnet->family));
	add_address(t, subnet);
	text_add_str(t, " goto r_box\n");
}

static void add_forward(struct text *t, const struct rules_plan *plan)
{
	text_add_str(t, " chain through {\n  type filter hook forward priority 0\n  policy drop\n"
			"  iifname \"up\" ct state established,related accept\n"
			"  iifname \"up\" drop\n"
			"  oifname != \"up\" goto r_box\n");
	add_subnet_check(t, &plan->subnet);
	add_subnet_check(t, &plan->subnet6);
	text_add_str(t, "  ip daddr @host4 goto r_host\n  ip6 daddr @host6 goto r_host\n"
			"  ip daddr @never4 goto r_never\n  ip6 daddr @never6 goto r_never\n"
			"  iifname vmap @policies\n  goto public\n }\n");
}

static void add_standard(struct text *t, unsigned int connections)
{
	text_add_str(t, " chain public {\n"
			"  ip daddr @private4 goto r_private\n"
			"  ip6 daddr @private6 goto r_private\n"
			"  ip6 daddr != { 2000::/3, 64:ff9b::/96 } goto r_private\n"
			"  goto allowed\n }\n");
	text_printf(t,
		    " chain allowed {\n"
		    "  ct state new add @connections { iifname ct count over %u } goto r_many\n",
		    connections);
	add_log(t, RULES_ALLOWED);
	text_add_str(t, "  accept\n }\n");
}

int rules_set_router(struct nft_ctx *nft, const struct rules_plan *plan)
{
	_cleanup_text_ struct text t = { 0 };

	text_add_str(&t, "table " TABLE " {\n flags owner\n");
	add_ranges(&t, "never4", AF_INET, true);
	add_ranges(&t, "private4", AF_INET, false);
	add_ranges(&t, "never6", AF_INET6, true);
	add_ranges(&t, "private6", AF_INET6, false);
	text_add_str(&t, " set host4 {\n  type ipv4_addr\n }\n"
			 " set host6 {\n  type ipv6_addr\n }\n"
			 " set logged {\n  type ifname\n  size 65535\n  flags dynamic\n }\n"
			 " set queries {\n  type ifname\n  size 65535\n  flags dynamic\n }\n"
			 " set connections {\n  type ifname\n  size 65535\n  flags dynamic\n }\n"
			 " map policies {\n  type ifname : verdict\n }\n");
	add_refusals(&t);
	add_standard(&t, plan->connections);
	add_first_checks(&t, plan);
	add_input(&t);
	add_forward(&t, plan);
	text_add_str(&t, "}\n");
	return run(nft, &t);
}

static void add_own_addresses(struct text *t, const char *set, int family,
			      const struct net_address *addresses, size_t n)
{
	const char *comma = "";

	text_printf(t, "flush set " TABLE " %s\n", set);
	for (size_t i = 0; i < n; i++) {
		struct net_address a = addresses[i];
		char text[INET6_ADDRSTRLEN];

		if (a.family == AF_INET && family == AF_INET6)
			net_make_nat64(addresses[i].bytes, 32, a.bytes, &a.prefix);
		else if (a.family != family)
			continue;
		if (!*comma)
			text_printf(t, "add element " TABLE " %s {", set);
		inet_ntop(family, a.bytes, text, sizeof(text));
		text_printf(t, "%s %s", comma, text);
		comma = ",";
	}
	text_add_str(t, *comma ? " }\n" : "");
}

int rules_set_addresses(struct nft_ctx *nft, const struct net_address *addresses, size_t n)
{
	_cleanup_text_ struct text t = { 0 };

	add_own_addresses(&t, "host4", AF_INET, addresses, n);
	add_own_addresses(&t, "host6", AF_INET6, addresses, n);
	return run(nft, &t);
}

/* --- a box's own -------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct rules_entry *x = a, *y = b;
	int r = (x->port > y->port) - (x->port < y->port);

	if (!r)
		r = x->to.family - y->to.family;
	if (!r)
		r = memcmp(x->to.bytes, y->to.bytes, sizeof(x->to.bytes));
	return r ? r : (int)x->to.prefix - (int)y->to.prefix;
}

/* One rule for the entries from..to of one port and family; prefixes nest or are apart, and a wider
 * one sorts before what it holds. */
static void add_entries(struct text *t, const char *chain, const struct rules_entry *e, size_t n,
			const char *verdict)
{
	const struct net_address *last = NULL;
	const char *comma = "";

	text_printf(t, "add rule " TABLE " %s ", chain);
	if (e->port)
		text_add_str(t, "meta l4proto { tcp, udp } ");
	text_printf(t, "%s daddr {", family_word(e->to.family));
	for (size_t i = 0; i < n; i++) {
		const struct net_address *a = &e[i].to;

		if (last && net_cidr_holds(last->bytes, last->prefix, a->bytes, a->prefix))
			continue;
		text_printf(t, "%s ", comma);
		add_address(t, a);
		comma = ",";
		last = a;
	}
	text_add_str(t, " } ");
	if (e->port)
		text_printf(t, "th dport %u ", e->port);
	text_printf(t, "goto %s\n", verdict);
}

/* Returns how many rules were added. */
static size_t add_list(struct text *t, const char *chain, const struct rules_list *list,
		       const char *verdict)
{
	size_t rules = 0;

	if (list->n)
		qsort(list->entries, list->n, sizeof(*list->entries), by_place);
	for (size_t from = 0, to; from < list->n; from = to, rules++) {
		const struct rules_entry *e = &list->entries[from];

		for (to = from; to < list->n && list->entries[to].port == e->port &&
				list->entries[to].to.family == e->to.family;)
			to++;
		add_entries(t, chain, e, to - from, verdict);
	}
	return rules;
}

/* How many rules the kernel shows in the chain. */
static int count_rules(struct nft_ctx *nft, const char *chain, const char *verdict, size_t *n)
{
	_cleanup_text_ struct text t = { 0 };
	int r;

	*n = 0;
	text_printf(&t, "list chain " TABLE " %s", chain);
	r = run(nft, &t);
	for (const char *p = r == 0 ? nft_ctx_get_output_buffer(nft) : ""; (p = strstr(p, verdict));
	     p++)
		(*n)++;
	return r;
}

int rules_set_box(struct nft_ctx *nft, unsigned int slot, const struct rules_list *allow,
		  const struct rules_list *deny)
{
	_cleanup_text_ struct text t = { 0 };
	size_t wanted, got;
	char chain[16];
	int r;

	snprintf(chain, sizeof(chain), "box%u", slot);
	text_printf(&t, "add chain " TABLE " %s\nflush chain " TABLE " %s\n", chain, chain);
	wanted = add_list(&t, chain, allow, "allowed");
	wanted += add_list(&t, chain, deny, "r_denied");
	text_printf(&t, "add rule " TABLE " %s goto public\n", chain);
	text_printf(&t, "add element " TABLE " policies { \"sbx%u\" : goto %s }\n", slot, chain);
	r = run(nft, &t);
	if (r == 0)
		r = count_rules(nft, chain, "goto ", &got);
	if (r == 0 && got != wanted + 1) {
		log_error("nftables shows %zu rules for a box that has %zu", got, wanted + 1);
		r = -EIO;
	}
	return r;
}

int rules_clear_box(struct nft_ctx *nft, unsigned int slot)
{
	_cleanup_text_ struct text t = { 0 };

	text_printf(&t,
		    "delete element " TABLE " policies { \"sbx%u\" }\n"
		    "delete chain " TABLE " box%u\n",
		    slot, slot);
	return run(nft, &t);
}

int rules_show_box(struct nft_ctx *nft, unsigned int slot, bool own, struct text *out)
{
	static const char *const chains[] = { "through", NULL, "public", "allowed" };
	char chain[16];

	snprintf(chain, sizeof(chain), "box%u", slot);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		char what[64];
		int r;

		if (!chains[i] && !own)
			continue;
		snprintf(what, sizeof(what), "chain " TABLE " %s", chains[i] ? chains[i] : chain);
		r = rules_list(nft, what, out);
		if (r < 0)
			return r;
	}
	return 0;
}

int rules_list(struct nft_ctx *nft, const char *what, struct text *out)
{
	_cleanup_text_ struct text t = { 0 };
	int r;

	text_printf(&t, "list %s", what);
	r = run(nft, &t);
	if (r == 0)
		text_add_str(out, nft_ctx_get_output_buffer(nft));
	return r < 0 ? r : out->failed ? -ENOMEM : 0;
}
