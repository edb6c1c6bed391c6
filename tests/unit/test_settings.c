/* SPDX-License-Identifier: MIT */
/* keeper/settings: what of MSG_START is taken, and what is refused with which sentence. */
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
#include "keeper/box.h"

static const char *const good[][2] = {
	{ "box", "7" },
	{ "name", "alice" },
	{ "hostname", "alice" },
	{ "token", "00ff" },
	{ "image", "host" },
	{ "image_dir", "/var/lib/sandboxfs/images/host/k" },
	{ "cgroup", "sandboxfs/7" },
	{ "uid_base", "1000000" },
	{ "storage_base", "200000" },
	{ "memory", "536870912" },
	{ "pids", "512" },
	{ "cpus_milli", "1500" },
};

/* The good fields with one changed (value NULL: left out), parsed. */
static int parse_with(const char *key, const char *value, struct box_settings *set,
		      struct failure *why)
{
	static struct text t; /* the settings point into it */
	text_reset(&t);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (strcmp(good[i][0], key))
			field_add(&t, good[i][0], good[i][1]);
	}
	if (value)
		field_add(&t, key, value);
	return box_settings_parse(set, t.data, t.len, why);
}

/* The same for an imported image of these layers. */
static int parse_image(const char *image, const char *layers, struct box_settings *set,
		       struct failure *why)
{
	static struct text t;

	text_reset(&t);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (strcmp(good[i][0], "image"))
			field_add(&t, good[i][0], good[i][1]);
	}
	field_add(&t, "image", image);
	field_add(&t, "layers", layers);
	return box_settings_parse(set, t.data, t.len, why);
}

static void layers_of_images(void **state)
{
	static const char *const bad[] = {
		"", ":", "1:", ":1", "1::2", "a", "../1", "12345678901"
	};
	struct box_settings set;
	struct failure why;

	(void)state;
	/* host has none, and every other image has. */
	assert_int_equal(parse_with("layers", "1", &set, &why), -EOPNOTSUPP);
	assert_int_equal(parse_with("image", "debian", &set, &why), -EOPNOTSUPP);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_image("debian", bad[i], &set, &why), -EOPNOTSUPP);
	assert_int_equal(parse_image("debian", "12:3:4", &set, &why), 0);
	assert_string_equal(set.layers, "12:3:4");
	assert_string_equal(set.user, "");
}

static void all_fields(void **state)
{
	struct box_settings set;
	struct failure why;

	(void)state;
	assert_int_equal(parse_with("tz", "Europe/Berlin", &set, &why), 0);
	assert_int_equal(set.number, 7);
	assert_string_equal(set.name, "alice");
	assert_string_equal(set.cwd, "/workspace");
	assert_string_equal(set.tz, "Europe/Berlin");
	assert_int_equal(set.uid_base, 1000000);
	assert_int_equal(set.storage_base, 200000);
	assert_int_equal(set.limits.of[LIMIT_MEMORY], 536870912);
	assert_int_equal(set.limits.of[LIMIT_PIDS], 512);
	assert_int_equal(set.limits.of[LIMIT_CPUS], 1500);
}

static void none_is_a_limit_too(void **state)
{
	struct box_settings set;
	struct failure why;

	(void)state;
	assert_int_equal(parse_with("memory", NULL, &set, &why), 0);
	assert_int_equal(set.limits.of[LIMIT_MEMORY], LIMIT_NONE);
	assert_int_equal(parse_with("pids", "0", &set, &why), 0);
	assert_int_equal(set.limits.of[LIMIT_PIDS], LIMIT_NONE);
}

static void refused(void **state)
{
	static const struct {
		const char *key, *value;
		int error;
	} cases[] = {
		{ "box", "0", EINVAL },
		{ "name", NULL, EINVAL },
		{ "hostname", "", EINVAL },
		{ "hostname", "a23456789b23456789c23456789d23456789e23456789f23456789g2345678901",
		  EINVAL },
		{ "image", "debian", EOPNOTSUPP },
		{ "image_dir", "relative/path", EINVAL },
		{ "cgroup", "7", EINVAL },
		{ "cgroup", "/a/7", EINVAL },
		{ "cgroup", "a/7/", EINVAL },
		{ "cgroup", "a//7", EINVAL },
		{ "cgroup", "a/../7", EINVAL },
		{ "cgroup", "a/ 7", EINVAL },
		{ "cgroup", NULL, EINVAL },
		{ "uid_base", "0", EINVAL },
		{ "uid_base", "65535", EINVAL },
		{ "uid_base", "4294967295", EINVAL },
		{ "uid_base", "-1", EINVAL },
		{ "uid_base", "200000", EINVAL },
		{ "uid_base", "265535", EINVAL },
		{ "uid_base", "134465", EINVAL },
		{ "storage_base", "1e6", EINVAL },
		{ "memory", "512M", EINVAL },
		{ "memory", "4096", EINVAL },
		{ "memory", "99999999999999999999", EINVAL },
		{ "pids", "1", EINVAL },
		{ "cpus_milli", "5", EINVAL },
		{ "cwd", "tmp", EINVAL },
	};
	struct box_settings set;
	struct failure why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (parse_with(cases[i].key, cases[i].value, &set, &why) != -cases[i].error)
			fail_msg("%s=%s is taken", cases[i].key, cases[i].value);
		assert_string_not_equal(why.text, "");
		assert_string_equal(why.step, "read the settings");
	}
	/* Right beside each other is not overlapping. */
	assert_int_equal(parse_with("uid_base", "265536", &set, &why), 0);
	assert_int_equal(parse_with("uid_base", "134464", &set, &why), 0);
}

static void no_field_list(void **state)
{
	struct box_settings set;
	struct failure why;

	(void)state;
	assert_int_equal(box_settings_parse(&set, "", 0, &why), -EINVAL);
	assert_int_equal(box_settings_parse(&set, "box=7", 5, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_of_images),    cmocka_unit_test(all_fields),
		cmocka_unit_test(none_is_a_limit_too), cmocka_unit_test(refused),
		cmocka_unit_test(no_field_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
