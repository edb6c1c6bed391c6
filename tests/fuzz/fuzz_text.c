/* SPDX-License-Identifier: MIT */
/*
 * base/text: the parsers take anything, what they format they read back, escaped text is one
 * printable line, a quoted word is balanced.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_numbers(const char *s)
{
	char buf[32];
	uint64_t v, again;
	int64_t ms, ms_again;
	bool yes;

	if (parse_u64(s, 0, UINT64_MAX, &v) == 0)
		assert(*s >= '0' && *s <= '9');
	if (parse_size(s, &v) == 0)
		assert(parse_size(format_size(buf, v), &again) == 0 && again == v);
	if (parse_duration_ms(s, &ms) == 0)
		assert(parse_duration_ms(format_duration(buf, ms), &ms_again) == 0 &&
		       ms_again == ms);
	(void)parse_bool(s, &yes);
}

static void check_escaping(const char *bytes, size_t size)
{
	struct text t = { 0 };
	char cut[17];

	text_add_escaped(&t, bytes, size);
	assert(!t.failed);
	for (size_t i = 0; i < t.len; i++)
		assert((unsigned char)t.data[i] >= 0x20 && t.data[i] != 0x7f);
	for (size_t i = 0; i < t.len;) {
		size_t n = utf8_sequence(t.data + i, t.len - i);

		assert(n > 0);
		i += n;
	}
	text_free(&t);
	assert(strlen(text_escape(cut, sizeof(cut), bytes)) < sizeof(cut));
}

static void check_quoting(const char *s)
{
	struct text t = { 0 };
	size_t quotes = 0;

	text_add_shell_quoted(&t, s);
	for (size_t i = 0; i < t.len; i++) {
		if (t.data[i] == '\\' && quotes % 2 == 0)
			i++;
		else
			quotes += t.data[i] == '\'';
	}
	assert(quotes % 2 == 0);
	text_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	if (!s)
		return 0;
	memcpy(s, data, size);
	s[size] = '\0';
	check_numbers(s);
	check_escaping(s, size);
	check_quoting(s);
	if (name_is_valid(s))
		assert(!strchr(s, '/') && s[0] != '.' && strlen(s) <= 63);
	text_strip(s);
	free(s);
	return 0;
}
