/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The option table. A new setting is one row here, one field in struct options and
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

static const struct option_type type_style = OPTION_CHOICE("auto|path|virtual");
static const struct option_type type_equal = OPTION_CHOICE("auto|yes|no");
static const struct option_type type_exclusive = OPTION_CHOICE("close|open");

#define FIELD(f) offsetof(struct options, f)

static const struct option_row option_rows[] = {
	{ "endpoint", &option_string, FIELD(endpoint), 0, 0, NULL,
	  "URL of the server (default: AWS in that region)" },
	{ "region", &option_string, FIELD(region), 0, 0, NULL,
	  "region that requests are signed for (default: us-east-1; auto with R2)" },
	{ "credentials", &option_string, FIELD(credentials), 0, 0, NULL,
	  "keys of the section [credentials TEXT] of the file config" },
	{ "config", &option_string, FIELD(config), 0, 0, "/etc/sandboxfs.ini",
	  "the file with that section" },
	{ "profile", &option_string, FIELD(profile), 0, 0, NULL,
	  "keys of that profile of the user's ~/.aws/credentials" },
	{ "style", &type_style, FIELD(style), 0, 0, "auto",
	  "where the bucket's name stands in the URL" },
	{ "ca_file", &option_string, FIELD(ca_file), 0, 0, NULL,
	  "certificates to trust instead of the system's (PEM)" },
	{ "proxy", &option_string, FIELD(proxy), 0, 0, NULL,
	  "URL of an HTTP proxy (default: none)" },
	{ "retry_for", &option_duration, FIELD(retry_for_ms), 1, INT_MAX, "30s",
	  "how long a request that fails for the moment is tried again" },
	{ "connect_timeout", &option_duration, FIELD(connect_timeout_ms), 1, INT_MAX, "10s",
	  "for a connection to be made" },
	{ "stall_timeout", &option_duration, FIELD(stall_timeout_ms), 1, INT_MAX, "20s",
	  "after which a connection without a byte is given up" },
	{ "ttl", &option_duration, FIELD(ttl_ms), 0, 86400000, "1s",
	  "how old names and attributes may be" },
	{ "uid", &option_id, FIELD(uid), 0, UINT32_MAX - 1, NULL,
	  "owner of all files (default: who mounts)" },
	{ "gid", &option_id, FIELD(gid), 0, UINT32_MAX - 1, NULL,
	  "their group (default: of who mounts)" },
	{ "file_mode", &option_mode, FIELD(file_mode), 0, 0777, "0644", "permissions of files" },
	{ "dir_mode", &option_mode, FIELD(dir_mode), 0, 0777, "0755",
	  "permissions of directories" },
	{ "allow_other", &option_yes_no, FIELD(allow_other), 0, 0, "no",
	  "let the machine's other users in, as permissions allow" },
	{ "metadata", &option_yes_no, FIELD(metadata), 0, 0, "no",
	  "keep mode, owner, time and symbolic links, for one request more a file" },
	{ "id_base", &option_number, FIELD(id_base), 0, UINT32_MAX - 65536, "0",
	  "from which user and group kept there are counted, if not 0 to 65535 above it" },
	{ "conditional", &option_yes_no, FIELD(conditional), 0, 0, "no",
	  "overwrite only what was opened: ESTALE if somebody else changed it" },
	{ "exclusive", &type_exclusive, FIELD(exclusive_at_open), 0, 0, "close",
	  "when O_EXCL asks the server whether the name is free" },
	{ "batch_delete", &option_yes_no, FIELD(batch_delete), 0, 0, "yes",
	  "delete many files at once, a moment after unlink has returned" },
	{ "part_size", &option_bytes, FIELD(part_size), OBJECT_PART_MIN, OBJECT_PART_MAX, "8M",
	  "parts in which large files are sent, and ranges in which they are read" },
	{ "equal_parts", &type_equal, FIELD(equal_parts), 0, 0, "auto",
	  "all parts of the same size (R2), or growing behind the thousandth" },
	{ "memory", &option_bytes, FIELD(memory), 8 << 20, 1ull << 40, "64M",
	  "for what is read ahead, all files together" },
	{ "readahead", &option_bytes, FIELD(readahead), 1 << 17, 1ull << 32, "32M",
	  "how far ahead of one sequential reader" },
	{ "spool_dir", &option_string, FIELD(spool_dir), 0, 0, "/var/tmp",
	  "where data lies until it is in the bucket" },
	{ "spool_size", &option_bytes, FIELD(spool_size), 16 << 20, UINT64_MAX, "4G",
	  "how much of it there may be (ENOSPC beyond)" },
	{ "jobs", &option_number, FIELD(jobs), 1, 256, "16", "transfers at a time" },
	{ "threads", &option_number, FIELD(threads), 2, 1024, "48",
	  "requests of programs served at a time" },
	{ "rename_max", &option_number, FIELD(rename_max), 0, 1 << 24, "1000",
	  "objects that the renaming of a directory may move (EXDEV beyond)" },
	{ "log_file", &option_string, FIELD(log_file), 0, 0, NULL,
	  "where the log goes on in the background (default: nowhere)" },
	{ "cache_entries", &option_number, FIELD(cache_entries), 1000, 1 << 24, "200000",
	  "names kept in memory" },
};

static const struct option_table option_table = { option_rows, ARRAY_SIZE(option_rows) };

int options_init(struct options *opt)
{
	*opt = (struct options){ .uid = getuid(), .gid = getgid() };
	return option_table_init(&option_table, opt);
}

void options_free(struct options *opt)
{
	option_table_free(&option_table, opt);
	free(opt->bucket);
	free(opt->prefix);
	text_free(&opt->fuse);
	*opt = (struct options){ 0 };
}

/* Words of mount(8) and fstab(5): the kernel's own, and those that mean nothing to us. */
static int mount_word(void *fields, const char *word)
{
	static const char *const pass[] = { "nosuid",	 "suid",       "nodev", "dev",
					    "noexec",	 "exec",       "sync",	"dirsync",
					    "noatime",	 "nodiratime", "atime", "relatime",
					    "norelatime" };
	static const char *const ignore[] = { "rw",	 "auto",  "noauto", "defaults",
					      "_netdev", "user",  "nouser", "users",
					      "owner",	 "group", "nofail" };
	struct options *opt = fields;

	if (!strcmp(word, "ro")) {
		opt->ro = true;
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(pass); i++) {
		if (!strcmp(word, pass[i])) {
			text_printf(&opt->fuse, ",%s", word);
			return 1;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(ignore); i++) {
		if (!strcmp(word, ignore[i]))
			return 1;
	}
	return !strncmp(word, "x-", 2) || !strncmp(word, "comment=", 8);
}

int options_parse_list(struct options *opt, const char *list, struct options_error *err)
{
	return option_read_list(&option_table, opt, list, mount_word, err);
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
	option_table_help(&option_table, out);
}
