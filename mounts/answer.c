/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The headers of an answer that anybody here asks for, in one table. What a server says is believed
 * only where it is well-formed. No I/O, no locks.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/kv.h"

bool answer_copy_etag(char etag[OBJECT_ETAG_SIZE], const char *text)
{
	const char *quote = *text == '"' || !strncmp(text, "W/", 2) ? "" : "\"";

	return *text &&
	       snprintf(etag, OBJECT_ETAG_SIZE, "%s%s%s", quote, text, quote) < OBJECT_ETAG_SIZE;
}

static void take_etag(struct answer *answer, const char *value)
{
	answer->etag_too_long = !answer_copy_etag(answer->etag, value);
}

static void take_length(struct answer *answer, const char *value)
{
	answer->has_length = parse_u64(value, 0, INT64_MAX, &answer->length) == 0;
}

/* "bytes 0-499/1234" */
static void take_range(struct answer *answer, const char *value)
{
	unsigned long long v[3];
	char *end = NULL;

	if (strncmp(value, "bytes ", 6))
		return;
	value += 6;
	for (int i = 0; i < 3; i++, value = end + 1) {
		if (*value < '0' || *value > '9')
			return;
		errno = 0;
		v[i] = strtoull(value, &end, 10);
		if (errno || *end != "-/"[i])
			return;
	}
	if (v[0] > v[1] || v[1] >= v[2] || v[2] > INT64_MAX)
		return;
	answer->has_range = true;
	answer->range_start = v[0];
	answer->range_end = v[1] + 1;
	answer->range_total = v[2];
}

static int64_t parse_date_us(const char *value)
{
	struct tm tm = { 0 };

	return strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm) ? timegm(&tm) * INT64_C(1000000)
								 : 0;
}

static void take_mtime(struct answer *answer, const char *value)
{
	answer->mtime_us = parse_date_us(value);
}

static void take_date(struct answer *answer, const char *value)
{
	answer->date_us = parse_date_us(value);
}

static void take_retry_after(struct answer *answer, const char *value)
{
	uint64_t s;

	if (parse_u64(value, 0, 3600, &s) == 0)
		answer->retry_after_ms = (int64_t)s * 1000;
}

static void take_region(struct answer *answer, const char *value)
{
	text_escape(answer->region, sizeof(answer->region), value);
}

static void take_location(struct answer *answer, const char *value)
{
	text_escape(answer->location, sizeof(answer->location), value);
}

static void take_type(struct answer *answer, const char *value)
{
	snprintf(answer->content_type, sizeof(answer->content_type), "%s", value);
}

static const struct {
	const char *name;
	void (*take)(struct answer *answer, const char *value);
} header_rows[] = {
	{ "etag", take_etag },
	{ "content-length", take_length },
	{ "content-range", take_range },
	{ "last-modified", take_mtime },
	{ "date", take_date },
	{ "retry-after", take_retry_after },
	{ "x-amz-bucket-region", take_region },
	{ "location", take_location },
	{ "content-type", take_type },
};

void answer_take_header(struct answer *answer, char *name, const char *value, bool keep_meta)
{
	for (size_t i = 0; i < ARRAY_SIZE(header_rows); i++)
		if (!strcasecmp(name, header_rows[i].name))
			header_rows[i].take(answer, value);
	if (keep_meta && !strncasecmp(name, "x-amz-meta-", 11) && name[11] &&
	    answer->meta.len + strlen(name) + strlen(value) < ANSWER_META_MAX) {
		for (char *p = name; *p; p++)
			*p |= *p >= 'A' && *p <= 'Z' ? 0x20 : 0;
		field_add(&answer->meta, name + 11, value);
	}
}

void answer_reset(struct answer *answer)
{
	struct text meta = answer->meta, document = answer->document;

	text_reset(&meta);
	text_reset(&document);
	*answer = (struct answer){ .meta = meta, .document = document };
}

void answer_free(struct answer *answer)
{
	text_free(&answer->meta);
	text_free(&answer->document);
}
