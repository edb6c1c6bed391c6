/* SPDX-License-Identifier: MIT */
/*
 * Runs of their own: a script in a shell that is started for it, beside all sessions, with a standard
 * input that is live.
 */
#ifndef KEEPER_OWN_H
#define KEEPER_OWN_H

#include <stddef.h>
#include <stdint.h>

#include "keeper/keeper.h"
#include "keeper/run.h"

/*
 * MSG_SUBMIT with own=yes: fields are its field list, a NUL follows script. 0: it is RUN_STARTING; or -errno, and *why may
 * be set to a sentence: -ENOEXEC the box has no shell, -ENOENT no such user or directory, ….
 */
int own_submit(struct keeper *k, uint64_t number, const char *fields, size_t fields_len,
	       const struct run_options *options, const char *script, size_t len, const char **why);
/* To its program and the program's process group; before it has started, as soon as it has. 0 or
 * -errno. */
int own_signal(struct run *run, int sig);
/* MSG_INPUT: says MSG_INPUT_FD. -EPIPE: it has ended, or its input has. */
int own_say_input(struct run *run);
/* MSG_INPUT_END. -EPIPE likewise. */
int own_end_input(struct run *run);

#endif
