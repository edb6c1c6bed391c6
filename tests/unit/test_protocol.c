/* SPDX-License-Identifier: MIT */
/* protocol and base/kv: framing, fragments, descriptors, a peer that does not read; records. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "protocol.h"

struct pair {
	struct msg_link a, b;
};

static void pair_make(struct pair *p)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	msg_link_init(&p->a, fds[0]);
	msg_link_init(&p->b, fds[1]);
}

static void pair_close(struct pair *p)
{
	msg_link_close(&p->a);
	msg_link_close(&p->b);
}

static void small_message(void **state)
{
	struct msg m = { .type = MSG_SIGNAL, .tag = 9, .run = 3, .v = { -1, 2 }, .len = 4 }, got;
	int fds[MSG_MAX_FDS], n_fds;
	struct pair p;
	char *payload;

	(void)state;
	pair_make(&p);
	assert_int_equal(msg_receive(&p.b, &got, &payload, fds, &n_fds), 0);
	assert_int_equal(msg_send(&p.a, &m, "text", NULL, 0), 0);
	assert_int_equal(msg_receive(&p.b, &got, &payload, fds, &n_fds), 1);
	assert_int_equal(got.type, MSG_SIGNAL);
	assert_int_equal(got.tag, 9);
	assert_true(got.v[0] == -1);
	assert_string_equal(payload, "text");
	assert_int_equal(n_fds, 0);
	pair_close(&p);
}

/* A message of full size does not fit into the socket: both sides take turns. */
static void large_message_in_fragments(void **state)
{
	struct msg m = { .type = MSG_SUBMIT, .len = MSG_MAX_PAYLOAD }, got;
	int fds[MSG_MAX_FDS], n_fds, r, turns = 0;
	char *bytes = malloc(MSG_MAX_PAYLOAD), *payload;
	struct pair p;

	(void)state;
	assert_non_null(bytes);
	for (int i = 0; i < MSG_MAX_PAYLOAD; i++)
		bytes[i] = (char)(i * 7);
	pair_make(&p);
	assert_int_equal(msg_send(&p.a, &m, bytes, NULL, 0), 0);
	while ((r = msg_receive(&p.b, &got, &payload, fds, &n_fds)) == 0) {
		assert_int_equal(msg_flush(&p.a), 0);
		assert_true(++turns < 1000);
	}
	assert_int_equal(r, 1);
	assert_int_equal(got.len, MSG_MAX_PAYLOAD);
	assert_memory_equal(payload, bytes, MSG_MAX_PAYLOAD);
	assert_false(msg_wants_write(&p.a));
	m.len = MSG_MAX_PAYLOAD + 1;
	assert_int_equal(msg_send(&p.a, &m, bytes, NULL, 0), -EMSGSIZE);
	free(bytes);
	pair_close(&p);
}

static void descriptors_ride_along(void **state)
{
	struct msg m = { .type = MSG_WELCOME }, got;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[MSG_MAX_FDS], n_fds;
	int both[] = { null, null };
	char *payload;
	struct pair p;

	(void)state;
	pair_make(&p);
	assert_int_equal(msg_send(&p.a, &m, NULL, both, 2), 0);
	assert_int_equal(msg_receive(&p.b, &got, &payload, fds, &n_fds), 1);
	assert_int_equal(n_fds, 2);
	while (n_fds > 0)
		assert_int_equal(close(fds[--n_fds]), 0);
	assert_int_equal(close(null), 0);
	pair_close(&p);
}

static void peer_that_does_not_read_is_cut_off(void **state)
{
	struct msg m = { .type = MSG_SUBMIT, .len = MSG_MAX_PAYLOAD };
	char *bytes = calloc(1, MSG_MAX_PAYLOAD);
	struct pair p;
	int r = 0;

	(void)state;
	pair_make(&p);
	for (int i = 0; i < 100 && r == 0; i++)
		r = msg_send(&p.a, &m, bytes, NULL, 0);
	assert_int_equal(r, -EPIPE);
	assert_true(p.a.broken);
	assert_int_equal(msg_send(&p.a, &m, bytes, NULL, 0), -EPIPE);
	free(bytes);
	pair_close(&p);
}

static int receive_raw(const void *packet, size_t len)
{
	int fds[MSG_MAX_FDS], n_fds, r;
	struct msg got;
	struct pair p;
	char *payload;

	pair_make(&p);
	assert_int_equal(send(p.a.sock, packet, len, 0), (ssize_t)len);
	r = msg_receive(&p.b, &got, &payload, fds, &n_fds);
	pair_close(&p);
	return r;
}

