/* SPDX-License-Identifier: MIT */
/*
 * Processes of a command, found through /proc. Must not believe what it reads longer than until the
 * next signal: processes come and go. Bounded by MAX_PROCESSES a call. One thread, no locks.
 */
#include "keeper/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1u << 2) /* linux 6.9 */
#endif

enum {
	MAX_PROCESSES = 8192,
	COPY_TICKS = 100,   /* how long a process may take from fork to exec, on a busy machine, */
	COPY_CPU_US = 5000, /* and how much of that it runs */
};

struct pid_list {
	pid_t *pids;
	size_t n, size;
};

static int pid_list_add(struct pid_list *list, pid_t pid)
{
	if (list->n == MAX_PROCESSES)
		return -E2BIG;
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

static void pid_list_free(struct pid_list *list)
{
	free(list->pids);
}

#define _cleanup_pids_ __attribute__((cleanup(pid_list_free)))

static int read_proc(pid_t pid, const char *name, char **data)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%.32s", pid, name);
	return read_file_at(AT_FDCWD, path, 64 << 10, data, NULL);
}

/* Adds the pids of a text of numbers. */
static void add_pids(struct pid_list *list, char *text)
{
	char *rest;

	for (char *word = strtok_r(text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
		uint64_t pid;

		if (parse_u64(word, 1, INT32_MAX, &pid) == 0)
			pid_list_add(list, (pid_t)pid);
	}
}

/* Adds the children of a process, thread by thread. */
static int add_children(struct pid_list *list, pid_t parent)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", parent);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		_cleanup_free_ char *text = NULL;
		uint64_t thread;

		if (parse_u64(e->d_name, 1, INT32_MAX, &thread) < 0)
			continue;
		snprintf(path, sizeof(path), "%u/children", (unsigned int)thread);
		if (read_file_at(dirfd(dir), path, 1 << 20, &text, NULL) == 0)
			add_pids(list, text);
	}
	return 0;
}

/* Extends list by all descendants of those from index from on. */
static void add_descendants(struct pid_list *list, size_t from)
{
	for (size_t i = from; i < list->n; i++)
		add_children(list, list->pids[i]);
}

int processes_count_children(pid_t parent)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	int r = add_children(&list, parent);

	return r < 0 ? r : (int)list.n;
}

/* What /proc/PID/stat says, from the third field on (proc_pid_stat(5)). */
struct process_stat {
	char state;
	pid_t parent, group;
	uint64_t start_ticks;
};

static int read_stat(pid_t pid, struct process_stat *out)
{
	_cleanup_free_ char *text = NULL;
	uint64_t fields[20] = { 0 };
	char *p, *rest, state;
	int n = 0, r = read_proc(pid, "stat", &text);

	if (r < 0)
		return r;
	p = strrchr(text, ')');
	if (!p || p[1] != ' ' || !p[2])
		return -EPROTO;
	state = p[2];
	for (p = strtok_r(p + 3, " ", &rest); p && n < 20; p = strtok_r(NULL, " ", &rest)) {
		if (parse_u64(p, 0, UINT64_MAX, &fields[n]) < 0)
			fields[n] = 0; /* some are negative; none of ours */
		n++;
	}
	out->state = state;
	out->parent = (pid_t)fields[0];
	out->group = (pid_t)fields[1];
	out->start_ticks = fields[18];
	return n == 20 ? 0 : -EPROTO;
}

/* Sends sig unless the pid has become somebody else's since: its start is the same. */
static void signal_checked(pid_t pid, int sig, uint64_t start_ticks)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct process_stat now;

	if (pidfd >= 0 && read_stat(pid, &now) == 0 && now.start_ticks == start_ticks)
		syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

static bool ignores_sigint(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char *p;

	if (read_proc(pid, "status", &text) < 0)
		return false;
	p = strstr(text, "\nSigIgn:");
	return p && strtoull(p + 8, NULL, 16) & (UINT64_C(1) << (SIGINT - 1));
}

static void signal_list(const struct pid_list *list, int sig)
{
	struct process_stat st;

	for (size_t i = 0; i < list->n; i++) {
		if (read_stat(list->pids[i], &st) == 0)
			signal_checked(list->pids[i], sig, st.start_ticks);
	}
}

/* The children of the shell that it waits for. */
static void list_foreground(struct pid_list *list, pid_t shell, uint64_t since_ticks)
{
	_cleanup_pids_ struct pid_list children = { 0 };
	/* After `trap '' INT` all children ignore it, and it tells nothing. */
	bool all_ignore = ignores_sigint(shell);

	if (add_children(&children, shell) < 0)
		return;
	for (size_t i = 0; i < children.n; i++) {
		struct process_stat st;

		if (read_stat(children.pids[i], &st) == 0 && st.parent == shell &&
		    st.start_ticks >= since_ticks &&
		    (all_ignore || !ignores_sigint(children.pids[i])))
			pid_list_add(list, children.pids[i]);
	}
}

int processes_signal_foreground(pid_t shell, int sig, bool tree, uint64_t since_ticks)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	int n;

	list_foreground(&list, shell, since_ticks);
	n = (int)list.n;
	if (tree)
		add_descendants(&list, 0);
	signal_list(&list, sig);
	return n;
}

