/* SPDX-License-Identifier: MIT */
/* Programs of our own that the daemon starts. */
#ifndef SANDBOXFS_SPAWN_H
#define SANDBOXFS_SPAWN_H

#include <spawn.h>
#include <sys/types.h>

/* Starts the program with no signal blocked, whatever this thread blocks. actions end with it.
 * 0 or -errno. */
int spawn_unblocked(const char *program, posix_spawn_file_actions_t *actions, char *const argv[],
		    char *const envp[]);

#endif
