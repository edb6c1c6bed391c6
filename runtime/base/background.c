/* SPDX-License-Identifier: MIT */
/* Going to the background. One pipe, before any thread. No locks. */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "log.h"

static int ready_pipe = -1;

int background_enter(void)
{
	int pair[2];
	char ok;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(pair[0]);
		ready_pipe = pair[1];
		setsid();
		return 0;
	}
	close(pair[1]);
	/* The child has said on our standard error what went wrong. */
	_exit(read_full(pair[0], &ok, 1) == 1 ? 0 : 1);
}

bool background_is_awaited(void)
{
	return ready_pipe >= 0;
}

void background_ready(void)
{
	if (ready_pipe < 0)
		return;
	if (write(ready_pipe, "", 1) < 0)
		log_warn("nobody waited for the mount");
	close_fd(&ready_pipe);
}
