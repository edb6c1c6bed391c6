/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The option table and its readers. A new setting is one row here, one field in struct options and
 * one entry in the manual page. No locks: settings are fixed before any thread starts.
 */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

struct options the_options;

struct option_row;

struct option_type {
	const char *word; /* in --help */
	int (*parse)(void *field, const struct option_row *row, const char *value);
};

struct option_row {
	const char *key;
	const struct option_type *type;
	size_t offset;
	uint64_t min, max;
	const char *fallback; /* default, as one would write it; NULL: see help */
	const char *help;
	const char *const *words; /* of a choice, in the order of its values */
};

static int parse_string(void *field, const struct option_row *row, const char *value)
{
	(void)row;
	return *value ? string_replace(field, value) : -EINVAL;
}

static int parse_number(void *field, const struct option_row *row, const char *value)
{
	return parse_u64(value, row->min, row->max, field);
}

static int parse_id(void *field, const struct option_row *row, const char *value)
{
	uint64_t v;
	int r = parse_u64(value, row->min, row->max, &v);

	if (r == 0)
		*(uid_t *)field = (uid_t)v;
	return r;
}

static int parse_mode(void *field, const struct option_row *row, const char *value)
{
	char *end;
	unsigned long v = strtoul(value, &end, 8);

	(void)row;
	if (*value < '0' || *value > '7' || *end || v > 0777)
		return -EINVAL;
	*(mode_t *)field = (mode_t)v;
	return 0;
}

static int parse_bytes(void *field, const struct option_row *row, const char *value)
{
	uint64_t v;
	int r = parse_size(value, &v);

	if (r == 0 && (v < row->min || v > row->max))
		r = -ERANGE;
	if (r == 0)
		*(uint64_t *)field = v;
	return r;
}

static int parse_duration(void *field, const struct option_row *row, const char *value)
{
	int64_t v;
	int r = parse_duration_ms(value, &v);

	if (r == 0 && ((uint64_t)v < row->min || (uint64_t)v > row->max))
		r = -ERANGE;
	if (r == 0)
		*(int64_t *)field = v;
	return r;
}

static int parse_yes_no(void *field, const struct option_row *row, const char *value)
{
	(void)row;
	return parse_bool(value, field);
}

static int parse_choice(void *field, const struct option_row *row, const char *value)
{
	for (uint64_t i = 0; row->words[i]; i++) {
		if (strcmp(row->words[i], value))
			continue;
		*(uint64_t *)field = i;
		return 0;
	}
	return -EINVAL;
}

static const struct option_type type_string = { "TEXT", parse_string };
static const struct option_type type_number = { "NUMBER", parse_number };
static const struct option_type type_id = { "ID", parse_id };
static const struct option_type type_mode = { "OCTAL", parse_mode };
static const struct option_type type_bytes = { "SIZE", parse_bytes };
static const struct option_type type_duration = { "TIME", parse_duration };
static const struct option_type type_yes_no = { "yes|no", parse_yes_no };
static const struct option_type type_style = { "auto|path|virtual", parse_choice };
static const struct option_type type_equal = { "auto|yes|no", parse_choice };
static const struct option_type type_exclusive = { "close|open", parse_choice };

static const char *const style_words[] = { "auto", "path", "virtual", NULL };
static const char *const equal_words[] = { "auto", "yes", "no", NULL };
static const char *const exclusive_words[] = { "close", "open", NULL };

#define FIELD(f) offsetof(struct options, f)

