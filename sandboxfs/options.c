/* SPDX-License-Identifier: MIT */
/*
 * The option table; options_file.c reads the ini file. A new setting is one row here and one field in
 * struct options.
 * No locks: settings are fixed before any thread starts.
 */
#include "options.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net_policy.h"
#include "network.h"

static int parse_user(void *field, const struct option_row *row, const char *value)
{
	const struct passwd *pw = getpwnam(value);

	if (!pw)
		return option_parse_id(field, row, value);
	*(uid_t *)field = pw->pw_uid;
	return 0;
}

static int parse_group(void *field, const struct option_row *row, const char *value)
{
	const struct group *gr = getgrnam(value);

	if (!gr)
		return option_parse_id(field, row, value);
	*(gid_t *)field = gr->gr_gid;
	return 0;
}

/* A limit; row->min is which. */
static int parse_limit(void *field, const struct option_row *row, const char *value)
{
	return limit_parse((enum limit)row->min, value, field);
}

static void show_limit(const void *field, const struct option_row *row, struct text *out)
{
	char buf[32];

	text_add_str(out, limit_format((enum limit)row->min, *(const uint64_t *)field, buf));
}

static int parse_disk_method(void *field, const struct option_row *row, const char *value)
{
	int method = disk_method_parse(value);

	(void)row;
	if (method >= 0)
		*(enum disk_method *)field = (enum disk_method)method;
	return MIN(method, 0);
}

static void show_disk_method(const void *field, const struct option_row *row, struct text *out)
{
	(void)row;
	text_add_str(out, disk_method_word(*(const enum disk_method *)field));
}

/* Whether it is free is sandbox-net's to find out. */
static int parse_subnet(void *field, const struct option_row *row, const char *value)
{
	uint8_t addr[16];
	unsigned int prefix;
	int family;

	if (strcmp(value, "auto") && (net_parse_cidr(value, &family, addr, &prefix) < 0 ||
				      family != AF_INET || prefix < 8 || prefix > 29))
		return -EINVAL;
	return option_parse_string(field, row, value);
}

#define TYPE(w, p, s)                                  \
	{                                              \
		.word = (w), .parse = (p), .show = (s) \
	}

static const struct option_type type_user = TYPE("USER", parse_user, option_show_id);
static const struct option_type type_group = TYPE("GROUP", parse_group, option_show_id);
static const struct option_type limit_bytes = TYPE("SIZE", parse_limit, show_limit);
static const struct option_type limit_cpus = TYPE("CPUS", parse_limit, show_limit);
static const struct option_type limit_time = TYPE("TIME", parse_limit, show_limit);
static const struct option_type limit_count = TYPE("NUMBER", parse_limit, show_limit);
static const struct option_type type_on_unmount = OPTION_CHOICE("stop|keep");
static const struct option_type type_disk_method =
	TYPE("METHOD", parse_disk_method, show_disk_method);
static const struct option_type type_net_mode = OPTION_CHOICE("private|none");
static const struct option_type type_subnet = {
	.word = "CIDR|auto", .parse = parse_subnet, .show = option_show_string, .is_string = true
};

/* Of endpoints: a list, or "none". */
static int parse_patterns(void *field, const struct option_row *row, const char *value)
{
	(void)row;
	if (!*value)
		return -EINVAL;
	return string_replace(field, strcmp(value, "none") ? value : "");
}

static void show_patterns(const void *field, const struct option_row *row, struct text *out)
{
	const char *patterns = *(char *const *)field;

	(void)row;
	text_add_str(out, *patterns ? patterns : "none");
}

static const struct option_type type_patterns = {
	.word = "URL,...", .parse = parse_patterns, .show = show_patterns, .is_string = true
};

#define FIELD(f) offsetof(struct options, f)
/* offset, min (which limit) and max of a row */
#define LIMIT(which) FIELD(limits.of[LIMIT_##which]), LIMIT_##which, 0
#define MAX_LIMIT(which) FIELD(max_limits.of[LIMIT_##which]), LIMIT_##which, 0

