/* SPDX-License-Identifier: MIT */
/*
 * protocol: packets of any bytes from a hostile or garbled peer. The input is cut into packets by
 * a length byte each; whatever comes, msg_receive() gives whole messages or an error.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int drain(struct msg_link *link)
{
	int fds[MSG_MAX_FDS], n_fds, r;
	char *payload;
	struct msg m;

	while ((r = msg_receive(link, &m, &payload, fds, &n_fds)) == 1) {
		assert(m.len <= MSG_MAX_PAYLOAD);
		assert(payload && payload[m.len] == '\0');
		assert(n_fds >= 0 && n_fds <= MSG_MAX_FDS);
		while (n_fds > 0)
			close(fds[--n_fds]);
	}
	return r;
}

/* A packet that looks like a header now and then, so that the fuzzer gets past the first check. */
static size_t make_packet(char *packet, size_t max, const uint8_t *data, size_t size)
{
	struct msg m = { .type = MSG_SUBMIT };
	size_t len;

	if (data[0] & 1) {
		len = size < max ? size : max;
		memcpy(packet, data, len);
		return len;
	}
	m.type = data[0] >> 1;
	m.len = size > 1 ? data[1] * 16u : 0;
	m.at = size > 2 ? data[2] * 16u : 0;
	len = size > 3 ? size - 3 : 0;
	len = len < max - sizeof(m) ? len : max - sizeof(m);
	memcpy(packet, &m, sizeof(m));
	memcpy(packet + sizeof(m), data + size - len, len);
	return sizeof(m) + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg_link link;
	int pair[2];
	char packet[4096];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return 0;
	msg_link_init(&link, pair[0]);
	while (size > 1) {
		size_t n = data[0] < size - 1 ? data[0] : size - 1;

		if (n > 0) {
			size_t len = make_packet(packet, sizeof(packet), data + 1, n);

			if (send(pair[1], packet, len, MSG_NOSIGNAL) < 0)
				break;
			if (drain(&link) < 0)
				break;
		}
		data += 1 + n;
		size -= 1 + n;
	}
	msg_link_close(&link);
	close(pair[1]);
	return 0;
}
