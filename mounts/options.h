/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The settings of a mount: one table gives what -o takes, --help shows and the manual page must say.
 */
#ifndef MOUNTS_OPTIONS_H
#define MOUNTS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/option.h"
#include "base/text.h"
#include "object_store.h"

enum equal_parts { EQUAL_PARTS_AUTO, EQUAL_PARTS_YES, EQUAL_PARTS_NO };

struct options {
	char *bucket;
	char *prefix; /* "" or ending in '/' */
	char *endpoint, *region, *ca_file, *proxy, *spool_dir, *log_file;
	char *config, *credentials, *profile;
	enum object_style style;
	int64_t retry_for_ms, connect_timeout_ms, stall_timeout_ms, ttl_ms;
	uid_t uid;
	gid_t gid;
	mode_t file_mode, dir_mode;
	uint64_t id_base;
	bool ro, allow_other, metadata, conditional, batch_delete;
	unsigned int exclusive_at_open; /* of close|open */
	enum equal_parts equal_parts;
	uint64_t part_size, memory, readahead, spool_size;
	uint64_t jobs, threads, rename_max, cache_entries;
	struct text fuse; /* what goes on to the kernel: ",noexec,…" */
};

extern struct options the_options;

/* Defaults. 0 or -ENOMEM. */
int options_init(struct options *opt);
void options_free(struct options *opt);
/* What -o is given: option_read_list(), and words of mount(8). -EINVAL and *err. */
int options_parse_list(struct options *opt, const char *list, struct options_error *err);
/* "s3://bucket/prefix". -EINVAL and *err. */
int options_parse_source(struct options *opt, const char *source, struct options_error *err);
/* What only makes sense together; decides what was left to itself. -EINVAL and *err. */
int options_check(struct options *opt, struct options_error *err);
void options_help(struct text *out);

#endif
