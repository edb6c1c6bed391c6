/* SPDX-License-Identifier: MIT */
/*
 * A session: a persistent shell that runs commands one after the other, in the order in which they
 * were submitted. session_life.c holds its beginning and its end, session.c the queue and a command's
 * life, session_shell.c the shell's, session_state.c environment and working directory,
 * session_signal.c signals, session_group.c which processes are a command's.
 */
#ifndef KEEPER_SESSION_H
#define KEEPER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "keeper/control.h"
#include "keeper/group.h"
#include "keeper/keeper.h"
#include "keeper/loop.h"
#include "keeper/run.h"
#include "keeper/session_env.h"
#include "keeper/shell.h"

enum command_kind {
	COMMAND_NONE,
	COMMAND_RUN,
	COMMAND_SYNC, /* our own: applies changes, asks for the environment; no run */
};

/* What the shell is at. */
struct command {
	enum command_kind kind;
	struct run *run;
	struct fifo *sync[N_STREAMS];
	struct text sync_text;
	bool may_change_env;
	int64_t started_ms;
	uint64_t started_ticks;
	struct {
		int sig;	  /* 0: none */
		bool sent;	  /* else it came before the script had begun */
		int tries;	  /* left, to reach what was being forked meanwhile */
		int64_t until_ms; /* no more from then on */
		int64_t shell_cpu_us;
		uint64_t from_ticks; /* start of the first that may have missed it */
	} late;
	int wanted_signal;   /* TERM or HUP that was passed on */
	int unheard_signals; /* sent while nothing but the shell ran */
	int64_t watch_ms;    /* until the next look */
};

/* Everything of a session is being ended; then the session goes, or begins anew. */
enum session_end {
	SESSION_END_NOT,
	SESSION_END_CLOSE,
	SESSION_END_RESET,
};

struct session {
	struct session *next;
	struct group *terminal_group; /* what its terminals started; NULL: none yet */
	struct keeper *keeper;
	char *name;
	char dir[40]; /* control folder as the box sees it */
	struct control control;
	struct shell shell;
	struct command command;
	struct group *group;   /* the shell and what the present command started; or NULL */
	struct run *unsettled; /* has ended, and may have left processes in group */
	struct usage base;     /* what group had used before the present command */
	bool marked;	       /* base is that */
	struct run *queue, **queue_tail;
	struct run *held; /* has ended, and is said when the environment is known */
	struct box_user user;
	struct loop_timer watch_timer, sync_timer, hold_timer, start_timer;
	struct loop_task prepare_task;
	int failed_starts; /* shells in a row that ended before they were ready */
	bool broken;	   /* the shell was killed because it did not answer */

	struct session_env env; /* what is exported, as known */
	char *cwd;
	struct session_env set, unset; /* to be applied to the shell; values of unset are "" */
	bool chdir;		       /* cwd is to be applied */
	struct text setup;	       /* what a new shell could not be given at its start */
	struct text functions;	       /* exported ones, as bash prints them */
	bool env_stale;		       /* a command has run since the environment was asked for */

	enum session_end end;
	uint64_t end_tag; /* to be answered; 0 none */
	int end_looks;
	int64_t end_until_ms;
	struct loop_timer end_timer;
	struct session_env next_env; /* of one that is being reset */
	char *next_cwd;
};

/* --- session_life.c */
/* The default session, with env.* of a field list and what its user's account says. 0 or -errno. */
int session_open_default(struct keeper *k, const char *fields, size_t len, const char *cwd);
/* MSG_SESSION_OPEN. Its shell starts with its first command. 0 or -errno and *why. */
int session_open(struct keeper *k, const char *fields, size_t len, const char **why);
/* MSG_SESSION_CLOSE: 0, and tag is answered when it has gone; or -errno and *why. */
int session_close(struct session *s, uint64_t tag, const char **why);
/* MSG_SESSION_RESET, likewise. */
int session_reset(struct session *s, const char *fields, size_t len, uint64_t tag,
		  const char **why);
