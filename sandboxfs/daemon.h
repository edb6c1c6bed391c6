/* SPDX-License-Identifier: MIT */
/*
 * The daemon as a whole: its settings, the event thread (epoll over keepers, timers, signals), the
 * threads that answer FUSE requests (loop.c), and a janitor for slow work on disk.
 */
#ifndef SANDBOXFS_DAEMON_H
#define SANDBOXFS_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

struct box;
struct fuse_session;

extern struct options the_options; /* fixed once threads run */

/* A descriptor that the event thread watches. Only the event thread may free one. */
struct watch {
	int fd;
	void (*ready)(struct watch *watch, uint32_t events); /* epoll(7) bits */
	/* of daemon_watch_drop() */
	struct watch *next_dropped;
	void (*gone)(struct watch *watch);
};

int daemon_watch_add(struct watch *watch, uint32_t events);
int daemon_watch_change(struct watch *watch, uint32_t events); /* any thread */
void daemon_watch_remove(struct watch *watch);
/*
 * For a watch that ends on any thread, once it is removed: the event thread may have it in its hands
 * yet. gone is called on the event thread when that cannot be so any more, and may free it.
 */
void daemon_watch_drop(struct watch *watch, void (*gone)(struct watch *watch));

/* Lets the event thread run once: events were added, the trash has something. Any thread. */
void daemon_kick(void);

/* Runs fn(box) on the janitor thread, in order; holds a reference meanwhile. */
void daemon_later(struct box *box, void (*fn)(struct box *box));

/* The same for work that has no box. */
void daemon_run_later(void (*fn)(void));

/* Closes fd (-1: none) on the janitor thread. */
void daemon_close_later(int fd);

/* Path of a helper program beside our own (or in ../libexec/sandboxfs); 0 or -errno. */
int daemon_helper(const char *name, char *path, size_t size);

/* Runs until unmounted or told to stop. 0 or -errno. ready is called when the mount answers. */
int daemon_run(const char *mountpoint, void (*ready)(void), struct options_error *err);

/* loop.c: answers requests of the session until it ends. */
void loop_run(struct fuse_session *se);
/* Lets its threads see that the session has been told to end. */
void loop_interrupt(void);

#endif
