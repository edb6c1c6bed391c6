/* SPDX-License-Identifier: MIT */
/*
 * What names in boxes' lists stand for: who may ask for which, what answers teach, when they are
 * asked for again. Must not believe an answer: it opens public addresses only. One thread, no locks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "net.h"

enum {
	REFRESH_MS = 5000,
	LEAST_TTL_S = 30,    /* how often a name is asked for at the most */
	LONGEST_TTL_S = 300, /* and at the least */
	KEPT_MS = 3600000,   /* connections to an address that is no longer the name's may go on */
	/* Of the time, answers of one box may change its rules for one part of so many. */
	LEARN_SHARE = 10,
	LEARN_AHEAD_US = 3000000,
};

static bool is_public(const struct net_address *a)
{
	return !net_range_of(a->family, a->bytes) &&
	       (a->family != AF_INET6 || (a->bytes[0] & 0xe0) == 0x20 ||
		net_is_nat64(a->bytes, 128));
}

static bool names_it(const struct net_policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->n; i++) {
		if (net_rule_names(&policy->rules[i], name))
			return true;
	}
	return false;
}

static bool holds_everything(const struct net_policy *policy, bool one_port_is_enough)
{
	for (size_t i = 0; i < policy->n; i++) {
		const struct net_rule *rule = &policy->rules[i];

		if (rule->family && !rule->prefix && (one_port_is_enough || !rule->port))
			return true;
	}
	return false;
}

/* A question is a message to whoever answers for the name: with `*` in deny it would be a way out. */
bool box_may_ask(const struct net_box *box, const char *name)
{
	if (names_it(&box->allow.policy, name) || holds_everything(&box->allow.policy, true))
		return true;
	return !names_it(&box->deny.policy, name) && !holds_everything(&box->deny.policy, false);
}

/* True if the rules have to be set anew. room: for another one in all of the list. */
static bool learn_address(struct names *names, const struct net_address *a, int64_t until_ms,
			  bool room)
{
	struct learned *oldest = NULL, *bigger;

	for (size_t i = 0; i < names->n; i++) {
		struct learned *l = &names->addresses[i];

		if (l->a.family == a->family && !memcmp(l->a.bytes, a->bytes, sizeof(a->bytes))) {
			l->until_ms = until_ms;
			return false;
		}
		if (!oldest || l->until_ms < oldest->until_ms)
			oldest = l;
	}
	if (!room && !oldest)
		return false;
	if (room && names->n < MAX_LEARNED) {
		bigger = realloc(names->addresses, (names->n + 1) * sizeof(*bigger));
		if (!bigger)
			return false;
		names->addresses = bigger;
		oldest = &bigger[names->n++];
	}
	*oldest = (struct learned){ *a, until_ms };
	return true;
}

static bool learn_in(struct net_list *list, bool allow, const char *name,
		     const struct net_address *addresses, size_t n, unsigned int ttl)
{
	int64_t now = monotonic_ms();
	bool changed = false;
	size_t all = 0;

	for (size_t i = 0; i < list->policy.n; i++)
		all += list->names[i].n;
	for (size_t i = 0; i < list->policy.n; i++) {
		if (!net_rule_names(&list->policy.rules[i], name))
			continue;
		list->names[i].due_ms =
			now + 1000 * (int64_t)MAX(MIN(ttl, (unsigned int)LONGEST_TTL_S),
						  (unsigned int)LEAST_TTL_S);
		/* Whoever answers for a name must not open what is closed to all. */
		for (size_t j = 0; j < n; j++) {
			size_t before = list->names[i].n;

			if (!allow || is_public(&addresses[j]))
				changed |= learn_address(&list->names[i], &addresses[j],
							 now + KEPT_MS, all < MAX_LEARNED_ALL);
			all += list->names[i].n - before;
		}
	}
	return changed;
}

