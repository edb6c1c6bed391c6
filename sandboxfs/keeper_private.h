/* SPDX-License-Identifier: MIT */
/* Shared by keeper.c, keeper_blocks.c and keeper_events.c only. */
#ifndef SANDBOXFS_KEEPER_PRIVATE_H
#define SANDBOXFS_KEEPER_PRIVATE_H

#include <stdbool.h>

#include "box.h"
#include "daemon.h"
#include "protocol.h"

/* Tags of our own requests, whose replies are for more than who waits. */
#define KEEPER_RUN_TAG (1ull << 62)	/* | run number: a submission */
#define KEEPER_START_TAG (1ull << 61)	/* MSG_START and MSG_HELLO */
#define KEEPER_SESSION_TAG (1ull << 60) /* | session: MSG_SESSION_OPEN */
#define KEEPER_INPUT_TAG (1ull << 59)	/* | run number: MSG_INPUT */
#define KEEPER_LIMIT_TAG (1ull << 58)	/* | which: MSG_LIMIT to one that was found running */
/* Of what parks wait for as well: | a tag of keeper_new_tag(), MSG_BUCKET and the like (mount.h). */
#define KEEPER_MOUNT_TAG (1ull << 57)

struct keeper {
	struct watch watch;
	struct msg_link link; /* under box->lock */
	struct box *box;      /* a reference */
	uint64_t n_sent;      /* messages, under box->lock */
	bool watched;
	bool ready;	      /* START or HELLO was answered well */
	bool said_goodbye;    /* it has said that the box is stopped: its end is no accident */
	struct park *answers; /* collected while messages are handled */
	bool streams_moved;   /* poll handles have to be told */
};

/* A box has started with what was ready. */
void keeper_started(void);
struct keeper *keeper_new(struct box *box);
void keeper_free(struct keeper *k);
int keeper_watch(struct keeper *k);

/* keeper_blocks.c. The number of a block that no box of this machine has; 0: there is none. */
uint32_t keeper_block_take(void);
/* The descriptor by which it is ours, for its keeper to hold as well. */
int keeper_block_lock(uint32_t block);
/* A living keeper has that one. */
void keeper_block_adopt(uint32_t block);

void keeper_cgroup_name(const struct box *box, char *out, size_t size);

/* Handles all that has come. 0, or -errno at its end. box->lock held. */
int keeper_take_messages(struct keeper *k);
/* The event thread's handler of a keeper's socket. */
void keeper_ready(struct watch *watch, uint32_t events);

#endif
