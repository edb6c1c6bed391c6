/* SPDX-License-Identifier: MIT */
/*
 * What a network for boxes needs: nftables and pairs of links, tried in a network namespace of a
 * child's; and who else on this machine has a say about forwarded packets. netlink(7) as it is,
 * because a handful of messages is all there is to it. Changes no rule. No locks.
 */
#include <errno.h>
/* Before the kernel's, which then leave out what is in it. */
#include <netinet/in.h>

#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "doctor_check.h"

enum { MESSAGE_SIZE = 1024, ANSWER_SIZE = 1 << 15, ANSWER_MS = 3000 };

#define NFT_MESSAGE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))

/* Messages one after the other, in one packet. */
struct batch {
	char data[MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	size_t len, begin; /* begin: of the last message */
};

static struct nlmsghdr *last_message(struct batch *b)
{
	return (struct nlmsghdr *)(b->data + b->begin);
}

/* All that is built here fits; it is our own bug otherwise, and the kernel refuses what is cut. */
static void add_bytes(struct batch *b, const void *bytes, size_t len)
{
	if (b->len + NLMSG_ALIGN(len) > sizeof(b->data))
		return;
	memcpy(b->data + b->len, bytes, len);
	b->len += NLMSG_ALIGN(len);
	last_message(b)->nlmsg_len = (uint32_t)(b->len - b->begin);
}

static void begin_message(struct batch *b, uint16_t type, uint16_t flags, const void *head,
			  size_t len)
{
	const struct nlmsghdr h = { .nlmsg_type = type,
				    .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) };

	b->begin = b->len;
	add_bytes(b, &h, sizeof(h));
	add_bytes(b, head, len);
}

static void begin_nft(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res)
{
	const struct nfgenmsg g = { .nfgen_family = family,
				    .version = NFNETLINK_V0,
				    .res_id = htons(res) };

	begin_message(b, type, flags, &g, sizeof(g));
}

static size_t begin_attribute(struct batch *b, uint16_t type)
{
	const struct nlattr a = { .nla_len = sizeof(a), .nla_type = type };
	size_t at = b->len;

	add_bytes(b, &a, sizeof(a));
	return at;
}

static void end_attribute(struct batch *b, size_t at)
{
	((struct nlattr *)(b->data + at))->nla_len = (uint16_t)(b->len - at);
}

static void add_string(struct batch *b, uint16_t type, const char *s)
{
	size_t at = begin_attribute(b, type);

	add_bytes(b, s, strlen(s) + 1);
	((struct nlattr *)(b->data + at))->nla_len =
		(uint16_t)(sizeof(struct nlattr) + strlen(s) + 1);
}

static void add_be32(struct batch *b, uint16_t type, uint32_t value)
{
	size_t at = begin_attribute(b, type);

	value = htonl(value);
	add_bytes(b, &value, sizeof(value));
	end_attribute(b, at);
}

/*
 * Sends and calls each() for every answer till the end: of a dump, or an acknowledgement. The
 * first error of the kernel's, or 0.
 */
