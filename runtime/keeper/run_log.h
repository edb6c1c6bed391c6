/* SPDX-License-Identifier: MIT */
/*
 * The transcripts of sessions, as they are written: which run's bytes follow whose (log_index.h).
 * Called by run.c at a command's begin and end, and when a run writes that did not write last.
 * Runs without a session stand in no transcript.
 */
#ifndef KEEPER_RUN_LOG_H
#define KEEPER_RUN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run;
struct run_log;
struct runs;

/* The command begins: "[N] $ script". Again after a rewind it does nothing. */
void run_log_begin(struct run *run);
/* Does what the run writes now follow by itself? */
bool run_log_is_turn(const struct run *run);
/* Before bytes of the run are written, if not. */
void run_log_take_turn(struct run *run);
/* The command has ended: "[N] exit 0". */
void run_log_end(struct run *run);
/* The run's memory goes; nothing writes to it any more. */
void run_log_forget(struct run *run);
/* A run that the daemon has recorded as refused: head and tail. */
void run_log_refused(struct runs *runs, const char *session, uint64_t number, uint64_t script_len,
		     bool script_ends_line);
/* These runs, in descending order, are about to be removed. */
void run_logs_drop(struct runs *runs, const uint64_t *numbers, size_t n);
/* The session is gone, and its transcript with it. */
void run_log_remove(struct runs *runs, const char *session);
void run_logs_close(struct runs *runs);

#endif