static const struct option_row option_rows[] = {
	{ "endpoint", &type_string, FIELD(endpoint), 0, 0, NULL,
	  "URL of the server (default: AWS in that region)", NULL },
	{ "region", &type_string, FIELD(region), 0, 0, NULL,
	  "region that requests are signed for (default: us-east-1; auto with R2)", NULL },
	{ "credentials", &type_string, FIELD(credentials), 0, 0, NULL,
	  "keys of the section [credentials TEXT] of the file config", NULL },
	{ "config", &type_string, FIELD(config), 0, 0, "/etc/sandboxfs.ini",
	  "the file with that section", NULL },
	{ "profile", &type_string, FIELD(profile), 0, 0, NULL,
	  "keys of that profile of the user's ~/.aws/credentials", NULL },
	{ "style", &type_style, FIELD(style), 0, 0, "auto",
	  "where the bucket's name stands in the URL", style_words },
	{ "ca_file", &type_string, FIELD(ca_file), 0, 0, NULL,
	  "certificates to trust instead of the system's (PEM)", NULL },
	{ "proxy", &type_string, FIELD(proxy), 0, 0, NULL, "URL of an HTTP proxy (default: none)",
	  NULL },
	{ "retry_for", &type_duration, FIELD(retry_for_ms), 1, INT_MAX, "30s",
	  "how long a request that fails for the moment is tried again", NULL },
	{ "connect_timeout", &type_duration, FIELD(connect_timeout_ms), 1, INT_MAX, "10s",
	  "for a connection to be made", NULL },
	{ "stall_timeout", &type_duration, FIELD(stall_timeout_ms), 1, INT_MAX, "20s",
	  "after which a connection without a byte is given up", NULL },
	{ "ttl", &type_duration, FIELD(ttl_ms), 0, 86400000, "1s",
	  "how old names and attributes may be", NULL },
	{ "uid", &type_id, FIELD(uid), 0, UINT32_MAX - 1, NULL,
	  "owner of all files (default: who mounts)", NULL },
	{ "gid", &type_id, FIELD(gid), 0, UINT32_MAX - 1, NULL,
	  "their group (default: of who mounts)", NULL },
	{ "file_mode", &type_mode, FIELD(file_mode), 0, 0, "0644", "permissions of files", NULL },
	{ "dir_mode", &type_mode, FIELD(dir_mode), 0, 0, "0755", "permissions of directories",
	  NULL },
	{ "allow_other", &type_yes_no, FIELD(allow_other), 0, 0, "no",
	  "let the machine's other users in, as permissions allow", NULL },
	{ "conditional", &type_yes_no, FIELD(conditional), 0, 0, "no",
	  "overwrite only what was opened: ESTALE if somebody else changed it", NULL },
	{ "exclusive", &type_exclusive, FIELD(exclusive_at_open), 0, 0, "close",
	  "when O_EXCL asks the server whether the name is free", exclusive_words },
	{ "batch_delete", &type_yes_no, FIELD(batch_delete), 0, 0, "yes",
	  "delete many files at once, a moment after unlink has returned", NULL },
	{ "part_size", &type_bytes, FIELD(part_size), OBJECT_PART_MIN, OBJECT_PART_MAX, "8M",
	  "parts in which large files are sent, and ranges in which they are read", NULL },
	{ "equal_parts", &type_equal, FIELD(equal_parts), 0, 0, "auto",
	  "all parts of the same size (R2), or growing behind the thousandth", equal_words },
	{ "memory", &type_bytes, FIELD(memory), 8 << 20, 1ull << 40, "64M",
	  "for what is read ahead, all files together", NULL },
	{ "readahead", &type_bytes, FIELD(readahead), 1 << 17, 1ull << 32, "32M",
	  "how far ahead of one sequential reader", NULL },
	{ "spool_dir", &type_string, FIELD(spool_dir), 0, 0, "/var/tmp",
	  "where data lies until it is in the bucket", NULL },
	{ "spool_size", &type_bytes, FIELD(spool_size), 16 << 20, UINT64_MAX, "4G",
	  "how much of it there may be (ENOSPC beyond)", NULL },
	{ "jobs", &type_number, FIELD(jobs), 1, 256, "16", "transfers at a time", NULL },
	{ "threads", &type_number, FIELD(threads), 2, 1024, "48",
	  "requests of programs served at a time", NULL },
	{ "rename_max", &type_number, FIELD(rename_max), 0, 1 << 24, "1000",
	  "objects that the renaming of a directory may move (EXDEV beyond)", NULL },
	{ "log_file", &type_string, FIELD(log_file), 0, 0, NULL,
	  "where the log goes on in the background (default: nowhere)", NULL },
	{ "cache_entries", &type_number, FIELD(cache_entries), 1000, 1 << 24, "200000",
	  "names kept in memory", NULL },
};

