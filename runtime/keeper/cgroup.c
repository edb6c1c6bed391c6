/* SPDX-License-Identifier: MIT */
/*
 * The cgroup of a box: what both back ends share. Must not follow anything a box could have made:
 * all folders here are root's, and a box sees no cgroup file system. One thread, no locks.
 */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "stages.h"

enum {
	MAX_CONTROL_FILE = 1 << 20,
	FREEZE_PATIENCE_MS = 500,
	LEFTOVER_PATIENCE_MS = 2000,
	MAKE_TRIES = 16, /* against keepers that remove common folders at the same time */
};

bool cgroup_path_is_valid(const char *path)
{
	size_t len = strlen(path);

	if (len >= CGROUP_MAX_PATH || path[0] == '/' || path[len ? len - 1 : 0] == '/' ||
	    !strchr(path, '/'))
		return false;
	for (const char *name = path; *name;) {
		const char *end = strchrnul(name, '/');

		if (end == name || name[0] == '.')
			return false;
		for (const char *c = name; c < end; c++) {
			if ((unsigned char)*c <= ' ' || *c == 0x7f)
				return false;
		}
		name = *end ? end + 1 : end;
	}
	return true;
}

static void sleep_ms(int ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

bool cgroup_has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len) {
		if ((at == list || at[-1] == ' ' || at[-1] == '\n') && strchr(" \n", at[len]))
			return true;
	}
	return false;
}

uint64_t cgroup_read_key(int dirfd, const char *file, const char *key)
{
	_cleanup_free_ char *text = NULL;
	size_t len = strlen(key);

	if (read_file_at(dirfd, file, MAX_CONTROL_FILE, &text, NULL) < 0)
		return 0;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, len) && line[len] == ' ')
			return strtoull(line + len + 1, NULL, 10);
	}
	return 0;
}

