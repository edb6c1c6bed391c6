/* SPDX-License-Identifier: MIT */
/*
 * Command lines of processes, without waiting for any of them: they are memory of the process, which
 * may be a page of a file on a bucket whose server does not answer.
 */
#ifndef SANDBOXFS_PROC_COMMANDS_H
#define SANDBOXFS_PROC_COMMANDS_H

#include <stddef.h>
#include <sys/types.h>

enum { PROC_COMMAND_BYTES = 162 };

struct proc_command {
	pid_t pid;  /* 0: not this one */
	size_t len; /* 0: not known */
	char text[PROC_COMMAND_BYTES];
};

/* Fills text and len of n; of one that does not answer in a moment, len is 0. Any thread. */
void proc_commands_read(struct proc_command *commands, size_t n);

#endif
