/* SPDX-License-Identifier: MIT */
/* Pseudo-terminals of a box's own devpts, and the login shell that runs on one. */
#ifndef KEEPER_PTY_H
#define KEEPER_PTY_H

#include "keeper/box.h"
#include "keeper/session_env.h"
#include "keeper/spawned.h"
#include "keeper/user.h"

struct pty {
	int master; /* non-blocking */
	int slave;
};

/*
 * A new pair. The slave belongs to the user, and its group tty may write to it (where the box has
 * that group). 0 or -errno: -EXDEV what the box shows at /dev/pts is no devpts, -ENOSPC it has no
 * more terminals.
 */
int pty_open(const struct box *box, const struct box_user *user, struct pty *pty);
/* Neither 0: 24 rows, 80 columns. */
void pty_set_size(int master, unsigned int rows, unsigned int columns);

/*
 * Asks init for the user's login shell on pty->slave, in cwd (the box's / where that is no
 * directory), with env and what a login sets. doors: as in struct init_spawn. 0 or -errno:
 * -ENOEXEC the box has no shell.
 */
int pty_start_shell(struct box *box, struct spawns *spawns, struct spawned *spawned,
		    const struct pty *pty, const struct box_user *user, const char *cwd,
		    const struct session_env *env, const int *doors, int n_doors);

#endif
