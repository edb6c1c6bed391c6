/* SPDX-License-Identifier: MIT */
/*
 * Controllers of the first version (kernel: admin-guide/cgroup-v1/), one hierarchy each. Where a
 * cgroup2 is mounted beside them ("hybrid"), the box is in a folder of that one too and is killed
 * and frozen there; otherwise the freezer controller freezes. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "cgroup.h"
#include "stages.h"

enum { CPU_PERIOD_US = 100000 };

#define UNIFIED CGROUP_ROOT "/unified"
#define FREEZER CGROUP_ROOT "/freezer"
#define MEMORY CGROUP_ROOT "/memory"
#define CPUACCT CGROUP_ROOT "/cpuacct"
#define LIMIT_FILE "memory.limit_in_bytes"
#define MEMSW_FILE "memory.memsw.limit_in_bytes"

static int dir_of(const struct cgroup *cg, const char *hierarchy)
{
	for (int i = 0; i < cg->n_dirs; i++) {
		if (!strcmp(cg->dirs[i].hierarchy, hierarchy))
			return cg->dirs[i].fd;
	}
	return -1;
}

/*
 * Memory and swap together have the same limit: no swap on top. That may never be below memory's, so
 * it goes first on the way up and last on the way down; going down the kernel takes back what it can.
 */
static int limit_memory(int dir, uint64_t bytes, struct failure *why)
{
	uint64_t old = cgroup_read_number(dir, LIMIT_FILE);
	const char *const files[] = { LIMIT_FILE, MEMSW_FILE };
	bool up = bytes >= old, memsw = faccessat(dir, MEMSW_FILE, F_OK, 0) == 0;
	char value[32] = "-1";
	int r;

	if (bytes != LIMIT_NONE)
		snprintf(value, sizeof(value), "%llu", (unsigned long long)bytes);
	/* A kernel that does not count swap must not swap the box at all, or the limit would be none. */
	if (!memsw && bytes != LIMIT_NONE) {
		r = cgroup_write_limit(dir, "memory.swappiness", "0", why);
		if (r < 0)
			return r;
	}
	r = write_control_at(dir, files[memsw && up], value);
	if (r == 0 && memsw)
		r = write_control_at(dir, files[!up], value);
	if (r == 0)
		return 0;
	/* Nothing has changed. */
	snprintf(value, sizeof(value), "%llu", (unsigned long long)old);
	write_control_at(dir, files[memsw && up], value);
	if (r == -EBUSY)
		return cgroup_refuse_memory(cgroup_read_number(dir, "memory.usage_in_bytes"), why);
	return failure_set(why, -r, "the machine refused it: %s", strerror(-r));
}

static int limit_pids(int dir, uint64_t pids, struct failure *why)
{
	char value[32] = "max";

	if (pids != LIMIT_NONE)
		snprintf(value, sizeof(value), "%llu", (unsigned long long)pids);
	return cgroup_write_limit(dir, "pids.max", value, why);
}

static int limit_cpu(int dir, uint64_t milli, struct failure *why)
{
	char value[32] = "-1";

	/* The period is 100 ms unless somebody changed it. */
	if (milli != LIMIT_NONE)
		snprintf(value, sizeof(value), "%llu",
			 (unsigned long long)milli * (CPU_PERIOD_US / 1000));
	return cgroup_write_limit(dir, "cpu.cfs_quota_us", value, why);
}

static const struct {
	const char *hierarchy, *controller;
	enum limit which; /* N_LIMITS: none */
	int (*limit)(int dir, uint64_t value, struct failure *why);
} controllers[] = {
	{ CGROUP_ROOT "/pids", "pids", LIMIT_PIDS, limit_pids },
	{ MEMORY, "memory", LIMIT_MEMORY, limit_memory },
	{ CGROUP_ROOT "/cpu", "cpu", LIMIT_CPUS, limit_cpu },
	/* For groups; init is in it so that no path above is shown. */
	{ CPUACCT, "cpuacct", N_LIMITS, NULL },
};

static bool is_mounted(const char *hierarchy, unsigned long magic)
{
	struct statfs fs;

	return statfs(hierarchy, &fs) == 0 && (unsigned long)fs.f_type == magic;
}

