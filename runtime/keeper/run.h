/* SPDX-License-Identifier: MIT */
/*
 * Runs: one command each, with its folder, its two streams, who watches them, and its record.
 * A run is live from its submission until its command has ended, nothing can write to its streams any
 * more, and no process that it started is left; then its memory is freed and only the folder is
 * left (folders.h).
 */
#ifndef KEEPER_RUN_H
#define KEEPER_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/daemon.h"
#include "keeper/folders.h"
#include "keeper/loop.h"
#include "keeper/fifo.h"
#include "keeper/group.h"
#include "keeper/run_log.h"
#include "output_gap.h"
#include "protocol.h"

struct session;

/* Offsets that a daemon waits for on one stream, in no order. */
struct watch {
	uint64_t *offsets;
	size_t n, size;
};

/* How far the end of a run by force has come (tree.h). */
enum force {
	FORCE_NONE,
	FORCE_DEADLINE, /* there will be one */
	FORCE_TERM,	/* it has passed: the processes were asked to end */
	FORCE_KILL,	/* they are being killed */
};

/* What comes with a submission besides the script. Strings are copied, NULL is none. */
struct run_options {
	const char *name, *user;
	int64_t timeout_ms;	 /* 0: none */
	bool timeout_is_default; /* of the box's limit, and follows it */
};

struct own; /* own.c */

struct run {
	struct run *next_live, **prev_live;
	struct run *next_queued; /* the session's */
	struct runs *runs;
	struct session *of; /* whose command it is; NULL: nobody's, or that has gone */
	char *session;	    /* name; "": a run of its own */
	struct own *own;    /* its program; NULL: a session's, or it has ended */
	void (*forget_own)(struct run *run); /* lets go of own; set where that is */
	char *name, *user;
	char *cwd; /* where it began */
	uint64_t number;
	enum run_state state;
	enum run_state end_state; /* what run_end() found, until it is said */
	int code;
	int attempts; /* to start its command */
	pid_t box_pid;
	int64_t started_us, ended_us;
	uint64_t end_size[N_STREAMS];
	uint64_t script_len;
	bool script_ends_line;
	struct run_log *log; /* of its session; NULL: none, or not yet */
	uint64_t logged;     /* how much of its output stands there, when others wrote since */
	bool headed;	     /* its head stands there */
	struct run_folder folder;
	struct fifo *streams[N_STREAMS];
	struct watch watch[N_STREAMS];
	uint64_t closed_size[N_STREAMS];   /* of a stream that is gone */
	int last_stream;		   /* which wrote last; -1 none yet */
	uint64_t segment_start[N_STREAMS]; /* its size when it last took over */
	bool truncated;
	struct output_gap gap[N_STREAMS]; /* what limits have taken from the disk */
	uint64_t counted[N_STREAMS];	  /* what is kept of it, by output_total, */
	uint64_t counted_order;		  /* and of folder.order */
	bool order_full;		  /* no more is written of that */
	bool trim_failed;		  /* said so already */
	bool said_closed;
	bool unsettled; /* has ended, but it is not known yet whether something of it is left */

	/* All that it started: a run's of its own, or what a session's command left. Owned. */
	struct group *group;
	struct usage base, used; /* group's before it, and its own in the end */
	bool has_usage;
	int64_t timeout_ms; /* 0: none */
	bool timeout_is_default;
	bool timed_out;
	enum force force;
	struct loop_timer force_timer;
	int64_t begin_ms, frozen_ms, frozen_since_ms; /* its time, by the monotonic clock */
	int64_t force_at_ms; /* when the timer fires; while the box is frozen, how long after */
	int force_rounds;
	uint64_t end_tag; /* to be answered when nothing is left of it; 0 none */

	bool record_is_old; /* what is on disk is not what is so */
	struct loop_task record_task;
};

enum { RUN_HASH = 256 };

/* limits/output_total. Bytes that are kept of the output of runs: output_total.c */
struct output_total {
	uint64_t limit;
	uint64_t live;	 /* of runs that something may still write to */
	uint64_t ended;	 /* of the others, at the most: some may have been removed */
	uint64_t try_at; /* when there are more */
	bool is_known;	 /* what `ended` is */
	struct loop_task task;
};