static const struct option_row option_rows[] = {
	{ "state_dir", &option_string, FIELD(state_dir), 0, 0, "/var/lib/sandboxfs",
	  "where boxes are kept; one daemon at a time" },
	{ "root_mode", &option_mode, FIELD(root_mode), 0, 01777, "0755",
	  "mode of the mounted directory; 1777 lets every user make boxes" },
	{ "root_owner", &type_user, FIELD(root_owner), 0, UINT32_MAX - 1, NULL,
	  "its owner (default: who called sudo, else root)" },
	{ "root_group", &type_group, FIELD(root_group), 0, UINT32_MAX - 1, NULL,
	  "its group (default: of who called sudo, else root)" },
	{ "allow_other", &option_yes_no, FIELD(allow_other), 0, 0, "yes",
	  "let the machine's other users in, as permissions allow" },
	{ "max_boxes", &option_number, FIELD(max_boxes), 1, 1 << 20, "4000",
	  "boxes there may be (mkdir: EDQUOT beyond)" },
	{ "max_boxes_per_user", &option_number, FIELD(max_boxes_per_user), 1, 1 << 20, "1000",
	  "the same for each user but root" },
	{ "max_waiting", &option_number, FIELD(max_waiting), 16, 1 << 24, "100000",
	  "requests that may wait at a time (EDQUOT beyond)" },
	{ "max_runs", &option_number, FIELD(max_runs), 1, 1 << 20, "10000",
	  "commands of a box that may wait or run at a time (EDQUOT beyond)" },
	{ "keep_runs", &option_number, FIELD(keep_runs), 1, 1 << 20, "256",
	  "ended runs kept for each box at the least" },
	{ "keep_removed", &option_duration, FIELD(keep_removed_ms), 0, OPTION_TIME_MAX, "1h",
	  "how long a removed box's files stay in .sandboxfs/trash" },
	{ "stop_timeout", &option_duration, FIELD(stop_timeout_ms), 0, OPTION_TIME_MAX, "10s",
	  "between TERM and KILL when a box is stopped" },
	{ "on_unmount", &type_on_unmount, FIELD(keep_on_unmount), 0, 0, "stop",
	  "what unmounting does to running boxes" },
	{ "uid_base", &option_id, FIELD(uid_base), 65536, 0xfffe0000u, "1879048192",
	  "first host id for boxes; the first block of 65536 owns their files" },
	{ "uid_count", &option_number, FIELD(uid_count), 131072, 0xfffe0000u, "268304384",
	  "how many ids; each running box takes 65536" },
	{ "image", &option_string, FIELD(image), 0, 0, "host",
	  "what a new box is made from: host is this machine's own software" },
	{ "image_group", &type_group, FIELD(image_group), 0, UINT32_MAX - 1, "0",
	  "whose members may add and remove images, beside root; 0: nobody" },
	{ "image_max_size", &option_bytes, FIELD(image_max_size), 1 << 20, INT64_MAX, "16G",
	  "bytes of an image's files, all layers together" },
	{ "image_max_files", &option_number, FIELD(image_max_files), 1, 1ull << 32, "1000000",
	  "how many files an image may have" },
	{ "passthrough", &option_yes_no, FIELD(passthrough), 0, 0, "yes",
	  "file data by kernel passthrough where the kernel has it" },
	{ "limits.memory", &limit_bytes, LIMIT(MEMORY), "unlimited", "memory of a box" },
	{ "limits.cpus", &limit_cpus, LIMIT(CPUS), "unlimited", "CPUs of a box, as 0.5 or 2" },
	{ "limits.pids", &limit_count, LIMIT(PIDS), "4096", "processes and threads of a box" },
	{ "limits.files", &limit_count, LIMIT(FILES), "unlimited", "open files of a process" },
	{ "limits.timeout", &limit_time, LIMIT(TIMEOUT), "0",
	  "how long a command may run that has no timeout of its own" },
	{ "limits.idle", &limit_time, LIMIT(IDLE), "0",
	  "after how long unused a box is stopped, or frozen if something runs in it" },
	{ "limits.disk", &limit_bytes, LIMIT(DISK), "unlimited",
	  "a box's files: its workspace and its changes to the system" },
	{ "limits.disk_inodes", &limit_count, LIMIT(DISK_INODES), "unlimited",
	  "how many files, folders and links these may be" },
	{ "limits.output", &limit_bytes, LIMIT(OUTPUT), "unlimited",
	  "bytes kept of what a run writes to out, and as many of err: the first and the last "
	  "half" },
	{ "limits.output_total", &limit_bytes, LIMIT(OUTPUT_TOTAL), "unlimited",
	  "bytes kept of the output of all runs of a box together: the oldest ended run's goes "
	  "first" },
	{ "limits.max_memory", &limit_bytes, MAX_LIMIT(MEMORY), "unlimited",
	  "the highest limits/memory that a box's owner may set" },
	{ "limits.max_cpus", &limit_cpus, MAX_LIMIT(CPUS), "unlimited", "likewise limits/cpus" },
	{ "limits.max_pids", &limit_count, MAX_LIMIT(PIDS), "unlimited", "likewise limits/pids" },
	{ "limits.max_files", &limit_count, MAX_LIMIT(FILES), "unlimited",
	  "likewise limits/files" },
	{ "limits.max_timeout", &limit_time, MAX_LIMIT(TIMEOUT), "0",
	  "likewise limits/timeout, and the timeout of a run" },
	{ "limits.max_idle", &limit_time, MAX_LIMIT(IDLE), "0", "likewise limits/idle" },
	{ "limits.max_disk", &limit_bytes, MAX_LIMIT(DISK), "unlimited", "likewise limits/disk" },
	{ "limits.max_disk_inodes", &limit_count, MAX_LIMIT(DISK_INODES), "unlimited",
	  "likewise limits/disk_inodes" },
	{ "limits.max_output", &limit_bytes, MAX_LIMIT(OUTPUT), "unlimited",
	  "likewise limits/output" },
	{ "limits.max_output_total", &limit_bytes, MAX_LIMIT(OUTPUT_TOTAL), "unlimited",
	  "likewise limits/output_total" },
	{ "limits.disk_method", &type_disk_method, FIELD(disk_method), 0, 0, "auto",
	  "what holds disk limits: auto quota loop tmpfs none" },
	{ "network.mode", &type_net_mode, FIELD(network_mode), 0, 0, "private",
	  "a new box's network: out to public addresses, or none" },
	{ "network.subnet", &type_subnet, FIELD(network_subnet), 0, 0, "auto",
	  "IPv4 addresses of the boxes, /8 to /29, in use nowhere else" },
	{ "network.bandwidth", &option_bytes, FIELD(network_bandwidth), NET_MIN_BANDWIDTH,
	  UINT64_MAX, "unlimited", "bytes a second of a box each way; beyond only root may go" },
	{ "network.open_private", &option_yes_no, FIELD(network_open_private), 0, 0, "yes",
	  "may users allow addresses that are not public" },
	{ "buckets.endpoints", &type_patterns, FIELD(bucket_endpoints), 0, 0, "none",
	  "servers that users may name in mounts/, with * for any characters but /" },
	{ "buckets.cache", &option_bytes, FIELD(bucket_cache), 8 << 20, 1ull << 40, "64M",
	  "memory of a mounted bucket for what is read; more only root may give" },
	{ "buckets.spool", &option_bytes, FIELD(bucket_spool), 16 << 20, 1ull << 50, "4G",
	  "disk for what is not in the bucket yet; more only root may give" },
	{ "buckets.max_mounts", &option_number, FIELD(bucket_mounts), 1, 256, "16",
	  "buckets mounted in a box (EDQUOT beyond)" },
	{ "buckets.retry_for", &option_duration, FIELD(bucket_retry_ms), 1, INT_MAX, "30s",
	  "how long a request to a bucket that fails for the moment is tried again" },
};

