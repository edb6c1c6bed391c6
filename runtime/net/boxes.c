/* SPDX-License-Identifier: MIT */
/*
 * Boxes: their links and their rules. Must not know who asks. One thread, no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "net.h"
#include "network.h"

struct net_box *box_find(struct net *net, uint64_t number)
{
	for (size_t i = 0; i < net->n_boxes; i++) {
		if (net->boxes[i]->number == number)
			return net->boxes[i];
	}
	return NULL;
}

/* --- links -------------------------------------------------------------------------------------- */

static int add_router_end(struct net *net, unsigned int slot)
{
	struct net_address own = { .family = AF_INET, .prefix = 32 }, box;
	struct net_address local6 = { .family = AF_INET6, .prefix = 64 };
	int index = slot_index(slot), r;

	inet_pton(AF_INET, NET_RESOLVER, own.bytes);
	router_address(net, slot, AF_INET, &box);
	r = link_add_address(net->router_nl, index, &own, &box);
	if (r < 0 || !net->ipv6)
		return r;
	inet_pton(AF_INET6, "fe80::1", local6.bytes);
	router_address(net, slot, AF_INET6, &box);
	r = link_add_address(net->router_nl, index, &local6, NULL);
	return r < 0 ? r : link_add_route(net->router_nl, index, &box, NULL, NULL);
}

/* From inside the box's namespace. */
static int set_box_end(struct net *net, struct net_box *box, struct mnl_socket *nl)
{
	struct net_address gateway = { .family = AF_INET, .prefix = 32 }, own, any;
	struct net_address local6 = { .family = AF_INET6, .prefix = 64 };
	int index = BOX_INDEX, r = link_set_up(nl, "eth0");

	if (r < 0)
		return r;
	inet_pton(AF_INET, NET_RESOLVER, gateway.bytes);
	router_address(net, box->slot, AF_INET, &own);
	any = (struct net_address){ .family = AF_INET };
	r = link_add_address(nl, index, &own, &gateway);
	if (r == 0)
		r = link_add_route(nl, index, &any, &gateway, NULL);
	if (r == 0 && net->ipv6) {
		router_address(net, box->slot, AF_INET6, &own);
		any.family = AF_INET6;
		inet_pton(AF_INET6, "fe80::2", local6.bytes);
		r = link_add_address(nl, index, &local6, NULL);
		if (r == 0)
			r = link_add_address(nl, index, &own, NULL);
		inet_pton(AF_INET6, "fe80::1", gateway.bytes);
		gateway.family = AF_INET6;
		if (r == 0)
			r = link_add_route(nl, index, &any, &gateway, NULL);
	}
	if (r == 0 && box->rate)
		r = link_set_rate(nl, index, box->rate);
	return r;
}

/* A socket that works in the box's namespace. */
static int open_inside(struct net *net, const struct net_box *box, struct mnl_socket **nl)
{
	int r = router_enter(net, box->ns);

	if (r < 0)
		return r;
	*nl = link_open(0);
	r = *nl ? 0 : -errno;
	router_leave(net);
	return r;
}

/* The pair is made where its ends shall be: moving one later would wait for all CPUs, for 15 ms on a
 * busy machine. */
static int make_link(struct net *net, struct net_box *box)
{
	struct mnl_socket *nl = NULL;
	struct link_end ours = { .index = slot_index(box->slot), .ns = -1 };
	struct link_end theirs = { .name = "eth0", .index = BOX_INDEX, .ns = box->ns };
	char name[16];
	int r;

	slot_link_name(box->slot, name);
	ours.name = name;
	r = open_inside(net, box, &nl);
	if (r == 0)
		r = link_make_pair(net->router_nl, &ours, &theirs, BOX_MTU);
	if (r == 0)
		r = link_set_up(net->router_nl, name);
	if (r == 0)
		r = add_router_end(net, box->slot);
	if (r == 0 && box->rate)
		r = link_set_rate(net->router_nl, ours.index, box->rate);
	if (r == 0)
		r = set_box_end(net, box, nl);
	link_close(nl);
	return r;
}

static int change_rate(struct net *net, struct net_box *box, uint64_t rate)
{
	struct mnl_socket *nl = NULL;
	int r;

	if (rate == box->rate)
		return 0;
	box->rate = rate;
	if (!box->slot)
		return 0;
	r = link_set_rate(net->router_nl, slot_index(box->slot), rate);
	if (r == 0)
		r = open_inside(net, box, &nl);
	if (r == 0)
		r = link_set_rate(nl, BOX_INDEX, rate);
	link_close(nl);
	return r;
}

/* --- rules -------------------------------------------------------------------------------------- */

static void add_entry(struct rules_list *out, size_t room, const struct net_address *a,
		      unsigned int port)
{
	if (out->n < room)
		out->entries[out->n++] = (struct rules_entry){ *a, port };
}

