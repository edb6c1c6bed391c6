/* SPDX-License-Identifier: MIT */
/* Text. Pure functions and a growing buffer; no I/O, no locks. */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

void text_free(struct text *t)
{
	free(t->data);
	*t = (struct text){ 0 };
}

void text_reset(struct text *t)
{
	t->len = 0;
	t->failed = false;
	if (t->data)
		t->data[0] = '\0';
}

static bool text_reserve(struct text *t, size_t more)
{
	size_t need = t->len + more + 1;
	size_t size = t->size ? t->size : 64;
	char *data;

	if (need <= t->size)
		return true;
	while (size < need)
		size *= 2;
	data = realloc(t->data, size);
	if (!data) {
		t->failed = true;
		return false;
	}
	t->data = data;
	t->size = size;
	return true;
}

void text_add(struct text *t, const void *bytes, size_t len)
{
	if (!text_reserve(t, len))
		return;
	if (len)
		memcpy(t->data + t->len, bytes, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void text_add_str(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

void text_add_char(struct text *t, char c)
{
	text_add(t, &c, 1);
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap, again;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len >= 0 && text_reserve(t, len)) {
		vsnprintf(t->data + t->len, len + 1, fmt, again);
		t->len += len;
	}
	va_end(again);
}

char *text_take(struct text *t)
{
	char *data;

	if (!t->data)
		text_add(t, "", 0);
	if (t->failed) {
		text_free(t);
		return NULL;
	}
	data = t->data;
	*t = (struct text){ 0 };
	return data;
}

size_t utf8_sequence(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t n;
	uint32_t c;

	if (!len)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2, c = p[0] & 0x1f;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		n = 3, c = p[0] & 0x0f;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4, c = p[0] & 0x07;
	else
		return 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	if (c >= 0xd800 && c <= 0xdfff)
		return 0;
	return n;
}

/* C1 controls (U+0080–U+009F) act on some terminals. */
static bool utf8_is_control(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	return (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* U+202A–U+202E and U+2066–U+2069 turn the order of the rest of a line around. */
static bool utf8_is_bidi(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	return n == 3 && p[0] == 0xe2 &&
	       ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
		(p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

void text_add_escaped(struct text *t, const char *bytes, size_t len)
{
	while (len) {
		size_t n = utf8_sequence(bytes, len);

		if (n && !utf8_is_control(bytes, n) && !utf8_is_bidi(bytes, n) &&
		    bytes[0] != '\\') {
			text_add(t, bytes, n);
		} else {
			n = 1;
			text_printf(t, "\\%03o", (unsigned char)bytes[0]);
		}
		bytes += n;
		len -= n;
	}
}

const char *text_escape(char *out, size_t out_size, const char *s)
{
	_cleanup_text_ struct text t = { 0 };

	text_add_escaped(&t, s, strlen(s));
	snprintf(out, out_size, "%s", t.data ? t.data : "");
	return out;
}

void text_add_shell_quoted(struct text *t, const char *s)
{
	text_add_char(t, '\'');
	for (; *s; s++) {
		if (*s == '\'')
			text_add_str(t, "'\\''");
		else
			text_add_char(t, *s);
	}
	text_add_char(t, '\'');
}

/* Parses leading digits; *rest is set behind them. */
static int parse_digits(const char *s, uint64_t *out, const char **rest)
{
	uint64_t v = 0;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
			return -ERANGE;
	}
	if (p == s)
		return -EINVAL;
	*out = v;
	*rest = p;
	return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *rest;
	uint64_t v;
	int r = parse_digits(s, &v, &rest);

	if (r < 0)
		return r;
	if (*rest)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

static int parse_with_unit(const char *s, const struct unit *units, size_t n, uint64_t *out)
{
	const char *rest;
	uint64_t v;
	int r = parse_digits(s, &v, &rest);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rest, units[i].suffix))
			continue;
		if (__builtin_mul_overflow(v, units[i].factor, &v) || v > INT64_MAX)
			return -ERANGE;
		*out = v;
		return 0;
	}
	return -EINVAL;
}

static const struct unit size_units[] = {
	{ "", 1 },	     { "K", 1ull << 10 }, { "M", 1ull << 20 },
	{ "G", 1ull << 30 }, { "T", 1ull << 40 },
};

static const struct unit duration_units[] = {
	{ "", 1000 },	{ "ms", 1 },	  { "s", 1000 },
	{ "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
};

int parse_size(const char *s, uint64_t *bytes)
{
	if (!strcmp(s, "unlimited") || !strcmp(s, "max")) {
		*bytes = UINT64_MAX;
		return 0;
	}
	return parse_with_unit(s, size_units, ARRAY_SIZE(size_units), bytes);
}

int parse_duration_ms(const char *s, int64_t *ms)
{
	uint64_t v;
	int r = parse_with_unit(s, duration_units, ARRAY_SIZE(duration_units), &v);

	if (r == 0)
		*ms = (int64_t)v;
	return r;
}

int parse_bool(const char *s, bool *out)
{
	static const char *const words[] = { "no", "yes", "false", "true", "0", "1", "off", "on" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(s, words[i])) {
			*out = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

const char *format_size(char buf[32], uint64_t bytes)
{
	size_t unit = ARRAY_SIZE(size_units) - 1;

	if (bytes == UINT64_MAX)
		return strcpy(buf, "unlimited");
	while (unit && (!bytes || bytes % size_units[unit].factor))
		unit--;
	snprintf(buf, 32, "%llu%s", (unsigned long long)(bytes / size_units[unit].factor),
		 size_units[unit].suffix);
	return buf;
}

const char *format_duration(char buf[32], int64_t ms)
{
	static const struct unit units[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 } };

	if (ms == 0)
		return strcpy(buf, "0");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (ms % (int64_t)units[i].factor == 0) {
			snprintf(buf, 32, "%lld%s", (long long)(ms / (int64_t)units[i].factor),
				 units[i].suffix);
			return buf;
		}
	}
	snprintf(buf, 32, "%lldms", (long long)ms);
	return buf;
}

bool name_is_valid(const char *name)
{
	size_t len = strlen(name);
	const char *p = name;

	if (len < 1 || len > 63 || name[0] == '.' || name[0] == ' ' || name[len - 1] == ' ')
		return false;
	while (*p) {
		size_t n = utf8_sequence(p, len - (p - name));

		if (!n || utf8_is_control(p, n) || *p == '/')
			return false;
		p += n;
	}
	return true;
}

bool user_name_is_valid(const char *name)
{
	size_t len = strlen(name);
	uint64_t id;

	if (!len || len > 63 || name[0] == '-')
		return false;
	if (name[strspn(name, "0123456789")] == '\0')
		return parse_u64(name, 0, 65535, &id) == 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c <= ' ' || c == 0x7f || c == ':' || c == '/')
			return false;
	}
	return true;
}

int string_replace(char **field, const char *value)
{
	char *copy = value ? strdup(value) : NULL;

	if (value && !copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

char *text_strip(char *s)
{
	size_t len;

	s += strspn(s, " \t\r\n");
	len = strlen(s);
	while (len && strchr(" \t\r\n", s[len - 1]))
		s[--len] = '\0';
	return s;
}

uint64_t hash_u64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t hash_bytes(const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return hash_u64(h);
}
