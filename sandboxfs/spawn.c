/* SPDX-License-Identifier: MIT */
/* Starting programs; what they inherit is the caller's to say. No state, no locks. */
#include "spawn.h"

#include <signal.h>

int spawn_unblocked(const char *program, posix_spawn_file_actions_t *actions, char *const argv[],
		    char *const envp[])
{
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int r;

	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	r = -posix_spawn(&pid, program, actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(actions);
	return r;
}
