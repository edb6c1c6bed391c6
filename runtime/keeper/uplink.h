/* SPDX-License-Identifier: MIT */
/*
 * The box's way to sandbox-net (../network.h). Its connection is the link's life; the link is not made
 * here, and nothing of it passes through here. Functions return 0 or -errno.
 */
#ifndef KEEPER_UPLINK_H
#define KEEPER_UPLINK_H

#include <stdint.h>

#include "box.h"

struct keeper;

/* Connects: *sock. box_dir: the box's folder, two below the state directory. */
int network_connect(int box_dir, int *sock, struct failure *why);
/* Hands the namespace over. Also for the child, on its copy of the socket. */
int network_ask(int sock, uint64_t box, int ns);
/* Waits for the answer; bounded. */
int network_wait(int sock, struct failure *why);

/* MSG_NETWORK: replies to tag later. Or lets the network go (wanted 0): replies at once. */
int network_change(struct keeper *k, int64_t wanted, uint64_t tag, const char **why);
/* At the end of the box. */
void network_end(struct keeper *k);

#endif
