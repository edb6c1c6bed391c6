/* SPDX-License-Identifier: MIT */
/* Reading DNS messages. Every length is checked before a byte behind it is read. Pure, no locks. */
#include "dns_packet.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum { FLAG_ANSWER = 0x80, FLAG_RECURSE = 1, CLASS_IN = 1 };

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Offset behind a name that may end in a pointer; 0: it is none. */
static size_t skip_name(const uint8_t *p, size_t len, size_t at)
{
	while (at < len) {
		if ((p[at] & 0xc0) == 0xc0)
			return at + 2 <= len ? at + 2 : 0;
		if (p[at] & 0xc0)
			return 0;
		if (!p[at])
			return at + 1;
		at += 1 + p[at];
	}
	return 0;
}

/* A question's name has no pointers. A letter that no host name has empties it: it is nobody's. */
static void read_name(const uint8_t *p, char name[NET_MAX_NAME + 1])
{
	size_t n = 0;

	while (*p) {
		uint8_t label = *p++;

		if (n + label + (n > 0) > NET_MAX_NAME) {
			name[0] = '\0';
			return;
		}
		if (n)
			name[n++] = '.';
		for (; label; label--, p++) {
			if (!isalnum(*p) && *p != '-' && *p != '_') {
				name[0] = '\0';
				return;
			}
			name[n++] = (char)tolower(*p);
		}
	}
	name[n] = '\0';
}

int dns_read_query(const uint8_t *p, size_t len, struct dns_question *q)
{
	size_t end;

	/* One question, no answers; what stands behind (EDNS) is the server's to read. */
	if (len < DNS_HEAD || (p[2] & FLAG_ANSWER) || get16(p + 4) != 1 || get16(p + 6))
		return -EINVAL;
	end = skip_name(p, len, DNS_HEAD);
	if (!end || end + 4 > len || (end >= 2 && (p[end - 2] & 0xc0) == 0xc0 && p[end - 1]))
		return -EINVAL;
	for (size_t at = DNS_HEAD; at < end && p[at]; at += 1 + p[at]) {
		if (p[at] & 0xc0)
			return -EINVAL;
	}
	q->id = get16(p);
	q->type = get16(p + end);
	q->end = end + 4;
	read_name(p + DNS_HEAD, q->name);
	return 0;
}

bool dns_answers(const uint8_t *p, size_t len, const uint8_t *query, const struct dns_question *q)
{
	if (len < q->end || !(p[2] & FLAG_ANSWER) || get16(p + 4) != 1)
		return false;
	for (size_t i = DNS_HEAD; i < q->end; i++) {
		/* Servers may change the case of letters. */
		if (tolower(p[i]) != tolower(query[i]))
			return false;
	}
	return true;
}

size_t dns_addresses(const uint8_t *p, size_t len, const struct dns_question *q,
		     struct net_address addresses[DNS_MAX_ADDRESSES], unsigned int *ttl)
{
	size_t at = q->end, n = 0;

	*ttl = UINT32_MAX >> 1;
	for (unsigned int left = get16(p + 6); left && n < DNS_MAX_ADDRESSES; left--) {
		uint16_t type, size;
		uint32_t lives;

		at = skip_name(p, len, at);
		if (!at || at + 10 > len)
			break;
		type = get16(p + at);
		lives = (uint32_t)get16(p + at + 4) << 16 | get16(p + at + 6);
		size = get16(p + at + 8);
		if (get16(p + at + 2) != CLASS_IN)
			type = 0;
		at += 10;
		if (at + size > len)
			break;
		if ((type == DNS_TYPE_A && size == 4) || (type == DNS_TYPE_AAAA && size == 16)) {
			bool v4 = type == DNS_TYPE_A;

			addresses[n] = (struct net_address){ .family = v4 ? AF_INET : AF_INET6,
							     .prefix = v4 ? 32 : 128 };
			memcpy(addresses[n++].bytes, p + at, size);
			*ttl = MIN(*ttl, lives);
		}
		at += size;
	}
	return n;
}

size_t dns_make_query(uint8_t *p, uint16_t id, const char *name, uint16_t type)
{
	size_t at = DNS_HEAD;

	memset(p, 0, DNS_HEAD);
	dns_set_id(p, id);
	p[2] = FLAG_RECURSE;
	p[5] = 1;
	while (*name) {
		size_t label = strcspn(name, ".");

		p[at++] = (uint8_t)label;
		memcpy(p + at, name, label);
		at += label;
		name += label + (name[label] == '.');
	}
	p[at++] = 0;
	p[at++] = (uint8_t)(type >> 8);
	p[at++] = (uint8_t)type;
	p[at++] = 0;
	p[at++] = CLASS_IN;
	return at;
}

size_t dns_make_empty(uint8_t *p, const struct dns_question *q, uint8_t code)
{
	p[2] = (uint8_t)(FLAG_ANSWER | (p[2] & FLAG_RECURSE));
	p[3] = (uint8_t)(0x80 | code); /* recursion available */
	memset(p + 6, 0, 6);
	return q->end;
}
