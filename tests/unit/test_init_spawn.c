/* SPDX-License-Identifier: MIT */
/* init/spawn: cutting a request into directory, arguments and environment. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* init is a program of its own, without an archive to link. */
#include "init/spawn.c" /* NOLINT(bugprone-suspicious-include) */

static struct spawn_plan plan;
static char packet[sizeof(struct init_request) + INIT_MAX_TEXT];

/* A packet with that text; returns its length. */
static size_t make(uint32_t argc, uint32_t envc, const char *text, size_t len)
{
	struct init_request head = {
		.id = 5, .argc = argc, .envc = envc, .text_len = (uint32_t)len
	};

	memcpy(packet, &head, sizeof(head));
	memcpy(packet + sizeof(head), text, len);
	return sizeof(head) + len;
}

#define MAKE(argc, envc, text) make(argc, envc, text, sizeof(text) - 1)

static void a_request(void **state)
{
	size_t len = MAKE(2, 1, "/tmp\0ls\0-l\0A=b\0");

	(void)state;
	assert_int_equal(spawn_parse(&plan, packet, len), 0);
	assert_int_equal(plan.request->id, 5);
	assert_string_equal(plan.cwd, "/tmp");
	assert_string_equal(plan.argv[0], "ls");
	assert_string_equal(plan.argv[1], "-l");
	assert_null(plan.argv[2]);
	assert_string_equal(plan.envp[0], "A=b");
	assert_null(plan.envp[1]);
}

static void empty_strings_count(void **state)
{
	size_t len = MAKE(2, 0, "\0ls\0\0");

	(void)state;
	assert_int_equal(spawn_parse(&plan, packet, len), 0);
	assert_string_equal(plan.cwd, "");
	assert_string_equal(plan.argv[1], "");
	assert_null(plan.envp[0]);
}

static void garbage(void **state)
{
	(void)state;
	assert_int_equal(spawn_parse(&plan, packet, 0), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, sizeof(struct init_request) - 1), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(0, 0, "/\0")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "/\0")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "/\0ls")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "/\0ls\0more\0")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 1, "/\0ls\0")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(UINT32_MAX, 1, "/\0ls\0")), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(UINT32_MAX, UINT32_MAX, "/\0ls\0")),
			 -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "/\0ls\0") - 1), -EPROTO);
	assert_int_equal(spawn_parse(&plan, packet, MAKE(1, 0, "/\0ls\0") + 1), -EPROTO);
}

/* As many strings as fit in the text would not fit in the table of pointers. */
static void too_many_strings(void **state)
{
	static char text[INIT_MAX_TEXT];

	(void)state;
	assert_int_equal(spawn_parse(&plan, packet, make(sizeof(text) - 1, 0, text, sizeof(text))),
			 -EPROTO);
	memset(text, 'x', sizeof(text) / 2 * 2);
	for (size_t i = 1; i < sizeof(text); i += 2)
		text[i] = '\0';
	assert_int_equal(
		spawn_parse(&plan, packet, make(sizeof(text) / 2 - 1, 0, text, sizeof(text))), 0);
}

static void path_of_the_environment(void **state)
{
	char *with[] = { (char *)"PATHX=/no", (char *)"PATH=/a:/b", NULL }, *without[] = { NULL };

	(void)state;
	assert_string_equal(search_path(with), "/a:/b");
	assert_string_equal(search_path(without),
			    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request),
		cmocka_unit_test(empty_strings_count),
		cmocka_unit_test(garbage),
		cmocka_unit_test(too_many_strings),
		cmocka_unit_test(path_of_the_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
