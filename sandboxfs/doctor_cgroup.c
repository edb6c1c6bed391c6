/* SPDX-License-Identifier: MIT */
/*
 * Which cgroups there are and what they can do, as the keeper will find them (below one folder, in
 * the places where distributions mount them). Only looks: makes no cgroup. No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "doctor_check.h"

#define ROOT "/sys/fs/cgroup"
#define UNIFIED ROOT "/unified"

enum layout { LAYOUT_NONE, LAYOUT_V1, LAYOUT_HYBRID, LAYOUT_V2 };

static bool is_mounted(const char *path, unsigned long magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == magic;
}

static enum layout layout(void)
{
	if (is_mounted(ROOT, CGROUP2_SUPER_MAGIC))
		return LAYOUT_V2;
	if (is_mounted(UNIFIED, CGROUP2_SUPER_MAGIC))
		return LAYOUT_HYBRID;
	return is_mounted(ROOT "/freezer", CGROUP_SUPER_MAGIC) ? LAYOUT_V1 : LAYOUT_NONE;
}

static const char *cgroup2_folder(enum layout kind)
{
	return kind == LAYOUT_V2 ? ROOT : UNIFIED;
}

/* May root make folders there? */
static bool is_read_only(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && fs.f_flag & ST_RDONLY;
}

void look_cgroups(const struct doctor *d, struct finding *f)
{
	static const char *const words[] = {
		[LAYOUT_NONE] = "neither cgroup2 nor the freezer controller is mounted below " ROOT,
		[LAYOUT_V1] = "version 1",
		[LAYOUT_HYBRID] = "hybrid: controllers of version 1, and version 2 beside them",
		[LAYOUT_V2] = "version 2",
	};
	enum layout kind = layout();
	const char *folder = kind == LAYOUT_V1 ? ROOT "/freezer" : cgroup2_folder(kind);

	(void)d;
	if (kind == LAYOUT_NONE) {
		finding_set(f, DOCTOR_MISSING, "%s", words[kind]);
		finding_remedy(f, "mount -t cgroup2 none " ROOT
				  "; systemd does it when the machine starts");
	} else if (is_read_only(folder)) {
		finding_set(f, DOCTOR_MISSING, "%s, but mounted read-only", words[kind]);
		finding_remedy(
			f,
			"mount -o remount,rw %s; a container needs a cgroup namespace it may "
			"write to",
			folder);
	} else {
		finding_set(f, DOCTOR_OK, "%s", words[kind]);
	}
}

/* --- controllers -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	const char *limit; /* what it limits for a box */
} controllers[] = {
	{ "memory", "limits.memory" },
	{ "pids", "limits.pids" },
	{ "cpu", "limits.cpus" },
	{ "cpuacct", "" },
	{ "io", "" },
};

static bool limits(const struct options *opt, enum limit which)
{
	return MIN(opt->limits.of[which], opt->max_limits.of[which]) != LIMIT_NONE;
}

/* Did the settings ask for a limit that needs it? */
static bool is_demanded(const struct options *opt, const char *controller)
{
	return (!strcmp(controller, "memory") && limits(opt, LIMIT_MEMORY)) ||
	       (!strcmp(controller, "pids") && limits(opt, LIMIT_PIDS)) ||
	       (!strcmp(controller, "cpu") && limits(opt, LIMIT_CPUS));
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; at && (at = strstr(at, word)); at += len) {
		if ((at == list || at[-1] == ' ') && strchr(" \n", at[len]))
			return true;
	}
	return false;
}

static bool is_there(enum layout kind, const char *list, const char *controller)
{
	char path[64];

	if (kind == LAYOUT_V2)
		return has_word(list, controller);
	snprintf(path, sizeof(path), ROOT "/%s", controller);
	return is_mounted(path, CGROUP_SUPER_MAGIC);
}

/* io is of the second version, cpuacct of the first. */
static bool is_of(enum layout kind, const char *controller)
{
	return strcmp(controller, kind == LAYOUT_V2 ? "cpuacct" : "io") != 0;
}

