/* SPDX-License-Identifier: MIT */
/*
 * One mounted bucket, for buckets*.c. bucket_server.c starts and speaks to its process, bucket.c
 * brings it from one phase to the next, buckets.c has the list and the daemon's requests.
 */
#ifndef KEEPER_BUCKET_H
#define KEEPER_BUCKET_H

#include "base/text.h"
#include "keeper/buckets.h"
#include "keeper/keeper.h"
#include "keeper/mounter.h"

enum bucket_phase {
	PHASE_WAITING,	/* for the next try, or for the bucket that it is mounted in */
	PHASE_MOUNTING, /* the mounter works */
	PHASE_OPENING,	/* the server has been started */
	PHASE_UP,
	PHASE_LEAVING,	  /* the server was asked whether it can go */
	PHASE_UNMOUNTING, /* the mounter works, and then it goes for good */
	PHASE_SAVING,	  /* the server is to end */
};

/* A request of the daemon's that the server is asked. */
struct bucket_ask {
	struct bucket_ask *next;
	uint64_t number; /* to the server */
	uint64_t tag;	 /* of the daemon's */
	bool is_status;
};

struct bucket {
	struct bucket *next;
	struct keeper *k;
	struct text fields; /* ours; holds keys, so it is wiped before it is freed */
	const char *name, *source, *target; /* in fields */
	struct bucket *in;		    /* the one whose files the target is among; NULL */
	unsigned slot;			    /* 0 to MAX_BUCKETS - 1 */
	int64_t retry_for_ms;

	enum bucket_phase phase;
	enum bucket_state said;
	bool is_new;	 /* asked for by MSG_BUCKET and never up: a failure undoes it */
	bool is_mounted; /* by us; what is there may be dead */
	bool unused;	 /* in PHASE_SAVING: nothing was asked of the server yet */
	bool again;	 /* in PHASE_SAVING: to be mounted again, as what it is in was */
	uint64_t mount_id;
	uint32_t n_made;
	bool hurried;	   /* in PHASE_SAVING: it has the shorter time */
	unsigned failures; /* since it was last up for a while */
	int64_t up_ms;	   /* since when */
	int error;	   /* of the last failure, -errno */
	char why[512];

	uint64_t mount_tag, end_tag; /* the daemon's; 0 none */
	struct bucket_ask *asks;
	uint64_t last_number, leave_number;
	unsigned n_asks;

	struct loop_source mounter; /* the answer that is waited for; fd -1: none */
	struct loop_source control; /* the server; fd -1: none */
	struct loop_source death;
	struct loop_timer timer; /* what is to be done when this phase has lasted too long */
};

/* --- bucket_server.c ------------------------------------------------------------------------ */

/* Starts the server of the mount behind fuse. 0 or -errno, with a sentence in b->why. */
int bucket_server_start(struct bucket *b, int fuse);
/* Sends say=word tag=number. 0 or -errno (-EAGAIN: it does not listen just now). */
int bucket_server_say(struct bucket *b, const char *word, uint64_t number);
/* Tells it which directories other buckets are mounted on. 0 or -errno. */
int bucket_server_say_inside(struct bucket *b, uint64_t number);
/* Answers BUCKET_SAY_HELD. */
void bucket_answer_held(struct bucket *b, const char *fields, size_t len);
void bucket_server_kill(struct bucket *b);
/* Forgets it; if it has ended, false says that it could not save all. */
bool bucket_server_close(struct bucket *b);
/* The folder of what is on its way is not needed any more. */
void bucket_remove_spool(struct bucket *b);

/* --- bucket.c ------------------------------------------------------------------------------- */

void bucket_init(struct bucket *b, struct keeper *k);
/* Begins to mount it, or waits for what it is in. */
void bucket_start(struct bucket *b);
/* The stored ones at the box's start: waits for the mounter. */
void bucket_start_now(struct bucket *b);
/* What the server said: a field list. */
void bucket_heard(struct bucket *b, const char *fields, size_t len);
void bucket_server_died(struct bucket *b);
/* Asks the server, for the daemon. 1: answered later; or -errno. */
int bucket_ask(struct bucket *b, const char *word, uint64_t tag, bool is_status);
void bucket_leave(struct bucket *b);
/* Another bucket is mounted in it from now on, or is not any more. 0 or -errno. */
int bucket_note_inside(struct bucket *b);
/* Has the server save all and end, within that time. */
void bucket_save(struct bucket *b, int64_t within_ms);
/* What it is mounted in has failed: it has gone with it, and comes again. */
void bucket_restart(struct bucket *b);
void bucket_say(struct bucket *b);
/* What the daemon waits for is answered. */
void bucket_drop_asks(struct bucket *b, int error, const char *why);
/* Ends all that is under way for it. It is off the list. */
void bucket_free(struct bucket *b);

/* --- buckets.c ------------------------------------------------------------------------------ */

/* It is off the list, and freed. */
void buckets_remove(struct bucket *b);
/* Those that are mounted in it, and the box that waits for them, go on. */
void buckets_changed(struct keeper *k);

#endif
