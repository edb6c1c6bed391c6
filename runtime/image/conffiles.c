/* SPDX-License-Identifier: MIT */
/*
 * The principle for /etc: a configuration file whose MD5 is still the one in the package database
 * is what the distribution published to everybody, so it cannot hold a secret of this machine and
 * may come in. One that was altered stays out. (MD5 is what dpkg keeps; nobody gains from forging
 * a collision here, because only root writes these files.)
 */
#include "image/conffiles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/copy.h"
#include "image/digest.h"
#include "image/machine.h"

enum { MD5_BYTES = 16 };

/* dpkg's status: "Conffiles:" and lines " PATH MD5", with words behind it for those given up. */
static const char *parse_line(char *line, const char **path)
{
	char *md5;

	if (strncmp(line, " /etc/", 6) != 0)
		return NULL;
	md5 = strrchr(line, ' ');
	if (md5 == line || strlen(md5 + 1) != 2 * MD5_BYTES ||
	    strspn(md5 + 1, "0123456789abcdef") != 2 * MD5_BYTES)
		return NULL; /* obsolete, remove-on-upgrade, newconffile */
	*md5 = '\0';
	*path = line + 2;
	if (strstr(*path, "/../") || strstr(*path, "//"))
		return NULL;
	return md5 + 1;
}

int conffiles_parse(char *status, int (*fn)(void *ctx, const char *path, const char *md5),
		    void *ctx)
{
	static const char head[] = "\nConffiles:\n";
	char *p = status;

	while ((p = strstr(p, head))) {
		p += sizeof(head) - 1;
		while (*p == ' ') {
			char *end = p + strcspn(p, "\n");
			bool last = *end == '\0';
			const char *path, *md5;
			int r = 0;

			*end = '\0';
			md5 = parse_line(p, &path);
			if (md5)
				r = fn(ctx, path, md5);
			if (r != 0 || last)
				return r;
			p = end + 1;
		}
		p--; /* the newline may begin the next head */
		*p = '\n';
	}
	return 0;
}

static int keep_one(void *ctx, const char *path, const char *md5)
{
	struct build *b = ctx;
	struct conffile *file = &b->conffiles[b->n_conffiles++];

	file->path = path;
	memcpy(file->md5, md5, sizeof(file->md5));
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct conffile *)a)->path, ((const struct conffile *)b)->path);
}

bool conffile_is_altered(const struct build *b, const char *path)
{
	struct conffile wanted = { .path = path }, *found;

	if (!b->n_conffiles)
		return false;
	found = bsearch(&wanted, b->conffiles, b->n_conffiles, sizeof(wanted), compare_paths);
	return found && found->altered;
}

static int md5_matches(struct build *b, const struct conffile *file, const char *data, size_t len)
{
	char hex[MD5_HEX_SIZE];

	if (digest_md5(data, len, hex) < 0)
		return build_fail(b, ENOSYS, "compute MD5 (is OpenSSL here without it?)");
	return !strcmp(hex, file->md5);
}

static int leave_out(struct build *b, struct conffile *file, const char *why)
{
	file->altered = true;
	build_note(b, "left out /%s: %s", file->path, why);
	return 0;
}

/* Copies the file if it is as published. */
static int copy_if_published(struct build *b, struct conffile *file)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;
	int r = machine_read_plain(b, file->path, &data, &len, &st);

	if (r == -ENOENT)
		return 0;
	if (r == -ENOMEM)
		return build_fail(b, ENOMEM, "read /%s", file->path);
	if (r < 0)
		return leave_out(b, file, strerror(-r));
	r = md5_matches(b, file, data, len);
	if (r < 0)
		return r;
	if (r == 0)
		return leave_out(b, file, "altered on this machine");
	r = image_put_file(b, file->path, data, len, &st);
	if (r < 0 && !b->why.len)
		return leave_out(b, file, "a link on the way leads elsewhere");
	return r;
}

static int read_list(struct build *b)
{
	size_t at_most = 0;
	int r = machine_read_file(b, "var/lib/dpkg/status", &b->conffile_text, NULL);

	if (r < 0)
		return build_fail(b, -r, "read /var/lib/dpkg/status");
	for (const char *p = b->conffile_text; (p = strstr(p, "\n /")); p++)
		at_most++;
	b->conffiles = calloc(at_most + 1, sizeof(*b->conffiles));
	if (!b->conffiles)
		return -ENOMEM;
	conffiles_parse(b->conffile_text, keep_one, b);
	qsort(b->conffiles, b->n_conffiles, sizeof(*b->conffiles), compare_paths);
	return 0;
}

int build_copy_conffiles(struct build *b)
{
	int r;

	if (b->family != DPKG)
		return 0; /* no list that could be verified here: the whitelist alone decides */
	r = read_list(b);
	for (size_t i = 0; r == 0 && i < b->n_conffiles; i++)
		r = copy_if_published(b, &b->conffiles[i]);
	return r;
}
