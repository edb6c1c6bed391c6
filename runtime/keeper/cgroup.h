/* SPDX-License-Identifier: MIT */
/*
 * The cgroup of a box, on whichever of the kernel's two cgroup systems holds the controllers here.
 * Each back end is one table of functions; both keep the box in one folder per hierarchy, all of
 * the same path. Below stand one folder for each group of processes (group.h), without folders of
 * their own, and in the second version one for init, as there a folder that hands controllers down
 * may hold no process.
 */
#ifndef KEEPER_CGROUP_H
#define KEEPER_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "box.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum {
	CGROUP_MAX_DIRS = 6,
	CGROUP_MAX_GROUP_DIRS = 3, /* of INIT_MAX_DOORS */
	CGROUP_MAX_PATH = 256,
};

struct cgroup_dir {
	const char *hierarchy; /* folder of its root; static */
	int fd;		       /* the box's folder in it */
};

struct cgroup {
	const struct cgroup_ops *ops;
	char path[CGROUP_MAX_PATH];		 /* below each hierarchy's root */
	struct cgroup_dir dirs[CGROUP_MAX_DIRS]; /* the first one has the list of processes */
	int n_dirs;
	int v2;	      /* dirs' one in cgroup2, with cgroup.kill and cgroup.freeze, or -1 */
	int init_dir; /* init's folder below it where it cannot be in it, owned; or -1 */
	bool frozen;  /* by cgroup_freeze(), not only for a moment */
	/* dirs' ones in which each group has a folder; the first one has the list */
	int group_dirs[CGROUP_MAX_GROUP_DIRS], n_group_dirs;
	uint64_t oom_seen;
	char list[CGROUP_MAX_PATH + 64]; /* full path of dirs[0] */
};

/*
 * Moving a process by its pid, or itself by the second version's cgroup.procs, makes the kernel wait for all CPUs (an RCU grace period, 10 ms and
 * more, when nobody has moved one shortly before). So the box's first process is born into its
 * folder in cgroup2 (CLONE_INTO_CGROUP), and enters those of the first version by itself, which
 * for a single thread needs no such wait.
 */
struct cgroup_ops {
	const char *name;
	/* Both make folders with the box's limits; a limit that does not hold is an error. What
	 * make_cradle makes the child is born into, if it sets cg->v2; make_rest may be NULL. */
	int (*make_cradle)(struct cgroup *cg, const struct box_settings *set, struct failure *why);
	int (*make_rest)(struct cgroup *cg, const struct box_settings *set, struct failure *why);
	/* Sets or lifts (LIMIT_NONE) what a controller enforces: memory, cpus or pids. 0; -EBUSY
	 * with a sentence: more is in use and cannot be taken back; or -errno. */
	int (*set_limit)(const struct cgroup *cg, enum limit which, uint64_t value,
			 struct failure *why);
	int (*set_frozen)(const struct cgroup *cg, bool frozen);
	bool (*is_frozen)(const struct cgroup *cg);
	/* dirs' one that tells how much memory, cpuacct, pids or pressure there is; or -1. */
	int (*find_measure)(const struct cgroup *cg, const char *measure);
	/* How often the memory limit has killed what is in no group. */
	uint64_t (*oom_kills)(const struct cgroup *cg);
	/* Fills group_dirs. 0 or -errno. */
	int (*make_group_dirs)(struct cgroup *cg);
};

extern const struct cgroup_ops cgroup_v1, cgroup_v2;

/* --- for the keeper ---------------------------------------------------------------------- */

/* Makes the box's cgroup up to the child's birth; 0 or -errno. Free it by cgroup_remove(). */
int cgroup_make(struct cgroup **out, const struct box_settings *set, struct failure *why);

/* The folder that the child is born into by CLONE_INTO_CGROUP; if v2 is there. */
static inline int cgroup_cradle(const struct cgroup *cg)
{
	return cg->init_dir >= 0 ? cg->init_dir : cg->v2;
}

/*
 * Makes the rest. In doors (room for CGROUP_MAX_DIRS) come the descriptors, now the caller's, of
 * which the child must pass each one by cgroup_pass(). Their number or -errno.
 */
int cgroup_make_rest(struct cgroup *cg, const struct box_settings *set, int *doors,
		     struct failure *why);
