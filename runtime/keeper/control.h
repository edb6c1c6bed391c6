/* SPDX-License-Identifier: MIT */
/*
 * The control folder of a session, a directory of the control tmpfs that the shell's loop
 * (driver.h) opens everything in by path:
 *
 *   go, st    FIFOs of one shell's life: numbers of commands to it, "NUMBER STATUS" from it
 *   cmd       the script of the present command
 *   in        its standard input: empty
 *   out, err  FIFOs, new ones for each command, so that a background job keeps its own
 *   prev      one line that gives the next command the last one's $?
 *   env, cwd  what a shell that ends leaves behind
 *
 * The folder and what is in it belong to the host's root; the box can write to the FIFOs, env and
 * cwd, but can neither remove nor replace a name. Scripts and environments hold secrets: other users
 * of the box cannot read them. What is read here is hostile all the same.
 */
#ifndef KEEPER_CONTROL_H
#define KEEPER_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/fifo.h"
#include "keeper/loop.h"
#include "protocol.h"

struct control {
	struct loop *loop;
	int root; /* the control tmpfs, borrowed */
	char name[24];
	uid_t uid; /* the shell's, on the host */
	gid_t gid;
	int dir;		   /* -1: the folder has not been made */
	struct loop_source status; /* st */
	int go, script, env, cwd;
	size_t script_len;
	uint64_t token;		      /* of the latest command */
	struct fifo *next[N_STREAMS]; /* out and err of the next command, once prepared */
	char line[64];		      /* of st, not complete yet */
	size_t line_len;
	size_t garbage; /* bytes of st that were no status, since the latest command */
};

/* Of the folder name below root (the control tmpfs), for a shell of those host ids. */
void control_init(struct control *control, struct loop *loop, int root, const char *name, uid_t uid,
		  gid_t gid);
/* Makes the folder. 0 or -errno. */
int control_open(struct control *control);
void control_close(struct control *control);
/* The same, and the folder goes. Not once the control tmpfs has been closed. */
void control_remove(struct control *control);
/* The shell is gone: nothing is read from its FIFOs any more. */
void control_retire(struct control *control);
/* New go and st, empty env and cwd, for a new shell. ready is called when st has something. */
int control_renew(struct control *control, void (*ready)(struct loop_source *, uint32_t));
/* Makes out and err for the next command if they are not there yet. 0 or -errno. */
int control_prepare(struct control *control);
/* Puts the script in place. 0 or -errno. */
int control_write_script(struct control *control, const char *script, size_t len);
/* Lets the shell run it. 0 or -EAGAIN: nobody has read the numbers of many commands. */
int control_go(struct control *control);
/* Has the shell taken the latest number? */
bool control_go_was_read(const struct control *control);
/* Reads st: 1 and *status once the latest command has ended, 0 not yet, 2: a shell says that it is
 * there, -EPROTO when there is nothing but garbage. */
int control_read_status(struct control *control, int *status);
/* What the shell left in env or cwd when it ended; malloc'd, NULL when nothing (or too much). */
char *control_read_left(int fd, size_t max, size_t *len);

#endif
