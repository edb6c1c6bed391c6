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
	return (!strcmp(controller, "pids") && set->max_pids) ||
	       (!strcmp(controller, "memory") && set->memory_bytes) ||
	       (!strcmp(controller, "cpu") && set->cpus_milli);
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

static int limit_memory(int dir, const struct box_settings *set, struct failure *why)
{
	char value[32];
	int r;

	if (!set->memory_bytes)
		return 0;
	snprintf(value, sizeof(value), "%llu", (unsigned long long)set->memory_bytes);
	r = cgroup_write_limit(dir, "memory.max", value, why);
	if (r < 0)
		return r;
	/* Absent where the kernel was built without swap. */
	if (faccessat(dir, "memory.swap.max", F_OK, 0) == 0)
		r = cgroup_write_limit(dir, "memory.swap.max", "0", why);
	/* Out of memory ends the one program that is biggest, never the box with its init. */
	if (r == 0 && faccessat(dir, "memory.oom.group", F_OK, 0) == 0)
		r = cgroup_write_limit(dir, "memory.oom.group", "0", why);
	return r;
}

static int limit_rest(int dir, const struct box_settings *set, struct failure *why)
{
	char value[48];
	int r = 0;

	if (set->max_pids) {
		snprintf(value, sizeof(value), "%llu", (unsigned long long)set->max_pids);
		r = cgroup_write_limit(dir, "pids.max", value, why);
	}
	if (r == 0 && set->cpus_milli) {
		snprintf(value, sizeof(value), "%llu %d",
			 (unsigned long long)set->cpus_milli * (CPU_PERIOD_US / 1000),
			 CPU_PERIOD_US);
		r = cgroup_write_limit(dir, "cpu.max", value, why);
	}
	return r;
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
	r = limit_memory(cg->v2, set, why);
	if (r == 0)
		r = limit_rest(cg->v2, set, why);
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

static uint64_t oom_kills(const struct cgroup *cg)
{
	return cgroup_read_key(cg->init_dir, "memory.events", "oom_kill");
}

const struct cgroup_ops cgroup_v2 = {
	.name = "v2",
	.make_cradle = make_cradle,
	.set_frozen = set_frozen,
	.is_frozen = is_frozen,
	.oom_kills = oom_kills,
	.make_group_dirs = make_group_dirs,
};