int cgroup_pass(int door);

/* Sets all that a controller enforces, of a cgroup that was just made. 0 or -errno. */
int cgroup_set_limits(const struct cgroup *cg, const struct limits *limits, struct failure *why);

/* Processor time that it has used, in µs; UINT64_MAX: this machine cannot tell. */
uint64_t cgroup_cpu_us(const struct cgroup *cg);

/* -EOPNOTSUPP where the kernel has no cgroup.kill (before 5.14, or no cgroup2 mounted). */
int cgroup_kill(const struct cgroup *cg);

/* Freezes or thaws and waits a little for it to be so; a process in uninterruptible sleep follows
 * when it wakes. */
int cgroup_freeze(struct cgroup *cg, bool frozen);

/* The host pids in it, *pids is the caller's; a number of them or -errno. */
ssize_t cgroup_list(const struct cgroup *cg, pid_t **pids);

/* Takes the folders away, and those above that are empty then, trying for timeout_ms while the
 * kernel says that processes are left; frees cg in any case. */
int cgroup_remove(struct cgroup *cg, int timeout_ms);

/*
 * Moves this process out of its maker's cgroups, into the folder "keepers" beside the box's, in
 * every hierarchy where it is not in the root; and back to the roots, with the folders above
 * removed if empty.
 */
int cgroup_leave_caller(const char *box_path, struct failure *why);
void cgroup_leave_keepers(const char *box_path);

/*
 * Ends what is left of a box whose keeper was killed and removes its cgroup, within patience_ms;
 * 0 too if there is none. For a process that runs no box.
 */
int cgroup_clean(const char *path, int patience_ms);

/* A relative path of at least two names, none of them "." or "..". */
bool cgroup_path_is_valid(const char *path);

/* --- for the back ends -------------------------------------------------------------------- */

#define CGROUP_INIT "init" /* name of init's own folder below the box's */

/* Makes path below hierarchy, fresh and empty, and adds it to cg; 0 or -errno. */
int cgroup_add_dir(struct cgroup *cg, const char *hierarchy);
/* Index in dirs of that hierarchy, also by another name of the same one; or -1. */
int cgroup_find_dir(const struct cgroup *cg, const char *hierarchy);
/*
 * Calls fn with the folder dir, which stays the caller's, and each folder right below it; stops at
 * the first that returns less than 0, and returns that or 0.
 */
int cgroup_each_folder(int dir, int (*fn)(int folder, void *ctx), void *ctx);
/* The pids of one folder's cgroup.procs, added to those that are there. 0 or -errno. */
struct pids {
	pid_t *pids;
	size_t n, size;
};
int cgroup_read_procs(int folder, struct pids *out);
/* The file by which a process of one thread moves itself, open; or -errno. */
int cgroup_open_door(int folder);
/* Takes all folders of cg away as far as they are empty. -EBUSY while one has processes after
 * *patience_ms, which it lowers by the time it waited. */
int cgroup_drop_dirs(struct cgroup *cg, int *patience_ms);
/* Makes path and all folders above it below dirfd; 0 or -errno (0 too if it is there). */
int cgroup_mkdir_path(int dirfd, const char *path);
/* Removes path and those folders above it that are empty then. -EBUSY while path has processes;
 * the second form waits for the last of them, which its cgroup forgets a moment after its end. */
int cgroup_rmdir_path(int dirfd, const char *path);
int cgroup_rmdir_patiently(int dirfd, const char *path, int *patience_ms);
/* Moves this process, of one thread, into the folder. */
int cgroup_enter(int dirfd);
/* The number behind key in a file of "key number" lines, 0 if it is not there. */
uint64_t cgroup_read_key(int dirfd, const char *file, const char *key);
/* Writes a limit; -errno, with a sentence that names it. */
int cgroup_write_limit(int dirfd, const char *file, const char *value, struct failure *why);
/* -EBUSY, as so many bytes are in use and cannot be taken back. */
int cgroup_refuse_memory(uint64_t used, struct failure *why);
/* The number in a file; 0: it cannot be read, or says "max". */
uint64_t cgroup_read_number(int dirfd, const char *file);
/* True if word is in the blank-separated list. */
bool cgroup_has_word(const char *list, const char *word);

#endif
