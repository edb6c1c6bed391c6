/* SPDX-License-Identifier: MIT */
/*
 * The ini file: lines go to inih, which knows the syntax, one by one; but for those of sections
 * [credentials NAME], which are sandbox-bucket's to use (it reads the file itself, by
 * mounts/credentials_file.c). Here they are checked, and noted without what is secret in them, so
 * that no secret lies in the daemon's memory.
 *
 * inih cuts lines of 200 bytes or more, and names of sections of 50, without a word: they are
 * refused here. A line of credentials may be as long as it likes (session tokens are). No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "options.h"

#define CREDENTIALS "credentials"

enum { SECTION_MAX_BYTES = 49, CREDENTIALS_NAME_MAX = 37, FILE_MAX_BYTES = 1 << 20 };

struct ini_reader {
	struct options *opt;
	struct options_error *err;
	char *text; /* the whole file */
	size_t len, at;
	unsigned int number;
	bool credentials; /* inside such a section */
	bool failed;	  /* in the reader; err and number say where */
};

/* --- sections of credentials -------------------------------------------------------------------- */

static const struct {
	const char *key;
	bool secret;
} credentials_keys[] = {
	{ "access_key_id", false }, { "secret_access_key", true },
	{ "session_token", true },  { "file", false },
	{ "profile", false },	    { "endpoint", false },
	{ "region", false },	    { "style", false },
	{ "users", false },
};

static int refuse(struct ini_reader *reader, const char *why, const char *what)
{
	if (!reader->err->text[0])
		snprintf(reader->err->text, sizeof(reader->err->text), "%.150s%.100s", why, what);
	reader->failed = true;
	return -EINVAL;
}

/* As mounts/credentials_file.c takes it. */
static int credentials_line(struct ini_reader *reader, char *line)
{
	struct text *shown = &reader->opt->credentials;
	char *value, *comment;

	if (!*line || *line == '#' || *line == ';')
		return 0;
	for (comment = strchr(line, ';'); comment; comment = strchr(comment + 1, ';')) {
		if (comment[-1] == ' ' || comment[-1] == '\t')
			break;
	}
	if (comment)
		*comment = '\0';
	value = strchr(line, '=');
	if (!value)
		return refuse(reader, "not a line of an ini file", "");
	*value++ = '\0';
	line = text_strip(line);
	if (!*line)
		return refuse(reader, "not a line of an ini file", "");
	for (size_t i = 0; i < ARRAY_SIZE(credentials_keys); i++) {
		if (strcmp(credentials_keys[i].key, line))
			continue;
		text_printf(shown, "%s = %s\n", line,
			    credentials_keys[i].secret ? "***" : text_strip(value));
		return 0;
	}
	return refuse(reader, "unknown key " CREDENTIALS ".", line);
}

/* A line that begins a section. */
static int section_line(struct ini_reader *reader, const char *line)
{
	const char *end = strchr(line, ']');
	const size_t word = strlen(CREDENTIALS);
	char name[SECTION_MAX_BYTES + 1];

	reader->credentials = false;
	if (!end)
		return 0; /* inih will refuse it */
	if (end - line - 1 >= SECTION_MAX_BYTES)
		return refuse(reader, "the name of a section is too long", "");
	snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
	line = text_strip(name);
	if (strncmp(line, CREDENTIALS, word) || (line[word] && line[word] != ' '))
		return 0;
	if (line[word] != ' ' || !name_is_valid(line + word + 1) ||
	    strlen(line + word + 1) > CREDENTIALS_NAME_MAX)
		return refuse(reader, "a section of keys is called [credentials NAME]", "");
	reader->credentials = true;
	text_printf(&reader->opt->credentials, "\n[%s]\n", line);
	return 0;
}

/* --- lines ---------------------------------------------------------------------------------------- */

/* inih is to see nothing more of the line: 1; all of it: 0; -EINVAL it is wrong. */
static int take_line(struct ini_reader *reader, char *line)
{
	char *start = line;

	if (reader->number == 1 && !strncmp(start, "\xEF\xBB\xBF", 3))
		start += 3;
	start += strspn(start, " \t");
	if (*start == '[')
		return section_line(reader, start);
	if (reader->credentials)
		return MIN(credentials_line(reader, start), 0) ?: 1;
	return *start == '#' || *start == ';';
}

/* As fgets(3), for ini_parse_stream(). */
static char *next_line(char *out, int size, void *stream)
{
	struct ini_reader *reader = stream;
	char *line = reader->text + reader->at, *end;
	int r;

	if (reader->failed || reader->at == reader->len)
		return NULL;
	end = strchrnul(line, '\n');
	reader->at = MIN((size_t)(end - reader->text) + 1, reader->len);
	*end = '\0';
	reader->number++;
	r = take_line(reader, line);
	if (r == 0 && end - line + 2 > size) {
		char most[40];

		snprintf(most, sizeof(most), "(%d bytes)", size - 2);
		r = refuse(reader, "longer than a line may be ", most);
	}
	if (r < 0)
		return NULL;
	snprintf(out, (size_t)size, "%s\n", r ? "" : line);
	return out;
}

static int ini_line(void *user, const char *section, const char *name, const char *value)
{
	struct ini_reader *reader = user;
	char key[128];

	if (reader->err->text[0])
		return 0; /* inih goes on after an error; the first one counts */
	snprintf(key, sizeof(key), "%s%s%s", section, *section ? "." : "", name);
	return options_set(reader->opt, key, value, reader->err) == 0;
}

/* In one piece that is wiped afterwards, with nothing of it left in other buffers. */
static int read_whole(const char *path, struct ini_reader *reader)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	reader->text = malloc(FILE_MAX_BYTES + 1);
	if (!reader->text)
		return -ENOMEM;
	n = read_full(fd, reader->text, FILE_MAX_BYTES);
	reader->text[MAX(n, 0)] = '\0';
	reader->len = (size_t)MAX(n, 0);
	if (n == FILE_MAX_BYTES)
		n = -EFBIG;
	else if (n >= 0 && strlen(reader->text) != (size_t)n)
		n = -EINVAL;
	if (n >= 0)
		return 0;
	explicit_bzero(reader->text, reader->len);
	free(reader->text);
	return (int)n;
}

int options_read_file(struct options *opt, const char *path, struct options_error *err)
{
	struct ini_reader reader = { .opt = opt, .err = err };
	_cleanup_free_ char *real = realpath(path, NULL);
	struct options_error what;
	int line, r = read_whole(path, &reader);

	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "%s: %s", path, strerror(-r));
		return r;
	}
	err->text[0] = '\0';
	line = ini_parse_stream(next_line, &reader, ini_line, &reader);
	explicit_bzero(reader.text, reader.len);
	free(reader.text);
	/* An error of inih's is of a line before it. */
	if (!line && reader.failed)
		line = (int)reader.number;
	if (line == 0 && opt->credentials.failed)
		return -ENOMEM;
	if (line == 0) /* what came by a pipe cannot be read again */
		return string_replace(&opt->config, real);
	what = *err;
	snprintf(err->text, sizeof(err->text), "%.200s:%d: %.250s", path, MAX(line, 0),
		 what.text[0] ? what.text : "not a line of an ini file");
	return -EINVAL;
}
