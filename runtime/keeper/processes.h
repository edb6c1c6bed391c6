/* SPDX-License-Identifier: MIT */
/*
 * Which processes of the box belong to a command, and signals to them. Reads /proc of the host;
 * every signal goes by a pidfd that was checked after it was opened, so a reused pid is never hit.
 */
#ifndef KEEPER_PROCESSES_H
#define KEEPER_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process that began so many ticks (of /proc/PID/stat) ago may not have executed its program yet,
 * and so may have lost a signal. */
enum { YOUNG_TICKS = 3 };

/* Counts the children of a process; -errno. */
int processes_count_children(pid_t parent);

/*
 * The processes a shell waits for: its children that began at since_ticks (of /proc/PID/stat) or
 * later, but for those in the background (which ignore SIGINT, as POSIX has it for a shell without
 * job control). Sends sig to each and, with tree, to all its descendants. Returns how many
 * children there were.
 */
int processes_signal_foreground(pid_t shell, int sig, bool tree, uint64_t since_ticks);
/*
 * Counts those same processes. *unsettled is the earliest start of one that may be in the middle of
 * being started, and so may lose a signal: it began just now, or not long ago and still is a copy of
 * the shell, or is one that has hardly run yet. UINT64_MAX: there is none.
 */
int processes_count_foreground(pid_t shell, uint64_t since_ticks, uint64_t *unsettled);
/* Continues those of them, and of their descendants, that are stopped. */
void processes_continue_foreground(pid_t shell, uint64_t since_ticks);
/* How long a process has run on a CPU; -1: unknown. */
int64_t processes_cpu_us(pid_t pid);
/* Does it run, or would it, if it were its turn? Not if it waits for something. */
bool processes_is_running(pid_t pid);
/* To the process groups of the shell's children that are not the shell's own (a user's set -m) and
 * began at since_ticks or later. */
void processes_signal_groups(pid_t shell, int sig, uint64_t since_ticks);
/* To the process group that this process leads. 0 or -errno. */
int processes_signal_group(int pidfd, pid_t leader, int sig);
/* Sends sig to every descendant of init that began at since_ticks or later. */
void processes_signal_young(pid_t init, int sig, uint64_t since_ticks);
/* Now, in those ticks. */
uint64_t processes_now_ticks(void);

/*
 * Sends sig (0: only looks) to every descendant of init but exclude that has one of these two FIFOs
 * open (-1: none). Returns how many there were.
 */
int processes_signal_holders(pid_t init, int sig, const int fifos[2], pid_t exclude);

#endif
