/* SPDX-License-Identifier: MIT */
/*
 * A running box from outside: killing, freezing, ending. Everything here is bounded in time, and
 * nothing depends on the good will of a process of the box. One thread, no locks.
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "cgroup.h"
#include "group.h"
#include "init_client.h"
#include "mounter.h"
#include "stages.h"

enum {
	END_PATIENCE_MS = 5000,
	CLEAN_PATIENCE_MS = 60000, /* a dying init may have to wait for the disk */
	POLL_MS = 1,
};

int keeper_leave_caller(const struct box_settings *set, struct failure *why)
{
	int r;

	*why = (struct failure){ .step = "leave the caller's session" };
	/* A session leader already: the daemon started it so. */
	if (setsid() < 0 && errno != EPERM)
		return failure_set(why, errno, "cannot make a session");
	r = cgroup_leave_caller(set->cgroup, why);
	if (r < 0)
		why->error = -r;
	return r;
}

static int pid_namespace(pid_t pid, struct stat *st)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat(path, st) < 0 ? -errno : 0;
}

/*
 * Sends sig to pid if that is a process of the box. The number came from the cgroup's list and may
 * have gone to a stranger since; a descriptor holds it still while its pid namespace is looked at.
 */
static void signal_if_inside(const struct stat *box_ns, pid_t pid, int sig)
{
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);
	struct stat ns;

	if (pidfd < 0 || pid_namespace(pid, &ns) < 0 || ns.st_ino != box_ns->st_ino ||
	    ns.st_dev != box_ns->st_dev)
		return;
	pidfd_send_signal(pidfd, sig, NULL, 0);
}

int box_signal_pids(struct box *box, const pid_t *pids, size_t n, pid_t except, int sig)
{
	struct stat ns;
	int others = 0, r = n ? pid_namespace(box->init_pid, &ns) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (pids[i] == box->init_pid || pids[i] == except)
			continue;
		others++;
		if (sig)
			signal_if_inside(&ns, pids[i], sig);
	}
	return others;
}

/* Sends sig to all but init; the number of them or -errno. */
static int signal_all(struct box *box, int sig)
{
	_cleanup_free_ pid_t *pids = NULL;
	ssize_t n = cgroup_list(box->cgroup, &pids);

	return n < 0 ? (int)n : box_signal_pids(box, pids, (size_t)n, 0, sig);
}

int box_signal_all(struct box *box, int sig)
{
	int r = signal_all(box, sig);

	return r < 0 ? r : 0;
}

static bool init_is_dead(const struct box *box, int wait_ms)
{
	struct pollfd p = { .fd = box->init_pidfd, .events = POLLIN };

	return poll(&p, 1, wait_ms) > 0;
}

/* The death of a pid namespace's init is that of all its processes, which the kernel sees to
 * before it lets init go; cgroup.kill first only saves time. */
static int kill_with_init(struct box *box, int timeout_ms)
{
	cgroup_kill(box->cgroup);
	pidfd_send_signal(box->init_pidfd, SIGKILL, NULL, 0);
	/* A freezer of the first version holds even the killed. */
	box->cgroup->ops->set_frozen(box->cgroup, false);
	return init_is_dead(box, timeout_ms) ? 0 : -ETIMEDOUT;
}

static int kill_but_init(struct box *box, int timeout_ms)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	int64_t until = monotonic_ms() + timeout_ms;
	int left;

	do {
		/* Nothing forks while frozen; it need not be complete, as the next round follows. */
		box->cgroup->ops->set_frozen(box->cgroup, true);
		left = signal_all(box, SIGKILL);
		box->cgroup->ops->set_frozen(box->cgroup, false);
		if (left <= 0)
			return left;
		nanosleep(&pause, NULL);
		left = signal_all(box, 0);
	} while (left > 0 && monotonic_ms() < until);
	return left > 0 ? -ETIMEDOUT : left;
}

int box_kill_processes(struct box *box, bool also_init, int timeout_ms)
{
	if (init_is_dead(box, 0))
		return 0;
	return also_init ? kill_with_init(box, timeout_ms) : kill_but_init(box, timeout_ms);
}

int box_freeze(struct box *box)
{
	return cgroup_freeze(box->cgroup, true);
}

int box_thaw(struct box *box)
{
	return cgroup_freeze(box->cgroup, false);
}

bool box_oom_killed(struct box *box)
{
	uint64_t kills = box->cgroup->ops->oom_kills(box->cgroup);
	bool more = kills > box->cgroup->oom_seen;

	box->cgroup->oom_seen = kills;
	return more;
}

const char *box_cgroup_path(const struct box *box)
{
	return box->cgroup->list;
}

void box_add_cgroups(const struct box *box, struct text *fields)
{
	static const char *const measures[] = { "memory", "cpuacct", "pids", "pressure" };
	const struct cgroup *cg = box->cgroup;

	for (size_t i = 0; i < ARRAY_SIZE(measures); i++) {
		int at = cg->ops->find_measure(cg, measures[i]);

		if (at >= 0)
			text_printf(fields, "cgroup.%s=%s/%s%c", measures[i],
				    cg->dirs[at].hierarchy, cg->path, '\0');
	}
}

void box_destroy(struct box *box)
{
	siginfo_t info;
	int r;

	if (!box->cgroup)
		return;
	close_fd(&box->network);
	close_fd(&box->network_ns);
	mounter_end(&box->mounter, box->mounter_pid);
	r = box_kill_processes(box, true, END_PATIENCE_MS);
	if (r == 0)
		waitid(P_PIDFD, (id_t)box->init_pidfd, &info, WEXITED | WNOHANG);
	else
		log_error("init %d does not end: something of the box hangs in the kernel",
			  box->init_pid);
	close_fd(&box->init_sock);
	close_fd(&box->init_pidfd);
	close_fd(&box->workspace);
	close_fd(&box->control);
	close_fd(&box->dir);
	init_client_free(take_ptr(box->init));
	groups_close(take_ptr(box->groups));
	r = cgroup_remove(take_ptr(box->cgroup), END_PATIENCE_MS);
	if (r < 0)
		log_error("a cgroup of the box stays behind: error %d", -r);
	cgroup_leave_keepers(box->set.cgroup);
}

void box_close(struct box *box)
{
	close_fd(&box->usr);
	close_fd(&box->root);
}

int box_remove_cgroup(const char *path)
{
	return cgroup_clean(path, CLEAN_PATIENCE_MS);
}
