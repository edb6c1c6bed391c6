/* SPDX-License-Identifier: MIT */
/*
 * Controllers of the second version (kernel: admin-guide/cgroup-v2.rst): one hierarchy, in which a
 * controller must be switched on in every folder above, and a folder that hands controllers down
 * may hold no process of its own. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "cgroup.h"
#include "stages.h"

enum {
	CPU_PERIOD_US = 100000,
	MAX_WORDS = 4096,
	MAKE_TRIES = 16,
};

static const char *const controllers[] = { "memory", "pids", "cpu", "io" };

static bool is_wanted(const struct box_settings *set, const char *controller)
{
	for (int i = 0; i < N_LIMITS; i++) {
		const char *name = limit_controller((enum limit)i);

		if (name && !strcmp(name, controller))
			return set->limits.of[i] != LIMIT_NONE;
	}
	return false;
}

/* Hands all controllers that dir has down to its folders. */
static int enable_in(int dir, const char *name, const struct box_settings *set, struct failure *why)
{
	_cleanup_free_ char *has = NULL, *given = NULL;
	int r = read_file_at(dir, "cgroup.controllers", MAX_WORDS, &has, NULL);

	if (r == 0)
		r = read_file_at(dir, "cgroup.subtree_control", MAX_WORDS, &given, NULL);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		char word[16];

		if (cgroup_has_word(given, controllers[i]))
			continue;
		snprintf(word, sizeof(word), "+%s", controllers[i]);
		r = cgroup_has_word(has, controllers[i])
			    ? write_control_at(dir, "cgroup.subtree_control", word)
			    : -EOPNOTSUPP;
		if (r == 0 || !is_wanted(set, controllers[i]))
			continue;
		if (r == -EBUSY)
			return failure_set(
				why, EBUSY,
				"cgroup /%s holds processes, so the limit on %s cannot be "
				"handed to boxes below it",
				name, controllers[i]);
		if (r == -EOPNOTSUPP)
			return failure_set(why, EOPNOTSUPP,
					   "cgroup /%s has no controller for the limit on %s", name,
					   controllers[i]);
		return failure_set(why, -r, "cgroup /%s: switching on %s: %s", name, controllers[i],
				   strerror(-r));
	}
	return 0;
}

