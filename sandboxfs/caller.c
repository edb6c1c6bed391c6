/* SPDX-License-Identifier: MIT */
/* /proc of the caller. No state, no locks. */
#include "caller.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"

enum { MAX_DESCRIPTORS = 4096, TASK_EXITING = 0x4, TASK_SIGNALED = 0x400 };

static int read_proc(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : read_full(fd, buf, size - 1);

	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	return 0;
}

/* The value behind "key" at the start of a line, in the given base. */
static bool status_number(const char *status, const char *key, int base, unsigned long long *out)
{
	const char *p = strstr(status, key);

	if (!p)
		return false;
	*out = strtoull(p + strlen(key), NULL, base);
	return true;
}

/* Field n (from 1) of /proc/PID/stat; the name in field 2 may hold anything. */
static unsigned long long stat_field(const char *stat, int n)
{
	const char *p = strrchr(stat, ')');

	for (int i = 2; p && i < n; i++) {
		p = strchr(p + 1, ' ');
	}
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

int caller_read(pid_t tid, struct caller *caller)
{
	char path[64], buf[4096];
	unsigned long long tgid, code_kib;

	*caller = (struct caller){ 0 };
	if (tid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (read_proc(path, buf, sizeof(buf)) < 0 || !status_number(buf, "\nTgid:", 10, &tgid))
		return -ESRCH;
	caller->tgid = (pid_t)tgid;
	/* An address space without a program is that of an execve which waits for our answer and
	 * holds exec_update_lock, and for that lock a reader of /proc/PID/stat would wait. */
	caller->executing = status_number(buf, "\nVmExe:", 10, &code_kib) && !code_kib;
	if (caller->executing)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (read_proc(path, buf, sizeof(buf)) < 0)
		return -ESRCH;
	caller->exiting = stat_field(buf, 9) & TASK_EXITING;
	caller->signalled = stat_field(buf, 9) & TASK_SIGNALED;
	if (caller->tgid != tid) {
		snprintf(path, sizeof(path), "/proc/%d/stat", caller->tgid);
		if (read_proc(path, buf, sizeof(buf)) < 0)
			return -ESRCH;
	}
	caller->started = stat_field(buf, 22);
	return 0;
}

bool caller_holds(pid_t tgid, uint64_t ino)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[64];
	struct dirent *e;
	int seen = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", tgid);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((e = readdir(dir)) && seen < MAX_DESCRIPTORS) {
		char name[384], buf[512];
		unsigned long long found;

		if (e->d_name[0] == '.')
			continue;
		seen++;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (read_proc(name, buf, sizeof(buf)) == 0 &&
		    status_number(buf, "\nino:", 10, &found) && found == ino)
			return true;
	}
	return false;
}

int caller_signal(pid_t tid)
{
	/* KILL after those that kill by default: the kernel makes them a KILL as well. */
	static const int known[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGKILL, SIGTSTP, SIGSTOP };
	unsigned long long own = 0, shared = 0, blocked = 0;
	char path[64], buf[4096];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (tid <= 0 || read_proc(path, buf, sizeof(buf)) < 0)
		return SIGKILL; /* it is gone */
	status_number(buf, "\nSigPnd:", 16, &own);
	status_number(buf, "\nShdPnd:", 16, &shared);
	status_number(buf, "\nSigBlk:", 16, &blocked);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if ((own | shared) & ~blocked & 1ull << (known[i] - 1))
			return known[i];
	}
	return 0;
}