int options_init(struct options *opt)
{
	*opt = (struct options){ .uid = getuid(), .gid = getgid() };
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *row = &option_rows[i];
		int r = row->fallback
				? row->type->parse((char *)opt + row->offset, row, row->fallback)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void options_free(struct options *opt)
{
	free(opt->bucket);
	free(opt->prefix);
	free(opt->endpoint);
	free(opt->region);
	free(opt->ca_file);
	free(opt->proxy);
	free(opt->spool_dir);
	free(opt->log_file);
	free(opt->config);
	free(opt->credentials);
	free(opt->profile);
	text_free(&opt->fuse);
	*opt = (struct options){ 0 };
}

/* Words of mount(8) and fstab(5): the kernel's own, and those that mean nothing to us. */
static bool mount_word(struct options *opt, const char *word)
{
	static const char *const pass[] = { "nosuid",	 "suid",       "nodev", "dev",
					    "noexec",	 "exec",       "sync",	"dirsync",
					    "noatime",	 "nodiratime", "atime", "relatime",
					    "norelatime" };
	static const char *const ignore[] = { "rw",	 "auto",  "noauto", "defaults",
					      "_netdev", "user",  "nouser", "users",
					      "owner",	 "group", "nofail" };

	if (!strcmp(word, "ro")) {
		opt->ro = true;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(pass); i++) {
		if (!strcmp(word, pass[i])) {
			text_printf(&opt->fuse, ",%s", word);
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(ignore); i++) {
		if (!strcmp(word, ignore[i]))
			return true;
	}
	return !strncmp(word, "x-", 2) || !strncmp(word, "comment=", 8);
}

static int option_set(struct options *opt, char *item, struct options_error *err)
{
	char *eq = strchr(item, '=');

	if (mount_word(opt, item))
		return 0;
	if (eq)
		*eq = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *row = &option_rows[i];
		const char *value = eq ? eq + 1 : row->type == &type_yes_no ? "yes" : "";
		int r;

		if (strcmp(row->key, item))
			continue;
		r = row->type->parse((char *)opt + row->offset, row, value);
		if (r < 0)
			snprintf(err->text, sizeof(err->text), "%s: not a %s %s: %s", item,
				 r == -ERANGE ? "permitted" : "valid", row->type->word, value);
		return r < 0 ? -EINVAL : 0;
	}
	snprintf(err->text, sizeof(err->text), "unknown option %s", item);
	return -EINVAL;
}

int options_parse_list(struct options *opt, const char *list, struct options_error *err)
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
			r = -ENOMEM;
		else if (item.len)
			r = option_set(opt, item.data, err);
		if (r < 0 || !*p)
			return r;
		text_reset(&item);
	}
}

int options_parse_source(struct options *opt, const char *source, struct options_error *err)
{
	const char *name = source + strlen("s3://"), *slash, *path;
	_cleanup_text_ struct text prefix = { 0 };

	if (strncmp(source, "s3://", strlen("s3://")) || !*name || *name == '/') {
		snprintf(err->text, sizeof(err->text), "%.300s is not s3://BUCKET/PREFIX", source);
		return -EINVAL;
	}
	slash = strchrnul(name, '/');
	path = slash + strspn(slash, "/");
	text_add_str(&prefix, path);
	while (prefix.len && prefix.data[prefix.len - 1] == '/')
		prefix.data[--prefix.len] = '\0';
	if (prefix.len)
		text_add_char(&prefix, '/');
	if (prefix.len >= OBJECT_KEY_MAX) {
		snprintf(err->text, sizeof(err->text), "the prefix is longer than a key may be");
		return -EINVAL;
	}
	free(opt->bucket);
	opt->bucket = strndup(name, slash - name);
	free(opt->prefix);
	opt->prefix = text_take(&prefix);
	return opt->bucket && opt->prefix ? 0 : -ENOMEM;
}

int options_check(struct options *opt, struct options_error *err)
{
	static const char r2[] = ".r2.cloudflarestorage.com";
	bool at_r2 = opt->endpoint && strstr(opt->endpoint, r2);
	struct stat st;

	if (!opt->bucket) {
		snprintf(err->text, sizeof(err->text), "no bucket given");
		return -EINVAL;
	}
	if (opt->fuse.failed)
		return -ENOMEM;
	if (opt->equal_parts == EQUAL_PARTS_AUTO)
		opt->equal_parts = at_r2 ? EQUAL_PARTS_YES : EQUAL_PARTS_NO;
	if (at_r2 && !opt->region)
		return string_replace(&opt->region, "auto");
	if (opt->spool_size < 2 * opt->part_size) {
		snprintf(err->text, sizeof(err->text),
			 "spool_size must hold two parts of part_size at the least");
		return -EINVAL;
	}
	if (stat(opt->spool_dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
		snprintf(err->text, sizeof(err->text), "spool_dir: %.300s is no directory",
			 opt->spool_dir);
		return -EINVAL;
	}
	return 0;
}

void options_help(struct text *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *row = &option_rows[i];
		char left[64];

		snprintf(left, sizeof(left), "%s=%s", row->key, row->type->word);
		text_printf(out, "  %-28s %s%s%s%s\n", left, row->help, row->fallback ? " [" : "",
			    row->fallback ? row->fallback : "", row->fallback ? "]" : "");
	}
}
