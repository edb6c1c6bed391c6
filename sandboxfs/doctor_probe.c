/* SPDX-License-Identifier: MIT */
/*
 * Trying something where it leaves no trace: in a child with namespaces of its own, which go with
 * it. The child must not outlive its time, nor us. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "doctor_check.h"
#include "runtime.h"

enum { PATIENCE_MS = 10000 };

struct probe {
	int namespaces;
	probe_run *run;
	void *arg;
	int said;  /* write end: the result */
	int ready; /* write end: the user namespace is there */
	int go;	   /* read end: its ids are mapped */
};

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* --- in the child ------------------------------------------------------------------------------- */

static _Noreturn void say(const struct probe *p, struct probe_result *result, int r,
			  const char *step)
{
	result->error = r;
	snprintf(result->step, sizeof(result->step), "%s", step);
	write_full(p->said, result, sizeof(*result));
	_exit(0);
}

static int enter_userns(const struct probe *p)
{
	char word;

	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	if (write(p->ready, "", 1) != 1 || read_full(p->go, &word, 1) != 1)
		return -EPIPE;
	return 0;
}

/* Process 1 of the new pid namespace has to be a child. */
static void become_first(const struct probe *p, struct probe_result *result)
{
	pid_t pid = fork();

	if (pid < 0)
		say(p, result, -errno, "fork");
	if (pid > 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		_exit(0);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static _Noreturn void child(const struct probe *p)
{
	struct probe_result result = { 0 };
	int r = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (p->namespaces & CLONE_NEWUSER) {
		r = enter_userns(p);
		if (r < 0)
			say(p, &result, r, r == -EPIPE ? "map" : "unshare");
		if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
			say(p, &result, -errno, "map");
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change of ids cleared it */
	}
	if (p->namespaces & ~CLONE_NEWUSER && unshare(p->namespaces & ~CLONE_NEWUSER) < 0)
		say(p, &result, -errno, "unshare");
	if (p->namespaces & CLONE_NEWNS && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		say(p, &result, -errno, "unshare");
	if (p->namespaces & CLONE_NEWPID)
		become_first(p, &result);
	r = p->run(&result, p->arg);
	say(p, &result, r, "run");
}

/* --- outside ------------------------------------------------------------------------------------ */

static int write_map(int proc, const char *file, unsigned int outside, unsigned int count)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u %u\n", outside, count);
	return write_control_at(proc, file, map);
}

/* A box's ids; our own one alone, where we may not map those. */
static int map_ids(const struct doctor *d, pid_t pid)
{
	_cleanup_close_ int proc = -1;
	char path[32];
	uid_t base = d->options->uid_base + BOX_IDS;
	int r = -EPERM;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return -errno;
	if (d->root)
		r = write_map(proc, "uid_map", base, BOX_IDS);
	if (r == 0)
		return write_map(proc, "gid_map", base, BOX_IDS);
	r = write_map(proc, "uid_map", geteuid(), 1);
	if (r == 0 && !d->root)
		write_control_at(proc, "setgroups", "deny");
	return r < 0 ? r : write_map(proc, "gid_map", getegid(), 1);
}

/* Bytes, or what a poll that lasted too long makes of them. */
static int read_within(int fd, void *buf, size_t len, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = deadline - monotonic_ms();

	if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
		return -ETIMEDOUT;
	return read_full(fd, buf, len) == (ssize_t)len ? 0 : -EPIPE;
}

static void hear(const struct doctor *d, const struct probe *p, pid_t pid, const int fds[3],
		 struct probe_result *result)
{
	int64_t deadline = monotonic_ms() + PATIENCE_MS;
	char word;
	int r = 0;

	/* It says what stopped it, if it never comes to ask for the ids. */
	if (p->namespaces & CLONE_NEWUSER && read_within(fds[1], &word, 1, deadline) == 0) {
		r = map_ids(d, pid);
		if (r == 0 && write(fds[2], "", 1) != 1)
			r = -EPIPE;
	}
	if (r == 0) {
		r = read_within(fds[0], result, sizeof(*result), deadline);
		if (r == 0)
			return;
		snprintf(result->step, sizeof(result->step), "run");
	} else {
		snprintf(result->step, sizeof(result->step), "map");
	}
	result->error = r;
}

int doctor_probe(const struct doctor *d, int namespaces, probe_run *run, void *arg,
		 struct probe_result *result)
{
	int said[2] = { -1, -1 }, ready[2] = { -1, -1 }, go[2] = { -1, -1 };
	int *const all[] = { said, ready, go };
	struct probe p = { .namespaces = namespaces, .run = run, .arg = arg };
	pid_t pid;

	*result = (struct probe_result){ .error = -EIO, .step = "fork" };
	pid = pipe2(said, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0
		      ? -1
		      : fork();
	if (pid < 0) {
		result->error = -errno;
	} else if (pid == 0) {
		/* Its own copies of the other ends would keep it from seeing that we are gone. */
		close(said[0]);
		close(ready[0]);
		close(go[1]);
		p.said = said[1];
		p.ready = ready[1];
		p.go = go[0];
		child(&p);
	} else {
		close_fd(&said[1]);
		close_fd(&ready[1]);
		close_fd(&go[0]);
		hear(d, &p, pid, (const int[3]){ said[0], ready[0], go[1] }, result);
		reap(pid);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		close_fd(&all[i][0]);
		close_fd(&all[i][1]);
	}
	result->step[sizeof(result->step) - 1] = '\0';
	result->text[sizeof(result->text) - 1] = '\0';
	return result->error;
}

int doctor_userns(const struct doctor *d)
{
	int ready[2], userns = -1, r;
	char path[48], word;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	r = pid < 0 ? -errno : 0;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (unshare(CLONE_NEWUSER) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close_fd(&ready[1]);
	if (r == 0) {
		r = read_within(ready[0], &word, 1, monotonic_ms() + PATIENCE_MS);
		if (r == 0)
			r = map_ids(d, pid);
		snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
		if (r == 0)
			userns = open(path, O_RDONLY | O_CLOEXEC);
		if (r == 0 && userns < 0)
			r = -errno;
		reap(pid);
	}
	close_fd(&ready[0]);
	return r < 0 ? r : userns;
}

bool doctor_is_denied(const struct doctor *d, const struct probe_result *result)
{
	return !d->root && strcmp(result->step, "run") &&
	       (result->error == -EPERM || result->error == -EACCES);
}
