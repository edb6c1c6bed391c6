/* SPDX-License-Identifier: MIT */
/*
 * Terminals: a pseudo-terminal of the box each, with a login shell, and who is attached. What an
 * attachment writes into its stream socket are keys, what it reads is the screen.
 *
 * One that belongs to no session has one attachment, and is hung up with it. A session's lives on
 * when nobody is attached; all who are see the same, and who comes later first gets the last
 * screenfuls. terminal.c holds their life, terminal_flow.c what flows through them.
 */
#ifndef KEEPER_TERMINAL_H
#define KEEPER_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/term_modes.h"
#include "base/text.h"
#include "keeper/keeper.h"
#include "keeper/loop.h"
#include "keeper/pty.h"
#include "keeper/user.h"

enum {
	TERMINALS_MAX = 256, /* of a box; also the attachments of all */
	TERMINAL_KEYS = 4096,
	TERMINAL_LAG = 64 << 10,      /* how far the screen may be ahead of who reads it */
	TERMINAL_HISTORY = 256 << 10, /* of a session's */
};

enum terminal_state {
	TERMINAL_STARTING, /* init has been asked for the shell */
	TERMINAL_RUNNING,
	TERMINAL_ENDED, /* its shell has; what it wrote is still on its way to who reads */
};

struct attachment {
	struct attachment *next;
	struct terminal *terminal;
	uint64_t number;
	uint64_t tag; /* of its request, */
	int theirs;   /* and the daemon's end of the stream, until that is answered; else -1 */
	struct loop_source stream;
	uint32_t watched;  /* events */
	struct text intro; /* shown before what is new */
	size_t intro_at;
	uint64_t at; /* offset of the next byte of the terminal's output for it */
	char keys[TERMINAL_KEYS];
	size_t keys_at, keys_len; /* read, not taken by the terminal yet */
	int64_t taken_ms;	  /* when it last took something */
	bool slow;		  /* it holds up nobody any more, and may miss something */
	bool gone;		  /* to be freed by terminal_settle() */
};

struct terminal {
	struct terminal *next;
	struct keeper *keeper;
	char *session; /* name, or NULL */
	enum terminal_state state;
	int code; /* of its shell, once it has ended */
	struct box_user user;
	struct spawned spawned;
	int pidfd;
	bool second_try; /* in the root directory */
	struct loop_source master;
	int slave;	  /* held, so that a shell may close all its descriptors */
	uint32_t watched; /* of master */
	char *ring;
	size_t ring_size;
	uint64_t end;	      /* bytes of output so far */
	uint64_t drain_until; /* where the output of one whose shell has ended is cut */
	struct term_modes modes;
	struct attachment *attachments;
	unsigned int rows, columns;
	struct loop_timer nudge_timer, slow_timer;
};

/* --- terminal.c */
/* MSG_TERMINAL. 1: it will be answered; or -errno, *why may be set to a sentence. */
int terminal_open(struct keeper *k, const struct msg *m, const char *fields, const char **why);
/* MSG_TERMINAL_SIZE. -ESRCH: there is no such attachment. */
int terminal_resize(struct keeper *k, uint64_t number, uint64_t rows, uint64_t columns);
/* As when the line drops: their shells get SIGHUP. */
void terminals_hang_up(struct keeper *k);
/* The session goes: its terminal is hung up, and its shell ends whatever it thinks of that. */
void terminals_end_session(struct keeper *k, const char *session);
/* Has the end of some shell not been told yet? */
bool terminals_alive(const struct keeper *k);
/* The box is gone: says the end of all, and frees them. */
void terminals_close(struct keeper *k);
/*
 * The last thing that each callback does: lets go of attachments that are gone, and of the
 * terminal when it is over (then t is freed); else says what is waited for.
 */
void terminal_settle(struct terminal *t);

/* --- terminal_flow.c */
/* Callbacks of the loop. */
void terminal_master_ready(struct loop_source *source, uint32_t events);
void terminal_stream_ready(struct loop_source *source, uint32_t events);
void terminal_slow_fire(struct loop_timer *timer);
/* Takes what the box has written, as much as there is room for; hands it on. */
void terminal_pump(struct terminal *t);
/* Has it been given all there is? */
bool attachment_is_done(const struct attachment *a);
/* Puts the last screenfuls before what comes. 0 or -ENOMEM. */
int attachment_add_history(struct attachment *a);
/* Tells the loop what is waited for now. */
void terminal_watch(struct terminal *t);
/* Closes the master and the slave: a hang-up for whoever still uses it. */
void terminal_drop_line(struct terminal *t);

#endif
