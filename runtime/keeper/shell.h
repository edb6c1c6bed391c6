/* SPDX-License-Identifier: MIT */
/*
 * One shell process of a session, from init_spawn() to its end. A shell is replaced, never
 * repaired: what is in here is thrown away with it.
 */
#ifndef KEEPER_SHELL_H
#define KEEPER_SHELL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "keeper/box.h"
#include "keeper/driver.h"
#include "keeper/group.h"
#include "keeper/loop.h"
#include "keeper/session_env.h"
#include "keeper/spawned.h"
#include "keeper/user.h"
#include "protocol.h"

/*
 * The shell's own standard output or error. Commands have streams of their own; here comes what a
 * trap says between commands (belongs to nobody) or while the shell ends (belongs to the command
 * that ended it). Only the last BASE_LOG_BYTES are kept.
 */
struct base_log {
	struct loop_source source;
	struct loop *loop;
	struct text text;
};

enum { BASE_LOG_BYTES = 64 << 10 };

struct shell {
	struct spawned spawned;
	struct spawns *spawns;
	bool alive; /* init was asked for it, and has not told of its end */
	enum driver_kind kind;
	pid_t pid, box_pid; /* 0 until it is known to run */
	int pidfd;
	bool spoke;  /* its loop has been entered */
	bool killed; /* by us */
	struct base_log base[N_STREAMS];
};

/* event: what init says of it. */
void shell_init(struct shell *shell, struct spawns *spawns,
		void (*event)(struct spawned *spawned, const struct init_event *event));
/* bash if the box has it, else sh: its path, or NULL: the box has no shell. */
const char *shell_find(const struct box *box, enum driver_kind *kind);
/* What a shell starts with. */
struct shell_start {
	const char *dir; /* of the control folder, as the box sees it */
	const char *cwd; /* where that does not exist the box's / */
	const struct box_user *user;
	const struct session_env *env;
	struct group *group; /* that it is born into, or NULL */
};

/*
 * Asks init for a shell. What of the environment cannot be given at the start is added to script.
 * 0 or -errno; -EAGAIN: init has too much to do, ask again.
 */
int shell_start(struct shell *shell, struct box *box, struct loop *loop,
		const struct shell_start *start, struct text *script);
/* It runs: pidfd is taken. */
void shell_note_started(struct shell *shell, const struct init_event *event);
/* Forgets it, closes what is ours. */
void shell_close(struct shell *shell);
/* Reads what the base logs hold now. */
void shell_drain_base(struct shell *shell);
void shell_clear_base(struct shell *shell);

/* To the shell alone, or to its whole process group. 0 or -errno. */
int shell_signal(const struct shell *shell, int sig);
int shell_signal_group(const struct shell *shell, int sig);
/* SIGKILL, for one that does not answer. */
void shell_kill(struct shell *shell);
/* Its working directory, as the box sees it; malloc'd, NULL if unknown. */
char *shell_read_cwd(const struct shell *shell);
/* Is it stopped (SIGSTOP and the like)? */
bool shell_is_stopped(const struct shell *shell);

#endif
