/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mount: from mount(2) to the last request answered. */
#ifndef MOUNTS_SESSION_H
#define MOUNTS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Mounts on that absolute path, calls ready() when it answers, and serves it until it is unmounted or
 * the process gets TERM, INT or HUP, which save everything and unmount. The signals are blocked by the
 * caller. 0, or -errno if it could not be mounted, or if something could not be saved at the end.
 */
int session_run(const char *source, const char *mountpoint, void (*ready)(void));
/* The kernel is to ask anew for a file's attributes; its pages stay. No locks held. */
void session_attr_changed(uint64_t ino);

/*
 * The same for a mount that is there already, behind the descriptor of /dev/fuse, and that somebody
 * else takes away. The watcher is a thread that gets the blocked signals' sigset_t, and SIGUSR2 among
 * them when the session has ended; until then it calls session_tidy() every few seconds.
 */
int session_serve(const char *source, int fuse_fd, void (*ready)(void),
		  void *(*watcher)(void *signals));
void session_tidy(void);
/* Nobody asks for anything any more: the mount is gone. */
bool session_has_ended(void);

#endif