/* A step of the two above. */
void session_end_step(struct loop_timer *timer);
/* The box ends: who waits for the end of a session is answered. */
void session_answer_end(struct session *s);
/* One that is being closed is not found any more. */
struct session *session_find(struct keeper *k, const char *name);

/* --- session.c */
/* One without a name, in no list. NULL: no memory. */
struct session *session_new(struct keeper *k);
void session_free(struct session *s);
/* A new run: started at once or queued. 0 or -errno; *why may be set to a sentence. */
int session_submit(struct session *s, uint64_t number, const struct run_options *options,
		   const char *script, size_t len, const char **why);
/* Takes a queued run off: it ends as RUN_FAILED. -ESRCH if it is not queued. */
int session_cancel(struct session *s, struct run *run, const char *why);
void session_fail_queue(struct session *s, const char *why);
/* Starts what is next, if the shell is free. */
void session_pump(struct session *s);
/* Puts a command that has not begun back to the head of the queue. */
void session_requeue(struct session *s, struct run *run);
/* The end of a command; takes command.run. code as in `exit`. */
void session_finish_run(struct session *s, enum run_state state, int code);
/* st of the control folder has something. */
void session_status_ready(struct loop_source *source, uint32_t events);
/* Sends out and err of a command of our own nowhere from now on. */
void session_drop_sync(struct session *s);
/* Gives the script to the shell. 0 or -errno. */
int session_give_script(struct session *s, enum command_kind kind, const char *script, size_t len);
/* Says held's end, if there is one; or only if the shell's state is known by now. */
void session_release(struct session *s);
void session_release_if_known(struct session *s);

/* --- session_shell.c */
/* 0 or -errno; -EAGAIN: it will be tried again soon. */
int session_start_shell(struct session *s);
/* Has it ever had a shell? */
static inline bool session_has_been_used(const struct session *s)
{
	return s->control.dir >= 0;
}
void session_start_again(struct loop_timer *timer);
/* What init says of the session's shell. */
void session_note_init(struct spawned *spawned, const struct init_event *event);
/* Has the script of the present run begun? err is what its shell opens last. */
bool session_command_has_begun(struct session *s);
/* Adds what the shell itself printed to the run's streams. */
void session_append_base(struct session *s);
/* The shell does not answer: kills it; the run will end as RUN_FAILED. */
void session_break(struct session *s, const char *why);
/* Looks after a command that runs, again and again. */
void session_watch(struct loop_timer *timer);

/* --- session_state.c */
void session_say(struct session *s);
int session_set_env(struct session *s, const char *name, const char *value, const char **why);
int session_chdir(struct session *s, const char *path, const char **why);
/* Is path a directory of the box? 0, or -errno, and *why where the errno does not say it. */
int session_check_cwd(struct keeper *k, const char *path, const char **why);
bool session_has_changes(const struct session *s);
/* Starts a command of our own that applies changes and asks for the environment. */
void session_sync(struct session *s);
void session_sync_done(struct session *s);
/* What a dying shell left in the control folder. True if something is new. */
bool session_take_left(struct session *s);
/* Looks where the shell is now. True if that is new. */
bool session_note_cwd(struct session *s);
/* Forgets changes: a new shell starts with them. */
void session_drop_changes(struct session *s);

/* --- session_group.c */
/* A group for a new shell; what is left of the old one's is its run's. NULL: there are none here. */
struct group *session_new_group(struct session *s);
/* Parts what the latest command has left from the shell. False: not yet, init has to say first which
 * process the shell is. */
bool session_settle(struct session *s);
/* The end of a command: the truth about it, from what is known besides its code, and what it used. */
void session_note_used(struct session *s, struct run *run, enum run_state *state, int *code);

/* --- session_signal.c */
/* MSG_SIGNAL for a live run of this session. 0 or -errno. */
int session_signal(struct session *s, struct run *run, int sig);
/* To everything that the present command has started, but never to the shell, which drops the rest of
 * the script as it does for session_signal(). Needs a group. 0 or -errno. */
int session_signal_tree(struct session *s, int sig);
/* Goes on with a signal that came too early or may have been lost. True if it set the timer. */
bool session_signal_late(struct session *s);

#endif
