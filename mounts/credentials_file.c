/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One small reader of sections and "key = value" lines, with a table of keys. Lines are as long as
 * they are: session tokens have more than a thousand bytes. What was read is overwritten before
 * its memory is given back. It logs nothing. No locks.
 */
#include "credentials_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"

enum { FILE_MAX = 1 << 20 };

static void wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void credentials_section_free(struct credentials_section *section)
{
	credentials_free(&section->credentials);
	free(section->file);
	free(section->profile);
	free(section->users);
	*section = (struct credentials_section){ 0 };
}

int credentials_refuse(struct object_error *error, int code, const char *fmt, ...)
{
	char text[sizeof(error->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	*error = (struct object_error){ 0 };
	text_escape(error->text, sizeof(error->text), text);
	return code;
}

/* --- what a key means ------------------------------------------------------------------------ */

#define AT(field) offsetof(struct credentials_section, field)

const struct credentials_key credentials_ini_rows[] = {
	{ "access_key_id", AT(credentials.keys.access_key_id), false },
	{ "secret_access_key", AT(credentials.keys.secret_access_key), true },
	{ "session_token", AT(credentials.keys.session_token), true },
	{ "endpoint", AT(credentials.endpoint), false },
	{ "region", AT(credentials.region), false },
	{ "file", AT(file), false },
	{ "profile", AT(profile), false },
	{ "users", AT(users), false },
	{ NULL, 0, false },
};

const struct credentials_key credentials_aws_rows[] = {
	{ "aws_access_key_id", AT(credentials.keys.access_key_id), false },
	{ "aws_secret_access_key", AT(credentials.keys.secret_access_key), true },
	{ "aws_session_token", AT(credentials.keys.session_token), true },
	{ "endpoint_url", AT(credentials.endpoint), false },
	{ "region", AT(credentials.region), false },
	{ NULL, 0, false },
};

static int set_style(const struct credentials_file *reading, const char *value, unsigned line)
{
	enum object_style *style = &reading->section->credentials.style;

	if (!strcmp(value, "path"))
		*style = OBJECT_STYLE_PATH;
	else if (!strcmp(value, "virtual"))
		*style = OBJECT_STYLE_VIRTUAL;
	else
		return credentials_refuse(reading->error, -EINVAL,
					  "%s:%u: style is path or virtual", reading->path, line);
	return 0;
}

static int set_key(const struct credentials_file *reading, const char *key, const char *value,
		   unsigned line)
{
	for (const struct credentials_key *row = reading->rows; row->key; row++) {
		char **field = (char **)((char *)reading->section + row->offset), *copy;

		if (strcmp(row->key, key))
			continue;
		if (row->secret && reading->others_may_read)
			return credentials_refuse(
				reading->error, -EPERM,
				"%s holds a secret and others may read it: chmod 600 %s",
				reading->path, reading->path);
		copy = strdup(value);
		if (!copy)
			return credentials_refuse(reading->error, -ENOMEM, "out of memory");
		wipe(field);
		*field = copy;
		return 0;
	}
	if (!reading->strict)
		return 0;
	return strcmp(key, "style")
		       ? credentials_refuse(reading->error, -EINVAL, "%s:%u: unknown key %.60s",
					    reading->path, line, key)
		       : set_style(reading, value, line);
}

/* --- files ----------------------------------------------------------------------------------- */

/*
 * Looked at before it is opened: a user's path may lead to a device whose mere opening does
 * something.
 * -1 and *error, or the descriptor.
 */
static int open_safely(const struct credentials_file *reading, uid_t owner, bool root_too,
		       struct stat *st)
{
	_cleanup_close_ int at = open(reading->path, O_PATH | O_CLOEXEC);
	char link[64];
	int fd;

	if (at < 0 || fstat(at, st) < 0) {
		int code = errno == ENOTDIR ? -ENOENT : -errno;

		return credentials_refuse(reading->error, code, "%s: %s", reading->path,
					  strerror(errno));
	}
	if (!S_ISREG(st->st_mode))
		return credentials_refuse(reading->error, -EPERM, "%s is not a plain file",
					  reading->path);
	if (st->st_uid != owner && !(root_too && st->st_uid == 0))
		return credentials_refuse(reading->error, -EPERM, "%s belongs to another user",
					  reading->path);
	if (st->st_mode & 0022)
		return credentials_refuse(reading->error, -EPERM,
					  "%s: others may write it: chmod 600 %s", reading->path,
					  reading->path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
	fd = open(link, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd
		       : credentials_refuse(reading->error, -errno, "%s: %s", reading->path,
					    strerror(errno));
}

/* The whole of it; *data is the caller's to wipe. */
static int read_safely(struct credentials_file *reading, uid_t owner, bool root_too, char **data)
{
	struct stat st;
	_cleanup_close_ int fd = open_safely(reading, owner, root_too, &st);
	ssize_t n;

	if (fd < 0)
		return fd;
	reading->others_may_read = st.st_mode & 0044;
	*data = calloc(1, FILE_MAX + 1);
	if (!*data)
		return credentials_refuse(reading->error, -ENOMEM, "out of memory");
	n = read_full(fd, *data, FILE_MAX);
	if (n < 0)
		return credentials_refuse(reading->error, (int)n, "%s: %s", reading->path,
					  strerror((int)-n));
	if (n == FILE_MAX || strlen(*data) != (size_t)n)
		return credentials_refuse(reading->error, -EINVAL, "%s is not a file of settings",
					  reading->path);
	return 0;
}

/* A comment begins with ; or # at the start, or with a ; that has a blank before it. */
static void cut_comment(char *line)
{
	for (char *p = line; *p; p++)
		if (*p == ';' && p > line && (p[-1] == ' ' || p[-1] == '\t')) {
			*p = '\0';
			return;
		}
}

/* Calls set_key() for each line of the wanted section; text is changed. */
static int parse(const struct credentials_file *reading, const char *wanted, char *text)
{
	bool inside = false;
	unsigned number = 0;
	int r = 0;

	for (char *line = text, *next; line && r == 0; line = next) {
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		line = text_strip(line);
		if (*line == '[') {
			char *end = strchr(line, ']');

			if (!end)
				return credentials_refuse(reading->error, -EINVAL,
							  "%s:%u: a [ without ]", reading->path,
							  number);
			*end = '\0';
			inside = !strcmp(text_strip(line + 1), wanted);
			reading->section->found |= inside;
			continue;
		}
		if (!inside || !*line || *line == '#' || *line == ';')
			continue;
		cut_comment(line);
		value = strchr(line, '=');
		if (!value)
			return credentials_refuse(reading->error, -EINVAL, "%s:%u: not key = value",
						  reading->path, number);
		*value++ = '\0';
		r = set_key(reading, text_strip(line), text_strip(value), number);
	}
	return r;
}

int credentials_read_section(struct credentials_file *reading, const char *wanted, uid_t owner,
			     bool root_too)
{
	char *data = NULL;
	int r = read_safely(reading, owner, root_too, &data);

	if (r == 0)
		r = parse(reading, wanted, data);
	if (data)
		explicit_bzero(data, FILE_MAX);
	free(data);
	return r;
}