static bool runs_same_program(pid_t a, pid_t b)
{
	char path[32], exe_a[512], exe_b[512];
	ssize_t len_a, len_b;

	snprintf(path, sizeof(path), "/proc/%d/exe", a);
	len_a = readlink(path, exe_a, sizeof(exe_a));
	snprintf(path, sizeof(path), "/proc/%d/exe", b);
	len_b = readlink(path, exe_b, sizeof(exe_b));
	return len_a > 0 && len_a == len_b && !memcmp(exe_a, exe_b, len_a);
}

int64_t processes_cpu_us(pid_t pid)
{
	_cleanup_free_ char *text = NULL;

	/* Nanoseconds, since the kernel counts them for each task (sched-stats.rst). */
	if (read_proc(pid, "schedstat", &text) < 0)
		return -1;
	return (int64_t)(strtoull(text, NULL, 10) / 1000);
}

static bool is_running(const struct process_stat *st)
{
	return st->state == 'R' || st->state == 'D';
}

bool processes_is_running(pid_t pid)
{
	struct process_stat st;

	return read_stat(pid, &st) == 0 && is_running(&st);
}

/* May it be on its way from fork to exec? now: in ticks. */
static bool is_unsettled(pid_t pid, pid_t shell, const struct process_stat *st, uint64_t now)
{
	int64_t cpu_us;

	if (st->start_ticks + YOUNG_TICKS >= now)
		return true;
	if (!runs_same_program(pid, shell))
		return false;
	if (st->start_ticks + COPY_TICKS >= now)
		return true;
	/* On a busy machine it may not have had its turn. */
	cpu_us = is_running(st) ? processes_cpu_us(pid) : -1;
	return cpu_us >= 0 && cpu_us < COPY_CPU_US;
}

int processes_count_foreground(pid_t shell, uint64_t since_ticks, uint64_t *unsettled)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	uint64_t now = processes_now_ticks();

	*unsettled = UINT64_MAX;
	list_foreground(&list, shell, since_ticks);
	for (size_t i = 0; i < list.n; i++) {
		struct process_stat st;

		if (read_stat(list.pids[i], &st) == 0 &&
		    is_unsettled(list.pids[i], shell, &st, now))
			*unsettled = MIN(*unsettled, st.start_ticks);
	}
	return (int)list.n;
}

void processes_continue_foreground(pid_t shell, uint64_t since_ticks)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	struct process_stat st;

	list_foreground(&list, shell, since_ticks);
	add_descendants(&list, 0);
	for (size_t i = 0; i < list.n; i++) {
		if (read_stat(list.pids[i], &st) == 0 && st.state == 'T')
			signal_checked(list.pids[i], SIGCONT, st.start_ticks);
	}
}

void processes_signal_groups(pid_t shell, int sig, uint64_t since_ticks)
{
	_cleanup_pids_ struct pid_list children = { 0 };
	struct process_stat own, st;

	if (read_stat(shell, &own) < 0 || add_children(&children, shell) < 0)
		return;
	for (size_t i = 0; i < children.n; i++) {
		pid_t pid = children.pids[i];

		/* A leader that still is the shell's child: the group is the one it leads. */
		if (read_stat(pid, &st) < 0 || st.parent != shell || st.group == own.group ||
		    st.group != pid || st.start_ticks < since_ticks)
			continue;
		kill(-pid, sig);
	}
}

void processes_signal_young(pid_t init, int sig, uint64_t since_ticks)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	struct process_stat st;

	pid_list_add(&list, init);
	add_descendants(&list, 0);
	for (size_t i = 1; i < list.n; i++) {
		if (read_stat(list.pids[i], &st) == 0 && st.start_ticks >= since_ticks)
			signal_checked(list.pids[i], sig, st.start_ticks);
	}
}

uint64_t processes_now_ticks(void)
{
	uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * ticks + (uint64_t)t.tv_nsec * ticks / 1000000000;
}

/* Is that FIFO open in that process? */
static bool process_has_open(pid_t pid, int fifo)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct stat want, st;
	struct dirent *e;
	char path[64];

	if (fifo < 0 || fstat(fifo, &want) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		char target[16];

		/* Only a FIFO is looked at more closely: stat of the others might wait for
		 * a filesystem. Ours was unlinked or stands in the control folder. */
		if (e->d_name[0] == '.' ||
		    readlinkat(dirfd(dir), e->d_name, target, sizeof(target)) < 9 ||
		    strncmp(target, "/run/box/", 9))
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISFIFO(st.st_mode) &&
		    st.st_ino == want.st_ino && st.st_dev == want.st_dev)
			return true;
	}
	return false;
}

int processes_signal_holders(pid_t init, int sig, const int fifos[2], pid_t exclude)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	struct process_stat st;
	int n = 0;

	pid_list_add(&list, init);
	add_descendants(&list, 0);
	for (size_t i = 1; i < list.n; i++) {
		pid_t pid = list.pids[i];

		if (pid == exclude || read_stat(pid, &st) < 0 ||
		    (!process_has_open(pid, fifos[0]) && !process_has_open(pid, fifos[1])))
			continue;
		n++;
		if (sig)
			signal_checked(pid, sig, st.start_ticks);
	}
	return n;
}

int processes_signal_group(int pidfd, pid_t leader, int sig)
{
	if (pidfd < 0)
		return -ESRCH;
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* Before 6.9: safe as long as the leader itself is not gone. */
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		return -errno;
	return kill(-leader, sig) < 0 ? -errno : 0;
}