static void note_answer(struct net_box *box, const char *name, const struct net_address *a)
{
	struct answer *answer;

	for (size_t i = 0; i < MAX_NAMES; i++) {
		answer = &box->answers[i];
		if (answer->name && answer->a.family == a->family &&
		    !memcmp(answer->a.bytes, a->bytes, sizeof(a->bytes)) &&
		    !strcmp(answer->name, name))
			return;
	}
	answer = &box->answers[box->next_answer++ % MAX_NAMES];
	free(answer->name);
	*answer = (struct answer){ *a, strdup(name) };
}

static void learn(struct net *net, struct net_box *box, const char *name,
		  const struct net_address *addresses, size_t n, unsigned int ttl)
{
	bool changed = learn_in(&box->allow, true, name, addresses, n, ttl);
	int r;

	changed |= learn_in(&box->deny, false, name, addresses, n, ttl);
	r = changed ? box_set_rules(net, box) : 0;
	if (r < 0)
		log_error("box %ju: rules for %s: %s", (uintmax_t)box->number, name, strerror(-r));
}

int box_learn(struct net *net, struct net_box *box, const char *name,
	      const struct net_address *addresses, size_t n, unsigned int ttl)
{
	int64_t began = monotonic_us();

	for (size_t i = 0; !box && i < net->n_boxes; i++)
		learn(net, net->boxes[i], name, addresses, n, ttl);
	if (!box)
		return 0;
	/* Whoever answers for *.example.com can make the box's rules change with every answer. */
	if (box->learn_until_us > began + LEARN_AHEAD_US)
		return -EBUSY;
	for (size_t i = 0; i < n; i++)
		note_answer(box, name, &addresses[i]);
	learn(net, box, name, addresses, n, ttl);
	box->learn_until_us =
		MAX(box->learn_until_us, began) + (monotonic_us() - began) * LEARN_SHARE;
	return 0;
}

static bool refresh_list(struct net *net, struct net_list *list, int64_t now)
{
	bool changed = false;

	for (size_t i = 0; i < list->policy.n; i++) {
		struct net_rule *rule = &list->policy.rules[i];
		struct names *names = &list->names[i];

		for (size_t j = 0; j < names->n;) {
			if (names->addresses[j].until_ms <= now) {
				names->addresses[j] = names->addresses[--names->n];
				changed = true;
			} else {
				j++;
			}
		}
		if (rule->family || rule->below || names->due_ms > now)
			continue;
		names->due_ms = now + LEAST_TTL_S * 1000;
		resolver_ask(net, rule->name);
	}
	return changed;
}

void names_refresh(struct net *net, struct net_box *box)
{
	int64_t now = monotonic_ms();
	bool changed = refresh_list(net, &box->allow, now);

	changed |= refresh_list(net, &box->deny, now);
	if (changed)
		box_set_rules(net, box);
}

void boxes_refresh(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, refresh);

	for (size_t i = 0; i < net->n_boxes; i++) {
		if (net->boxes[i]->slot)
			names_refresh(net, net->boxes[i]);
	}
	loop_timer_set(&net->loop, timer, REFRESH_MS);
}

void names_free(struct net_list *list)
{
	for (size_t i = 0; list->names && i < list->policy.n; i++)
		free(list->names[i].addresses);
	free(list->names);
	net_policy_free(&list->policy);
	*list = (struct net_list){ 0 };
}

/* What was learned of a name that is still there stays. */
int names_take(struct net_list *list, struct net_policy *policy)
{
	struct names *names = calloc(policy->n + 1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < policy->n; i++) {
		for (size_t j = 0; j < list->policy.n && !policy->rules[i].family; j++) {
			if (list->policy.rules[j].family ||
			    list->policy.rules[j].below != policy->rules[i].below ||
			    strcmp(list->policy.rules[j].name, policy->rules[i].name))
				continue;
			names[i] = list->names[j];
			list->names[j] = (struct names){ 0 };
			break;
		}
	}
	names_free(list);
	*list = (struct net_list){ *policy, names };
	*policy = (struct net_policy){ 0 };
	return 0;
}
