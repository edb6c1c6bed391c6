/* SPDX-License-Identifier: MIT */
/* base/text: numbers, sizes, durations, names, escaping, quoting. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"

static void numbers(void **state)
{
	static const char *const bad[] = { "", " 1", "1 ", "+1", "-1", "0x10", "1a", "1.5", "\n1" };
	uint64_t v = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_u64(bad[i], 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(v, 7);
	assert_int_equal(parse_u64("0", 0, 10, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(parse_u64("11", 0, 10, &v), -ERANGE);
	assert_int_equal(parse_u64("4", 5, 10, &v), -ERANGE);
}

struct sample {
	const char *text;
	uint64_t value;
	const char *shown;
};

static void sizes(void **state)
{
	static const struct sample good[] = {
		{ "0", 0, "0" },
		{ "1", 1, "1" },
		{ "1024", 1024, "1K" },
		{ "512M", 512ull << 20, "512M" },
		{ "2G", 2ull << 30, "2G" },
		{ "1536K", 1536ull << 10, "1536K" },
		{ "1T", 1ull << 40, "1T" },
		{ "unlimited", UINT64_MAX, "unlimited" },
		{ "max", UINT64_MAX, "unlimited" },
	};
	static const char *const bad[] = {
		"", "M", "1KB", "1KiB", "1k", "1.5G", "1 G", "-1", "G1"
	};
	char buf[32];
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].text, &v), 0);
		assert_true(v == good[i].value);
		assert_string_equal(format_size(buf, v), good[i].shown);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_size(bad[i], &v), -EINVAL);
	assert_int_equal(parse_size("99999999999T", &v), -ERANGE);
}

static void durations(void **state)
{
	static const struct sample good[] = {
		{ "0", 0, "0" },	   { "500ms", 500, "500ms" }, { "10s", 10000, "10s" },
		{ "10", 10000, "10s" },	   { "10m", 600000, "10m" },  { "2h", 7200000, "2h" },
		{ "1d", 86400000, "24h" }, { "90s", 90000, "90s" },   { "1500ms", 1500, "1500ms" },
	};
	static const char *const bad[] = { "", "s", "1 s", "1sec", "-1s", "1.5h", "1h30m" };
	char buf[32];
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_duration_ms(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].value);
		assert_string_equal(format_duration(buf, ms), good[i].shown);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_duration_ms(bad[i], &ms), -EINVAL);
	assert_int_equal(parse_duration_ms("99999999999999999d", &ms), -ERANGE);
}

static void booleans(void **state)
{
	bool v;

	(void)state;
	assert_int_equal(parse_bool("yes", &v), 0);
	assert_true(v);
	assert_int_equal(parse_bool("off", &v), 0);
	assert_false(v);
	assert_int_equal(parse_bool("Yes", &v), -EINVAL);
	assert_int_equal(parse_bool("", &v), -EINVAL);
}

static void names(void **state)
{
	char longest[65];

	(void)state;
	memset(longest, 'x', 64);
	longest[64] = '\0';
	assert_false(name_is_valid(longest));
	longest[63] = '\0';
	assert_true(name_is_valid(longest));
	assert_true(name_is_valid("a"));
	assert_true(name_is_valid("with blank"));
	assert_true(name_is_valid("\xc3\xbc\xe6\x97\xa5\xf0\x9f\x99\x82"));
	assert_false(name_is_valid(""));
	assert_false(name_is_valid("."));
	assert_false(name_is_valid(".hidden"));
	assert_false(name_is_valid("a/b"));
	assert_false(name_is_valid("a\nb"));
	assert_false(name_is_valid("a\x7f"));
	assert_false(name_is_valid("\xc2\x85"));
	assert_false(name_is_valid("\xff"));
	assert_false(name_is_valid("\xc0\xaf"));
	assert_false(name_is_valid("\xed\xa0\x80"));
	assert_false(name_is_valid("cut\xc3"));
	assert_false(name_is_valid(" a"));
	assert_false(name_is_valid("a "));
}

static void escaping(void **state)
{
	_cleanup_text_ struct text t = { 0 };
	char small[6];

	(void)state;
	text_add_escaped(&t, "a\x1b[31m\n\\\xc3\xbc\xff", 11);
	assert_string_equal(t.data, "a\\033[31m\\012\\134\xc3\xbc\\377");
	text_reset(&t);
	text_add_escaped(&t, "x\0y", 3);
	assert_string_equal(t.data, "x\\000y");
	text_reset(&t); /* U+202E, U+2066; U+2603 stays */
	text_add_escaped(&t, "\xe2\x80\xae\xe2\x81\xa6\xe2\x98\x83", 9);
	assert_string_equal(t.data, "\\342\\200\\256\\342\\201\\246\xe2\x98\x83");
	assert_string_equal(text_escape(small, sizeof(small), "123456789"), "12345");
}

static void quoting(void **state)
{
	_cleanup_text_ struct text t = { 0 };

	(void)state;
	text_add_shell_quoted(&t, "it's $HOME");
	assert_string_equal(t.data, "'it'\\''s $HOME'");
	text_reset(&t);
	text_add_shell_quoted(&t, "");
	assert_string_equal(t.data, "''");
}

static void growing(void **state)
{
	struct text t = { 0 };
	char *whole;

	(void)state;
	for (int i = 0; i < 1000; i++)
		text_printf(&t, "%d,", i);
	assert_int_equal(t.len, 3890);
	assert_int_equal(strlen(t.data), t.len);
	whole = text_take(&t);
	assert_non_null(whole);
	assert_null(t.data);
	free(whole);
	whole = text_take(&t);
	assert_string_equal(whole, "");
	free(whole);
}

static void stripping(void **state)
{
	char both[] = " \t a b \r\n", nothing[] = " \n\t";

	(void)state;
	assert_string_equal(text_strip(both), "a b");
	assert_string_equal(text_strip(nothing), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),  cmocka_unit_test(sizes),   cmocka_unit_test(durations),
		cmocka_unit_test(booleans), cmocka_unit_test(names),   cmocka_unit_test(escaping),
		cmocka_unit_test(quoting),  cmocka_unit_test(growing), cmocka_unit_test(stripping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
