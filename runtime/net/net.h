/* SPDX-License-Identifier: MIT */
/*
 * sandbox-net as a whole: one process for the boxes of one state directory, in the machine's network
 * namespace, with a second one of its own, the router's, between the machine and all boxes.
 *
 *	box: eth0 --- sbxN :router: up --- sbxhHASH :machine: --- its own way out
 *
 * What the router holds (links to boxes, their rules) and what the machine's side gets (one link, one
 * table) ends with this process, however it ends. One thread, no locks.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/loop.h"
#include "link.h"
#include "net_policy.h"
#include "protocol.h"
#include "rules.h"

enum {
	MAX_SLOTS = 1 << 14,
	MAX_LEARNED = 64,	/* addresses of one name */
	MAX_LEARNED_ALL = 1024, /* of all names of a list */
	MAX_NAMES = 64,		/* last answers a box got, for its log */
	MAX_HELD = 512,		/* ended boxes' namespaces */
	BOX_MTU = 1500,
	BOX_INDEX = 200, /* of eth0; the kernel's own numbers are small */
};

/* What a slot still has of a box that has ended; 0: it is free. */
enum slot_left {
	SLOT_LINK = 1,
	SLOT_RULES = 2,
	SLOT_LATE = 4, /* the link should have gone by now */
	SLOT_DUE = 8,  /* it does not go by itself */
};

struct learned {
	struct net_address a;
	int64_t until_ms; /* forgotten then */
};

/* What the names of a list stand for; as many as the policy has rules. */
struct names {
	struct learned *addresses; /* MAX_LEARNED at most */
	size_t n;
	int64_t due_ms; /* to be asked again */
};

struct net_list {
	struct net_policy policy;
	struct names *names; /* by index of the rule */
};

struct answer {
	struct net_address a;
	char *name;
};

struct conn; /* peers.c */

struct net_box {
	uint64_t number;
	unsigned int slot; /* 0: it has no link yet */
	int dir;	   /* its folder */
	int ns;		   /* its network namespace, while attached */
	struct conn *keeper;
	struct net_list allow, deny;
	bool own_rules;			  /* it has a chain */
	uint64_t rate;			  /* bytes/s each way, 0 none */
	struct answer answers[MAX_NAMES]; /* a ring */
	unsigned int next_answer;
	int64_t learn_until_us; /* until then its answers have used up what they may cost */
	int64_t refused_s;	/* the second in which n_refused names of it were logged */
	unsigned int n_refused;
	int log; /* NET_LOG, -1 closed */
	int64_t log_size;
};

struct net {
	struct loop loop;
	const char *state_path;
	int state_dir, host_ns, router_ns;
	struct mnl_socket *host_nl, *router_nl, *monitor, *gone;
	struct nft_ctx *host_nft, *router_nft;
	struct rules_plan plan;
	char host_link[16];
	bool ipv6;
	unsigned int n_slots, last_slot;
	struct net_box **by_slot; /* [n_slots + 1]; NULL free */
	uint8_t *slot_left;	  /* enum slot_left */
	struct net_box **boxes;
	size_t n_boxes, n_attached;
	bool forwarding, guard;
	char failed[256]; /* why there can be no network here; "" it works */
	int failed_errno; /* EOPNOTSUPP, or EADDRINUSE: the settings are why */
	struct loop_source monitor_events, gone_events;
	struct loop_timer refresh, late, calm;
	int held[MAX_HELD]; /* network namespaces of ended boxes */
	size_t n_held;
	struct loop_task bury;
};

/* --- router.c: the two namespaces, what is common to all boxes ---------------------------------- */

/* subnet: a CIDR or "auto". 0, or -errno with net->failed. */
int router_make(struct net *net, const char *subnet);
void router_free(struct net *net);
/* Address of a slot. */
void router_address(const struct net *net, unsigned int slot, int family, struct net_address *a);
/* The slot of an address, 0 none. */
unsigned int router_slot(const struct net *net, const struct net_address *a);
/* Runs with the process in another network namespace, and comes back. */
int router_enter(const struct net *net, int ns);
void router_leave(const struct net *net);
/* Turns the machine's forwarding on or off, as there are boxes or none. */
int router_forwarding(struct net *net);

