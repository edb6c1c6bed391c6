/* SPDX-License-Identifier: MIT */
/* The lists of net/allow, and DNS messages: anything may come, nothing beyond its end is read. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns_packet.h"
#include "net_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), why[64];
	struct net_policy policy;

	assert(text);
	if (net_policy_parse(text, size % 2, &policy, why, sizeof(why)) == 0) {
		assert(policy.n <= NET_MAX_RULES + 1);
		for (size_t i = 0; i < policy.n; i++)
			(void)net_rule_names(&policy.rules[i], "www.example.com");
		net_policy_free(&policy);
	} else {
		assert(why[0]);
	}
	free(text);
}

static void check_message(const uint8_t *data, size_t size)
{
	struct net_address addresses[DNS_MAX_ADDRESSES];
	/* Of just this size, so that a byte beyond is seen. */
	uint8_t *copy = malloc(size + !size);
	struct dns_question q;
	unsigned int ttl;

	assert(copy);
	memcpy(copy, data, size);
	if (dns_read_query(copy, size, &q) == 0) {
		uint8_t made[512];

		assert(q.end <= size && strlen(q.name) <= NET_MAX_NAME);
		assert(dns_make_query(made, 1, q.name, q.type) <= sizeof(made));
		copy[2] |= 0x80;
		if (dns_answers(copy, size, data, &q))
			assert(dns_addresses(copy, size, &q, addresses, &ttl) <= DNS_MAX_ADDRESSES);
		/* An answer's count of records is not what a query may have. */
		copy[6] = 1;
		dns_addresses(copy, size, &q, addresses, &ttl);
		assert(dns_make_empty(copy, &q, DNS_SERVFAIL) <= size);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_list(data, size);
	check_message(data, size);
	return 0;
}
