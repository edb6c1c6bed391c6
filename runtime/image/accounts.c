/* SPDX-License-Identifier: MIT */
/*
 * The account files of the image. Users of the machine are nobody's business in a box; the
 * system's accounts are needed, because files of /usr and package scripts name them. A row that
 * is not understood (NIS's "+", a damaged one) is left out. No I/O.
 */
#include "image/accounts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	PASSWD_FIELDS = 7,
	GROUP_FIELDS = 4,
	FIRST_HUMAN = 1000,
	NOBODY = 65534,
	SHADOW_DAY = 19000, /* of the last change; any fixed day that is not 0 */
};

struct field {
	const char *text;
	int len;
};

/* Cuts a line into exactly n fields. */
static bool cut_fields(const char *line, size_t len, struct field *fields, int n)
{
	const char *end = line + len;

	for (int i = 0; i < n; i++) {
		const char *colon = memchr(line, ':', end - line);

		if (!colon != (i == n - 1))
			return false;
		fields[i].text = line;
		fields[i].len = (int)((colon ? colon : end) - line);
		line = colon ? colon + 1 : end;
	}
	return fields[0].len > 0 && strchr("+-#", fields[0].text[0]) == NULL;
}

static bool parse_id(const struct field *field, uint64_t *id)
{
	char digits[16];

	if (field->len <= 0 || field->len >= (int)sizeof(digits))
		return false;
	memcpy(digits, field->text, field->len);
	digits[field->len] = '\0';
	return parse_u64(digits, 0, UINT32_MAX - 1, id) == 0;
}

static bool is_system_id(const struct field *field, uint64_t *id)
{
	return parse_id(field, id) && (*id < FIRST_HUMAN || *id == NOBODY);
}

/* Calls row with each line's fields that make sense. */
static void each_row(const char *text, int n_fields,
		     void (*row)(void *ctx, const struct field *fields, uint64_t id), void *ctx)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		struct field fields[PASSWD_FIELDS];
		uint64_t id;

		if (cut_fields(text, len, fields, n_fields) && is_system_id(&fields[2], &id))
			row(ctx, fields, id);
		text += len + (text[len] == '\n');
	}
}

static void add_passwd_row(void *ctx, const struct field *f, uint64_t id)
{
	static const struct field root_home = { "/root", 5 };
	const struct field *home = id == 0 ? &root_home : &f[5];
	uint64_t gid;

	if (!parse_id(&f[3], &gid))
		return;
	text_printf(ctx, "%.*s:x:%ju:%ju:%.*s:%.*s:%.*s\n", f[0].len, f[0].text, (uintmax_t)id,
		    (uintmax_t)gid, f[4].len, f[4].text, home->len, home->text, f[6].len,
		    f[6].text);
}

void accounts_make_passwd(struct text *out, const char *passwd)
{
	each_row(passwd, PASSWD_FIELDS, add_passwd_row, out);
}

static void add_group_row(void *ctx, const struct field *f, uint64_t id)
{
	text_printf(ctx, "%.*s:x:%ju:\n", f[0].len, f[0].text, (uintmax_t)id);
}

void accounts_make_group(struct text *out, const char *group)
{
	each_row(group, GROUP_FIELDS, add_group_row, out);
}

static void add_shadow_row(void *ctx, const struct field *f, uint64_t id)
{
	(void)id;
	text_printf(ctx, "%.*s:*:%d:0:99999:7:::\n", f[0].len, f[0].text, SHADOW_DAY);
}

void accounts_make_shadow(struct text *out, const char *passwd)
{
	each_row(passwd, PASSWD_FIELDS, add_shadow_row, out);
}

static void add_gshadow_row(void *ctx, const struct field *f, uint64_t id)
{
	(void)id;
	text_printf(ctx, "%.*s:*::\n", f[0].len, f[0].text);
}

void accounts_make_gshadow(struct text *out, const char *group)
{
	each_row(group, GROUP_FIELDS, add_gshadow_row, out);
}

struct wanted_group {
	const char *name;
	gid_t gid;
};

static void match_group_row(void *ctx, const struct field *f, uint64_t id)
{
	struct wanted_group *wanted = ctx;

	if ((int)strlen(wanted->name) == f[0].len && !strncmp(wanted->name, f[0].text, f[0].len))
		wanted->gid = (gid_t)id;
}

gid_t accounts_find_gid(const char *group, const char *name)
{
	struct wanted_group wanted = { .name = name };

	each_row(group, GROUP_FIELDS, match_group_row, &wanted);
	return wanted.gid;
}
