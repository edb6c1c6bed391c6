/* SPDX-License-Identifier: MIT */
/* The keeper's end of init's socket, below box.h's init_spawn() and init_next_event(). */
#ifndef KEEPER_INIT_CLIENT_H
#define KEEPER_INIT_CLIENT_H

#include "box.h"
#include "init/init.h"

struct init_client;

/* What one packet says and who sent it, the latter by the kernel's word. */
struct init_packet {
	struct init_report head;
	char text[256]; /* of INIT_REPORT_STAGE */
	pid_t pid;	/* on the host */
	int pidfd;	/* the caller's; -1 where the kernel gives none or the process is gone */
};

/* Makes the pair; both ends are close-on-exec, the keeper's does not block. 0 or -errno. */
int init_client_pair(int *keepers, int *inits);

/* The next packet: 1; 0 if none is waiting; -EPIPE at the end; -EPROTO for what is no report. */
int init_client_receive(int sock, struct init_packet *packet);

struct init_client *init_client_new(void);
void init_client_free(struct init_client *client);

#endif
