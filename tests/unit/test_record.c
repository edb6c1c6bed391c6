/* SPDX-License-Identifier: MIT */
/* keeper/record and keeper/driver: texts that others read. */
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
#include "keeper/driver.h"
#include "keeper/record.h"

struct seen {
	char text[512];
};

static int note(void *ctx, const char *key, const char *value)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);

	snprintf(seen->text + len, sizeof(seen->text) - len, "%s=%s;", key, value);
	return 0;
}

static void read_back(struct text *t, struct seen *seen)
{
	int line;

	*seen = (struct seen){ 0 };
	assert_false(t->failed);
	assert_int_equal(record_parse(t->data, note, seen, &line), 0);
}

static void queued_run(void **state)
{
	_cleanup_text_ struct text t = { 0 };
	const struct record record = {
		.session = "my\nsession",
		.token = "ab12",
		.state = RUN_QUEUED,
		.code = 7,
	};
	struct seen seen;

	(void)state;
	record_write(&t, &record);
	read_back(&t, &seen);
	assert_string_equal(seen.text, "session=my\nsession;state=queued;token=ab12;");
}

static void run_of_its_own(void **state)
{
	_cleanup_text_ struct text t = { 0 };
	const struct usage used = { 10, 20, 30, UINT64_MAX, 50 };
	const struct record record = {
		.session = "",
		.name = "web",
		.user = "bob",
		.timeout_ms = 1500,
		.token = "ab12",
		.state = RUN_TIMEOUT,
		.code = 124,
		.started_us = 1000,
		.ended_us = 1700,
		.usage = &used,
	};
	struct seen seen;

	(void)state;
	record_write(&t, &record);
	read_back(&t, &seen);
	assert_string_equal(seen.text,
			    "session=;name=web;user=bob;timeout=1500;state=timeout;token=ab12;"
			    "started=1000;exit=124;ended=1700;out_end=0;err_end=0;truncated=no;"
			    "wall=700;cpu_user=10;cpu_system=20;memory_peak=30;written=50;");
}

static void ended_run(void **state)
{
	_cleanup_text_ struct text t = { 0 };
	const struct record record = {
		.session = "default",
		.token = "ab12",
		.state = RUN_SIGNALLED,
		.code = 137,
		.pid = 12,
		.started_us = 1000,
		.ended_us = 2000,
		.end_size = { 3, 4000000000u },
		.truncated = true,
	};
	struct seen seen;

	(void)state;
	record_write(&t, &record);
	read_back(&t, &seen);
	assert_string_equal(
		seen.text,
		"session=default;state=signalled;token=ab12;pid=12;started=1000;exit=137;"
		"ended=2000;out_end=3;err_end=4000000000;truncated=yes;");
}

static void seal(const struct record *record, char file[512])
{
	_cleanup_text_ struct text t = { 0 };

	memset(file, 0, 512);
	if (record)
		record_write(&t, record);
	record_seal(&t);
	assert_int_equal(snprintf(file, 512, "%s", t.data), t.len);
}

static void unseal(char *file, struct seen *seen)
{
	int line;

	*seen = (struct seen){ 0 };
	assert_int_equal(record_unseal(file), 0);
	assert_int_equal(record_parse(file, note, seen, &line), 0);
}

/* As a reader finds it while it is written over the older one. */
static void write_over(const char *older, const char *newer, char torn[512])
{
	const size_t len = strlen(newer);

	for (size_t done = 0; done <= len; done++) {
		memcpy(torn, older, 512);
		memcpy(torn, newer, done);
		if (done < len && strcmp(torn, older) != 0)
			assert_int_equal(record_unseal(torn), -EAGAIN);
	}
}

static void sealed(void **state)
{
	const struct record longer = { .session = "default", .token = "a", .cwd = "/a/long/one" };
	const struct record shorter = { .session = "", .token = "b", .cwd = "/x\nsum = 1" };
	char files[3][512], torn[512];
	struct seen seen;

	(void)state;
	seal(&longer, files[0]);
	seal(&shorter, files[1]);
	seal(NULL, files[2]);
	write_over(files[0], files[1], torn);
	unseal(torn, &seen);
	assert_string_equal(seen.text, "session=;cwd=/x\nsum = 1;state=queued;token=b;");
	write_over(files[0], files[2], torn);
	unseal(torn, &seen);
	assert_string_equal(seen.text, "");
	write_over(files[2], files[0], torn);
	unseal(torn, &seen);
	assert_string_equal(seen.text, "session=default;cwd=/a/long/one;state=queued;token=a;");
	/* Of a keeper that knew no seals. */
	snprintf(torn, sizeof(torn), "state = exited\n");
	unseal(torn, &seen);
	assert_string_equal(seen.text, "state=exited;");
}

static void driver_names_its_folder(void **state)
{
	(void)state;
	for (int kind = DRIVER_BASH; kind <= DRIVER_SH; kind++) {
		_cleanup_text_ struct text t = { 0 };

		driver_add(&t, kind, "/run/box/3");
		assert_null(strstr(t.data, "@D"));
		assert_non_null(strstr(t.data, "</run/box/3/go"));
		assert_non_null(strstr(t.data, ". /run/box/3/cmd </run/box/3/in >/run/box/3/out "
					       "2>/run/box/3/err\n"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queued_run),
		cmocka_unit_test(ended_run),
		cmocka_unit_test(run_of_its_own),
		cmocka_unit_test(sealed),
		cmocka_unit_test(driver_names_its_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