/* A cgroup that is not the real root and holds processes hands nothing down. */
static bool is_stuck(const char *controller)
{
	_cleanup_free_ char *given = doctor_read(ROOT "/cgroup.subtree_control");
	_cleanup_free_ char *procs = doctor_read(ROOT "/cgroup.procs");

	return access(ROOT "/cgroup.type", F_OK) == 0 && procs && *procs &&
	       !has_word(given, controller);
}

void look_controllers(const struct doctor *d, struct finding *f)
{
	_cleanup_free_ char *list = doctor_read(ROOT "/cgroup.controllers");
	enum layout kind = layout();
	const char *stuck = NULL;

	if (kind == LAYOUT_NONE) {
		finding_set(f, DOCTOR_UNSEEN, "not looked at, for want of cgroups");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		const char *name = controllers[i].name;
		bool there = is_there(kind, list, name), demanded = is_demanded(d->options, name);

		if (!is_of(kind, name))
			continue;
		if (there && kind == LAYOUT_V2 && is_stuck(name))
			stuck = name;
		finding_set(f,
			    there      ? f->state
			    : demanded ? DOCTOR_MISSING
				       : MAX(f->state, DOCTOR_WARN),
			    "%s%s%s", f->found.len ? ", " : "", there ? "" : "no ", name);
		if (!there && demanded)
			finding_cost(f, "%sno box can start, as %s asks for a limit",
				     f->cost.len ? "; " : "", controllers[i].limit);
	}
	if (stuck) {
		finding_set(f, DOCTOR_MISSING,
			    "; this cgroup holds processes, so that nothing is handed down");
		finding_remedy(f, "move the processes into a cgroup below " ROOT);
	} else if (f->state != DOCTOR_OK && kind == LAYOUT_V2) {
		finding_remedy(
			f, "some kernels switch memory off: boot with cgroup_enable=memory. "
			   "Controllers that a mount of version 1 holds are not here: boot with "
			   "systemd.unified_cgroup_hierarchy=1. limits.…=unlimited does without");
	} else if (f->state != DOCTOR_OK) {
		finding_remedy(f, "mount the controller below " ROOT
				  ", or boot with cgroups of version 2; "
				  "limits.…=unlimited does without");
	}
}

/* --- killing and holding ------------------------------------------------------------------------ */

/* A file that each cgroup but the root has: looked for in any of them. 1, 0, or -ENOENT: no other. */
static int any_has(const char *top, const char *file)
{
	_cleanup_closedir_ DIR *dir = opendir(top);
	struct dirent *e;
	char path[600];

	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", top, e->d_name, file);
		return access(path, F_OK) == 0;
	}
	return -ENOENT;
}

/* Since that version of the kernel, where there is no cgroup to see it by. */
static bool has_file(const char *top, const char *file, unsigned int since)
{
	int r = any_has(top, file);

	return r >= 0 ? r : doctor_kernel_version() >= since;
}

void look_cgroup_kill(const struct doctor *d, struct finding *f)
{
	enum layout kind = layout();

	(void)d;
	if (kind == LAYOUT_NONE)
		finding_set(f, DOCTOR_UNSEEN, "not looked at, for want of cgroups");
	else if (kind == LAYOUT_V1)
		finding_set(f, DOCTOR_WARN, "version 1 has none");
	else if (!has_file(cgroup2_folder(kind), "cgroup.kill", KERNEL(5, 14)))
		finding_set(f, DOCTOR_WARN, "this kernel has none (Linux 5.14 has)");
	else
		finding_set(f, DOCTOR_OK, "cgroup.kill");
}

void look_cgroup_freeze(const struct doctor *d, struct finding *f)
{
	enum layout kind = layout();

	(void)d;
	if (kind == LAYOUT_NONE)
		finding_set(f, DOCTOR_UNSEEN, "not looked at, for want of cgroups");
	else if (kind == LAYOUT_V1)
		finding_set(f, DOCTOR_OK, "the freezer controller");
	else if (!has_file(cgroup2_folder(kind), "cgroup.freeze", KERNEL(5, 2)))
		finding_set(f, DOCTOR_WARN, "this kernel has no cgroup.freeze (Linux 5.2 has)");
	else
		finding_set(f, DOCTOR_OK, "cgroup.freeze");
}
