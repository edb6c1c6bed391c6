/* SPDX-License-Identifier: MIT */
/*
 * A second process that does nothing but wait for the end of the first, by a pipe: then it puts the
 * machine's forwarding switches back, which is all that does not end with sandbox-net by itself. If it
 * is killed, another takes its place. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "forward.h"
#include "net.h"
#include "network.h"

enum { AGAIN_MS = 200, DYING_MS = 5000 };

static struct net *owner;
static struct loop_source watch = { .fd = -1 };
static struct loop_timer again;
static pid_t child;

static int spawn(void)
{
	char *argv[] = { (char *)NET_PROGRAM, (char *)NET_HEIR, (char *)owner->state_path, NULL };
	char *envp[] = { (char *)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	r = -posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	if (r < 0) {
		child = 0;
		close(ends[1]);
		return r;
	}
	watch.fd = ends[1];
	return loop_add(&owner->loop, &watch, 0); /* an error is told all the same: it has gone */
}

static void reap(void)
{
	if (watch.fd >= 0)
		loop_remove(&owner->loop, &watch);
	if (watch.fd >= 0 && write(watch.fd, "", 1) < 0 && errno != EPIPE)
		log_warn("end the heir: %s", strerror(errno));
	close_fd(&watch.fd);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	child = 0;
}

static void on_gone(struct loop_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	reap();
	loop_timer_set(&owner->loop, &again, AGAIN_MS);
}

static void spawn_again(struct loop_timer *timer)
{
	if (spawn() < 0)
		loop_timer_set(&owner->loop, timer, AGAIN_MS);
}

int heir_start(struct net *net)
{
	owner = net;
	watch.ready = on_gone;
	again.fire = spawn_again;
	return spawn();
}

void heir_stop(struct net *net)
{
	if (!owner)
		return;
	loop_timer_clear(&net->loop, &again);
	reap();
}

void heir_wait(void)
{
	_cleanup_close_ int parent = (int)syscall(SYS_pidfd_open, getppid(), 0);
	struct pollfd dead = { .fd = parent, .events = POLLIN };
	ssize_t n;
	char byte;

	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	while ((n = read(STDIN_FILENO, &byte, 1)) < 0 && errno == EINTR)
		;
	if (n != 0)
		return; /* an end in order has put it all back */
	/* The pipe may close before the lock on the record does. Bounded: an heir that was born too late
	 * looks at somebody else. */
	while (parent >= 0 && poll(&dead, 1, DYING_MS) < 0 && errno == EINTR)
		;
	forward_restore();
}
