/* SPDX-License-Identifier: MIT */
/* RUN_RECORD of a run's folder (runtime.h says what is in it). Text only: no I/O. */
#ifndef KEEPER_RECORD_H
#define KEEPER_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "keeper/usage.h"
#include "protocol.h"

struct record {
	const char *session;	 /* "": a run of its own */
	const char *name, *user; /* NULL: none was given */
	const char *cwd;	 /* where it began; NULL: it has not */
	const char *token;
	enum run_state state;
	int code;
	pid_t pid;		      /* in the box; 0 not known */
	int64_t started_us, ended_us; /* since the epoch; 0 not yet */
	uint64_t end_size[N_STREAMS]; /* when the command ended */
	bool truncated;
	int64_t timeout_ms; /* 0: none */
	bool timeout_is_default;
	const struct usage *usage; /* NULL: not known */
};

/* Adds the fields that tell a usage, each by add(): as in a record, or in a message. */
void record_add_usage(struct text *t, uint64_t wall_us, const struct usage *usage,
		      void (*add)(struct text *t, const char *key, uint64_t value));
/* Adds the record's lines. What is not known yet (pid, exit, ended, …) is left out. */
void record_write(struct text *t, const struct record *record);

#endif
