/* SPDX-License-Identifier: MIT */
/*
 * usage/: what a box uses now, as the kernel's files of its cgroups and of its network tell (kernel:
 * cgroup-v1/, cgroup-v2.rst, psi.rst). Nothing is asked of the box or its keeper, so that looking
 * costs nothing. A box that does not run uses nothing; what this machine does not measure is
 * EOPNOTSUPP. Lock: box->lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "box_disk.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "store.h"

enum { MAX_FILE = 65536, LOOKS_FOR_PROCESS = 5 };

const char *const measure_fields[N_MEASURES] = {
	[MEASURE_MEMORY] = "cgroup.memory",
	[MEASURE_CPU] = "cgroup.cpuacct",
	[MEASURE_PIDS] = "cgroup.pids",
	[MEASURE_PRESSURE] = "cgroup.pressure",
};

/* The folder, opened; -ENOENT: nothing runs; -EOPNOTSUPP: nobody measures it. */
static int measure_open(struct ctx *ctx, enum measure what)
{
	struct box *box = ctx->box;
	char path[512] = "";
	bool runs;
	int fd;

	pthread_mutex_lock(&box->lock);
	runs = box->keeper && box->cgroup[0];
	if (runs && box->measured[what])
		snprintf(path, sizeof(path), "%s", box->measured[what]);
	pthread_mutex_unlock(&box->lock);
	if (!runs)
		return -ENOENT;
	if (!path[0])
		return -EOPNOTSUPP;
	/* It may go at any moment, with the box. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -ENOENT : fd;
}

/* The text of the first of two files, by the version of cgroups, that is there. */
static int measure_read(struct ctx *ctx, enum measure what, const char *v1, const char *v2,
			char **text)
{
	_cleanup_close_ int dir = measure_open(ctx, what);
	int r = dir < 0 ? dir : read_file_at(dir, v1, MAX_FILE, text, NULL);

	if (dir >= 0 && r == -ENOENT)
		r = read_file_at(dir, v2, MAX_FILE, text, NULL);
	if (dir >= 0 && (r == -ENOENT || r == -EOPNOTSUPP))
		r = faccessat(dir, "cgroup.procs", F_OK, 0) == 0 ? -EOPNOTSUPP : -ENOENT;
	return r == -ENODEV ? -ENOENT : r;
}

/* A file with one number. */
static int show_number(struct ctx *ctx, struct text *out, enum measure what, const char *v1,
		       const char *v2)
{
	_cleanup_free_ char *text = NULL;
	int r = measure_read(ctx, what, v1, v2, &text);

	if (r < 0 && r != -ENOENT)
		return r;
	text_printf(out, "%llu\n", text ? strtoull(text, NULL, 10) : 0);
	return 0;
}

static int usage_memory_show(struct ctx *ctx, struct text *out)
{
	return show_number(ctx, out, MEASURE_MEMORY, "memory.usage_in_bytes", "memory.current");
}

static int usage_memory_peak_show(struct ctx *ctx, struct text *out)
{
	return show_number(ctx, out, MEASURE_MEMORY, "memory.max_usage_in_bytes", "memory.peak");
}

static int usage_pids_show(struct ctx *ctx, struct text *out)
{
	return show_number(ctx, out, MEASURE_PIDS, "pids.current", "pids.current");
}

/* Seconds. The first version has ns, the second a line "usage_usec N". */
static int usage_cpu_show(struct ctx *ctx, struct text *out)
{
	static const char key[] = "usage_usec ";
	_cleanup_free_ char *text = NULL;
	int r = measure_read(ctx, MEASURE_CPU, "cpuacct.usage", "cpu.stat", &text);
	const char *line = text ? strstr(text, key) : NULL;
	unsigned long long us = 0;

	if (r < 0 && r != -ENOENT)
		return r;
	if (line)
		us = strtoull(line + strlen(key), NULL, 10);
	else if (text)
		us = strtoull(text, NULL, 10) / 1000;
	text_printf(out, "%llu.%06llu\n", us / 1000000, us % 1000000);
	return 0;
}

/* The kernel's lines, each with the name of what was waited for before it. */
static int usage_pressure_show(struct ctx *ctx, struct text *out)
{
	static const struct {
		const char *name, *file;
	} files[] = {
		{ "cpu", "cpu.pressure" },
		{ "memory", "memory.pressure" },
		{ "io", "io.pressure" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = NULL;
		int r = measure_read(ctx, MEASURE_PRESSURE, files[i].file, files[i].file, &text);
		char *line, *save = NULL;

		if (r < 0)
			return r == -ENOENT ? 0 : r;
		for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			text_printf(out, "%s %s\n", files[i].name, line);
	}
	return 0;
}

/*
 * The counters of eth0, as one of the box's processes sees them: all are of one network namespace.
 * 0, and text is NULL where there is nothing to count.
 */
static int read_net(struct ctx *ctx, char **text)
{
	char cgroup[sizeof(ctx->box->cgroup)] = "", path[64];
	pid_t pid;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	if (ctx->box->keeper)
		snprintf(cgroup, sizeof(cgroup), "%s", ctx->box->cgroup);
	pthread_mutex_unlock(&ctx->box->lock);
	for (int i = 0; cgroup[0] && i < LOOKS_FOR_PROCESS; i++) {
		pid = ps_first(cgroup);
		if (!pid)
			return 0;
		snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
		r = read_file_at(AT_FDCWD, path, MAX_FILE, text, NULL);
		/* It was the box's process all the while: its number is nobody else's. */
		if (r == 0 && ps_first(cgroup) == pid)
			return 0;
		if (r == 0)
			free(take_ptr(*text));
		else if (r != -ENOENT && r != -ESRCH && r != -EINVAL)
			return r;
	}
	return cgroup[0] ? -EAGAIN : 0;
}

static int usage_net_show(struct ctx *ctx, struct text *out)
{
	static const char name[] = "eth0:";
	_cleanup_free_ char *text = NULL;
	unsigned long long field[16] = { 0 };
	int r = read_net(ctx, &text);
	char *at = r == 0 && text ? strstr(text, name) : NULL;

	if (r < 0)
		return r;
	at = at ? at + strlen(name) : NULL;
	for (size_t i = 0; at && i < ARRAY_SIZE(field); i++)
		field[i] = strtoull(at, &at, 10);
	text_printf(out, "rx_bytes %llu\nrx_packets %llu\ntx_bytes %llu\ntx_packets %llu\n",
		    field[0], field[1], field[8], field[9]);
	return 0;
}

/* What the runs that are on disk have of it. Some may go while they are looked at. */
static int usage_output_show(struct ctx *ctx, struct text *out)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	uint64_t sum = 0, kept;
	size_t n;
	int r = store_run_numbers(ctx->box, &numbers, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		sum += store_run_kept(ctx->box, numbers[i], &kept) == 0 ? kept : 0;
	if (r == 0)
		text_printf(out, "%llu\n", (unsigned long long)sum);
	return r;
}

static int show_disk(struct ctx *ctx, struct text *out, bool inodes)
{
	struct disk_usage usage;
	int r = box_disk_usage(ctx->box, &usage);

	if (r < 0)
		return r == -ENODATA ? -EOPNOTSUPP : r;
	text_printf(out, "%llu\n", (unsigned long long)(inodes ? usage.inodes : usage.bytes));
	return 0;
}

static int usage_disk_show(struct ctx *ctx, struct text *out)
{
	return show_disk(ctx, out, false);
}

static int usage_disk_inodes_show(struct ctx *ctx, struct text *out)
{
	return show_disk(ctx, out, true);
}

/* Its files are counted where they are limited, or could be at once. */
static int disk_file_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	int r = handle_reply_rendered(ctx, h, size, offset);

	if (r == -EOPNOTSUPP)
		tree_refuse(ctx, "usage/%s: nothing counts the files of a box without limits/disk",
			    h->row->name);
	return r;
}

static int measure_file_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	int r = handle_reply_rendered(ctx, h, size, offset);

	if (r == -EOPNOTSUPP)
		tree_refuse(ctx, "usage/%s: this machine does not measure it (see cgroups(7))",
			    h->row->name);
	return r;
}