/* All runs of the box. */
struct runs {
	struct loop *loop;
	struct daemon *daemon;
	struct folders folders;
	struct run_log *logs;
	uint64_t output_limit; /* limits/output */
	struct output_total total;
	int box_dir;	   /* borrowed */
	const char *token; /* of this start, borrowed */
	struct run *live[RUN_HASH];
};

/* dir: the box's folder, borrowed. keep: how many ended runs stay. 0 or -errno. */
int runs_open(struct runs *runs, struct loop *loop, struct daemon *daemon, int dir, uint64_t keep,
	      const char *token);
/* Writes what is unwritten and frees all. */
void runs_close(struct runs *runs);
struct run *runs_find(struct runs *runs, uint64_t number);
/* Bytes of a stream so far, also of those that were taken away. */
uint64_t run_size(const struct run *run, enum stream which);
/* Can nothing write to it any more? */
bool run_is_closed(const struct run *run);
/* Calls fn for each live run, oldest number first not promised; fn may end the run it is given. */
void runs_each(struct runs *runs, void (*fn)(struct run *run, void *ctx), void *ctx);
/* Writes all records that wait for their turn. */
void runs_write_records(struct runs *runs);

/* A queued run with its folder and script on disk. 0 or -errno (EEXIST, ENOSPC, …). */
int run_new(struct runs *runs, uint64_t number, const char *session,
	    const struct run_options *options, const char *script, size_t len, struct run **out);
/* Something of it has come to its end: forgets the run if that was the last. */
void run_settle(struct run *run);
/* The record has to be written again, when there is time. */
void run_touch_record(struct run *run);
/* Forgets a run that was never announced, and its folder. */
void run_drop(struct run *run);
/* Closes the folder's descriptors while the run waits in a queue, and opens them again. */
void run_park(struct run *run);
int run_unpark(struct run *run);
/* The command starts in cwd: takes the streams' ends and is RUN_RUNNING, which is not said yet. */
void run_begin(struct run *run, const char *cwd, struct fifo *const streams[N_STREAMS]);
/* The process that runs it, once it is known. */
void run_note_pid(struct run *run, pid_t box_pid);
/* The command has not begun after all: back to RUN_QUEUED, nothing of its streams is left. */
void run_rewind(struct run *run);
/*
 * The command has ended: what its pipes hold is read, sizes are noted. state is an end. It counts
 * from run_say_end() on, which comes at once or a moment later.
 */
void run_end(struct run *run, enum run_state state, int code);
/* May free the run. */
void run_say_end(struct run *run);
/* run_end() and run_say_end() of a run whose command never started; why goes to `why`. */
void run_fail(struct run *run, const char *why);
/* The box is gone: the streams end now, with what is in them. May free the run. */
void run_cut(struct run *run);
/* Bytes of our own for a stream of a running run. */
void run_append(struct run *run, enum stream which, const char *bytes, size_t len);

/* Holds limits/output: at once if exact, else when enough has come together. run_output.c */
void run_trim(struct run *run, enum stream which, bool exact);
void runs_set_output_limit(struct runs *runs, uint64_t bytes);
/* Keeps no more than `limit` bytes of a live run's stream. 0 or -errno. */
int run_trim_to(struct run *run, enum stream which, uint64_t limit);

/* limits/output_total, from when there is time for it, or at once. output_total.c */
void runs_set_output_total(struct runs *runs, uint64_t bytes, bool at_once);
void output_total_open(struct runs *runs);
void output_total_close(struct runs *runs);
/* A stream has changed: holds the limit. */
void output_total_note(struct run *run, enum stream which);
/* May so much more be written to the run's order? Counts it. */
bool output_total_may_order(struct run *run, uint64_t bytes);
/* Nothing writes to it any more. */
void output_total_note_closed(struct run *run);

void run_say(struct run *run);
/* MSG_WATCH for a live run. -ENOMEM. */
int run_watch(struct run *run, enum stream which, uint64_t offset);
/* MSG_WATCH for one that is not: its end, from the folder. -ENOENT when there is none. */
int runs_watch_ended(struct runs *runs, uint64_t number, enum stream which);

#endif
