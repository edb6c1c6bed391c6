/* SPDX-License-Identifier: MIT */
/* The table of limits. No state, no locks. */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "disk/disk.h"
#include "output_gap.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { MAX_CONTROLLERS = 4096 };

#define SIZE_FORM "a size as 512M or 2G, or unlimited"
#define COUNT_FORM "a number, or unlimited"
#define TIME_FORM "a duration as 30s or 10m, or 0 for none"

const struct limit_type limit_types[N_LIMITS] = {
	[LIMIT_MEMORY] = { "memory", "memory", LIMIT_BYTES, 16 << 20, INT64_MAX, SIZE_FORM },
	[LIMIT_CPUS] = { "cpus", "cpus_milli", LIMIT_MILLI, 10, 100000000,
			 "a number of CPUs as 2 or 0.5, or unlimited" },
	[LIMIT_PIDS] = { "pids", "pids", LIMIT_COUNT, 8, 1 << 22, COUNT_FORM },
	[LIMIT_FILES] = { "files", "files", LIMIT_COUNT, 64, 1 << 30, COUNT_FORM },
	[LIMIT_TIMEOUT] = { "timeout", "timeout", LIMIT_MS, 1, INT64_C(1) << 50, TIME_FORM },
	[LIMIT_IDLE] = { "idle", "idle", LIMIT_MS, 1000, INT64_C(1) << 50, TIME_FORM },
	[LIMIT_DISK] = { "disk", "disk", LIMIT_BYTES, DISK_MIN_BYTES, INT64_MAX, SIZE_FORM },
	[LIMIT_DISK_INODES] = { "disk_inodes", "disk_inodes", LIMIT_COUNT, DISK_MIN_INODES,
				UINT32_MAX, COUNT_FORM },
	[LIMIT_OUTPUT] = { "output", "output", LIMIT_BYTES, OUTPUT_MIN_BYTES, INT64_MAX,
			   SIZE_FORM },
	[LIMIT_OUTPUT_TOTAL] = { "output_total", "output_total", LIMIT_BYTES,
				 OUTPUT_TOTAL_MIN_BYTES, INT64_MAX, SIZE_FORM },
};

static const char *const controllers[N_LIMITS] = {
	[LIMIT_MEMORY] = "memory",
	[LIMIT_CPUS] = "cpu",
	[LIMIT_PIDS] = "pids",
};

const struct limits limits_none = { .of = { [0 ... N_LIMITS - 1] = LIMIT_NONE } };

/* CPUs as "2" or "0.5", in thousandths; finer than that is refused, not rounded. */
static int parse_milli(const char *text, uint64_t *value)
{
	size_t whole = strspn(text, "0123456789");
	const char *p = text + whole;
	char digits[16];
	uint64_t milli = 0, unit = 100;

	if (whole > 9)
		return -ERANGE;
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9' && unit; p++, unit /= 10)
			milli += unit * (uint64_t)(*p - '0');
	}
	if (*p || p == text || (!whole && p == text + 1) || p[-1] == '.')
		return -EINVAL;
	snprintf(digits, sizeof(digits), "%.*s", (int)whole, whole ? text : "0");
	*value = strtoull(digits, NULL, 10) * 1000 + milli;
	return 0;
}

static int parse_number(enum limit_unit unit, const char *text, uint64_t *value)
{
	int64_t ms = 0;
	int r;

	switch (unit) {
	case LIMIT_BYTES:
		return parse_size(text, value);
	case LIMIT_MILLI:
		return parse_milli(text, value);
	case LIMIT_MS:
		r = parse_duration_ms(text, &ms);
		*value = ms ? (uint64_t)ms : LIMIT_NONE;
		return r;
	default:
		return parse_u64(text, 0, UINT64_MAX, value);
	}
}

