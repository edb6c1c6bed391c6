/* SPDX-License-Identifier: MIT */
/*
 * The types that every program's settings have, and what is done with a table of them. It must not
 * know any setting. No state, no locks.
 */
#include "option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "cleanup.h"

/* --- types ------------------------------------------------------------------------------------ */

static int in_bounds(const struct option_row *row, uint64_t value)
{
	return value < row->min || value > row->max ? -ERANGE : 0;
}

int option_parse_string(void *field, const struct option_row *row, const char *value)
{
	(void)row;
	return *value ? string_replace(field, value) : -EINVAL;
}

void option_show_string(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_add_str(out, *(char *const *)field);
}

static int parse_number(void *field, const struct option_row *row, const char *value)
{
	return parse_u64(value, row->min, row->max, field);
}

static void show_number(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
}

int option_parse_id(void *field, const struct option_row *row, const char *value)
{
	uint64_t v;
	int r = parse_u64(value, row->min, row->max, &v);

	if (r == 0)
		*(uid_t *)field = (uid_t)v;
	return r;
}

void option_show_id(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_printf(out, "%u", *(const uid_t *)field);
}

static int parse_mode(void *field, const struct option_row *row, const char *value)
{
	char *end;
	unsigned long v = strtoul(value, &end, 8);
	int r;

	if (*value < '0' || *value > '7' || *end)
		return -EINVAL;
	r = in_bounds(row, v);
	if (r == 0)
		*(mode_t *)field = (mode_t)v;
	return r;
}

static void show_mode(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_printf(out, "%04o", *(const mode_t *)field);
}

static int parse_yes_no(void *field, const struct option_row *row, const char *value)
{
	(void)row;
	return parse_bool(value, field);
}

static void show_yes_no(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_add_str(out, *(const bool *)field ? "yes" : "no");
}

static int parse_bytes(void *field, const struct option_row *row, const char *value)
{
	uint64_t v;
	int r = parse_size(value, &v);

	if (r == 0)
		r = in_bounds(row, v);
	if (r == 0)
		*(uint64_t *)field = v;
	return r;
}

static void show_bytes(const void *field, const struct option_row *row, struct text *out)
{
	char buf[32];

	(void)row;
	text_add_str(out, format_size(buf, *(const uint64_t *)field));
}

static int parse_duration(void *field, const struct option_row *row, const char *value)
{
	int64_t v;
	int r = parse_duration_ms(value, &v);

	if (r == 0)
		r = in_bounds(row, (uint64_t)v);
	if (r == 0)
		*(int64_t *)field = v;
	return r;
}

static void show_duration(const void *field, const struct option_row *row, struct text *out)
{
	char buf[32];

	(void)row;
	text_add_str(out, format_duration(buf, *(const int64_t *)field));
}

/* Word number i of those with | between them: its length; -1, there are not so many. */
static int choice_word(const char *words, unsigned int i, const char **word)
{
	for (; i; i--) {
		words = strchr(words, '|');
		if (!words++)
			return -1;
	}
	*word = words;
	return (int)strcspn(words, "|");
}

int option_parse_choice(void *field, const struct option_row *row, const char *value)
{
	const char *word;
	int len;

	for (unsigned int i = 0; (len = choice_word(row->type->word, i, &word)) >= 0; i++) {
		if (strlen(value) != (size_t)len || strncmp(word, value, len))
			continue;
		*(unsigned int *)field = i;
		return 0;
	}
	return -EINVAL;
}

void option_show_choice(const void *field, const struct option_row *row, struct text *out)
{
	const char *word;
	int len = choice_word(row->type->word, *(const unsigned int *)field, &word);

	if (len > 0)
		text_add(out, word, (size_t)len);
}

