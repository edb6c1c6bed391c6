/* SPDX-License-Identifier: MIT */
/*
 * The machine's own firewall, as far as it keeps packets of boxes from being forwarded: whoever drops a
 * packet has the last word in nf_tables, so all that can be done is to say so. Reads what nft lists;
 * must not change anything. No locks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "rules.h"

enum { MAX_FIREWALL = 4 << 20 }; /* bytes of a table that are looked at */

struct forward_chain {
	char table[96]; /* "inet firewalld" */
	char name[96];
	bool drops; /* by its policy */
};

/* Cuts "WORD name {" of a listing; false: another line. */
static bool take_name(const char *line, const char *word, char *name, size_t size)
{
	size_t len = strlen(word), end;

	if (strncmp(line, word, len) != 0 || line[len] != ' ')
		return false;
	line += len + 1;
	end = strcspn(line, "{");
	while (end && line[end - 1] == ' ')
		end--;
	snprintf(name, size, "%.*s", (int)end, line);
	return true;
}

static bool is_refusal(const char *rule)
{
	/* iptables counts in front of each verdict. */
	if (!strncmp(rule, "counter ", 8))
		return strstr(rule, " drop") || strstr(rule, " reject");
	return !strncmp(rule, "drop", 4) || !strncmp(rule, "reject", 6);
}

/* A last rule that drops or rejects whatever has come so far. */
static bool ends_in_refusal(struct nft_ctx *nft, const struct forward_chain *chain)
{
	_cleanup_text_ struct text t = { 0 };
	char what[224], *save = NULL;
	bool refuses = false;

	snprintf(what, sizeof(what), "chain %s %s", chain->table, chain->name);
	if (rules_list(nft, what, &t) < 0 || !t.len)
		return false;
	for (char *line = strtok_r(t.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line = text_strip(line);
		if (*line && *line != '}')
			refuses = is_refusal(line);
	}
	return refuses;
}

static void describe(const struct forward_chain *chain, const char *rules, const char *link,
		     struct text *out)
{
	text_printf(out, "table %s chain %s drops what boxes send: ", chain->table, chain->name);
	if (strstr(chain->table, "firewalld"))
		text_printf(out, "firewall-cmd --zone=trusted --add-interface=%s\n", link);
	else if (strstr(rules, "chain DOCKER-USER"))
		text_printf(
			out,
			"iptables -I DOCKER-USER -i %s -j ACCEPT; iptables -I DOCKER-USER -o %s "
			"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n",
			link, link);
	else if (strstr(rules, "chain ufw-user-forward"))
		text_printf(out, "ufw route allow in on %s\n", link);
	else
		text_printf(out,
			    "let it accept what comes in by %s and, of established connections, "
			    "what goes out by it\n",
			    link);
}

static void look_at(struct nft_ctx *nft, const struct forward_chain *chain, const char *link,
		    struct text *out)
{
	_cleanup_text_ struct text rules = { 0 };
	char what[128];

	if (!strncmp(chain->table, "inet sbxh", 9)) /* ours, or another daemon's */
		return;
	if (!chain->drops && !ends_in_refusal(nft, chain))
		return;
	snprintf(what, sizeof(what), "table %s", chain->table);
	if (rules_list(nft, what, &rules) < 0 || rules.len > MAX_FIREWALL)
		text_reset(&rules);
	/* Somebody has thought of us. */
	if (rules.data && strstr(rules.data, "\"sbx"))
		return;
	describe(chain, rules.data ? rules.data : "", link, out);
}

int rules_find_obstacles(struct nft_ctx *nft, const char *link, struct text *out)
{
	_cleanup_text_ struct text chains = { 0 };
	struct forward_chain chain = { 0 };
	char *save = NULL;
	int r = rules_list(nft, "chains", &chains);

	if (r < 0 || !chains.len)
		return r;
	for (char *line = strtok_r(chains.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		line = text_strip(line);
		if (take_name(line, "table", chain.table, sizeof(chain.table)) ||
		    take_name(line, "chain", chain.name, sizeof(chain.name)) ||
		    !strstr(line, "hook forward"))
			continue;
		chain.drops = strstr(line, "policy drop");
		look_at(nft, &chain, link, out);
	}
	return out->failed ? -ENOMEM : 0;
}
