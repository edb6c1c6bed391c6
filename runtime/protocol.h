/* SPDX-License-Identifier: MIT */
/*
 * What the daemon and a keeper say to each other, over one SOCK_SEQPACKET unix socket per
 * running box. A message is a fixed header (little-endian, as all machines we run on) and up to
 * MSG_MAX_PAYLOAD bytes; longer ones than a packet travel in fragments, put together by
 * struct msg_link. Descriptors ride on the first fragment, only from keeper to daemon in
 * MSG_WELCOME, MSG_INPUT_FD and MSG_TERMINAL_FD, and from daemon to keeper in MSG_START.
 *
 * A daemon of version N speaks to keepers N−2…N: a field is added at the end of a field list, a
 * message type at the end of the enum, and neither side minds what it does not know.
 *
 * Public header of runtime/ (with runtime.h): sandboxfs/ may include it.
 */
#ifndef RUNTIME_PROTOCOL_H
#define RUNTIME_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1

enum {
	MSG_MAX_PAYLOAD = (1 << 20) + (256 << 10), /* a 1 MiB script and its fields */
	MSG_MAX_FDS = 2,
};

/*
 * Every request of the daemon that carries a tag other than 0 gets exactly one MSG_REPLY with
 * the same tag, after everything the request caused has been said (so a reader of the socket
 * knows the new state before the reply).
 */
enum msg_type {
	/* Daemon to keeper. */
	MSG_HELLO = 1, /* first message of a daemon that adopts: v0 = PROTOCOL_VERSION */
	MSG_START,     /* first message of the daemon that made the keeper. payload: field list,
			  see runtime.h; descriptors: [0] the box's folder, [1] whose lock tells
			  that the box has its ids: held open, never looked at */
	MSG_SUBMIT,    /* run = its number; v0 = length of the field list at the payload's start,
			  the rest is the script. Fields: session=NAME; or own=yes for a run beside
			  all sessions, then user= cwd= env.NAME=VALUE as in MSG_SESSION_OPEN; for
			  both timeout=MS (0: never; absent: as the box's limit says) and
			  name=NAME, kept in the record.
			  Reply: it is queued, or why not. A run of its own is RUN_STARTING until
			  its program runs, then RUN_RUNNING, or RUN_FAILED and why */
	MSG_CANCEL,    /* run: if still queued, take it off: it ends as RUN_FAILED */
	MSG_SIGNAL,    /* run, v0 = signal number: to the run's foreground command; flags
			  MSG_SIGNAL_TREE: to every process that the run started */
	MSG_WATCH,     /* run, v0 = enum stream, v1 = offset: one MSG_GROWN as soon as the stream is
			  longer than offset or at its end (at once if it is already) */
	MSG_SETENV,    /* fields session=, set.NAME=VALUE or unset=NAME: for the commands after the
			  present one */
	MSG_CHDIR,     /* fields session=, path=: likewise */
	MSG_STOP,      /* v0 = ms between TERM and KILL; the keeper exits after the reply */
	MSG_KILL,      /* end every process, keep the box running with fresh shells */
	MSG_FREEZE,    /* flags MSG_FREEZE_IDLE: until somebody wants something of it */
	MSG_THAW,
	MSG_DESTROY,	   /* end everything at once; the keeper exits after the reply */
	MSG_SESSION_OPEN,  /* a session from now on; fields session= user= (NAME of the box's
			      /etc/passwd, or UID, absent: root) cwd= env.NAME=VALUE. -EEXIST */
	MSG_SESSION_CLOSE, /* fields session=: it goes, with everything it started; its runs end as
			      RUN_SIGNALLED, queued ones as RUN_FAILED. Reply when that is
			      done; -ETIMEDOUT: it has gone, and left what does not end.
			      -EBUSY for the default one */
	MSG_SESSION_RESET, /* fields session= cwd= env.NAME=VALUE: everything it started ends, a fresh
			      shell with these comes. Reply when that is done */
	MSG_END,	   /* run: every process that it started ends at once; a queued one is taken
			      off. Reply when that is done */
	MSG_TIMEOUT,	   /* run, v0 = ms it may run from its start, 0 for ever */
	MSG_USAGE,	   /* run: what a live one has used so far: MSG_RUN_USAGE. -ESRCH */
	MSG_INPUT,	   /* run of its own: MSG_INPUT_FD. -EPIPE: its input has ended */
	MSG_INPUT_END,	   /* run: end of file on its input, once all who write have closed */
	MSG_TERMINAL, /* opens a terminal: MSG_TERMINAL_FD. v0 = rows, v1 = columns (0: 24, 80);
			      fields session=NAME: the session's own, which lives on when nobody is
			      attached; without: a new one, hung up when its stream ends; user=
			      cwd= env.NAME=VALUE as above, for its shell */
	MSG_TERMINAL_SIZE, /* v0 = its number, v1 = rows, v2 = columns */
	MSG_REFUSED,	   /* v0 = number of a run that the daemon has recorded as refused; fields
			      session= script=BYTES newline= (does it end in one): for the log */
	MSG_NETWORK,	   /* v0 = 1: (again) ask sandbox-net for a network (network.h), 0: it has
			      none any more. Reply when eth0 works */
	MSG_LIMIT,	   /* one field, as of MSG_START: a limit that holds from now on. Reply: it
			      does, or why the old one still does: -EBUSY, -EOPNOTSUPP, … */
	MSG_BUCKET,	   /* mounts a bucket in the box; fields: those of a mount in runtime.h.
			      Reply: it is mounted and one request to the bucket has succeeded; or an
			      errno, and nothing is left. 0 at once if it is mounted with the same
			      settings; -EEXIST: with others */
	MSG_BUCKET_END, /* fields bucket=: unmounts. -ENOENT; -EBUSY: something is not in the bucket
			      yet, a program has a file open for writing, or another bucket is
			      mounted inside: all stays as it is */
	MSG_BUCKET_FLUSH, /* fields bucket=. Reply: everything written until now is in the bucket, or
			      the errno of what is not; -ENOTCONN: nothing serves it just now */
	MSG_BUCKET_STATUS, /* fields bucket=: MSG_BUCKET_TEXT, then the reply. Answered also while
			      the bucket's server is not */

