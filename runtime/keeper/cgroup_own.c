/* SPDX-License-Identifier: MIT */
/*
 * Cgroups that are nobody's box's any more or never were: the keeper's own place, and what a
 * killed keeper left behind. No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "cgroup.h"
#include "stages.h"

enum {
	MAX_CONTROL_FILE = 1 << 20,
	MOVE_TRIES = 16, /* against keepers that remove common folders at the same time */
};

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* The hierarchy's folder for the controllers field of a line of /proc/self/cgroup; -1: it is not
 * mounted here. */
static int open_hierarchy(const char *controllers, const char *number)
{
	struct statfs fs;
	char path[128];

	if (!strncmp(controllers, "name=", 5))
		controllers += 5;
	if (*controllers)
		snprintf(path, sizeof(path), CGROUP_ROOT "/%s", controllers);
	else if (!strcmp(number, "0") && is_cgroup2(CGROUP_ROOT))
		snprintf(path, sizeof(path), CGROUP_ROOT);
	else
		snprintf(path, sizeof(path), CGROUP_ROOT "/unified");
	if (statfs(path, &fs) < 0 || ((unsigned long)fs.f_type != CGROUP_SUPER_MAGIC &&
				      (unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A cpuset of the first version takes nobody in before it has CPUs and memory: its parent's. */
static void copy_cpuset(int root, const char *path)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char part[CGROUP_MAX_PATH + 64];
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (read_file_at(root, files[i], MAX_CONTROL_FILE, &text, NULL) < 0)
			return;
		for (const char *end = path; end; end = strchr(end + 1, '/')) {
			const char *stop = strchrnul(end + (end != path), '/');

			snprintf(part, sizeof(part), "%.*s/%s", (int)(stop - path), path, files[i]);
			write_control_at(root, part, text);
		}
		free(take_ptr(text));
	}
}

static int keepers_path(const char *box_path, char *out, size_t size)
{
	const char *slash = strrchr(box_path, '/');

	if (!slash ||
	    snprintf(out, size, "%.*s/keepers", (int)(slash - box_path), box_path) >= (int)size)
		return -EINVAL;
	return 0;
}

static int move_self(int root, const char *path)
{
	int r = -ENOENT;

	for (int i = 0; i < MOVE_TRIES && r == -ENOENT; i++) {
		_cleanup_close_ int dir = -1;

		r = cgroup_mkdir_path(root, path);
		if (r < 0)
			continue;
		copy_cpuset(root, path);
		dir = openat(root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = dir < 0 ? -errno : cgroup_enter(dir);
		if (r == -ENODEV) /* removed between the two */
			r = -ENOENT;
	}
	return r;
}

/* Calls fn with the root and the path of each hierarchy, as /proc/self/cgroup lists them. */
static int each_membership(int (*fn)(int root, const char *path, const char *keepers),
			   const char *keepers, struct failure *why)
{
	_cleanup_free_ char *text = NULL;
	char *next;
	int r = read_file_at(AT_FDCWD, "/proc/self/cgroup", MAX_CONTROL_FILE, &text, NULL);

	if (r < 0)
		return r;
	for (char *line = text; *line; line = next) {
		_cleanup_close_ int root = -1;
		char *controllers, *path;

		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		controllers = strchr(line, ':');
		path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path)
			return -EPROTO;
		*controllers++ = '\0';
		*path++ = '\0';
		if (!strcmp(path, "/"))
			continue; /* nobody ends the root */
		root = open_hierarchy(controllers, line);
		if (root < 0)
			continue; /* not mounted: nobody can use it either */
		r = fn(root, path, keepers);
		if (r < 0)
			return failure_set(why, -r,
					   "the keeper cannot leave cgroup %s of hierarchy %s: %s",
					   path, *controllers ? controllers : "v2", strerror(-r));
	}
	return 0;
}

static int enter_keepers(int root, const char *path, const char *keepers)
{
	return strcmp(path + 1, keepers) ? move_self(root, keepers) : 0;
}

int cgroup_leave_caller(const char *box_path, struct failure *why)
{
	char keepers[CGROUP_MAX_PATH + 16];
	int r = keepers_path(box_path, keepers, sizeof(keepers));

	return r < 0 ? r : each_membership(enter_keepers, keepers, why);
}

static int leave_keepers(int root, const char *path, const char *keepers)
{
	if (!strcmp(path + 1, keepers) && cgroup_enter(root) == 0)
		cgroup_rmdir_path(root, keepers);
	return 0;
}

void cgroup_leave_keepers(const char *box_path)
{
	struct failure ignored = { 0 };
	char keepers[CGROUP_MAX_PATH + 16];

	if (keepers_path(box_path, keepers, sizeof(keepers)) == 0)
		each_membership(leave_keepers, keepers, &ignored);
}

/* --- what a killed keeper left ------------------------------------------------------------- */

static int kill_listed(int folder, void *ctx)
{
	struct pids list = { 0 };

	(void)ctx;
	cgroup_read_procs(folder, &list);
	for (size_t i = 0; i < list.n; i++) {
		if (list.pids[i] > 1)
			kill(list.pids[i], SIGKILL);
	}
	free(list.pids);
	/* The frozen do not die in the first version. */
	write_control_at(folder, "freezer.state", "THAWED");
	return 0;
}

/* In one hierarchy: what runs there is killed, the folder removed; the keepers' too if empty. */
static int clean_hierarchy(const char *hierarchy, const char *path, const char *keepers,
			   int *patience_ms)
{
	_cleanup_close_ int root = open(hierarchy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = -1;
	int r = 0;

	if (root < 0)
		return 0;
	dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0) {
		if (write_control_at(dir, "cgroup.kill", "1") < 0)
			cgroup_each_folder(dir, kill_listed, NULL);
		r = cgroup_rmdir_patiently(root, path, patience_ms);
	}
	cgroup_rmdir_path(root, keepers);
	return r;
}

int cgroup_clean(const char *path, int patience_ms)
{
	char keepers[CGROUP_MAX_PATH + 16], hierarchy[512];
	_cleanup_closedir_ DIR *top = NULL;
	struct dirent *e;
	int result = 0;

	if (!cgroup_path_is_valid(path) || keepers_path(path, keepers, sizeof(keepers)) < 0)
		return -EINVAL;
	if (is_cgroup2(CGROUP_ROOT))
		return clean_hierarchy(CGROUP_ROOT, path, keepers, &patience_ms);
	top = opendir(CGROUP_ROOT);
	if (!top)
		return -errno;
	while ((e = readdir(top))) {
		int r;

		/* A link is another name of one of the folders. */
		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		snprintf(hierarchy, sizeof(hierarchy), CGROUP_ROOT "/%s", e->d_name);
		r = clean_hierarchy(hierarchy, path, keepers, &patience_ms);
		if (r < 0)
			result = r;
	}
	return result;
}
