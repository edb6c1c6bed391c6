/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents, by expat: a walk that tells of each element's end with its path and text. The server
 * is not trusted: no DTD (so no entities of its own), bounded depth; the length is bounded by who
 * read it. The only file that sees expat. No state between calls, no locks.
 */
#include "store.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <expat.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { DEPTH_MAX = 16, PATH_MAX_LEN = 512 };

struct walk {
	XML_Parser parser;
	int (*fn)(void *arg, const char *path, const char *text, size_t text_len);
	void *arg;
	struct text path, text;
	size_t text_start[DEPTH_MAX]; /* where each open element's text begins */
	unsigned depth;
	int result;
};

static void end_walk(struct walk *walk, int result)
{
	if (walk->result == 0)
		walk->result = result;
	XML_StopParser(walk->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct walk *walk = arg;

	(void)attributes;
	if (walk->result) /* a stopped parser may still end what it has in hand */
		return;
	if (walk->depth == DEPTH_MAX || walk->path.len + strlen(name) > PATH_MAX_LEN) {
		end_walk(walk, -EPROTO);
		return;
	}
	if (walk->depth)
		text_add_char(&walk->path, '/');
	text_add_str(&walk->path, name);
	walk->text_start[walk->depth++] = walk->text.len;
	if (walk->path.failed)
		end_walk(walk, -ENOMEM);
}

static void on_text(void *arg, const XML_Char *bytes, int len)
{
	struct walk *walk = arg;

	if (walk->result)
		return;
	text_add(&walk->text, bytes, (size_t)len);
	if (walk->text.failed)
		end_walk(walk, -ENOMEM);
}

static void cut_text(struct text *text, size_t len)
{
	text->len = len;
	if (text->data)
		text->data[len] = '\0';
}

static void on_end(void *arg, const XML_Char *name)
{
	struct walk *walk = arg;
	size_t start;
	int r;

	if (walk->result)
		return;
	start = walk->text_start[--walk->depth];
	text_add(&walk->text, "", 0); /* so that there is memory, and a NUL behind it */
	if (walk->text.failed) {
		end_walk(walk, -ENOMEM);
		return;
	}
	r = walk->fn(walk->arg, walk->path.data, walk->text.data ? walk->text.data + start : "",
		     walk->text.len - start);
	if (r)
		end_walk(walk, r);
	cut_text(&walk->text, start);
	cut_text(&walk->path, walk->path.len - strlen(name) - (walk->depth ? 1 : 0));
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
		       const XML_Char *public_id, int internal)
{
	(void)name, (void)system, (void)public_id, (void)internal;
	end_walk(arg, -EPROTO);
}

int xml_parse(const char *document, size_t len,
	      int (*fn)(void *arg, const char *path, const char *text, size_t text_len), void *arg)
{
	struct walk walk = { .fn = fn, .arg = arg };

	if (!len)
		return -EPROTO;
	walk.parser = XML_ParserCreate(NULL);
	if (!walk.parser)
		return -ENOMEM;
	XML_SetUserData(walk.parser, &walk);
	XML_SetElementHandler(walk.parser, on_start, on_end);
	XML_SetCharacterDataHandler(walk.parser, on_text);
	XML_SetStartDoctypeDeclHandler(walk.parser, on_doctype);
	if (XML_Parse(walk.parser, document, (int)len, 1) != XML_STATUS_OK && walk.result == 0)
		walk.result =
			XML_GetErrorCode(walk.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EPROTO;
	XML_ParserFree(walk.parser);
	text_free(&walk.path);
	text_free(&walk.text);
	return walk.result;
}

bool xml_add_escaped(struct text *out, const char *s)
{
	size_t left = strlen(s);

	for (size_t i = 0, n; i < left; i += n) {
		unsigned char c = (unsigned char)s[i];

		n = utf8_sequence(s + i, left - i);
		/* XML 1.0 has no control characters and no U+FFFE and U+FFFF. */
		if (!n || (c < 0x20 && c != '\t' && c != '\n' && c != '\r') ||
		    (n == 3 &&
		     (!memcmp(s + i, "\xef\xbf\xbe", 3) || !memcmp(s + i, "\xef\xbf\xbf", 3))))
			return false;
	}
	for (; *s; s++) {
		if (*s == '&' || *s == '<' || *s == '>' || (unsigned char)*s < 0x20)
			text_printf(out, "&#%d;", *s);
		else
			text_add_char(out, *s);
	}
	return true;
}

int64_t xml_time_us(const char *s)
{
	struct tm tm = { 0 };
	const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t us = 0, unit = 100000;

	if (!rest)
		return 0;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			us += unit * (*rest - '0');
	return timegm(&tm) * INT64_C(1000000) + us;
}
