/* SPDX-License-Identifier: MIT */
/* The importer's process: what it is given. Must not wait for it. No locks. */
#include "import_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "daemon.h"
#include "images.h"
#include "keeper.h"
#include "runtime.h"
#include "spawn.h"

enum { PIPE_BYTES = 1 << 20, CONTROL_FD = 3 };

static int spawn(int archive, int result, int control)
{
	char program[4096], dir[4096], base[24], bytes[24], files[24];
	char *argv[] = { IMAGE_PROGRAM, "import", "--storage-base", base, "--max-bytes", bytes,
			 "--max-files", files,	  "--control",	    "3",  dir,		 NULL };
	char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL };
	posix_spawn_file_actions_t actions;
	int r = daemon_helper(IMAGE_PROGRAM, program, sizeof(program));

	if (r < 0)
		return r;
	images_incoming_path(dir, sizeof(dir));
	snprintf(base, sizeof(base), "%u", keeper_block_base(0));
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)the_options.image_max_size);
	snprintf(files, sizeof(files), "%llu", (unsigned long long)the_options.image_max_files);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, archive, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, result, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, control, CONTROL_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, CONTROL_FD + 1);
	return spawn_unblocked(program, &actions, argv, envp);
}

/* A pipe with both ends above the descriptors that spawn() gives away. */
static int make_pipe(int *ours, int *theirs, bool we_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ours = ends[we_write];
	*theirs = fcntl(ends[!we_write], F_DUPFD_CLOEXEC, CONTROL_FD + 1);
	close(ends[!we_write]);
	return *theirs < 0 ? -errno : 0;
}

int import_spawn(int *archive, int *result, int *control)
{
	_cleanup_close_ int its_archive = -1, its_result = -1, its_control = -1;
	int r = make_pipe(archive, &its_archive, true);

	if (r == 0)
		r = make_pipe(result, &its_result, false);
	if (r == 0)
		r = make_pipe(control, &its_control, true);
	if (r == 0)
		r = set_nonblock(*archive);
	if (r == 0)
		r = set_nonblock(*result);
	if (r < 0)
		return r;
	fcntl(*archive, F_SETPIPE_SZ, PIPE_BYTES);
	return spawn(its_archive, its_result, its_control);
}
