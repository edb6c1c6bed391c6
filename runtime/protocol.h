/* SPDX-License-Identifier: MIT */
/*
 * What the daemon and a keeper say to each other, over one SOCK_SEQPACKET unix socket per
 * running box. A message is a fixed header (little-endian, as all machines we run on) and up to
 * MSG_MAX_PAYLOAD bytes; longer ones than a packet travel in fragments, put together by
 * struct msg_reader. Descriptors ride on the first fragment, only from keeper to daemon in
 * MSG_WELCOME and from daemon to keeper in MSG_START.
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
			  see runtime.h; descriptors: [0] the box's folder */
	MSG_SUBMIT,    /* run = its number; v0 = length of the field list at the payload's start
			  (session=NAME), the rest is the script. Reply: it is queued, or why not */
	MSG_CANCEL,    /* run: if still queued, take it off: it ends as RUN_FAILED */
	MSG_SIGNAL,    /* run, v0 = signal number: to the run's foreground command */
	MSG_WATCH,     /* run, v0 = enum stream, v1 = offset: one MSG_GROWN as soon as the stream is
			  longer than offset or at its end (at once if it is already) */
	MSG_SETENV,    /* fields session=, set.NAME=VALUE or unset=NAME: for the commands after the
			  present one */
	MSG_CHDIR,     /* fields session=, path=: likewise */
	MSG_STOP,      /* v0 = ms between TERM and KILL; the keeper exits after the reply */
	MSG_KILL,      /* end every process, keep the box running with fresh shells */
	MSG_FREEZE,
	MSG_THAW,
	MSG_DESTROY, /* end everything at once; the keeper exits after the reply */

	/* Keeper to daemon. */
	MSG_WELCOME =
		64,  /* v0 = PROTOCOL_VERSION, v1 = enum box_state, v2 = init's pid on the host;
			     fields: cgroup=PATH (a folder whose cgroup.procs, with those of its
			     subfolders, lists the box's processes), started= (µs since the epoch);
			     descriptors when running: [0] /workspace, [1] / of the box, both O_PATH.
			     Sent before the reply to MSG_START, and after MSG_HELLO; then follow one
			     MSG_SESSION for each session and one MSG_RUN for each live run, then
			     the reply */
	MSG_REPLY,   /* tag, v0 = 0 or an errno; payload: a sentence for `why` when not 0 */
	MSG_STATE,   /* v0 = enum box_state; payload: the reason when BOX_FAILED */
	MSG_RUN,     /* run changed: v0 = enum run_state, v1 = exit code (as in `exit`), v2 and v3 =
			sizes of out and err now; flags MSG_RUN_CLOSED once nothing can write any
			more (always the last one of a run) */
	MSG_GROWN,   /* run, v0 = enum stream, v1 = its size; flags MSG_STREAM_EOF */
	MSG_SESSION, /* v0 = the shell's pid on the host or 0; fields: session=, cwd=, and env.NAME=
			VALUE for each exported variable. Sent when something of it changed */
	MSG_WHY,     /* payload: a sentence for the box's `why` */
};

enum {
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
