/* SPDX-License-Identifier: MIT */
/* Records and field lists. Pure functions; no I/O, no locks. */
#include "kv.h"

#include <errno.h>
#include <string.h>

/* Undoes text_add_escaped() in place; -EINVAL for a backslash that is no \ooo. */
static int unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		unsigned int v = 0;

		if (*s != '\\') {
			*out++ = *s;
			continue;
		}
		for (int i = 1; i <= 3; i++) {
			if (s[i] < '0' || s[i] > '7')
				return -EINVAL;
			v = v * 8 + (s[i] - '0');
		}
		if (v == 0 || v > 255)
			return -EINVAL;
		*out++ = (char)v;
		s += 3;
	}
	*out = '\0';
	return 0;
}

int record_parse(char *text, int (*fn)(void *ctx, const char *key, const char *value), void *ctx,
		 int *line)
{
	char *next;

	*line = 0;
	for (char *p = text; p && *p; p = next) {
		char *eq, *key, *value;
		int r;

		next = strchr(p, '\n');
		if (next)
			*next++ = '\0';
		++*line;
		key = text_strip(p);
		if (!*key || *key == '#')
			continue;
		eq = strchr(key, '=');
		if (!eq)
			return -EINVAL;
		*eq = '\0';
		key = text_strip(key);
		value = text_strip(eq + 1);
		if (!*key || unescape(value) < 0)
			return -EINVAL;
		r = fn(ctx, key, value);
		if (r)
			return r;
	}
	return 0;
}

void record_add(struct text *t, const char *key, const char *value)
{
	text_printf(t, "%s = ", key);
	/* Blanks at either end would be stripped by the reader. */
	for (size_t len = strlen(value), i = 0; i < len;) {
		size_t n = utf8_sequence(value + i, len - i);

		if (value[i] == ' ' && (i == 0 || i == len - 1)) {
			text_add_str(t, "\\040");
			n = 1;
		} else {
			n = n ? n : 1;
			text_add_escaped(t, value + i, n);
		}
		i += n;
	}
	text_add_char(t, '\n');
}

void record_add_u64(struct text *t, const char *key, uint64_t value)
{
	text_printf(t, "%s = %llu\n", key, (unsigned long long)value);
}

#define SEAL_BEGIN "# sealed\n"
#define SEAL_END "sum = "

/* lines: with the comment. */
static void add_seal_end(struct text *t, const char *lines, size_t len)
{
	text_printf(t, SEAL_END "%016llx\n", (unsigned long long)hash_bytes(lines, len));
}

void record_seal(struct text *t)
{
	_cleanup_text_ struct text sealed = { 0 };

	text_add_str(&sealed, SEAL_BEGIN);
	text_add(&sealed, t->data, t->len);
	add_seal_end(&sealed, sealed.data, sealed.len);
	sealed.failed |= t->failed;
	text_free(t);
	*t = sealed;
	sealed = (struct text){ 0 };
}

int record_unseal(char *text)
{
	_cleanup_text_ struct text end = { 0 };
	char *line = text;

	if (strncmp(text, SEAL_BEGIN, strlen(SEAL_BEGIN)) != 0)
		return 0;
	while (line && strncmp(line, SEAL_END, strlen(SEAL_END)) != 0) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return -EAGAIN;
	add_seal_end(&end, text, (size_t)(line - text));
	if (end.failed)
		return -ENOMEM;
	if (strncmp(line, end.data, end.len) != 0)
		return -EAGAIN;
	*line = '\0'; /* the comment is skipped by record_parse() */
	return 0;
}

const char *field_next(const char *fields, size_t len, const char *pos)
{
	const char *next = pos ? pos + strlen(pos) + 1 : fields;

	if (!len || fields[len - 1] != '\0' || next >= fields + len)
		return NULL;
	return next;
}

const char *field_get(const char *fields, size_t len, const char *key)
{
	size_t key_len = strlen(key);
	const char *f = NULL;

	while ((f = field_next(fields, len, f))) {
		if (!strncmp(f, key, key_len) && f[key_len] == '=')
			return f + key_len + 1;
	}
	return NULL;
}

uint64_t field_get_u64(const char *fields, size_t len, const char *key, uint64_t fallback)
{
	const char *value = field_get(fields, len, key);
	uint64_t v;

	return value && parse_u64(value, 0, UINT64_MAX, &v) == 0 ? v : fallback;
}

void field_add(struct text *t, const char *key, const char *value)
{
	text_add_str(t, key);
	text_add_char(t, '=');
	text_add(t, value, strlen(value) + 1);
}

void field_add_u64(struct text *t, const char *key, uint64_t value)
{
	text_printf(t, "%s=%llu", key, (unsigned long long)value);
	text_add_char(t, '\0');
}
