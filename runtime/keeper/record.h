/* SPDX-License-Identifier: MIT */
/* RUN_RECORD of a run's folder (runtime.h says what is in it). Text only: no I/O. */
#ifndef KEEPER_RECORD_H
#define KEEPER_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "protocol.h"

struct record {
	const char *session;
	const char *token;
	enum run_state state;
	int code;
	pid_t pid;		      /* in the box; 0 not known */
	int64_t started_us, ended_us; /* since the epoch; 0 not yet */
	uint64_t end_size[N_STREAMS]; /* when the command ended */
	bool truncated;
};

/* Adds the record's lines. What is not known yet (pid, exit, ended, …) is left out. */
void record_write(struct text *t, const struct record *record);

#endif
