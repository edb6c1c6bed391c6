/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mount: from mount(2) to the last request answered. */
#ifndef MOUNTS_SESSION_H
#define MOUNTS_SESSION_H

/*
 * Mounts on that absolute path, calls ready() when it answers, and serves it until it is unmounted or
 * the process gets TERM, INT or HUP, which save everything and unmount. The signals are blocked by the
 * caller. 0, or -errno if it could not be mounted, or if something could not be saved at the end.
 */
int session_run(const char *source, const char *mountpoint, void (*ready)(void));

#endif
