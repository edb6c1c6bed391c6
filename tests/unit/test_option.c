/* SPDX-License-Identifier: MIT */
/* base/option: types and their bounds, what -o takes, sentences, help. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/option.h"

enum colour { RED, GREEN, BLUE };

struct fields {
	char *name;
	uint64_t count, size;
	uid_t owner;
	mode_t mode;
	bool quiet, loud;
	int64_t wait_ms;
	enum colour colour;
	unsigned words;
};

#define FIELD(f) offsetof(struct fields, f)

static const struct option_type type_colour = OPTION_CHOICE("red|green|blue");

static const struct option_row rows[] = {
	{ "name", &option_string, FIELD(name), 0, 0, "nobody", "a name" },
	{ "count", &option_number, FIELD(count), 2, 9, "3", "how many" },
	{ "size", &option_bytes, FIELD(size), 1024, UINT64_MAX, "unlimited", "how large" },
	{ "owner", &option_id, FIELD(owner), 0, UINT32_MAX - 1, NULL, "whose" },
	{ "mode", &option_mode, FIELD(mode), 0, 01777, "0755", "mode" },
	{ "quiet", &option_yes_no, FIELD(quiet), 0, 0, "no", "say nothing" },
	{ "a.loud", &option_yes_no, FIELD(loud), 0, 0, "yes", "say all" },
	{ "wait", &option_duration, FIELD(wait_ms), 10, OPTION_TIME_MAX, "1m", "how long" },
	{ "colour", &type_colour, FIELD(colour), 0, 0, "green", "which" },
};

static const struct option_table table = { rows, ARRAY_SIZE(rows) };

static int own_word(void *fields, const char *item)
{
	((struct fields *)fields)->words += !strcmp(item, "ro");
	if (!strcmp(item, "full"))
		return -ENOSPC;
	return !strcmp(item, "ro");
}

static void defaults(void **state)
{
	struct fields f = { .owner = 7 };

	(void)state;
	assert_int_equal(option_table_init(&table, &f), 0);
	assert_string_equal(f.name, "nobody");
	assert_int_equal(f.count, 3);
	assert_true(f.size == UINT64_MAX && f.owner == 7 && f.mode == 0755 && !f.quiet && f.loud);
	assert_int_equal(f.wait_ms, 60000);
	assert_int_equal(f.colour, GREEN);
	option_table_free(&table, &f);
	assert_null(f.name);
}

static void show(const struct fields *f, const char *key, char *out, size_t size)
{
	_cleanup_text_ struct text t = { 0 };

	for (size_t i = 0; i < table.n; i++) {
		if (!strcmp(rows[i].key, key))
			rows[i].type->show((const char *)f + rows[i].offset, &rows[i], &t);
	}
	assert_in_range(t.len, 1, size - 1);
	memcpy(out, t.data, t.len + 1);
}

static void shown_as_they_are_read(void **state)
{
	static const char *const cases[][3] = {
		{ "name", "a b", "a b" },     { "count", "9", "9" },
		{ "size", "1K", "1K" },	      { "size", "2048", "2K" },
		{ "owner", "12", "12" },      { "mode", "1777", "1777" },
		{ "mode", "0", "0000" },      { "quiet", "on", "yes" },
		{ "a.loud", "0", "no" },      { "wait", "90", "90s" },
		{ "wait", "10ms", "10ms" },   { "colour", "red", "red" },
		{ "colour", "blue", "blue" },
	};
	struct fields f = { 0 };
	struct options_error err;
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(option_set(&table, &f, cases[i][0], cases[i][1], &err), 0);
		show(&f, cases[i][0], out, sizeof(out));
		assert_string_equal(out, cases[i][2]);
	}
	option_table_free(&table, &f);
}

static void refused(void **state)
{
	static const char *const cases[][3] = {
		{ "name", "", "name: not a valid TEXT: " },
		{ "count", "1", "count: not a permitted NUMBER: 1" },
		{ "count", "10", "count: not a permitted NUMBER: 10" },
		{ "count", "+3", "count: not a valid NUMBER: +3" },
		{ "size", "1023", "size: not a permitted SIZE: 1023" },
		{ "size", "1Q", "size: not a valid SIZE: 1Q" },
		{ "owner", "4294967295", "owner: not a permitted ID: 4294967295" },
		{ "mode", "2000", "mode: not a permitted OCTAL: 2000" },
		{ "mode", "0o7", "mode: not a valid OCTAL: 0o7" },
		{ "mode", "-1", "mode: not a valid OCTAL: -1" },
		{ "quiet", "maybe", "quiet: not a valid yes|no: maybe" },
		{ "wait", "9ms", "wait: not a permitted TIME: 9ms" },
		{ "wait", "99999999999d", "wait: not a permitted TIME: 99999999999d" },
		{ "colour", "", "colour: not a valid red|green|blue: " },
		{ "colour", "re", "colour: not a valid red|green|blue: re" },
		{ "colour", "red|green", "colour: not a valid red|green|blue: red|green" },
		{ "loud", "yes", "unknown setting loud" },
	};
	struct fields f = { 0 }, before;
	struct options_error err;

	(void)state;
	assert_int_equal(option_table_init(&table, &f), 0);
	before = f;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(option_set(&table, &f, cases[i][0], cases[i][1], &err), -EINVAL);
		assert_string_equal(err.text, cases[i][2]);
		assert_memory_equal(&f, &before, sizeof(f));
	}
	option_table_free(&table, &f);
}

static void lists(void **state)
{
	struct fields f = { 0 };
	struct options_error err;

	(void)state;
	assert_int_equal(option_table_init(&table, &f), 0);
	assert_int_equal(option_read_list(&table, &f, "", NULL, &err), 0);
	assert_int_equal(option_read_list(&table, &f, "name=a\\,b=\\\\,,quiet", own_word, &err), 0);
	assert_string_equal(f.name, "a,b=\\,");
	assert_true(f.quiet && f.words == 0 && f.count == 3);
	assert_int_equal(option_read_list(&table, &f, "ro,,a.loud=no,count=4,", own_word, &err), 0);
	assert_true(f.words == 1 && !f.loud && f.count == 4);
	assert_int_equal(option_read_list(&table, &f, "ro", NULL, &err), -EINVAL);
	assert_string_equal(err.text, "unknown setting ro");
	assert_int_equal(option_read_list(&table, &f, "count=5,full,count=6", own_word, &err),
			 -ENOSPC);
	assert_int_equal(f.count, 5);
	assert_int_equal(option_read_list(&table, &f, "colour", NULL, &err), -EINVAL);
	assert_string_equal(err.text, "colour has to be given a value: colour=red|green|blue");
	assert_int_equal(option_read_list(&table, &f, "=x", NULL, &err), -EINVAL);
	option_table_free(&table, &f);
}

static void help(void **state)
{
	_cleanup_text_ struct text t = { 0 };

	(void)state;
	option_table_help(&table, &t);
	assert_non_null(strstr(t.data, "  name=TEXT                    a name [nobody]\n"));
	assert_non_null(strstr(t.data, "  owner=ID                     whose\n"));
	assert_non_null(strstr(t.data, "  colour=red|green|blue        which [green]\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(shown_as_they_are_read),
		cmocka_unit_test(refused),  cmocka_unit_test(lists),
		cmocka_unit_test(help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
