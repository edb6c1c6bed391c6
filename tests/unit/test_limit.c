/* SPDX-License-Identifier: MIT */
/* runtime/limit: what a text means, and that what is shown means the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "limit.h"

static void values(void **state)
{
	static const struct {
		enum limit which;
		const char *text;
		int result;
		uint64_t value;
		const char *shown;
	} cases[] = {
		{ LIMIT_MEMORY, "512M", 0, 512ull << 20, "512M" },
		{ LIMIT_MEMORY, "16777216", 0, 16 << 20, "16M" },
		{ LIMIT_MEMORY, "16777217", 0, (16 << 20) + 1, "16777217" },
		{ LIMIT_MEMORY, "9223372036854775807", 0, INT64_MAX, "9223372036854775807" },
		{ LIMIT_MEMORY, "16777215", -ERANGE, 0, NULL },
		{ LIMIT_MEMORY, "9223372036854775808", -ERANGE, 0, NULL },
		{ LIMIT_MEMORY, "18446744073709551615", -ERANGE, 0, NULL },
		{ LIMIT_MEMORY, "18446744073709551616", -ERANGE, 0, NULL },
		{ LIMIT_MEMORY, "16777216T", -ERANGE, 0, NULL },
		{ LIMIT_MEMORY, "-1", -EINVAL, 0, NULL },
		{ LIMIT_MEMORY, "", -EINVAL, 0, NULL },
		{ LIMIT_MEMORY, "1.5G", -EINVAL, 0, NULL },
		{ LIMIT_CPUS, "2", 0, 2000, "2" },
		{ LIMIT_CPUS, "0.5", 0, 500, "0.5" },
		{ LIMIT_CPUS, ".25", 0, 250, "0.25" },
		{ LIMIT_CPUS, "1.125", 0, 1125, "1.125" },
		{ LIMIT_CPUS, "10.010", 0, 10010, "10.01" },
		{ LIMIT_CPUS, "100000", 0, 100000000, "100000" },
		{ LIMIT_CPUS, "100000.001", -ERANGE, 0, NULL },
		{ LIMIT_CPUS, "0.009", -ERANGE, 0, NULL },
		{ LIMIT_CPUS, "99999999999999999999", -ERANGE, 0, NULL },
		{ LIMIT_CPUS, "1.1255", -EINVAL, 0, NULL },
		{ LIMIT_CPUS, "1.", -EINVAL, 0, NULL },
		{ LIMIT_CPUS, ".", -EINVAL, 0, NULL },
		{ LIMIT_CPUS, "", -EINVAL, 0, NULL },
		{ LIMIT_CPUS, "1.5 ", -EINVAL, 0, NULL },
		{ LIMIT_PIDS, "8", 0, 8, "8" },
		{ LIMIT_PIDS, "7", -ERANGE, 0, NULL },
		{ LIMIT_PIDS, "18446744073709551615", -ERANGE, 0, NULL },
		{ LIMIT_TIMEOUT, "0", 0, LIMIT_NONE, "0" },
		{ LIMIT_TIMEOUT, "0ms", 0, LIMIT_NONE, "0" },
		{ LIMIT_TIMEOUT, "1ms", 0, 1, "1ms" },
		{ LIMIT_TIMEOUT, "120s", 0, 120000, "2m" },
		{ LIMIT_TIMEOUT, "18446744073709551615", -ERANGE, 0, NULL },
		{ LIMIT_TIMEOUT, "2x", -EINVAL, 0, NULL },
		{ LIMIT_IDLE, "999ms", -ERANGE, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = 4711;
		char buf[32];

		assert_int_equal(limit_parse(cases[i].which, cases[i].text, &value),
				 cases[i].result);
		if (cases[i].result < 0) {
			assert_int_equal(value, 4711);
			continue;
		}
		assert_int_equal(value, cases[i].value);
		assert_string_equal(limit_format(cases[i].which, value, buf), cases[i].shown);
		assert_int_equal(limit_parse(cases[i].which, buf, &value), 0);
		assert_int_equal(value, cases[i].value);
	}
}

static void none(void **state)
{
	static const char *const words[] = { "unlimited", "max", "none" };

	(void)state;
	for (int which = 0; which < N_LIMITS; which++) {
		for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
			uint64_t value = 1;
			char buf[32];

			assert_int_equal(limit_parse(which, words[i], &value), 0);
			assert_true(value == LIMIT_NONE);
			assert_int_equal(
				limit_parse(which, limit_format(which, value, buf), &value), 0);
			assert_true(value == LIMIT_NONE);
		}
		assert_int_equal(limit_of_wire(limit_to_wire(LIMIT_NONE)), LIMIT_NONE);
	}
}

/* Every row is whole, and its field leads back to it. */
static void table(void **state)
{
	_cleanup_text_ struct text fields = { 0 };
	struct limits limits = limits_none;

	(void)state;
	limits.of[LIMIT_PIDS] = 12;
	limits_add_fields(&fields, &limits);
	assert_false(fields.failed);
	for (int which = 0; which < N_LIMITS; which++) {
		const struct limit_type *type = &limit_types[which];

		assert_non_null(type->form);
		assert_true(type->min > 0 && type->min <= type->max);
		assert_true(type->max <= INT64_MAX);
		assert_int_equal(limit_find(type->name), which);
		assert_int_equal(limit_find(type->field), which);
		assert_int_equal(field_get_u64(fields.data, fields.len, type->field, 99),
				 which == LIMIT_PIDS ? 12 : 0);
	}
	assert_int_equal(limit_find("nosuch"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(none),
		cmocka_unit_test(table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
