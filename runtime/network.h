/* SPDX-License-Identifier: MIT */
/*
 * What `sandbox-net` promises to the daemon and to keepers: how it is started and what is said.
 *
 * `sandbox-net STATE_DIR SUBNET` serves the networks of one state directory's boxes, with descriptor
 * 3 = the first daemon's end of a SOCK_SEQPACKET socketpair and 4 = the listening socket that lies at
 * STATE_DIR/NET_SOCKET, for keepers and later daemons. It outlives the daemon, and ends by itself
 * once no daemon is connected and no box has a network any more. Everything it makes but the
 * forwarding switches (net/forward.c) lives and dies with its process.
 * NET_HEIR is its own second process, which turns those off when it is killed; `sandbox-net --restore`
 * does so when both were. `sandbox-net --check` prints a line for
 * each thing of this machine that keeps boxes from the network; exit 0 if there is none.
 *
 * Messages are struct msg (protocol.h) with these types. Public header of runtime/.
 */
#ifndef RUNTIME_NETWORK_H
#define RUNTIME_NETWORK_H

#include <stdint.h>

#define NET_PROGRAM "sandbox-net"
#define NET_HEIR "--heir"
#define NET_SOCKET "net.sock"	   /* in the state directory */
#define NET_LOCK "net.lock"	   /* held as long as the process lives */
#define NET_LOG "net.log"	   /* in a box's folder: its connections, newest last */
#define NET_LOG_OLD "net.log.1"	   /* what was in it before, at most as much again */
#define NET_RESOLVER "169.254.1.1" /* as boxes see their router and name server */

enum {
	NET_VERSION = 1,
	NET_DAEMON_FD = 3,
	NET_LISTEN_FD = 4,
	NET_MIN_BANDWIDTH = 8 << 10, /* bytes/s */
	NET_LOG_MAX = 64 << 10,	     /* of each of the two files, bytes */
};

enum net_msg {
	/* Daemon to sandbox-net; each with a tag gets one NET_REPLY. */
	NET_HELLO = 1, /* v0 = NET_VERSION; first message of a daemon that connects */
	NET_BOX,       /* run = the box's number, fields allow= deny= (texts, net_policy.h) and
			  bandwidth= (bytes/s each way, 0 none); descriptor: the box's folder. Makes the
			  box known, or changes its rules. Replied when the kernel has them */
	NET_DROP,      /* run = number: its network ends, at once */
	NET_RULES,     /* run = number: the reply's payload are its rules, as the kernel has them */
	NET_END,       /* no more boxes come from this daemon: end as soon as none is left */

	/* Keeper to sandbox-net, over a connection of its own, which stands for the box's life:
	 * run = number, descriptor: its network namespace, where only lo is yet. The reply comes when
	 * eth0 works. Waits for NET_BOX if that has not come. */
	NET_ATTACH,

	/* sandbox-net to both. */
	NET_REPLY,  /* tag, run; v0 = 0 or errno; payload: a sentence when not 0 */
	NET_WARN,   /* payload: a sentence for people */
	NET_UNABLE, /* to a daemon, after its first message: no box can have a network; payload: why.
		     * What asks for one gets the same sentence, with EOPNOTSUPP where it is the
		     * machine that cannot, and EADDRINUSE where network.subnet is to be changed: v0 */

	NET_DETACH, /* keeper to sandbox-net, before it closes a connection whose namespace lives on:
		     * the link goes at once, and not with the namespace */
};

#endif
