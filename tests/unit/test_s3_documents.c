/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mounts/xml, answer: documents and headers of servers that are wrong, hostile or different. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "mounts/store.h"

static int note(void *arg, const char *path, const char *text, size_t len)
{
	struct text *all = arg;

	assert_int_equal(strlen(text), len);
	text_printf(all, "%s=%s;", path, text);
	return strcmp(text, "stop") ? 0 : 42;
}

static int parse(const char *document, struct text *all)
{
	text_reset(all);
	text_add_str(all, "");
	return xml_parse(document, strlen(document), note, all);
}

static void walks(void **state)
{
	_cleanup_text_ struct text all = { 0 };

	(void)state;
	assert_int_equal(parse("<?xml version=\"1.0\"?>\n<a x='1'><b>one &amp; "
			       "two</b><c/><b><d>x</d>y</b></a>",
			       &all),
			 0);
	assert_string_equal(all.data, "a/b=one & two;a/c=;a/b/d=x;a/b=y;a=;");
	assert_int_equal(parse("<a><b>stop</b><c>x</c></a>", &all), 42);
	assert_string_equal(all.data, "a/b=stop;");
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"",
		"not xml",
		"<a>",
		"<a></b>",
		"<a>&#1;</a>",
		"<!DOCTYPE a [<!ENTITY x 'xxxx'><!ENTITY y '&x;&x;'>]><a>&y;</a>",
		"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
		"<a>\xff</a>",
		"<a/><a/>",
	};
	_cleanup_text_ struct text all = { 0 }, deep = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse(bad[i], &all), -EPROTO);
	for (int i = 0; i < 17; i++)
		text_add_str(&deep, "<a>");
	for (int i = 0; i < 17; i++)
		text_add_str(&deep, "</a>");
	assert_int_equal(parse(deep.data, &all), -EPROTO);
	assert_int_equal(parse(deep.data + 3, &all), -EPROTO); /* one end too many */
	deep.data[deep.len - 4] = '\0';
	assert_int_equal(parse(deep.data + 3, &all), 0);
	text_reset(&deep);
	for (int i = 0; i < 100000; i++)
		text_add_str(&deep,
			     "<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa>");
	assert_int_equal(parse(deep.data, &all), -EPROTO);
}

static void escapes(void **state)
{
	_cleanup_text_ struct text out = { 0 };

	(void)state;
	assert_true(xml_add_escaped(&out, "a<b>&\"'\n\t\rü😀"));
	assert_string_equal(out.data, "a&#60;b&#62;&#38;\"'&#10;&#9;&#13;ü😀");
	assert_false(xml_add_escaped(&out, "\x01"));
	assert_false(xml_add_escaped(&out, "a\xff"));
	assert_false(xml_add_escaped(&out, "\xef\xbf\xbf"));
	assert_false(xml_add_escaped(&out, "\xed\xa0\x80"));
}

static void times(void **state)
{
	(void)state;
	assert_int_equal(xml_time_us("1970-01-01T00:00:01.5Z"), 1500000);
	assert_int_equal(xml_time_us("2026-01-31T23:59:59.123456789Z"), 1769903999123456);
	assert_int_equal(xml_time_us("2026-01-31T23:59:59Z"), 1769903999000000);
	assert_int_equal(xml_time_us("yesterday"), 0);
	assert_int_equal(xml_time_us(""), 0);
}

static void take(struct answer *answer, const char *name, const char *value)
{
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", name);
	answer_take_header(answer, copy, value, true);
}

static void headers(void **state)
{
	struct answer answer = { 0 };
	char longest[200];

	(void)state;
	take(&answer, "ETag", "\"abc\"");
	assert_string_equal(answer.etag, "\"abc\"");
	take(&answer, "etag", "abc");
	assert_string_equal(answer.etag, "\"abc\"");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	take(&answer, "ETag", longest);
	assert_true(answer.etag_too_long);
	take(&answer, "Content-Length", "-1");
	assert_false(answer.has_length);
	take(&answer, "Content-Length", "12");
	assert_true(answer.has_length && answer.length == 12);
	take(&answer, "Last-Modified", "Thu, 01 Jan 1970 00:00:10 GMT");
	assert_int_equal(answer.mtime_us, 10000000);
	take(&answer, "Last-Modified", "soon");
	assert_int_equal(answer.mtime_us, 0);
	take(&answer, "X-Amz-Meta-Mode", "0644");
	take(&answer, "x-amz-meta-", "nothing");
	assert_string_equal(field_get(answer.meta.data, answer.meta.len, "mode"), "0644");
	for (int i = 0; i < 1000; i++)
		take(&answer, "x-amz-meta-more", longest);
	assert_true(answer.meta.len <= ANSWER_META_MAX);
	answer_free(&answer);
}

static void content_ranges(void **state)
{
	static const char *const bad[] = {
		"bytes */10",	 "bytes 5-4/10",
		"bytes 0-10/10", "bytes 0-9",
		"bytes 0-9/*",	 "0-9/10",
		"bytes -1-9/10", "bytes 0-99999999999999999999999/1",
		"bytes 1-2/3x",
	};
	struct answer answer = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		take(&answer, "Content-Range", bad[i]);
		assert_false(answer.has_range);
	}
	take(&answer, "Content-Range", "bytes 3-9/10");
	assert_true(answer.has_range && answer.range_start == 3 && answer.range_end == 10 &&
		    answer.range_total == 10);
	answer_free(&answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walks),   cmocka_unit_test(refuses),
		cmocka_unit_test(escapes), cmocka_unit_test(times),
		cmocka_unit_test(headers), cmocka_unit_test(content_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