int limit_parse(enum limit which, const char *text, uint64_t *value)
{
	const struct limit_type *type = &limit_types[which];
	uint64_t v = LIMIT_NONE;
	bool none = !strcmp(text, "unlimited") || !strcmp(text, "max") || !strcmp(text, "none");
	int r = none ? 0 : parse_number(type->unit, text, &v);

	if (r == 0 && !none && type->unit != LIMIT_MS && v == LIMIT_NONE)
		r = -ERANGE;
	if (r == 0 && v != LIMIT_NONE && (v < type->min || v > type->max))
		r = -ERANGE;
	if (r == 0)
		*value = v;
	return r;
}

static void format_milli(char buf[32], uint64_t milli)
{
	int n = snprintf(buf, 32, "%llu.%03llu", (unsigned long long)milli / 1000,
			 (unsigned long long)milli % 1000);

	while (buf[n - 1] == '0')
		buf[--n] = '\0';
	if (buf[n - 1] == '.')
		buf[n - 1] = '\0';
}

const char *limit_format(enum limit which, uint64_t value, char buf[32])
{
	enum limit_unit unit = limit_types[which].unit;

	if (unit == LIMIT_MS)
		return format_duration(buf, value == LIMIT_NONE ? 0 : (int64_t)value);
	if (value == LIMIT_NONE || unit == LIMIT_BYTES)
		return format_size(buf, value);
	if (unit == LIMIT_MILLI)
		format_milli(buf, value);
	else
		snprintf(buf, 32, "%llu", (unsigned long long)value);
	return buf;
}

void limits_add_fields(struct text *fields, const struct limits *limits)
{
	for (int i = 0; i < N_LIMITS; i++)
		field_add_u64(fields, limit_types[i].field, limit_to_wire(limits->of[i]));
}

int limit_find(const char *field)
{
	for (int i = 0; i < N_LIMITS; i++) {
		if (!strcmp(limit_types[i].field, field) || !strcmp(limit_types[i].name, field))
			return i;
	}
	return -1;
}

static bool is_mounted(const char *path, unsigned long magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == magic;
}

const char *limit_controller(enum limit which)
{
	return controllers[which];
}

/* Does some hierarchy have it? In the second version the root lists what there is. */
static bool has_controller(const char *name)
{
	_cleanup_free_ char *list = NULL;
	char path[64], *word, *save = NULL;

	if (!is_mounted(CGROUP_ROOT, CGROUP2_SUPER_MAGIC)) {
		snprintf(path, sizeof(path), CGROUP_ROOT "/%s", name);
		return is_mounted(path, CGROUP_SUPER_MAGIC);
	}
	if (read_file_at(AT_FDCWD, CGROUP_ROOT "/cgroup.controllers", MAX_CONTROLLERS, &list,
			 NULL) < 0)
		return false;
	for (word = strtok_r(list, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (!strcmp(word, name))
			return true;
	}
	return false;
}

uint64_t limit_most_files(void)
{
	_cleanup_free_ char *text = NULL;
	struct rlimit own;

	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE, 0, 0, 0) != 1 &&
	    getrlimit(RLIMIT_NOFILE, &own) == 0)
		return own.rlim_max;
	if (read_file_at(AT_FDCWD, "/proc/sys/fs/nr_open", 32, &text, NULL) < 0)
		return LIMIT_NONE;
	return strtoull(text, NULL, 10);
}

int limit_is_lacking(enum limit which, uint64_t value, char *why, size_t size)
{
	uint64_t most;

	if (value == LIMIT_NONE)
		return 0;
	if (controllers[which] && !has_controller(controllers[which])) {
		snprintf(
			why, size,
			"this machine has no cgroup controller \"%s\", which would have to enforce "
			"it",
			controllers[which]);
		return -EOPNOTSUPP;
	}
	most = which == LIMIT_FILES ? limit_most_files() : LIMIT_NONE;
	if (value <= most)
		return 0;
	snprintf(why, size, "this machine lets no process have more than %llu",
		 (unsigned long long)most);
	return -EOPNOTSUPP;
}
