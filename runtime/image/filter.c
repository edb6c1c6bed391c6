/* SPDX-License-Identifier: MIT */
/* Texts of the machine as they stand in the image. No I/O; an odd line is passed as it is, except
 * where a password could be in it. */
#include "image/filter.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

/* Sources that ask a daemon or a server of the machine: in a box they answer nothing, slowly. */
static const char *const machine_sources[] = {
	"sss",	   "ldap",    "winbind",       "wins",	  "mymachines",
	"resolve", "libvirt", "libvirt_guest", "nis",	  "nisplus",
	"hesiod",  "oslogin", "cache_oslogin", "gw_name", "extrausers",
};

/* What a database needs at the least if all its sources went. */
static const struct {
	const char *database;
	const char *sources;
} needed_sources[] = {
	{ "passwd", " files" },	 { "group", " files" },	    { "shadow", " files" },
	{ "gshadow", " files" }, { "hosts", " files dns" },
};

static bool is_machine_source(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(machine_sources); i++)
		if (strlen(machine_sources[i]) == len && !strncmp(machine_sources[i], word, len))
			return true;
	return false;
}

static const char *needed_of(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed_sources); i++)
		if (strlen(needed_sources[i].database) == len &&
		    !strncmp(needed_sources[i].database, name, len))
			return needed_sources[i].sources;
	return NULL;
}

/* The sources of one line between p and end; returns how many were kept. An action "[…]" belongs
 * to the source before it and goes with it. */
static int filter_sources(struct text *out, const char *p, const char *end)
{
	size_t indent = strspn(p, " \t");
	const char *first = p;
	bool dropped = false;
	int kept = 0;

	while (p < end) {
		const char *blank = p, *word;

		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		word = p;
		if (p < end && *p == '[') {
			while (p < end && *p != ']')
				p++;
			p += p < end;
			if (!dropped && kept)
				text_add(out, blank, p - blank);
			continue;
		}
		while (p < end && *p != ' ' && *p != '\t' && *p != '[')
			p++;
		if (p == word)
			break;
		dropped = is_machine_source(word, p - word);
		if (dropped)
			continue;
		/* the first one stays in the column in which the sources of the file begin */
		if (kept++ == 0)
			text_add(out, first, indent);
		else
			text_add(out, blank, word - blank);
		text_add(out, word, p - word);
	}
	return kept;
}

static void filter_nsswitch_line(struct text *out, const char *line, const char *end)
{
	const char *colon = memchr(line, ':', end - line);
	const char *hash = memchr(line, '#', end - line);
	size_t begun = out->len;
	const char *name = line, *needed;

	if (!colon || (hash && hash < colon)) {
		text_add(out, line, end - line);
		text_add_char(out, '\n');
		return;
	}
	while (name < colon && (*name == ' ' || *name == '\t'))
		name++;
	text_add(out, line, colon + 1 - line);
	if (filter_sources(out, colon + 1, hash ? hash : end) == 0) {
		needed = needed_of(name, colon - name);
		if (!needed && out->data) {
			out->len = begun; /* glibc's default will do */
			out->data[begun] = '\0';
			return;
		}
		text_add_str(out, needed ? needed : "");
	}
	text_add_char(out, '\n');
}

int filter_nsswitch(struct text *out, const char *in)
{
	while (*in) {
		const char *end = in + strcspn(in, "\n");

		filter_nsswitch_line(out, in, end);
		in = end + (*end == '\n');
	}
	return 0;
}

/*
 * What stands between "://" and the host of a URL: everything to the last '@' of the authority.
 * The authority ends at a slash; but a password with a raw slash in it must not slip through, so
 * where text behind a colon before the slash is no port number, the '@' is looked for in the whole
 * word.
 */
static size_t userinfo_length(const char *authority)
{
	size_t word = strcspn(authority, " \t\n\"'<>;,");
	size_t host = strcspn(authority, "/ \t\n\"'<>;,");
	const char *colon = memchr(authority, ':', host);
	const char *at = memrchr(authority, '@', host);

	if (!at && colon &&
	    strspn(colon + 1, "0123456789") < (size_t)(authority + host - colon - 1) &&
	    *authority != '[')
		at = memrchr(authority, '@', word);
	return at ? (size_t)(at + 1 - authority) : 0;
}

int filter_userinfo(struct text *out, const char *in)
{
	const char *found;

	while ((found = strstr(in, "://"))) {
		text_add(out, in, found + 3 - in);
		in = found + 3;
		in += userinfo_length(in);
	}
	text_add_str(out, in);
	return 0;
}

static const char *const repository_secrets[] = {
	"username",	"password",	 "proxy_username", "proxy_password",
	"sslclientkey", "sslclientcert", "service_token",
};

static bool is_repository_secret(const char *line)
{
	size_t len;

	line += strspn(line, " \t");
	len = strcspn(line, " \t=\n");
	for (size_t i = 0; i < ARRAY_SIZE(repository_secrets); i++)
		if (strlen(repository_secrets[i]) == len &&
		    !strncasecmp(repository_secrets[i], line, len))
			return true;
	return false;
}

int filter_repository(struct text *out, const char *in)
{
	_cleanup_text_ struct text kept = { 0 };

	while (*in) {
		size_t len = strcspn(in, "\n");

		len += in[len] == '\n';
		if (!is_repository_secret(in))
			text_add(&kept, in, len);
		in += len;
	}
	if (kept.failed)
		return -ENOMEM;
	return filter_userinfo(out, kept.data ? kept.data : "");
}