static int make_cradle(struct cgroup *cg, const struct box_settings *set, struct failure *why)
{
	int r;

	(void)set;
	if (is_mounted(UNIFIED, CGROUP2_SUPER_MAGIC)) {
		r = cgroup_add_dir(cg, UNIFIED);
		if (r == 0)
			cg->v2 = cg->dirs[0].fd;
		return r;
	}
	if (is_mounted(FREEZER, CGROUP_SUPER_MAGIC))
		return cgroup_add_dir(cg, FREEZER);
	return failure_set(
		why, ENOENT,
		"neither cgroup2 nor the freezer controller is mounted below " CGROUP_ROOT);
}

static int set_limit(const struct cgroup *cg, enum limit which, uint64_t value, struct failure *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		int at = controllers[i].which == which
				 ? cgroup_find_dir(cg, controllers[i].hierarchy)
				 : -1;

		if (at >= 0)
			return controllers[i].limit(cg->dirs[at].fd, value, why);
	}
	if (value == LIMIT_NONE)
		return 0;
	return failure_set(why, EOPNOTSUPP,
			   "this machine has no cgroup controller for the limit on %s",
			   limit_controller(which));
}

static int make_rest(struct cgroup *cg, const struct box_settings *set, struct failure *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		int r;

		if (!is_mounted(controllers[i].hierarchy, CGROUP_SUPER_MAGIC) ||
		    cgroup_find_dir(cg, controllers[i].hierarchy) >= 0)
			continue; /* cpuacct, in the hierarchy of cpu */
		r = cgroup_add_dir(cg, controllers[i].hierarchy);
		if (r < 0)
			return r;
	}
	return cgroup_set_limits(cg, &set->limits, why);
}

static int set_frozen(const struct cgroup *cg, bool frozen)
{
	if (cg->v2 >= 0)
		return cgroup_v2.set_frozen(cg, frozen);
	return write_control_at(dir_of(cg, FREEZER), "freezer.state", frozen ? "FROZEN" : "THAWED");
}

static bool is_frozen(const struct cgroup *cg)
{
	_cleanup_free_ char *state = NULL;

	if (cg->v2 >= 0)
		return cgroup_v2.is_frozen(cg);
	return read_file_at(dir_of(cg, FREEZER), "freezer.state", 64, &state, NULL) == 0 &&
	       !strcmp(state, "FROZEN\n");
}

static int find_measure(const struct cgroup *cg, const char *measure)
{
	char hierarchy[64];

	/* Only cgroup2 has it, and whether controllers are there does not matter to it. */
	if (!strcmp(measure, "pressure"))
		return cg->v2 >= 0 ? 0 : -1;
	snprintf(hierarchy, sizeof(hierarchy), CGROUP_ROOT "/%s", measure);
	return cgroup_find_dir(cg, hierarchy);
}

static uint64_t oom_kills(const struct cgroup *cg)
{
	int dir = dir_of(cg, MEMORY);

	return dir < 0 ? 0 : cgroup_read_key(dir, "memory.oom_control", "oom_kill");
}

/*
 * Groups are not in cgroup2: whoever enters a folder there, itself or by its pid, may wait for 10 ms
 * and more, and that of a hierarchy of the first version costs a new process nothing (cgroup.h).
 * What cgroup2 would do for a group alone, kill and tell that it is empty, group.c can do as well.
 * Input and output are not counted: blkio of the first version knows nothing of what the page cache
 * writes later, and nothing at all where no limit is set.
 */
static int make_group_dirs(struct cgroup *cg)
{
	static const char *const wanted[] = { MEMORY, CPUACCT };
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		int at = cgroup_find_dir(cg, wanted[i]);

		if (at >= 0)
			cg->group_dirs[n++] = at;
	}
	/* Some hierarchy must tell who is there, if need be that of the freezer. */
	for (int i = 0; i < cg->n_dirs && n == 0; i++) {
		if (cg->dirs[i].fd != cg->v2)
			cg->group_dirs[n++] = i;
	}
	cg->n_group_dirs = n;
	return n ? 0 : -EOPNOTSUPP;
}

const struct cgroup_ops cgroup_v1 = {
	.name = "v1",
	.make_cradle = make_cradle,
	.make_rest = make_rest,
	.set_limit = set_limit,
	.set_frozen = set_frozen,
	.is_frozen = is_frozen,
	.find_measure = find_measure,
	.oom_kills = oom_kills,
	.make_group_dirs = make_group_dirs,
};