static int talk(int protocol, const struct batch *b, void (*each)(const struct nlmsghdr *, void *),
		void *arg)
{
	static char answer[ANSWER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	_cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct pollfd p = { .fd = sock, .events = POLLIN };

	if (sock < 0 ||
	    sendto(sock, b->data, b->len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	while (poll(&p, 1, ANSWER_MS) > 0) {
		ssize_t len = recv(sock, answer, sizeof(answer), 0);
		size_t left = len < 0 ? 0 : (size_t)len;

		if (len < 0)
			return -errno;
		for (const struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (each)
				each(h, arg);
		}
	}
	return -ETIMEDOUT;
}

/* --- rules and links of our own ----------------------------------------------------------------- */

/* A table with a chain that translates addresses: what boxes behind one address need. */
static int make_nat_chain(struct probe_result *result, void *arg)
{
	struct batch b = { .len = 0 };
	size_t hook;

	(void)result;
	(void)arg;
	begin_nft(&b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	begin_nft(&b, NFT_MESSAGE(NFT_MSG_NEWTABLE), NLM_F_CREATE, NFPROTO_IPV4, 0);
	add_string(&b, NFTA_TABLE_NAME, "doctor");
	begin_nft(&b, NFT_MESSAGE(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_ACK, NFPROTO_IPV4, 0);
	add_string(&b, NFTA_CHAIN_TABLE, "doctor");
	add_string(&b, NFTA_CHAIN_NAME, "out");
	add_string(&b, NFTA_CHAIN_TYPE, "nat");
	hook = begin_attribute(&b, NFTA_CHAIN_HOOK | NLA_F_NESTED);
	add_be32(&b, NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING);
	add_be32(&b, NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_SRC);
	end_attribute(&b, hook);
	begin_nft(&b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	return talk(NETLINK_NETFILTER, &b, NULL, NULL);
}

static int make_veth(struct probe_result *result, void *arg)
{
	const struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
	struct batch b = { .len = 0 };
	size_t info;

	(void)result;
	(void)arg;
	begin_message(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &link, sizeof(link));
	info = begin_attribute(&b, IFLA_LINKINFO);
	add_string(&b, IFLA_INFO_KIND, "veth");
	end_attribute(&b, info);
	return talk(NETLINK_ROUTE, &b, NULL, NULL);
}

static void try_in_netns(const struct doctor *d, struct finding *f, probe_run *run,
			 const char *works)
{
	struct probe_result result;
	int r = doctor_probe(d, CLONE_NEWNET | (d->root ? 0 : CLONE_NEWUSER), run, NULL, &result);

	if (r == 0)
		finding_set(f, DOCTOR_OK, "%s", works);
	else if (strcmp(result.step, "run"))
		finding_set(f, DOCTOR_UNSEEN, "not tried, for want of a network namespace: %s",
			    strerror(-r));
	else
		finding_set(f,
			    d->options->network_mode == NETWORK_NONE ? DOCTOR_WARN : DOCTOR_MISSING,
			    "the kernel refuses: %s", strerror(-r));
}

void look_nftables(const struct doctor *d, struct finding *f)
{
	try_in_netns(d, f, make_nat_chain, "rules that translate addresses can be made");
}

void look_veth(const struct doctor *d, struct finding *f)
{
	try_in_netns(d, f, make_veth, "pairs of links can be made");
}

/* --- the rules of others ------------------------------------------------------------------------ */

struct forwarding {
	struct text drops; /* chains that drop what is forwarded unless a rule lets it pass */
	bool docker, firewalld;
};

static const struct nlattr *find_attribute(const void *first, size_t len, int type)
{
	const char *at = first, *end = at + len;

	while (end - at >= (ptrdiff_t)sizeof(struct nlattr)) {
		const struct nlattr *a = (const void *)at;

		if (a->nla_len < sizeof(*a) || a->nla_len > end - at)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		at += NLA_ALIGN(a->nla_len);
		if (at > end)
			return NULL;
	}
	return NULL;
}

static uint32_t attribute_be32(const struct nlattr *a, uint32_t missing)
{
	uint32_t value;

	if (!a || a->nla_len < sizeof(*a) + sizeof(value))
		return missing;
	memcpy(&value, a + 1, sizeof(value));
	return ntohl(value);
}

/* A name of somebody else's, cut and escaped. */
static const char *attribute_text(const struct nlattr *a, char *out, size_t size)
{
	char raw[64] = "?";

	if (a)
		snprintf(raw, sizeof(raw), "%.*s", (int)(a->nla_len - sizeof(*a)),
			 (const char *)(a + 1));
	return text_escape(out, size, raw);
}

static const char *family_name(uint8_t family)
{
	return family == NFPROTO_INET ? "inet" : family == NFPROTO_IPV4 ? "ip" : "ip6";
}

static void note_chain(const struct nlmsghdr *h, void *arg)
{
	const struct nfgenmsg *g = NLMSG_DATA(h);
	const char *first = (const char *)g + NLMSG_ALIGN(sizeof(*g));
	size_t len = h->nlmsg_len - NLMSG_LENGTH(sizeof(*g));
	struct forwarding *fw = arg;
	const struct nlattr *hook, *number;
	char table[80], chain[80];

	if (h->nlmsg_type != NFT_MESSAGE(NFT_MSG_NEWCHAIN) ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(*g)))
		return;
	attribute_text(find_attribute(first, len, NFTA_CHAIN_TABLE), table, sizeof(table));
	attribute_text(find_attribute(first, len, NFTA_CHAIN_NAME), chain, sizeof(chain));
	fw->docker |= !strncmp(chain, "DOCKER", 6);
	fw->firewalld |= !strcmp(table, "firewalld");
	hook = find_attribute(first, len, NFTA_CHAIN_HOOK);
	if (!hook || (g->nfgen_family != NFPROTO_INET && g->nfgen_family != NFPROTO_IPV4 &&
		      g->nfgen_family != NFPROTO_IPV6))
		return;
	number = find_attribute(hook + 1, hook->nla_len - sizeof(*hook), NFTA_HOOK_HOOKNUM);
	if (attribute_be32(number, NF_INET_NUMHOOKS) == NF_INET_FORWARD &&
	    attribute_be32(find_attribute(first, len, NFTA_CHAIN_POLICY), NF_ACCEPT) == NF_DROP)
		text_printf(&fw->drops, "%s%s %s %s", fw->drops.len ? ", " : "",
			    family_name(g->nfgen_family), table, chain);
}

/* The same of the older iptables, if it is in use: the policy is the last rule of the chain. */
static void ask_legacy(struct forwarding *fw)
{
	_cleanup_free_ char *tables = doctor_read("/proc/net/ip_tables_names");
	_cleanup_close_ int sock = -1;
	_cleanup_free_ struct ipt_get_entries *entries = NULL;
	struct ipt_getinfo info = { .name = "filter" };
	const struct xt_standard_target *target;
	const struct ipt_entry *policy;
	socklen_t len = sizeof(info);
	size_t at;

	if (!tables || !strstr(tables, "filter"))
		return;
	sock = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (sock < 0 || getsockopt(sock, SOL_IP, IPT_SO_GET_INFO, &info, &len) < 0 ||
	    info.size > 1 << 24)
		return;
	len = (socklen_t)(sizeof(*entries) + info.size);
	entries = calloc(1, len);
	at = info.underflow[NF_INET_FORWARD];
	if (!entries || at + sizeof(*policy) + sizeof(*target) > info.size)
		return;
	snprintf(entries->name, sizeof(entries->name), "filter");
	entries->size = info.size;
	if (getsockopt(sock, SOL_IP, IPT_SO_GET_ENTRIES, entries, &len) < 0)
		return;
	policy = (const void *)((const char *)entries->entrytable + at);
	if (at + policy->target_offset + sizeof(*target) > info.size)
		return;
	target = (const void *)((const char *)policy + policy->target_offset);
	if (target->verdict == -NF_DROP - 1)
		text_printf(&fw->drops, "%siptables-legacy FORWARD", fw->drops.len ? ", " : "");
}

static bool ufw_is_on(void)
{
	_cleanup_free_ char *conf = doctor_read("/etc/ufw/ufw.conf");

	return conf && (!strncmp(conf, "ENABLED=yes", 11) || strstr(conf, "\nENABLED=yes"));
}

static void name_programs(struct finding *f, const struct forwarding *fw)
{
	const struct {
		bool there;
		const char *name, *remedy;
	} programs[] = {
		{ fw->docker || access("/run/docker.sock", F_OK) == 0, "docker",
		  "docker sets the policy of FORWARD to drop: add rules to its chain DOCKER-USER, "
		  "or "
		  "\"ip-forward-no-drop\": true in /etc/docker/daemon.json (docker 28)" },
		{ ufw_is_on(), "ufw",
		  "ufw default allow routed, or `ufw route allow` for the boxes' links" },
		{ fw->firewalld || access("/run/firewalld", F_OK) == 0, "firewalld",
		  "firewalld: put the boxes' links into the zone trusted" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		if (!programs[i].there)
			continue;
		finding_set(f, MAX(f->state, DOCTOR_NOTE), "; %s is in use", programs[i].name);
		finding_remedy(f, "%s%s", f->remedy.len ? ". " : "", programs[i].remedy);
	}
}

void look_firewall(const struct doctor *d, struct finding *f)
{
	struct forwarding fw = { .docker = false };
	struct batch b = { .len = 0 };
	int r;

	begin_nft(&b, NFT_MESSAGE(NFT_MSG_GETCHAIN), NLM_F_DUMP, NFPROTO_UNSPEC, 0);
	r = talk(NETLINK_NETFILTER, &b, note_chain, &fw);
	if (r == -EPERM && !d->root)
		finding_set(f, DOCTOR_UNSEEN, "this user may not see the machine's rules");
	else if (r < 0 && r != -EOPNOTSUPP && r != -EINVAL && r != -EPROTONOSUPPORT)
		finding_set(f, DOCTOR_UNSEEN, "the kernel did not tell the rules: %s",
			    strerror(-r));
	if (d->root)
		ask_legacy(&fw);
	if (fw.drops.len)
		finding_set(f, DOCTOR_WARN, "dropped by the policy of %s", fw.drops.data);
	else if (!f->found.len)
		finding_set(f, DOCTOR_OK, "no policy drops what is forwarded");
	name_programs(f, &fw);
	text_free(&fw.drops);
}