/* --- boxes.c ------------------------------------------------------------------------------------ */

struct net_box *box_find(struct net *net, uint64_t number);
/* Makes it known or changes its rules, which are the kernel's on return. dir is taken. */
int box_set(struct net *net, uint64_t number, const char *allow, const char *deny, uint64_t rate,
	    int dir, char *why, size_t why_size);
/* ns is taken. */
int box_attach(struct net *net, struct net_box *box, int ns);
/* The link goes: now, or with the box's namespace (its rules hold till then). */
void box_detach(struct net *net, struct net_box *box, bool now);
void box_forget(struct net *net, struct net_box *box);
void boxes_free(struct net *net);
/* Makes its lists the kernel's rules; 0 or -errno. */
int box_set_rules(struct net *net, struct net_box *box);
int box_show_rules(struct net *net, struct net_box *box, struct text *out);

/* --- slots.c: which of them are free ----------------------------------------------------------- */

/* As many as the subnet has; 0 or -errno. From inside the router's namespace. */
int slots_make(struct net *net);
void slots_free(struct net *net);
/* A free one; each comes back as late as can be. 0: none. */
unsigned int slot_find(struct net *net);
/* The link's name and index on the router's side. */
void slot_link_name(unsigned int slot, char name[16]);
int slot_index(unsigned int slot);
/* Its box has ended, and left these and its namespace, which is taken. now: do not wait for the link
 * to go with that. */
void slot_leave(struct net *net, unsigned int slot, unsigned int left, int ns, bool now);
/* Now is a good time for a few of those namespaces to go. */
void slots_let_go(struct net *net);

/* --- names.c: what names in the lists stand for --------------------------------------------------- */

/* May the box ask for it? "": what is no host's name. */
bool box_may_ask(const struct net_box *box, const char *name);
/* Addresses of a name: of an answer that this box got, or (box NULL) that we asked for. 0, or -EBUSY:
 * the box has had so many that it shall wait. */
int box_learn(struct net *net, struct net_box *box, const char *name,
	      const struct net_address *addresses, size_t n, unsigned int ttl);
/* Asks for names again: of all boxes, of one. */
void boxes_refresh(struct loop_timer *timer);
void names_refresh(struct net *net, struct net_box *box);
/* Takes the policy; what was learned of a name that is still there stays. 0 or -ENOMEM. */
int names_take(struct net_list *list, struct net_policy *policy);
void names_free(struct net_list *list);

/* --- log.c: connections, from the kernel to NET_LOG --------------------------------------------- */

int log_open(struct net *net); /* in the router's namespace */
void log_close(struct net *net);
void box_log_close(struct net_box *box);
/* A name that the box may not ask for. */
void box_log_refused(struct net_box *box, const char *name);

/* --- resolver.c: our end of the name server ------------------------------------------------------ */

int resolver_start(struct net *net); /* in the router's namespace */
void resolver_stop(struct net *net);
void resolver_ask(struct net *net, const char *name);

/* --- heir.c: who outlives us, to put back what we cannot any more ------------------------------- */

int heir_start(struct net *net);
/* Ends it, and waits for that. */
void heir_stop(struct net *net);
/* The heir itself: returns when the end has come and all is put back. */
void heir_wait(void);

/* --- peers.c: daemon and keepers ------------------------------------------------------------------ */

int peers_start(struct net *net);
void peers_stop(struct net *net);
/* The box has become known: a keeper may wait for that. */
void peers_box_known(struct net *net, struct net_box *box);
/* The keeper's connection of a box that ends from our side. */
void peers_cut(struct net *net, struct conn *keeper);
/* Tells the daemon of net->failed. */
void peers_unable(struct net *net);
void peers_warn(struct net *net, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