uint64_t cgroup_read_number(int dirfd, const char *file)
{
	_cleanup_free_ char *text = NULL;

	if (read_file_at(dirfd, file, 64, &text, NULL) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

int cgroup_write_limit(int dirfd, const char *file, const char *value, struct failure *why)
{
	int r = write_control_at(dirfd, file, value);

	if (r < 0)
		return failure_set(why, -r, "the machine refused %s = %s: %s", file, value,
				   strerror(-r));
	return 0;
}

int cgroup_refuse_memory(uint64_t used, struct failure *why)
{
	return failure_set(why, EBUSY,
			   "the box uses %llu MiB, which cannot be taken back; end something in it "
			   "first",
			   (unsigned long long)used >> 20);
}

uint64_t cgroup_cpu_us(const struct cgroup *cg)
{
	int at = cg->ops->find_measure(cg, "cpuacct");

	if (at < 0)
		return UINT64_MAX;
	if (faccessat(cg->dirs[at].fd, "cpuacct.usage", F_OK, 0) == 0)
		return cgroup_read_number(cg->dirs[at].fd, "cpuacct.usage") / 1000;
	return cgroup_read_key(cg->dirs[at].fd, "cpu.stat", "usage_usec");
}

int cgroup_set_limits(const struct cgroup *cg, const struct limits *limits, struct failure *why)
{
	int r = 0;

	for (int i = 0; i < N_LIMITS && r == 0; i++) {
		if (limit_controller((enum limit)i) && limits->of[i] != LIMIT_NONE)
			r = cg->ops->set_limit(cg, (enum limit)i, limits->of[i], why);
	}
	return r;
}

int cgroup_open_door(int dirfd)
{
	int fd = openat(dirfd, "tasks", O_WRONLY | O_CLOEXEC); /* the first version's */

	if (fd < 0 && errno == ENOENT)
		fd = openat(dirfd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup_pass(int door)
{
	return write(door, "0", 1) < 0 ? -errno : 0;
}

int cgroup_enter(int dirfd)
{
	_cleanup_close_ int door = cgroup_open_door(dirfd);

	return door < 0 ? door : cgroup_pass(door);
}

int cgroup_mkdir_path(int dirfd, const char *path)
{
	char part[CGROUP_MAX_PATH + 16];

	if (mkdirat(dirfd, path, 0755) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return -errno;
	for (const char *end = path; (end = strchr(end, '/')); end++) {
		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		if (mkdirat(dirfd, part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return mkdirat(dirfd, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int cgroup_each_folder(int dir, int (*fn)(int folder, void *ctx), void *ctx)
{
	_cleanup_closedir_ DIR *list = NULL;
	struct dirent *e;
	int fd, r = fn(dir, ctx);

	if (r < 0)
		return r;
	fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		r = -errno;
		close_fd(&fd);
		return r == -ENODEV || r == -ENOENT ? 0 : r; /* removed meanwhile */
	}
	while (r >= 0 && (e = readdir(list))) {
		_cleanup_close_ int folder = -1;

		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		folder = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (folder >= 0)
			r = fn(folder, ctx);
	}
	return r < 0 ? r : 0;
}

/* The folders right below path; what still has processes stays. */
static void remove_below(int above, const char *path)
{
	_cleanup_closedir_ DIR *list = NULL;
	int fd = openat(above, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;

	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		close_fd(&fd);
		return;
	}
	while ((e = readdir(list))) {
		if (e->d_name[0] != '.' && e->d_type == DT_DIR)
			unlinkat(dirfd(list), e->d_name, AT_REMOVEDIR);
	}
}

int cgroup_rmdir_path(int dirfd, const char *path)
{
	char part[CGROUP_MAX_PATH + 16];
	char *slash;
	int r = unlinkat(dirfd, path, AT_REMOVEDIR) < 0 ? -errno : 0;

	if (r == -EBUSY || r == -ENOTEMPTY) {
		remove_below(dirfd, path);
		r = unlinkat(dirfd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
	}
	if (r < 0 && r != -ENOENT)
		return r;
	snprintf(part, sizeof(part), "%s", path);
	while ((slash = strrchr(part, '/'))) {
		*slash = '\0';
		if (unlinkat(dirfd, part, AT_REMOVEDIR) < 0)
			break; /* other boxes or keepers are there */
	}
	return 0;
}

int cgroup_add_dir(struct cgroup *cg, const char *hierarchy)
{
	_cleanup_close_ int root = open(hierarchy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd, r = -EAGAIN, patience_ms = LEFTOVER_PATIENCE_MS;

	if (root < 0)
		return -errno;
	for (int i = 0; i < MAKE_TRIES; i++) {
		/* What a killed keeper left is taken away, so that all counters start at 0; its
		 * box may still be dying. */
		if (unlinkat(root, cg->path, AT_REMOVEDIR) < 0 && errno == EBUSY &&
		    cgroup_rmdir_patiently(root, cg->path, &patience_ms) < 0)
			return -EBUSY;
		if (cg->n_dirs == CGROUP_MAX_DIRS)
			return -E2BIG;
		r = cgroup_mkdir_path(root, cg->path);
		if (r < 0 && r != -ENOENT)
			return r;
		fd = openat(root, cg->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			cg->dirs[cg->n_dirs++] =
				(struct cgroup_dir){ .hierarchy = hierarchy, .fd = fd };
			return 0;
		}
		if (errno != ENOENT) {
			r = -errno;
			cgroup_rmdir_path(root, cg->path);
			return r;
		}
	}
	return r < 0 ? r : -ENOENT;
}

/* Every machine that mounts cgroup2 here keeps the controllers there; others mount a tmpfs. */
static const struct cgroup_ops *machine_ops(struct failure *why)
{
	struct statfs fs;

	if (statfs(CGROUP_ROOT, &fs) < 0) {
		failure_set(why, errno, "no cgroups are mounted at " CGROUP_ROOT);
		return NULL;
	}
	return (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC ? &cgroup_v2 : &cgroup_v1;
}

static int explain_make(const struct cgroup *cg, int r, struct failure *why)
{
	if (r == -EBUSY)
		failure_set(why, EBUSY, "processes are left in cgroup %s", cg->path);
	return r;
}

int cgroup_make(struct cgroup **out, const struct box_settings *set, struct failure *why)
{
	const struct cgroup_ops *ops = machine_ops(why);
	struct cgroup *cg;
	int r;

	if (!ops)
		return -ENOENT;
	cg = calloc(1, sizeof(*cg));
	if (!cg)
		return -ENOMEM;
	cg->ops = ops;
	cg->v2 = cg->init_dir = -1;
	snprintf(cg->path, sizeof(cg->path), "%s", set->cgroup);
	r = ops->make_cradle(cg, set, why);
	if (r < 0) {
		explain_make(cg, r, why);
		cgroup_remove(cg, 0);
		return r;
	}
	*out = cg;
	return 0;
}

int cgroup_make_rest(struct cgroup *cg, const struct box_settings *set, int *doors,
		     struct failure *why)
{
	int r = cg->ops->make_rest ? cg->ops->make_rest(cg, set, why) : 0;
	int n = 0;

	for (int i = 0; i < cg->n_dirs && r >= 0; i++) {
		if (cg->dirs[i].fd == cg->v2)
			continue; /* born there, or below */
		r = cgroup_open_door(cg->dirs[i].fd);
		if (r >= 0)
			doors[n++] = r;
	}
	if (r < 0) {
		while (n > 0)
			close(doors[--n]);
		return explain_make(cg, r, why);
	}
	snprintf(cg->list, sizeof(cg->list), "%s/%s", cg->dirs[0].hierarchy, cg->path);
	return n;
}

int cgroup_kill(const struct cgroup *cg)
{
	int r = cg->v2 >= 0 ? write_control_at(cg->v2, "cgroup.kill", "1") : -ENOENT;

	return r == -ENOENT ? -EOPNOTSUPP : r;
}

int cgroup_freeze(struct cgroup *cg, bool frozen)
{
	int r = 0;

	cg->frozen = frozen;

	for (int waited = 0; waited <= FREEZE_PATIENCE_MS; waited++) {
		/* The first version of cgroups wants to be asked again while processes fork. */
		r = cg->ops->set_frozen(cg, frozen);
		if (r < 0 || cg->ops->is_frozen(cg) == frozen)
			break;
		sleep_ms(1);
	}
	return r;
}

static int pids_add(struct pids *list, pid_t pid)
{
	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : 64;
		pid_t *pids = realloc(list->pids, size * sizeof(*pids));

		if (!pids)
			return -ENOMEM;
		list->pids = pids;
		list->size = size;
	}
	list->pids[list->n++] = pid;
	return 0;
}

int cgroup_read_procs(int folder, struct pids *out)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(folder, "cgroup.procs", MAX_CONTROL_FILE * 64, &text, NULL);

	for (char *at = text; r == 0 && *at; at += *at == '\n') {
		long pid = strtol(at, &at, 10);

		if (pid > 0)
			r = pids_add(out, (pid_t)pid);
		else if (*at != '\n')
			break; /* of a pid namespace that we do not see */
	}
	return r;
}

static int list_folder(int folder, void *ctx)
{
	int r = cgroup_read_procs(folder, ctx);

	/* A group's folder may go at any moment; EOPNOTSUPP: a threaded one, none of ours. */
	return r == -ENODEV || r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

ssize_t cgroup_list(const struct cgroup *cg, pid_t **pids)
{
	struct pids list = { 0 };
	int r = cgroup_each_folder(cg->dirs[0].fd, list_folder, &list);

	if (r == 0 && !list.pids)
		r = (list.pids = calloc(1, sizeof(pid_t))) ? 0 : -ENOMEM;
	if (r < 0) {
		free(list.pids);
		return r;
	}
	*pids = list.pids;
	return (ssize_t)list.n;
}

int cgroup_rmdir_patiently(int dirfd, const char *path, int *patience_ms)
{
	int r;

	while ((r = cgroup_rmdir_path(dirfd, path)) == -EBUSY && *patience_ms > 0) {
		sleep_ms(1);
		--*patience_ms;
	}
	return r;
}

static int remove_dir(struct cgroup_dir *dir, const char *path, int *patience_ms)
{
	_cleanup_close_ int root = -1;

	close_fd(&dir->fd);
	root = open(dir->hierarchy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -errno : cgroup_rmdir_patiently(root, path, patience_ms);
}

int cgroup_drop_dirs(struct cgroup *cg, int *patience_ms)
{
	int result = 0;

	while (cg->n_dirs > 0) {
		int r = remove_dir(&cg->dirs[--cg->n_dirs], cg->path, patience_ms);

		if (r < 0)
			result = r;
	}
	return result;
}

int cgroup_find_dir(const struct cgroup *cg, const char *hierarchy)
{
	struct stat want, st;

	if (stat(hierarchy, &want) < 0)
		return -1;
	for (int i = 0; i < cg->n_dirs; i++) {
		/* A hierarchy with two controllers has a link for each ("cpu,cpuacct"). */
		if (stat(cg->dirs[i].hierarchy, &st) == 0 && st.st_dev == want.st_dev &&
		    st.st_ino == want.st_ino)
			return i;
	}
	return -1;
}

int cgroup_remove(struct cgroup *cg, int timeout_ms)
{
	int r;

	if (!cg)
		return 0;
	close_fd(&cg->init_dir);
	r = cgroup_drop_dirs(cg, &timeout_ms);

	free(cg);
	return r;
}
