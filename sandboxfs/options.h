/* SPDX-License-Identifier: MIT */
/*
 * Settings of the daemon. One table (options.c) serves the ini file, -o, --help, the manual page
 * and `.sandboxfs/config`. Sizes in bytes, durations in ms. Read-only once the daemon runs.
 */
#ifndef SANDBOXFS_OPTIONS_H
#define SANDBOXFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/option.h"
#include "base/text.h"
#include "disk/disk.h"
#include "limit.h"

#define DEFAULT_CONFIG "/etc/sandboxfs.ini"

enum network_mode { NETWORK_PRIVATE, NETWORK_NONE };

struct options {
	char *state_dir;
	mode_t root_mode;
	uid_t root_owner;
	gid_t root_group;
	bool allow_other;
	uint64_t max_boxes, max_boxes_per_user, max_waiting, max_runs, keep_runs;
	int64_t keep_removed_ms, stop_timeout_ms;
	unsigned int keep_on_unmount; /* on_unmount, of stop|keep */
	uid_t uid_base;
	uint64_t uid_count;
	char *image;
	gid_t image_group; /* 0: nobody but root adds images */
	uint64_t image_max_size, image_max_files;
	bool passthrough;
	/* [network] */
	enum network_mode network_mode;
	char *network_subnet;
	uint64_t network_bandwidth; /* bytes/s, UINT64_MAX unlimited */
	bool network_open_private;
	/* [limits]: of a box that has none of its own, and what only root may exceed */
	struct limits limits, max_limits;
	enum disk_method disk_method;
	/* [buckets] */
	char *bucket_endpoints; /* "": none */
	uint64_t bucket_cache, bucket_spool, bucket_mounts;
	int64_t bucket_retry_ms;
	/* The ini file's absolute path, NULL: none was read; its sections [credentials NAME] as they
	 * may be shown. What is secret in them is not kept. */
	char *config;
	struct text credentials;
};

/* Defaults; root_owner and root_group are those who called sudo. 0 or -ENOMEM. */
int options_init(struct options *opt);
void options_free(struct options *opt);
/* Sets one key ("memory" of section "limits" is "limits.memory"). -EINVAL and *err. */
int options_set(struct options *opt, const char *key, const char *value, struct options_error *err);
/*
 * Reads an ini file; the first wrong line ends it: -EINVAL and *err with file and line. Sections
 * [credentials NAME] are checked for unknown keys and otherwise left to those who need them.
 */
int options_read_file(struct options *opt, const char *path, struct options_error *err);
/* What -o is given: option_read_list(). -EINVAL and *err. */
int options_parse_list(struct options *opt, const char *list, struct options_error *err);
/* Checks what only makes sense together. */
int options_check(const struct options *opt, struct options_error *err);
/* The effective settings as an ini file. */
void options_show(const struct options *opt, struct text *out);
/* The table for --help: one line a key with its default and meaning. */
void options_help(struct text *out);

#endif
