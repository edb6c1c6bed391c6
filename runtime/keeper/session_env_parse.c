/* SPDX-License-Identifier: MIT */
/*
 * Reads what shells print for `export -p`. The text comes from the box: nothing in it is believed
 * further than a variable's name and value. Pure: no I/O, no locks.
 */
#include <errno.h>
#include <string.h>

#include "keeper/session_env.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void add_code_point(struct text *out, unsigned long c)
{
	if (c < 0x80) {
		text_add_char(out, (char)c);
	} else if (c < 0x800) {
		text_add_char(out, (char)(0xc0 | c >> 6));
		text_add_char(out, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		text_add_char(out, (char)(0xe0 | c >> 12));
		text_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
		text_add_char(out, (char)(0x80 | (c & 0x3f)));
	} else {
		text_add_char(out, (char)(0xf0 | (c >> 18 & 7)));
		text_add_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
		text_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
		text_add_char(out, (char)(0x80 | (c & 0x3f)));
	}
}

/* Up to max digits of a base; NULL when there is none. */
static const char *scan_number(const char *p, int base, int max, unsigned long *out)
{
	const char *start = p;

	for (*out = 0; p - start < max; p++) {
		int digit = hex_digit(*p);

		if (digit < 0 || digit >= base)
			break;
		*out = *out * base + digit;
	}
	return p == start ? NULL : p;
}

/* One escape of $'…', p behind the backslash. Returns what follows it, NULL: none that we know. */
static const char *add_ansi_escape(struct text *out, const char *p)
{
	static const char from[] = "abeEfnrtv\\'\"?";
	static const char to[] = "\a\b\033\033\f\n\r\t\v\\'\"?";
	const char *known = *p ? strchr(from, *p) : NULL;
	unsigned long c;

	if (known) {
		text_add_char(out, to[known - from]);
		return p + 1;
	}
	if (*p >= '0' && *p <= '7') {
		p = scan_number(p, 8, 3, &c);
	} else if (*p == 'x') {
		p = scan_number(p + 1, 16, 2, &c);
	} else if (*p == 'u' || *p == 'U') {
		p = scan_number(p + 1, 16, *p == 'u' ? 4 : 8, &c);
		if (p && c)
			add_code_point(out, c);
		return p && c ? p : NULL;
	} else if (*p == 'c' && p[1]) {
		c = p[1] & 0x1f;
		p += 2;
	} else {
		return NULL;
	}
	if (p && c)
		text_add_char(out, (char)c);
	return p && c ? p : NULL;
}

static const char *add_ansi_quoted(struct text *out, const char *p)
{
	while (p && *p && *p != '\'') {
		if (*p == '\\')
			p = add_ansi_escape(out, p + 1);
		else
			text_add_char(out, *p++);
	}
	return p && *p ? p + 1 : NULL;
}

static const char *add_double_quoted(struct text *out, const char *p)
{
	for (; *p && *p != '"'; p++) {
		if (*p == '\\' && p[1] == '\n') {
			p++;
			continue;
		}
		if (*p == '\\' && p[1] && strchr("$`\"\\", p[1]))
			p++;
		text_add_char(out, *p);
	}
	return *p ? p + 1 : NULL;
}

/* One shell word up to the end of the line; returns what follows it, NULL if it is none. */
static const char *scan_word(struct text *out, const char *p)
{
	while (p && *p && *p != '\n') {
		if (*p == '\'') {
			const char *end = strchr(p + 1, '\'');

			if (end)
				text_add(out, p + 1, end - p - 1);
			p = end ? end + 1 : NULL;
		} else if (*p == '"') {
			p = add_double_quoted(out, p + 1);
		} else if (*p == '$' && p[1] == '\'') {
			p = add_ansi_quoted(out, p + 2);
		} else if (*p == '\\' && p[1]) {
			text_add_char(out, p[1]);
			p += 2;
		} else {
			text_add_char(out, *p++);
		}
	}
	if (!p)
		return NULL;
	return *p ? p + 1 : p;
}

/* Skips "export " or "declare -ATTRIBUTES "; NULL when the line is neither. */
static const char *skip_keyword(const char *p)
{
	if (!strncmp(p, "export ", 7))
		return p + 7;
	if (strncmp(p, "declare -", 9))
		return NULL;
	p += 9;
	while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
		p++;
	return *p == ' ' ? p + 1 : NULL;
}

/* One line, or several with a value of many lines. Returns what follows, NULL: not one of ours. */
static const char *parse_export(struct session_env *env, const char *p, struct text *name,
				struct text *value, int *error)
{
	size_t len;

	p = skip_keyword(p);
	if (!p)
		return NULL;
	len = strcspn(p, "=\n");
	text_reset(name);
	text_reset(value);
	text_add(name, p, len);
	p += len;
	if (*p != '=')
		return *p ? p + 1 : p; /* exported, but has no value */
	p = scan_word(value, p + 1);
	if (!p)
		*error = -EINVAL;
	else if (name->failed || value->failed)
		*error = -ENOMEM;
	else if (session_env_name_is_valid(name->data))
		*error = session_env_set(env, name->data, value->data ? value->data : "");
	return p;
}

int session_env_parse_exports(struct session_env *env, const char *text, const char **rest)
{
	_cleanup_text_ struct text name = { 0 }, value = { 0 };
	int error = 0;

	*rest = text;
	while (*text) {
		const char *next = parse_export(env, text, &name, &value, &error);

		if (error)
			return error;
		if (!next)
			break;
		text = next;
		*rest = text;
	}
	return 0;
}