/* With what its names stand for; false when out of memory. */
static bool expand(const struct net_list *list, struct rules_list *out)
{
	size_t room = list->policy.n;

	for (size_t i = 0; i < list->policy.n; i++)
		room += list->names ? list->names[i].n : 0;
	*out = (struct rules_list){ .entries = calloc(room + 1, sizeof(*out->entries)) };
	if (!out->entries)
		return false;
	for (size_t i = 0; i < list->policy.n; i++) {
		const struct net_rule *rule = &list->policy.rules[i];
		struct net_address a = { .family = rule->family, .prefix = rule->prefix };

		memcpy(a.bytes, rule->addr, sizeof(a.bytes));
		if (rule->family)
			add_entry(out, room, &a, rule->port);
		for (size_t j = 0; !rule->family && j < list->names[i].n; j++)
			add_entry(out, room, &list->names[i].addresses[j].a, rule->port);
	}
	return true;
}

int box_set_rules(struct net *net, struct net_box *box)
{
	struct rules_list allow = { 0 }, deny = { 0 };
	int r = 0;

	if (!box->slot)
		return 0;
	if (!box->allow.policy.n && !box->deny.policy.n) {
		if (box->own_rules)
			r = rules_clear_box(net->router_nft, box->slot);
		box->own_rules = r == 0 ? false : box->own_rules;
		return r;
	}
	if (expand(&box->allow, &allow) && expand(&box->deny, &deny))
		r = rules_set_box(net->router_nft, box->slot, &allow, &deny);
	else
		r = -ENOMEM;
	box->own_rules |= r == 0;
	free(allow.entries);
	free(deny.entries);
	return r;
}

int box_show_rules(struct net *net, struct net_box *box, struct text *out)
{
	return box->slot ? rules_show_box(net->router_nft, box->slot, box->own_rules, out) : 0;
}

/* --- life --------------------------------------------------------------------------------------- */

static struct net_box *box_new(struct net *net, uint64_t number)
{
	struct net_box **bigger = realloc(net->boxes, (net->n_boxes + 1) * sizeof(*bigger));
	struct net_box *box = bigger ? calloc(1, sizeof(*box)) : NULL;

	if (bigger)
		net->boxes = bigger;
	if (!box)
		return NULL;
	*box = (struct net_box){ .number = number, .dir = -1, .ns = -1, .log = -1 };
	net->boxes[net->n_boxes++] = box;
	return box;
}

int box_set(struct net *net, uint64_t number, const char *allow, const char *deny, uint64_t rate,
	    int dir, char *why, size_t why_size)
{
	struct net_box *box = box_find(net, number);
	struct net_policy allowed = { 0 }, denied = { 0 };
	int r = net_policy_parse(allow, true, &allowed, why, why_size);

	if (r == 0)
		r = net_policy_parse(deny, false, &denied, why, why_size);
	if (r == 0 && !box)
		box = box_new(net, number);
	if (r == 0 && !box)
		r = -ENOMEM;
	if (r == 0)
		r = names_take(&box->allow, &allowed);
	if (r == 0)
		r = names_take(&box->deny, &denied);
	net_policy_free(&allowed);
	net_policy_free(&denied);
	if (r < 0) {
		close_fd(&dir);
		return r;
	}
	if (dir >= 0) {
		close_fd(&box->dir);
		box->dir = dir;
	}
	if (box->slot)
		names_refresh(net, box);
	r = box_set_rules(net, box);
	return r < 0 ? r : change_rate(net, box, rate);
}

int box_attach(struct net *net, struct net_box *box, int ns)
{
	unsigned int slot;
	int r;

	box_detach(net, box, true);
	slot = slot_find(net);
	if (!slot) {
		close_fd(&ns);
		return -EADDRNOTAVAIL;
	}
	box->ns = ns;
	box->slot = slot;
	net->by_slot[slot] = box;
	net->last_slot = slot;
	net->n_attached++;
	/* Its rules stand before its first packet can. */
	r = box_set_rules(net, box);
	if (r == 0 && net->n_attached == 1)
		r = router_forwarding(net);
	if (r == 0)
		r = make_link(net, box);
	if (r < 0) {
		box_detach(net, box, true);
		return r;
	}
	names_refresh(net, box);
	slots_let_go(net);
	return 0;
}

void box_detach(struct net *net, struct net_box *box, bool now)
{
	unsigned int slot = box->slot;

	if (!slot)
		return;
	net->by_slot[slot] = NULL;
	box->slot = 0;
	net->n_attached--;
	slot_leave(net, slot, SLOT_LINK | (box->own_rules ? SLOT_RULES : 0), take_fd(&box->ns),
		   now);
	box->own_rules = false;
	if (!net->n_attached)
		router_forwarding(net);
}

static void box_free(struct net *net, struct net_box *box)
{
	/* The daemon waits for the end of a network that is switched off. */
	box_detach(net, box, box->keeper != NULL);
	if (box->keeper)
		peers_cut(net, box->keeper);
	names_free(&box->allow);
	names_free(&box->deny);
	for (size_t i = 0; i < MAX_NAMES; i++)
		free(box->answers[i].name);
	box_log_close(box);
	close_fd(&box->dir);
	free(box);
}

void box_forget(struct net *net, struct net_box *box)
{
	size_t i = 0;

	while (net->boxes[i] != box)
		i++;
	net->boxes[i] = net->boxes[--net->n_boxes];
	box_free(net, box);
}

void boxes_free(struct net *net)
{
	while (net->n_boxes)
		box_forget(net, net->boxes[0]);
	free(net->boxes);
}