static void garbage_is_refused(void **state)
{
	struct msg m = { .type = MSG_REPLY };

	(void)state;
	assert_int_equal(receive_raw("x", 1), -EPROTO);
	m.len = MSG_MAX_PAYLOAD + 1;
	assert_int_equal(receive_raw(&m, sizeof(m)), -EPROTO);
	m.len = 10;
	m.at = 5;
	assert_int_equal(receive_raw(&m, sizeof(m)), -EPROTO);
	m.at = 11;
	assert_int_equal(receive_raw(&m, sizeof(m)), -EPROTO);
	m.at = 0;
	assert_int_equal(receive_raw(&m, sizeof(m)), -EPROTO);
}

static void end_of_peer(void **state)
{
	int fds[MSG_MAX_FDS], n_fds;
	struct msg got;
	struct pair p;
	char *payload;

	(void)state;
	pair_make(&p);
	msg_link_close(&p.a);
	assert_int_equal(msg_receive(&p.b, &got, &payload, fds, &n_fds), -EPIPE);
	pair_close(&p);
}

static void words(void **state)
{
	(void)state;
	for (int i = 0; i < N_RUN_STATES; i++)
		assert_int_equal(run_state_parse(run_state_word(i)), i);
	assert_int_equal(run_state_parse("nonsense"), -EINVAL);
	assert_string_equal(box_state_word(BOX_FROZEN), "frozen");
	assert_true(run_state_is_end(RUN_LOST));
	assert_false(run_state_is_end(RUN_RUNNING));
}

static int take_value(void *ctx, const char *key, const char *value)
{
	if (!strcmp(key, "key"))
		*(char **)ctx = strdup(value);
	return !strcmp(key, "stop") ? -ECANCELED : 0;
}

static void records(void **state)
{
	static const char *const values[] = { "",      "plain",	      " both ends ",
					      "a\nb",  "back\\slash", "\x1b\x7f\xff",
					      "= # ;", "\xc3\xbc" };
	char comments[] = "# c\n\n  key =  v  \n", no_equals[] = "a = 1\nnonsense\n";
	char bad_escape[] = "key = \\9\n", stops[] = "key = 1\nstop = 2\nbad\n";
	int line;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct text t = { 0 };
		char *got = NULL, *text;

		record_add(&t, "key", values[i]);
		text = text_take(&t);
		assert_int_equal(record_parse(text, take_value, &got, &line), 0);
		assert_string_equal(got, values[i]);
		free(got);
		free(text);
	}
	char *got = NULL;

	assert_int_equal(record_parse(comments, take_value, &got, &line), 0);
	assert_string_equal(got, "v");
	free(got);
	assert_int_equal(record_parse(no_equals, take_value, &got, &line), -EINVAL);
	assert_int_equal(line, 2);
	assert_int_equal(record_parse(bad_escape, take_value, &got, &line), -EINVAL);
	assert_int_equal(record_parse(stops, take_value, &got, &line), -ECANCELED);
	free(got);
}

static void fields(void **state)
{
	static const char cut[] = { 'a', '=', 'b' };
	struct text t = { 0 };
	const char *f = NULL;
	int n = 0;

	(void)state;
	field_add(&t, "name", "a=b\nc");
	field_add_u64(&t, "n", UINT64_MAX);
	field_add(&t, "name2", "");
	assert_string_equal(field_get(t.data, t.len, "name"), "a=b\nc");
	assert_string_equal(field_get(t.data, t.len, "name2"), "");
	assert_null(field_get(t.data, t.len, "nam"));
	assert_true(field_get_u64(t.data, t.len, "n", 0) == UINT64_MAX);
	assert_int_equal(field_get_u64(t.data, t.len, "name", 5), 5);
	while ((f = field_next(t.data, t.len, f)))
		n++;
	assert_int_equal(n, 3);
	assert_null(field_get(cut, sizeof(cut), "a"));
	assert_null(field_get("", 0, "a"));
	text_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_message),
		cmocka_unit_test(large_message_in_fragments),
		cmocka_unit_test(descriptors_ride_along),
		cmocka_unit_test(peer_that_does_not_read_is_cut_off),
		cmocka_unit_test(garbage_is_refused),
		cmocka_unit_test(end_of_peer),
		cmocka_unit_test(words),
		cmocka_unit_test(records),
		cmocka_unit_test(fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