static const struct option_table option_table = { option_rows, ARRAY_SIZE(option_rows) };

static uid_t sudo_id(const char *variable)
{
	const char *text = getenv(variable);
	uint64_t id;

	if (geteuid() != 0 || !text || parse_u64(text, 0, UINT32_MAX - 1, &id) < 0)
		return 0;
	return (uid_t)id;
}

int options_init(struct options *opt)
{
	*opt = (struct options){ .root_owner = sudo_id("SUDO_UID"),
				 .root_group = sudo_id("SUDO_GID") };
	return option_table_init(&option_table, opt);
}

void options_free(struct options *opt)
{
	option_table_free(&option_table, opt);
	free(opt->config);
	text_free(&opt->credentials);
	*opt = (struct options){ 0 };
}

int options_set(struct options *opt, const char *key, const char *value, struct options_error *err)
{
	return option_set(&option_table, opt, key, value, err);
}

int options_parse_list(struct options *opt, const char *list, struct options_error *err)
{
	return option_read_list(&option_table, opt, list, NULL, err);
}

int options_check(const struct options *opt, struct options_error *err)
{
	if (opt->uid_base % 65536 || opt->uid_count % 65536 ||
	    (uint64_t)opt->uid_base + opt->uid_count > UINT32_MAX) {
		snprintf(err->text, sizeof(err->text),
			 "uid_base and uid_count: multiples of 65536 whose sum stays below 2^32");
		return -EINVAL;
	}
	if (!name_is_valid(opt->image)) {
		snprintf(err->text, sizeof(err->text), "image: %s is no name of an image",
			 opt->image);
		return -EINVAL;
	}
	return 0;
}

void options_show(const struct options *opt, struct text *out)
{
	const char *section = "";

	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		const struct option_row *row = &option_rows[i];
		const char *dot = strchr(row->key, '.');

		if (dot && strncmp(section, row->key, dot - row->key + 1)) {
			text_printf(out, "\n[%.*s]\n", (int)(dot - row->key), row->key);
			section = row->key;
		}
		text_printf(out, "%s = ", dot ? dot + 1 : row->key);
		row->type->show((const char *)opt + row->offset, row, out);
		text_add_char(out, '\n');
	}
	if (opt->credentials.len)
		text_add(out, opt->credentials.data, opt->credentials.len);
}

void options_help(struct text *out)
{
	option_table_help(&option_table, out);
}