static const struct row_ops measure_ops = { .read = measure_file_read };
static const struct row_ops disk_ops = { .read = disk_file_read };

#define USAGE_ROW(name, function, text)                                                   \
	{                                                                                 \
		name, S_IFREG | 0400, ROW_SIZED, .show = (function), .ops = &measure_ops, \
						 .help = (text)                           \
	}

static const struct row usage_rows[] = {
	USAGE_ROW("memory", usage_memory_show, "bytes of memory"),
	USAGE_ROW("memory.peak", usage_memory_peak_show, "the most it had since its start"),
	USAGE_ROW("cpu", usage_cpu_show, "seconds of processor time since its start"),
	USAGE_ROW("pids", usage_pids_show, "processes and threads"),
	/* Not sized: to look into the disk of a box that does not run takes a mount. */
	{ "disk", S_IFREG | 0400, .show = usage_disk_show, .ops = &disk_ops,
	  .help = "bytes of its files: workspace, changes to the system" },
	{ "disk_inodes", S_IFREG | 0400, .show = usage_disk_inodes_show, .ops = &disk_ops,
	  .help = "how many files, folders and links these are" },
	{ "output", S_IFREG | 0400, .show = usage_output_show, .ops = &measure_ops,
	  .help = "bytes that are kept of what its runs have written" },
	USAGE_ROW("net", usage_net_show, "bytes and packets of its network"),
	USAGE_ROW("pressure", usage_pressure_show, "how much it waits for CPU, memory and disk"),
};

const struct dir_type dir_usage = {
	.rows = usage_rows,
	.n_rows = ARRAY_SIZE(usage_rows),
	.mode = 0700, /* though nothing changes: an owner's rm -r must get through */
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "what a box uses can only be read; limits/ limits it",
};