/* Every folder above the box's, from the root on. */
static int enable_controllers(const char *path, const struct box_settings *set, struct failure *why)
{
	_cleanup_close_ int root = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char part[CGROUP_MAX_PATH];
	int r = root < 0 ? -errno : enable_in(root, "", set, why);

	for (const char *end = path; r == 0 && (end = strchr(end, '/')); end++) {
		_cleanup_close_ int dir = -1;

		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		r = cgroup_mkdir_path(root, part);
		if (r < 0)
			break;
		dir = openat(root, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = dir < 0 ? -errno : enable_in(dir, part, set, why);
	}
	return r;
}

/*
 * Below what is in use memory.max would end programs at once; memory.high takes back what can be taken
 * back, and then it shows whether that was enough.
 */
static int make_room(int dir, uint64_t bytes, struct failure *why)
{
	char value[32];
	uint64_t used = cgroup_read_number(dir, "memory.current");
	int r;

	if (used <= bytes)
		return 0;
	snprintf(value, sizeof(value), "%llu", (unsigned long long)bytes);
	r = cgroup_write_limit(dir, "memory.high", value, why);
	if (r < 0)
		return r;
	used = cgroup_read_number(dir, "memory.current");
	write_control_at(dir, "memory.high", "max");
	return used <= bytes ? 0 : cgroup_refuse_memory(used, why);
}

static int limit_memory(int dir, uint64_t bytes, struct failure *why)
{
	char value[32] = "max";
	bool none = bytes == LIMIT_NONE;
	int r = none ? 0 : make_room(dir, bytes, why);

	if (!none)
		snprintf(value, sizeof(value), "%llu", (unsigned long long)bytes);
	if (r == 0)
		r = cgroup_write_limit(dir, "memory.max", value, why);
	/* Absent where the kernel was built without swap. */
	if (r == 0 && faccessat(dir, "memory.swap.max", F_OK, 0) == 0)
		r = cgroup_write_limit(dir, "memory.swap.max", none ? "max" : "0", why);
	/* Out of memory ends the one program that is biggest, never the box with its init. */
	if (r == 0 && faccessat(dir, "memory.oom.group", F_OK, 0) == 0)
		r = cgroup_write_limit(dir, "memory.oom.group", "0", why);
	return r;
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
	char value[48];

	if (milli == LIMIT_NONE)
		snprintf(value, sizeof(value), "max %d", CPU_PERIOD_US);
	else
		snprintf(value, sizeof(value), "%llu %d",
			 (unsigned long long)milli * (CPU_PERIOD_US / 1000), CPU_PERIOD_US);
	return cgroup_write_limit(dir, "cpu.max", value, why);
}

static int set_limit(const struct cgroup *cg, enum limit which, uint64_t value, struct failure *why)
{
	static const struct {
		const char *file;
		int (*limit)(int dir, uint64_t value, struct failure *why);
	} files[N_LIMITS] = {
		[LIMIT_MEMORY] = { "memory.max", limit_memory },
		[LIMIT_CPUS] = { "cpu.max", limit_cpu },
		[LIMIT_PIDS] = { "pids.max", limit_pids },
	};

	if (faccessat(cg->v2, files[which].file, F_OK, 0) == 0)
		return files[which].limit(cg->v2, value, why);
	if (value == LIMIT_NONE)
		return 0;
	return failure_set(why, EOPNOTSUPP, "cgroup /%s has no controller for the limit on %s",
			   cg->path, limit_controller(which));
}

/*
 * Below the box only memory and input and output are counted; processor time is in any case. Then
 * the box's own folder may hold no process, so init gets one.
 */
static int make_init_dir(struct cgroup *cg)
{
	static const char *const counted[] = { "+memory", "+io" };

	for (size_t i = 0; i < ARRAY_SIZE(counted); i++)
		write_control_at(cg->v2, "cgroup.subtree_control", counted[i]);
	if (mkdirat(cg->v2, CGROUP_INIT, 0755) < 0)
		return -errno;
	cg->init_dir = openat(cg->v2, CGROUP_INIT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return cg->init_dir < 0 ? -errno : 0;
}

/* False if the folder above was made anew, without controllers, after we had switched them on. */
static bool has_wanted(int dir, const struct box_settings *set)
{
	_cleanup_free_ char *has = NULL;

	if (read_file_at(dir, "cgroup.controllers", MAX_WORDS, &has, NULL) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		if (is_wanted(set, controllers[i]) && !cgroup_has_word(has, controllers[i]))
			return false;
	}
	return true;
}

static int make_cradle(struct cgroup *cg, const struct box_settings *set, struct failure *why)
{
	int no_patience = 0, r = 0;

	/* A keeper that ends takes empty folders away under one that starts. */
	for (int i = 0; i < MAKE_TRIES; i++) {
		r = enable_controllers(cg->path, set, why);
		if (r == 0)
			r = cgroup_add_dir(cg, CGROUP_ROOT);
		if (r == 0 && has_wanted(cg->dirs[0].fd, set))
			break;
		if (r < 0 && r != -ENOENT)
			return r;
		cgroup_drop_dirs(cg, &no_patience);
		r = -ENOENT;
	}
	if (r < 0)
		return r;
	cg->v2 = cg->dirs[0].fd;
	r = cgroup_set_limits(cg, &set->limits, why);
	return r < 0 ? r : make_init_dir(cg);
}

static int make_group_dirs(struct cgroup *cg)
{
	cg->group_dirs[0] = 0;
	cg->n_group_dirs = 1;
	return 0;
}

static int set_frozen(const struct cgroup *cg, bool frozen)
{
	return write_control_at(cg->v2, "cgroup.freeze", frozen ? "1" : "0");
}

static bool is_frozen(const struct cgroup *cg)
{
	return cgroup_read_key(cg->v2, "cgroup.events", "frozen") == 1;
}

static int find_measure(const struct cgroup *cg, const char *measure)
{
	(void)cg;
	(void)measure;
	return 0; /* a file that is not there says the rest */
}

static uint64_t oom_kills(const struct cgroup *cg)
{
	return cgroup_read_key(cg->init_dir, "memory.events", "oom_kill");
}

const struct cgroup_ops cgroup_v2 = {
	.name = "v2",
	.make_cradle = make_cradle,
	.set_limit = set_limit,
	.set_frozen = set_frozen,
	.is_frozen = is_frozen,
	.find_measure = find_measure,
	.oom_kills = oom_kills,
	.make_group_dirs = make_group_dirs,
};
