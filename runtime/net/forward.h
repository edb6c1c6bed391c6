/* SPDX-License-Identifier: MIT */
/*
 * The machine's forwarding switches. What a reply to a box comes in by must forward; the switch for
 * all of the machine is never touched, so that whoever else turns that one on keeps what he wants. What
 * was turned on is written down first in FORWARD_DIR, shared by all daemons of a network
 * namespace; the last one that lets go, or the next one after a crash, turns it off again.
 */
#ifndef NET_FORWARD_H
#define NET_FORWARD_H

#include <stdbool.h>

#define FORWARD_DIR "/run/sandboxfs"

/* Can IPv6 be forwarded without making the machine a router that no longer listens to others? */
bool forward_has_ipv6(void);
/* Turns on what is off, and holds it; again for links that have come since. ipv6: that too. 0 or
 * -errno. *guard: but for us, nothing on this machine forwards. */
int forward_hold(bool ipv6, bool *guard);
/* Lets go. */
void forward_release(void);
/* Turns off what nobody holds; for the start, and after a crash. */
void forward_restore(void);

#endif
