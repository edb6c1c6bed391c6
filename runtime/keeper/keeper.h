/* SPDX-License-Identifier: MIT */
/*
 * The keeper as a whole: one running box, its sessions and runs, and the daemon it answers to.
 * keeper.c holds the box's state, requests.c the table of messages, ending.c how a box ends.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/box.h"
#include "keeper/buckets.h"
#include "keeper/daemon.h"
#include "keeper/loop.h"
#include "keeper/run.h"
#include "keeper/spawned.h"
#include "protocol.h"

struct session;
struct terminal;

/* All of a box, see terminal.h. */
struct terminals {
	struct terminal *first;
	uint64_t last_number; /* of an attachment */
};

/* How far the end of the box has come. */
enum ending {
	ENDING_NOT,
	ENDING_TERM, /* the processes were asked to end */
	ENDING_KILL, /* they are being killed */
	ENDING_DONE,
};

/* See idle.h. */
struct idle {
	struct loop_timer timer;
	int64_t since_ms, looked_ms;
	uint64_t cpu_us;     /* used by the box at the last look; UINT64_MAX: unknown */
	uint64_t n_messages; /* of the daemon that is connected */
	bool acted;	     /* one of them wanted something since the last look */
	bool froze;	     /* it is frozen because of it */
};

struct keeper {
	struct loop loop;
	struct daemon daemon;
	struct box box;
	struct box_settings set; /* its strings lie in start_fields */
	char *start_fields;
	int box_dir, lock; /* box_dir is the box's from box_start() on */
	enum box_state state;
	int64_t started_us;
	struct runs runs;
	bool runs_open;
	struct session *sessions;
	uint64_t n_controls; /* control folders so far: their numbers are not used again */
	struct terminals terminals;
	struct spawns spawns;
	struct buckets buckets;
	struct loop_source init_events, init_death, signals;
	struct loop_source network_events; /* while sandbox-net is asked */
	uint64_t network_tag;
	struct idle idle;

	enum ending ending;
	int64_t ending_until_ms; /* when patience ends */
	uint64_t ending_ticks;	 /* when TERM was sent, as processes.h counts */
	int ending_looks;	 /* since */
	struct loop_timer ending_timer;
	uint64_t stop_tag, destroy_tag; /* to be answered at the end; 0 none */
	uint64_t kill_tag;		/* of a MSG_KILL under way */
	bool killing;
	const char *lost_why; /* the box has failed, and its buckets are being saved */
	bool init_gone, aborted, at_once;
};

/* From MSG_START to the end of the box. link is taken. Returns the exit status. */
int keeper_main(struct msg_link *link, const struct msg *start, char *fields, int dir);

/* MSG_WELCOME and what follows it. */
void keeper_say_welcome(struct keeper *k);
/* A message of the daemon's (requests.c). */
void requests_handle(struct daemon *daemon, const struct msg *m, char *payload);
/* The box goes on after it had been frozen: says BOX_RUNNING, and all deadlines run again. */
void keeper_thawed(struct keeper *k);
void keeper_set_state(struct keeper *k, enum box_state state, const char *why);

/* MSG_STOP, SIGTERM, and with patience_ms < 0 MSG_DESTROY: ends in loop.stop. */
void ending_begin(struct keeper *k, int64_t patience_ms);
void ending_timer_fire(struct loop_timer *timer);
/* init is gone, or speaks garbage: the box has failed. */
void ending_box_lost(struct keeper *k, const char *why);
/* MSG_KILL: every process ends; replies to tag when that is done. */
void ending_kill_processes(struct keeper *k, uint64_t tag);

#endif
