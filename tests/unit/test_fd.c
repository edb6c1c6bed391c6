/* SPDX-License-Identifier: MIT */
/* base/fd: whole files, atomic replacement, removal of hostile trees, packets with descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "tests/lib/scratch.h"

static int make_folder(void **state)
{
	static int dir;
	char path[SCRATCH_SIZE];

	if (!mkdtemp(scratch_name(path)))
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &dir;
	return dir < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	char link[64], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", *(int *)*state);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -1;
	path[n] = '\0';
	close(*(int *)*state);
	return remove_tree_at(AT_FDCWD, path);
}

static void whole_files(void **state)
{
	int dir = *(int *)*state;
	char *data;
	size_t len;

	assert_int_equal(write_file_at(dir, "f", "hello", 5, 1), 0);
	assert_int_equal(read_file_at(dir, "f", 100, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(data, "hello");
	free(data);
	assert_int_equal(read_file_at(dir, "f", 4, &data, &len), -EFBIG);
	assert_int_equal(read_file_at(dir, "none", 4, &data, &len), -ENOENT);
	assert_int_equal(write_file_at(dir, "f", "", 0, 0), 0);
	assert_int_equal(read_file_at(dir, "f", 4, &data, &len), 0);
	assert_int_equal(len, 0);
	free(data);
}

static void links_are_not_followed(void **state)
{
	int dir = *(int *)*state;
	char *data;
	size_t len;

	assert_int_equal(symlinkat("/etc/passwd", dir, "link"), 0);
	assert_int_equal(read_file_at(dir, "link", 1 << 20, &data, &len), -ELOOP);
	assert_int_equal(write_file_at(dir, "link", "x", 1, 0), 0);
	assert_int_equal(read_file_at(dir, "link", 1 << 20, &data, &len), 0);
	assert_string_equal(data, "x");
	free(data);
}

static void failed_write_leaves_nothing(void **state)
{
	int dir = *(int *)*state;

	assert_int_equal(mkdirat(dir, "sub", 0700), 0);
	assert_int_not_equal(write_file_at(dir, "sub", "x", 1, 0), 0);
	assert_int_equal(unlinkat(dir, "sub", AT_REMOVEDIR), 0);
	assert_int_equal(write_file_at(dir, "no/such", "x", 1, 0), -ENOENT);
}

/* A tree deeper than any path can be, with links out of it and odd names. */
static void deep_trees_go(void **state)
{
	int dir = *(int *)*state;
	int at = dup(dir);

	for (int i = 0; i < 3000; i++) {
		int next;

		assert_int_equal(mkdirat(at, "deep", 0700), 0);
		next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		assert_int_equal(symlinkat("/tmp", next, "out"), 0);
		assert_int_equal(mknodat(next, "fifo", S_IFIFO | 0600, 0), 0);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(remove_tree_at(dir, "deep"), 0);
	assert_int_equal(remove_tree_at(dir, "deep"), 0);
	assert_int_equal(faccessat(dir, "deep", F_OK, 0), -1);
	assert_int_equal(access("/tmp", F_OK), 0);
}

static void packets(void **state)
{
	int pair[2], got[4], n_got = 4, null;
	char buf[16];

	(void)state;
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send_packet(pair[0], "abc", 3, &null, 1), 0);
	assert_int_equal(recv_packet(pair[1], buf, sizeof(buf), got, &n_got), 3);
	assert_int_equal(n_got, 1);
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	close(got[0]);
	/* Cut ones are refused, with their descriptors closed. */
	n_got = 4;
	assert_int_equal(send_packet(pair[0], "0123456789abcdefX", 17, &null, 1), 0);
	assert_int_equal(recv_packet(pair[1], buf, sizeof(buf), got, &n_got), -EMSGSIZE);
	assert_int_equal(n_got, 0);
	/* More descriptors than wanted are closed. */
	n_got = 0;
	assert_int_equal(send_packet(pair[0], "a", 1, &null, 1), 0);
	assert_int_equal(recv_packet(pair[1], buf, sizeof(buf), got, &n_got), 1);
	close(pair[0]);
	n_got = 4;
	assert_int_equal(recv_packet(pair[1], buf, sizeof(buf), got, &n_got), 0);
	close(pair[1]);
	close(null);
}

static void closing_keeps_errno(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fd;

	(void)state;
	errno = 42;
	close_fd(&fd);
	assert_int_equal(errno, 42);
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	close_fd(&fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_files),
		cmocka_unit_test(links_are_not_followed),
		cmocka_unit_test(failed_write_leaves_nothing),
		cmocka_unit_test(deep_trees_go),
		cmocka_unit_test(packets),
		cmocka_unit_test(closing_keeps_errno),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
