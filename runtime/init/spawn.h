/* SPDX-License-Identifier: MIT */
/* The new process of a request: from the request's bytes to the program. */
#ifndef INIT_SPAWN_H
#define INIT_SPAWN_H

#include <stddef.h>

#include "init.h"

/* argv and envp of a request, pointing into its text. Too big for a stack. */
struct spawn_plan {
	const struct init_request *request;
	const char *cwd;
	char **argv, **envp;
	char *strings[INIT_MAX_TEXT / 2 + 2]; /* argv, NULL, envp, NULL */
};

/* Cuts a packet of len bytes into plan; 0, or -EPROTO for one that does not add up. */
int spawn_parse(struct spawn_plan *plan, char *packet, size_t len);

/*
 * In the new process: becomes the program with the first of fds as its 0, 1 and 2, after it has
 * passed the doors behind them and told the keeper through INIT_SOCK that it is there. Writes the errno of a failure to exec_pipe, whose end of
 * file means success, and never returns.
 */
_Noreturn void spawn_program(const struct spawn_plan *plan, const int fds[INIT_REQUEST_FDS],
			     int exec_pipe);

#endif
