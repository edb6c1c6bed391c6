/* SPDX-License-Identifier: MIT */
/* keeper/init_client: what a box's init may send that it should not. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/init_client.h"

enum { MOST_FDS = 8 };

struct ends {
	int keepers, inits;
};

static int make_pair(void **state)
{
	static struct ends ends;

	*state = &ends;
	return init_client_pair(&ends.keepers, &ends.inits);
}

static int close_pair(void **state)
{
	struct ends *ends = *state;

	close_fd(&ends->keepers);
	close_fd(&ends->inits);
	return 0;
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A packet of size bytes with so many descriptors. */
static void say(int sock, const void *data, size_t size, int n_fds)
{
	int fds[MOST_FDS];

	for (int i = 0; i < n_fds; i++)
		fds[i] = sock;
	assert_int_equal(send_packet(sock, data, size, fds, n_fds), 0);
}

static void takes_no_descriptor(void **state)
{
	static const int numbers[] = { 0, 1, 2, MOST_FDS };
	const struct init_report report = { .type = INIT_REPORT_READY };
	struct ends *ends = *state;
	int before = count_descriptors();

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct init_packet packet;

		say(ends->inits, &report, sizeof(report), numbers[i]);
		assert_int_equal(init_client_receive(ends->keepers, &packet), 1);
		assert_int_equal(packet.head.type, INIT_REPORT_READY);
		assert_int_equal(packet.pid, getpid());
		close_fd(&packet.pidfd);
		assert_int_equal(count_descriptors(), before);
	}
}

static void takes_no_other_size(void **state)
{
	static char large[64 << 10];
	const size_t half = sizeof(struct init_report) / 2;
	struct ends *ends = *state;
	struct init_packet packet;
	int before = count_descriptors();

	memset(large, 'x', sizeof(large));
	say(ends->inits, large, half, 3);
	assert_int_equal(init_client_receive(ends->keepers, &packet), -EPROTO);
	assert_int_equal(count_descriptors(), before);
	say(ends->inits, large, 1, 0);
	assert_int_equal(init_client_receive(ends->keepers, &packet), -EPROTO);
	/* What is too long is cut, and so ends its text. */
	say(ends->inits, large, sizeof(large), 3);
	assert_int_equal(init_client_receive(ends->keepers, &packet), 1);
	assert_int_equal(strlen(packet.text), sizeof(packet.text) - 1);
	close_fd(&packet.pidfd);
	assert_int_equal(init_client_receive(ends->keepers, &packet), 0);
	close_fd(&ends->inits);
	assert_int_equal(init_client_receive(ends->keepers, &packet), -EPIPE);
	assert_int_equal(count_descriptors(), before - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_no_descriptor, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(takes_no_other_size, make_pair, close_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
