/* SPDX-License-Identifier: MIT */
/*
 * What /proc tells of the process behind a request: whose descriptor it is, whether it is on its
 * way out, which signal interrupted it. Reads /proc only, never the descriptors themselves (that
 * would come back to our own mount). The rule it serves is in sandboxfs(5), "When a
 * command runs".
 */
#ifndef SANDBOXFS_CALLER_H
#define SANDBOXFS_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct caller {
	pid_t tgid;
	uint64_t started; /* start time of the thread group leader, in clock ticks since boot */
	bool exiting;	  /* PF_EXITING */
	bool signalled;	  /* PF_SIGNALED: a signal killed it */
	bool executing;	  /* inside execve, closing what is close-on-exec: only tgid is known */
};

/* 0, or -ESRCH when it is gone or outside our pid namespace. */
int caller_read(pid_t tid, struct caller *caller);

/* How many descriptors of the file with inode number ino the process has; at most 4096 are
 * looked at. */
bool caller_holds(pid_t tgid, uint64_t ino);

/* What interrupted a waiting thread: a signal number that is pending and not blocked, of those
 * that mean something to a command; 0: nothing that does. */
int caller_signal(pid_t tid);

#endif
