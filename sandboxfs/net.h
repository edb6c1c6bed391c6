/* SPDX-License-Identifier: MIT */
/*
 * The daemon's side of sandbox-net (runtime/network.h): starting it when the first box wants a
 * network, finding a living one again, telling it the boxes' rules. All but net_start(), net_leave()
 * and net_end() are called with box->lock held; the link has a lock of its own, a leaf.
 */
#ifndef SANDBOXFS_NET_H
#define SANDBOXFS_NET_H

#include <stddef.h>
#include <stdint.h>

#include "box.h"

/* Event thread, once the mount answers: finds a living sandbox-net again, or starts one if a box has
 * or will have need. */
void net_start(void);
/* Why no box can have a network here; "" where nothing of that is known. */
void net_unable(char *why, size_t size);
/* Before the box's keeper starts: its rules are known. 0 or -errno with a sentence. */
int net_prepare(struct box *box, const char **why);
/* The rules have changed: replied with the tag, as by a keeper. 0 nothing runs, 1 asked, -errno. */
int net_update(struct box *box, uint64_t tag);
/* The running box gets its network, or loses it, while it runs. As net_update(). */
int net_switch(struct box *box, uint64_t tag);
/* Its rules as the kernel has them come as the reply's text. As net_update(). */
int net_ask_rules(struct box *box, uint64_t tag);
/* The box has ended; nothing of it is needed any more. */
void net_forget(struct box *box);

/* At the daemon's end: boxes go on, or none is left: returns when all of it is gone (or in 5 s). */
void net_leave(void);
void net_end(void);

/* Puts back what a killed sandbox-net left of the machine's settings, and waits for that. */
void net_restore(void);

#endif
