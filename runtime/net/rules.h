/* SPDX-License-Identifier: MIT */
/*
 * The packet filter: all of it as texts for nft(8), given to the kernel by libnftables. Every
 * function is one transaction: the kernel has the old rules or the new ones, never a mix. The tables
 * belong to the socket that made them (flag owner), so they go when the process does.
 * Functions return 0 or -errno, having logged what nft said.
 */
#ifndef NET_RULES_H
#define NET_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "link.h"
#include "net_policy.h"

/* Of NFLOG; the prefix of an entry is one of these letters. */
enum { RULES_LOG_GROUP = 1, RULES_LOG_BYTES = 64 };
enum rules_verdict {
	RULES_ALLOWED = 'a',
	RULES_DENIED = 'd',   /* by net/deny */
	RULES_PRIVATE = 'p',  /* not public, and not in net/allow */
	RULES_NEVER = 'n',    /* link-local, multicast, … */
	RULES_HOST = 'h',     /* the machine's own addresses */
	RULES_BOX = 'b',      /* other boxes */
	RULES_SPOOFED = 's',  /* a source that is not the box's */
	RULES_TOO_MANY = 'm', /* connections */
};

/* What both tables are about. */
struct rules_plan {
	const char *host_link;		    /* name of the link in the machine's namespace */
	struct net_address subnet, subnet6; /* of the boxes; subnet6.family 0: no IPv6 */
	unsigned int connections;	    /* of a box, at a time */
};

/* The two namespaces' handles; call in the one that it is for. NULL: out of memory. */
struct nft_ctx *rules_open(void);
void rules_close(struct nft_ctx *nft);

/* The machine's table: masquerades, and lets nothing of ours in. guard: forwards nothing else. */
int rules_set_machine(struct nft_ctx *nft, const struct rules_plan *plan, bool guard);
/* The router's: what every box may and may not. */
int rules_set_router(struct nft_ctx *nft, const struct rules_plan *plan);
/* The machine's own addresses, in the router's table. */
int rules_set_addresses(struct nft_ctx *nft, const struct net_address *addresses, size_t n);

/* What a box's lists come to: addresses, with what names stand for at present. */
struct rules_entry {
	struct net_address to;
	unsigned int port; /* 0: any, and any protocol */
};
struct rules_list {
	struct rules_entry *entries;
	size_t n;
};

/* Sets the box's own rules, and reads them back: -EIO if the kernel shows others. slot names it. */
int rules_set_box(struct nft_ctx *nft, unsigned int slot, const struct rules_list *allow,
		  const struct rules_list *deny);
/* The box has none of its own any more. */
int rules_clear_box(struct nft_ctx *nft, unsigned int slot);
/* Those that a packet of the box meets, as the kernel has them. own: it has some. */
int rules_show_box(struct nft_ctx *nft, unsigned int slot, bool own, struct text *out);

/* Adds what nft(8) lists: "chains", "table inet x", … */
int rules_list(struct nft_ctx *nft, const char *what, struct text *out);

/* obstacles.c: sentences about chains of others that drop what boxes forward, and what helps; one
 * line each. link: the machine's end, in its namespace. */
int rules_find_obstacles(struct nft_ctx *nft, const char *link, struct text *out);

#endif
