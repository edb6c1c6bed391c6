/* SPDX-License-Identifier: MIT */
/*
 * What a group has used, from the files of its controllers (kernel: admin-guide/cgroup-v2.rst,
 * cgroup-v1/). One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "keeper/group_inside.h"

enum {
	NO_FILE = -2,
	FIGURES_BYTES = 8192,
};

/* The first one of these that a folder of the group has. */
static const struct {
	enum group_file file;
	const char *name;
} known[] = {
	{ FILE_CPU, "cpuacct.usage" }, /* v1: ns */
	{ FILE_CPU, "cpu.stat" },      /* v2: all three, in µs; v1 has one without them */
	{ FILE_CPU_USER, "cpuacct.usage_user" },
	{ FILE_CPU_SYSTEM, "cpuacct.usage_sys" },
	{ FILE_MEMORY_PEAK, "memory.max_usage_in_bytes" },
	{ FILE_MEMORY_PEAK, "memory.peak" },
	{ FILE_IO, "io.stat" },
	{ FILE_OOM, "memory.oom_control" },
	{ FILE_OOM, "memory.events" },
};

void group_close_files(struct group *group)
{
	for (int i = 0; i < N_GROUP_FILES; i++) {
		if (group->files[i] >= 0)
			close(group->files[i]);
		group->files[i] = -1;
	}
}

/* For writing too where that resets it: of memory.peak for readers of this descriptor alone. */
static int open_in(const struct group *group, const char *name)
{
	for (int i = 0; i < CGROUP_MAX_GROUP_DIRS && group->dirs[i] >= 0; i++) {
		int fd = openat(group->dirs[i], name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0 && errno != ENOENT)
			fd = openat(group->dirs[i], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0)
			return fd;
	}
	return NO_FILE;
}

static int file_of(const struct group *group, enum group_file file)
{
	int *fd = (int *)&group->files[file];

	for (size_t i = 0; i < ARRAY_SIZE(known) && *fd == -1; i++) {
		int found = known[i].file == file ? open_in(group, known[i].name) : NO_FILE;

		if (found >= 0)
			*fd = found;
	}
	if (*fd == -1)
		*fd = NO_FILE;
	return *fd;
}

/* Its text, or NULL. */
static char *read_figures(const struct group *group, enum group_file file, char *buf)
{
	int fd = group->groups->box ? file_of(group, file) : -1;
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, FIGURES_BYTES - 1, 0);

	if (n < 0)
		return NULL;
	buf[n] = '\0';
	return buf;
}

static uint64_t read_number(const struct group *group, enum group_file file)
{
	char buf[FIGURES_BYTES];
	const char *text = read_figures(group, file, buf);

	return text && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* The number behind key at the start of a line, UINT64_MAX without one. */
static uint64_t find_key(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, len) && line[len] == ' ')
			return strtoull(line + len + 1, NULL, 10);
	}
	return UINT64_MAX;
}

/* The sum of all NAME=NUMBER of that name: one for each device. */
static uint64_t sum_of(const char *text, const char *name)
{
	uint64_t sum = 0;

	for (const char *at = text; (at = strstr(at, name)); at += strlen(name))
		sum += strtoull(at + strlen(name), NULL, 10);
	return sum;
}

/*
 * The first version counts all of it exactly, but how it divides only by ticks of the clock; so what
 * it has as a whole is divided in that proportion, as the kernel does itself elsewhere.
 */
static void divide_cpu(struct usage *out, uint64_t total_ns, uint64_t user_ns, uint64_t system_ns)
{
	uint64_t total_us = total_ns / 1000, both = user_ns + system_ns;
	double user = both ? (double)user_ns / (double)both : 1.0;

	out->cpu_user_us = MIN((uint64_t)((double)total_us * user + 0.5), total_us);
	out->cpu_system_us = total_us - out->cpu_user_us;
}

static void read_cpu(const struct group *group, struct usage *out)
{
	char buf[FIGURES_BYTES];
	const char *text = read_figures(group, FILE_CPU, buf);
	uint64_t total;

	if (!text)
		return;
	total = *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
	if (total == UINT64_MAX) {
		out->cpu_user_us = find_key(text, "user_usec");
		out->cpu_system_us = find_key(text, "system_usec");
	} else {
		uint64_t user = read_number(group, FILE_CPU_USER),
			 system = read_number(group, FILE_CPU_SYSTEM);

		if (user != UINT64_MAX && system != UINT64_MAX)
			divide_cpu(out, total, user, system);
	}
}

void group_usage(const struct group *group, struct usage *out)
{
	char buf[FIGURES_BYTES];
	const char *text;

	*out = USAGE_UNKNOWN;
	read_cpu(group, out);
	out->memory_peak = read_number(group, FILE_MEMORY_PEAK);
	text = read_figures(group, FILE_IO, buf);
	if (text) {
		out->read = sum_of(text, " rbytes=");
		out->written = sum_of(text, " wbytes=");
	}
}

void group_reset_peak(struct group *group)
{
	int fd = group->groups->box ? file_of(group, FILE_MEMORY_PEAK) : -1;

	/* A kernel before 6.12 cannot, and counts from the group's beginning. */
	if (fd >= 0 && pwrite(fd, "0", 1, 0) < 0)
		return;
}

bool group_oom_killed(struct group *group)
{
	char buf[FIGURES_BYTES];
	const char *text = read_figures(group, FILE_OOM, buf);
	uint64_t kills = text ? find_key(text, "oom_kill") : UINT64_MAX;
	bool more = kills != UINT64_MAX && kills > group->oom_seen;

	if (more)
		group->oom_seen = kills;
	return more;
}
