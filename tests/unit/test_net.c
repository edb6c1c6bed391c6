/* SPDX-License-Identifier: MIT */
/* net_policy: lists of hosts, addresses and ports. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "net_policy.h"

static int parse(const char *text, bool allow, struct net_policy *policy)
{
	char why[256];
	int r = net_policy_parse(text, allow, policy, why, sizeof(why));

	assert_true((r == 0) == (why[0] == '\0'));
	return r;
}

static void entries(void **state)
{
	static const struct {
		const char *text;
		int family;
		unsigned int prefix;
		uint16_t port;
		const char *name;
		bool below;
	} rows[] = {
		{ "1.2.3.4", AF_INET, 32, 0, "", false },
		{ " 1.2.3.4:80 ", AF_INET, 32, 80, "", false },
		{ "10.0.0.0/8", AF_INET, 8, 0, "", false },
		{ "10.0.0.0/8:65535", AF_INET, 8, 65535, "", false },
		{ "0.0.0.0/0", AF_INET, 0, 0, "", false },
		{ "2001:db8::1", AF_INET6, 128, 0, "", false },
		{ "2001:db8::/32", AF_INET6, 32, 0, "", false },
		{ "[2001:db8::/32]:443", AF_INET6, 32, 443, "", false },
		{ "[2001:db8::1]", AF_INET6, 128, 0, "", false },
		{ "Example.COM", 0, 0, 0, "example.com", false },
		{ "example.com.:22", 0, 0, 22, "example.com", false },
		{ "*.example.com:22", 0, 0, 22, "example.com", true },
		{ "_srv._tcp.x", 0, 0, 0, "_srv._tcp.x", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_policy policy;

		assert_int_equal(parse(rows[i].text, true, &policy), 0);
		assert_int_equal(policy.n, 1);
		assert_int_equal(policy.rules[0].family, rows[i].family);
		assert_int_equal(policy.rules[0].prefix, rows[i].prefix);
		assert_int_equal(policy.rules[0].port, rows[i].port);
		assert_string_equal(policy.rules[0].name, rows[i].name);
		assert_int_equal(policy.rules[0].below, rows[i].below);
		net_policy_free(&policy);
	}
}

static void lists(void **state)
{
	struct net_policy policy;

	(void)state;
	assert_int_equal(parse("", true, &policy), 0);
	assert_int_equal(policy.n, 0);
	assert_null(policy.rules);
	assert_int_equal(parse("\n# no\n1.2.3.4\n\n*:53\nx.org", true, &policy), 0);
	assert_int_equal(policy.n, 4);
	assert_int_equal(policy.rules[1].family, AF_INET);
	assert_int_equal(policy.rules[2].family, AF_INET6);
	assert_int_equal(policy.rules[2].port, 53);
	net_policy_free(&policy);
}

static void garbage(void **state)
{
	static const char *const texts[] = {
		"1.2.3",	"256.1.1.1",
		"1.2.3.4/33",	"10.1.2.3/8",
		"1.2.3.4:0",	"1.2.3.4:",
		"1.2.3.4:+1",	"1.2.3.4:65536",
		"a b",		"-x.com",
		"x-.com",	"x..com",
		".x.com",	"[::1",
		"[::2]x",	"[::2]:",
		"::/129",	"x.com/24",
		"*.",		"**",
		"a*.com",	"\x01",
		"x.com:http",	"1.2.3.4:80:90",
		"[x.com]:1:2",	"123",
		":80",		"/",
		"10.0.0.0/8/8", "}; flush ruleset",
	};
	struct net_policy policy;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (parse(texts[i], false, &policy) != -EINVAL)
			fail_msg("taken: %s", texts[i]);
	}
}

static void never(void **state)
{
	static const char *const texts[] = { "127.0.0.1",	"0.0.0.0",   "169.254.169.254:80",
					     "169.254.1.0/24",	"224.0.0.1", "255.255.255.255",
					     "168.63.129.16",	"::1",	     "fe80::/10",
					     "::ffff:10.0.0.1", "ff02::1",   "[fd00:ec2::254]:80" };
	struct net_policy policy;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(parse(texts[i], true, &policy), -EINVAL);
		assert_int_equal(parse(texts[i], false, &policy), 0);
		net_policy_free(&policy);
	}
	/* What only holds such a range is not meant by it. */
	assert_int_equal(parse("0.0.0.0/0\n::/0\n160.0.0.0/4", true, &policy), 0);
	net_policy_free(&policy);
}

static void bounds(void **state)
{
	char text[NET_MAX_TEXT + 16] = "";
	struct net_policy policy;

	(void)state;
	for (int i = 0; i < NET_MAX_RULES; i++)
		strcat(text, "1.2.3.4\n");
	assert_int_equal(parse(text, true, &policy), 0);
	net_policy_free(&policy);
	strcat(text, "1.2.3.4\n");
	assert_int_equal(parse(text, true, &policy), -EINVAL);
	memset(text, '#', NET_MAX_TEXT + 1);
	text[NET_MAX_TEXT + 1] = '\0';
	assert_int_equal(parse(text, true, &policy), -EINVAL);
	text[NET_MAX_TEXT] = '\0';
	assert_int_equal(parse(text, true, &policy), 0);
	net_policy_free(&policy);
	/* A name of the greatest length, and one more. */
	memset(text, 'a', sizeof(text));
	for (int i = 63; i < 253; i += 64)
		text[i] = '.';
	text[253] = '\0';
	assert_int_equal(parse(text, true, &policy), 0);
	net_policy_free(&policy);
	text[253] = 'a';
	text[254] = '\0';
	assert_int_equal(parse(text, true, &policy), -EINVAL);
}

static void ranges(void **state)
{
	uint8_t addr[16];
	unsigned int prefix;
	int family;

	(void)state;
	for (size_t i = 0; i < net_n_ranges; i++)
		assert_int_equal(net_parse_cidr(net_ranges[i].cidr, &family, addr, &prefix), 0);
	assert_int_equal(net_parse_cidr("8.8.8.8", &family, addr, &prefix), 0);
	assert_null(net_range_of(family, addr));
	assert_int_equal(net_parse_cidr("172.31.255.255", &family, addr, &prefix), 0);
	assert_non_null(net_range_of(family, addr));
	assert_int_equal(net_parse_cidr("172.32.0.0", &family, addr, &prefix), 0);
	assert_null(net_range_of(family, addr));
}

static void names(void **state)
{
	struct net_policy policy;

	(void)state;
	assert_int_equal(parse("x.org\n*.y.org\n1.2.3.4", true, &policy), 0);
	assert_true(net_rule_names(&policy.rules[0], "x.org"));
	assert_false(net_rule_names(&policy.rules[0], "a.x.org"));
	assert_true(net_rule_names(&policy.rules[1], "a.y.org"));
	assert_true(net_rule_names(&policy.rules[1], "a.b.y.org"));
	assert_false(net_rule_names(&policy.rules[1], "y.org"));
	assert_false(net_rule_names(&policy.rules[1], "aby.org"));
	assert_false(net_rule_names(&policy.rules[2], ""));
	net_policy_free(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries), cmocka_unit_test(lists),  cmocka_unit_test(garbage),
		cmocka_unit_test(never),   cmocka_unit_test(bounds), cmocka_unit_test(ranges),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