const struct option_type option_string = {
	.word = "TEXT", .parse = option_parse_string, .show = option_show_string, .is_string = true
};
const struct option_type option_number = { "NUMBER", parse_number, show_number, false, false };
const struct option_type option_id = { "ID", option_parse_id, option_show_id, false, false };
const struct option_type option_mode = { "OCTAL", parse_mode, show_mode, false, false };
const struct option_type option_yes_no = {
	.word = "yes|no", .parse = parse_yes_no, .show = show_yes_no, .is_flag = true
};
const struct option_type option_bytes = { "SIZE", parse_bytes, show_bytes, false, false };
const struct option_type option_duration = { "TIME", parse_duration, show_duration, false, false };

/* --- tables ----------------------------------------------------------------------------------- */

static void *option_field(const struct option_row *row, void *fields)
{
	return (char *)fields + row->offset;
}

static const struct option_row *find_row(const struct option_table *table, const char *key)
{
	for (size_t i = 0; i < table->n; i++) {
		if (!strcmp(table->rows[i].key, key))
			return &table->rows[i];
	}
	return NULL;
}

int option_table_init(const struct option_table *table, void *fields)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct option_row *row = &table->rows[i];
		int r = row->fallback
				? row->type->parse(option_field(row, fields), row, row->fallback)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void option_table_free(const struct option_table *table, void *fields)
{
	for (size_t i = 0; i < table->n; i++) {
		if (table->rows[i].type->is_string)
			string_replace(option_field(&table->rows[i], fields), NULL);
	}
}

static int set_row(const struct option_row *row, void *fields, const char *value,
		   struct options_error *err)
{
	int r = row->type->parse(option_field(row, fields), row, value);

	if (r < 0)
		snprintf(err->text, sizeof(err->text), "%s: not a %s %s: %s", row->key,
			 r == -ERANGE ? "permitted" : "valid", row->type->word, value);
	return r < 0 ? -EINVAL : 0;
}

static int unknown(const char *key, struct options_error *err)
{
	snprintf(err->text, sizeof(err->text), "unknown setting %s", key);
	return -EINVAL;
}

int option_set(const struct option_table *table, void *fields, const char *key, const char *value,
	       struct options_error *err)
{
	const struct option_row *row = find_row(table, key);

	return row ? set_row(row, fields, value, err) : unknown(key, err);
}

/* item is changed. */
static int set_item(const struct option_table *table, void *fields, char *item,
		    struct options_error *err)
{
	char *eq = strchr(item, '=');
	const struct option_row *row;

	if (eq)
		*eq = '\0';
	row = find_row(table, item);
	if (!row)
		return unknown(item, err);
	if (eq || row->type->is_flag)
		return set_row(row, fields, eq ? eq + 1 : "yes", err);
	snprintf(err->text, sizeof(err->text), "%s has to be given a value: %s=%s", item, item,
		 row->type->word);
	return -EINVAL;
}

int option_read_list(const struct option_table *table, void *fields, const char *list,
		     int (*own)(void *fields, const char *item), struct options_error *err)
{
	_cleanup_text_ struct text item = { 0 };

	for (const char *p = list;; p++) {
		int r = 0;

		if (p[0] == '\\' && p[1] == ',') {
			text_add_char(&item, *++p);
			continue;
		}
		if (*p && *p != ',') {
			text_add_char(&item, *p);
			continue;
		}
		if (item.failed)
			return -ENOMEM;
		if (item.len && own)
			r = own(fields, item.data);
		if (item.len && r == 0)
			r = set_item(table, fields, item.data, err);
		if (r < 0 || !*p)
			return MIN(r, 0);
		text_reset(&item);
	}
}

void option_table_help(const struct option_table *table, struct text *out)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct option_row *row = &table->rows[i];
		char left[64];

		snprintf(left, sizeof(left), "%s=%s", row->key, row->type->word);
		text_printf(out, "  %-28s %s%s%s%s\n", left, row->help, row->fallback ? " [" : "",
			    row->fallback ? row->fallback : "", row->fallback ? "]" : "");
	}
}
