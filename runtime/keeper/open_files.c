/* SPDX-License-Identifier: MIT */
/*
 * limits/files: RLIMIT_NOFILE of init, from which all that starts later has it, and of all that lives.
 * The box stands still meanwhile, so that nothing is missed that is being forked, and no pid on the
 * list becomes somebody else's. One thread, no locks.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "keeper/box_limits.h"
#include "keeper/cgroup.h"
#include "keeper/stages.h"

/* Without a limit: what the keeper got from the machine, which the box had at its start. */
static int wanted(uint64_t value, struct rlimit *out)
{
	if (value != LIMIT_NONE) {
		out->rlim_cur = out->rlim_max = value;
		return 0;
	}
	if (getrlimit(RLIMIT_NOFILE, out) < 0)
		return -errno;
	out->rlim_cur = MIN(out->rlim_max, (rlim_t)BOX_OPEN_FILES);
	return 0;
}

/*
 * Root with CAP_SYS_RESOURCE may do all of it. Else the id that made the box's user namespace may at
 * least lower it there, and read it: it has all capabilities over the box (user_namespaces(7)).
 */
static int limit_process(const struct keeper *k, pid_t pid, const struct rlimit *limit,
			 struct rlimit *old)
{
	int r = prlimit(pid, RLIMIT_NOFILE, limit, old) < 0 ? -errno : 0;

	if (r != -EPERM || setresuid(-1, k->set.uid_base, -1) < 0)
		return r;
	r = prlimit(pid, RLIMIT_NOFILE, limit, old) < 0 ? -errno : 0;
	/* The real uid is root's all along, so this cannot be refused. */
	return setresuid(-1, 0, -1) < 0 ? -errno : r;
}

/* One that has given itself less keeps that; so does one that is gone at this moment. */
static int set_one(const struct keeper *k, pid_t pid, const struct rlimit *old,
		   const struct rlimit *limit)
{
	struct rlimit has;
	int r = limit_process(k, pid, NULL, &has);

	if (r < 0)
		return r == -ESRCH ? 0 : r;
	if (has.rlim_max <= limit->rlim_max && has.rlim_max != old->rlim_max)
		return 0;
	r = limit_process(k, pid, limit, NULL);
	return r == -ESRCH ? 0 : r;
}

static int set_all(struct keeper *k, const struct rlimit *old, const struct rlimit *limit)
{
	pid_t *pids = NULL;
	ssize_t n = cgroup_list(k->box.cgroup, &pids);
	int r = (int)MIN(n, 0);

	for (ssize_t i = 0; i < n && r == 0; i++)
		r = set_one(k, pids[i], old, limit);
	free(pids);
	return r;
}

/* To raise what runs takes more than to lower it. */
static int refuse(struct failure *why)
{
	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE, 0, 0, 0) != 1)
		return failure_set(why, EOPNOTSUPP,
				   "root of this machine may not raise it for what runs "
				   "(CAP_SYS_RESOURCE); stop the box first");
	return failure_set(why, EOPNOTSUPP, "this machine lets no process have more than %llu",
			   (unsigned long long)limit_most_files());
}

int open_files_set(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	bool freeze = !k->box.cgroup->frozen;
	struct rlimit limit, old;
	int r = wanted(value, &limit);

	(void)which;
	/* init first: it refuses what the others would. */
	if (r == 0)
		r = limit_process(k, k->box.init_pid, &limit, &old);
	if (r == -EPERM)
		return refuse(why);
	if (r == 0 && freeze)
		r = cgroup_freeze(k->box.cgroup, true);
	if (r == 0)
		r = set_all(k, &old, &limit);
	if (freeze)
		cgroup_freeze(k->box.cgroup, false);
	if (r < 0)
		return failure_set(why, -r, "the open files of its processes: %s", strerror(-r));
	return 0;
}