	/* Keeper to daemon. */
	MSG_WELCOME =
		64, /* v0 = PROTOCOL_VERSION, v1 = enum box_state, v2 = init's pid on the host;
			     fields: cgroup=PATH (a folder whose cgroup.procs, with those of its
			     subfolders, lists the box's processes), cgroup.memory= cgroup.cpuacct=
			     cgroup.pids= cgroup.pressure= (folders that have such files of the
			     box, where the machine has any), started= (µs since the epoch);
			     descriptors when running: [0] /workspace, [1] / of the box, both O_PATH.
			     Sent before the reply to MSG_START, and after MSG_HELLO; then follow one
			     MSG_SESSION for each session and one MSG_RUN for each live run, then
			     the reply */
	MSG_REPLY,  /* tag, v0 = 0 or an errno; payload: a sentence for `why` when not 0 */
	MSG_STATE, /* v0 = enum box_state; payload: the reason when BOX_FAILED, and where else there
		       is one */
	MSG_RUN,   /* run changed: v0 = enum run_state, v1 = exit code (as in `exit`), or while it
			is RUN_RUNNING when it began (µs since the epoch; its record may come
			later), tag = its pid in the box, v2 and v3 = sizes of out and err now;
			flags MSG_RUN_CLOSED once nothing can write any
			more (always the last one of a run) */
	MSG_GROWN, /* run, v0 = enum stream, v1 = its size; flags MSG_STREAM_EOF */
	MSG_SESSION, /* v0 = the shell's pid on the host or 0; fields: session=, user=, cwd=, env.NAME=
			VALUE for each exported variable. Sent when something of it changed */
	MSG_WHY,     /* payload: a sentence for the box's `why` */
	MSG_RUN_USAGE,	 /* run; fields as those of the run record: wall cpu_user cpu_system
			    memory_peak read written. Before the reply to MSG_USAGE */
	MSG_INPUT_FD,	 /* run; descriptor: [0] the write end of its standard input, non-blocking
			    where the daemon makes it so. Before the reply to MSG_INPUT */
	MSG_TERMINAL_FD, /* tag = that of its request; v0 = number of the attachment; descriptor:
			    [0] a stream socket: what is written are keys, what is read is the
			    screen. Before the reply */
	MSG_TERMINAL_END, /* v0 = number of the attachment, v1 = exit code of its shell, or -1: it was
			     detached. Its stream ends as well, at about the same time */
	MSG_IDLE, /* the box has been idle for as long as its limit says: v0 = how many messages of
		     this daemon's it has seen till now; v1 = 0: it could be stopped, nothing runs;
		     1: frozen */
	MSG_BUCKET_STATE, /* v0 = enum bucket_state; fields bucket=, why= (the last error, with
			     BUCKET_FAILED). Sent when it changes, and for each mount that is not
			     BUCKET_GONE after MSG_WELCOME, behind MSG_SESSION */
	MSG_BUCKET_TEXT,  /* tag = that of its request, payload: lines "key: value" on what has been
			     going on; no secret is in it. Before the reply to MSG_BUCKET_STATUS */
};

enum {
	MSG_SIGNAL_TREE = 1,
	MSG_FREEZE_IDLE = 1,
	MSG_RUN_CLOSED = 1,
	MSG_RUN_TRUNCATED = 2,
	MSG_STREAM_EOF = 1,
};

enum stream { STREAM_OUT, STREAM_ERR, N_STREAMS };

/* The words of `state`; box_state_word() and run_state_word() give them. */
enum box_state {
	BOX_NEW,
	BOX_STARTING,
	BOX_RUNNING,
	BOX_FROZEN,
	BOX_STOPPING,
	BOX_STOPPED,
	BOX_FAILED,
	N_BOX_STATES,
};

enum run_state {
	RUN_QUEUED,
	RUN_STARTING,
	RUN_RUNNING,
	RUN_EXITED,
	RUN_SIGNALLED,
	RUN_TIMEOUT,
	RUN_OOM,
	RUN_FAILED, /* never started */
	RUN_LOST,   /* its keeper or the machine died */
	N_RUN_STATES,
};

/* Of a mounted bucket. The words of `mounts/NAME`; bucket_state_word() gives them. */
enum bucket_state {
	BUCKET_STARTING, /* what is asked of the mount waits */
	BUCKET_MOUNTED,
	BUCKET_FAILED, /* what is asked of the mount fails; it is tried again in a while */
	BUCKET_GONE,   /* unmounted, or it could not be mounted to begin with */
	N_BUCKET_STATES,
};

const char *bucket_state_word(enum bucket_state state);
const char *box_state_word(enum box_state state);
const char *run_state_word(enum run_state state);
/* The state of that word, or -EINVAL. */
int run_state_parse(const char *word);
static inline bool run_state_is_end(enum run_state state)
{
	return state >= RUN_EXITED;
}

struct msg {
	uint32_t type;
	uint32_t flags;
	uint64_t tag;
	uint64_t run;
	int64_t v[4];
	uint32_t len; /* of the whole payload */
	uint32_t at;  /* offset of this fragment's bytes; 0 in the first */
};

/*
 * Sends never block: what the socket does not take now waits in the queue. A peer that does
 * not read is cut off when more than MSG_QUEUE_MAX bytes wait (-EPIPE from then on).
 */
enum { MSG_QUEUE_MAX = 16 << 20 };

struct msg_packet;

struct msg_link {
	int sock;		  /* owned; -1 none */
	struct msg_packet *queue; /* oldest first */
	struct msg_packet **tail;
	size_t queued; /* bytes waiting */
	bool broken;
	/* reassembly of what comes */
	struct msg head;
	char *payload;
	size_t got;
	int fds[MSG_MAX_FDS];
	int n_fds;
	bool partial;
};

void msg_link_init(struct msg_link *link, int sock); /* takes sock, makes it non-blocking */
void msg_link_close(struct msg_link *link);
/*
 * Queues and sends what can be sent. payload may be NULL when m->len is 0. fds are duplicated
 * where they must wait, so they stay the caller's. 0, -ENOMEM, or -EPIPE when the peer is gone.
 */
int msg_send(struct msg_link *link, const struct msg *m, const void *payload, const int *fds,
	     int n_fds);
/* Sends what waits; call it when the socket is writable. 0 or -EPIPE. */
int msg_flush(struct msg_link *link);
static inline bool msg_wants_write(const struct msg_link *link)
{
	return link->queue != NULL;
}

/*
 * The next whole message: 1 and *m, *payload (NUL-terminated behind m->len; valid until the next
 * call), and descriptors in fds (room for MSG_MAX_FDS, now the caller's, *n_fds of them);
 * 0 nothing more for now; -EPIPE at the end; -EPROTO for garbage (close the link).
 */
int msg_receive(struct msg_link *link, struct msg *m, char **payload, int *fds, int *n_fds);

#endif
