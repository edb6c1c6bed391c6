/* SPDX-License-Identifier: MIT */
/*
 * The sessions of a box, as the daemon knows them: the default one, whose entries are those of the
 * box itself, and those made by mkdir in sessions/. A keeper is told of a session when it is first
 * used; what was asked for from outside (environment, directory, user) is kept on disk.
 *
 * Everything here is called with box->lock held, and a struct session is good only as long as it
 * is: nodes and handles keep the session's number.
 */
#ifndef SANDBOXFS_SESSION_H
#define SANDBOXFS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "env.h"

struct box;
struct ctx;

enum {
	SESSIONS_MAX = 1000,
	SESSIONS_BYTES = 8 << 20, /* what is kept of all of a box on disk */
	SESSION_KEY_SIZE = 64,
};

struct session {
	struct session *next; /* of the box, oldest first; the default one is the first */
	uint32_t id;	      /* 0: the default one; never used again in its box */
	char name[64];
	char key[SESSION_KEY_SIZE]; /* what keepers and records call it: no other session of the
				       box, also of those that are gone, has it */
	char user[64];		    /* "": the box's (box_user()) */
	struct env env;
	char *cwd;
	bool cwd_wanted;   /* set from outside, and the shell has not told of it yet */
	bool opened;	   /* the present keeper knows it */
	pid_t shell_pid;   /* host pid of its shell, 0 none */
	uint64_t last_run; /* newest of it, 0 none */
};

/* The default session of a new struct box. 0 or -ENOMEM. */
int sessions_init(struct box *box);
void sessions_free(struct box *box);

struct session *session_by_id(struct box *box, uint32_t id);
struct session *session_by_name(struct box *box, const char *name);
struct session *session_by_key(struct box *box, const char *key);
/* The session whose directory (or whose box) the node is in; NULL when it is gone. */
struct session *session_of(const struct ctx *ctx);
/* The name behind a key, also of a session that is gone (a long one cut, then). */
void session_key_name(struct box *box, const char *key, char name[64]);

/* A new one with the box's environment. 0, -EEXIST, -EINVAL, -EDQUOT, -ENOMEM or of the disk. */
int session_create(struct box *box, const char *name, struct session **out);
/* Takes it away; its processes end behind it. */
void session_remove(struct box *box, struct session *s);
/* One read from disk. */
struct session *session_restore(struct box *box, uint32_t id, const char *name);

/* Tells the running keeper of it, if it does not know it yet. 0 or -errno. */
int session_open(struct box *box, struct session *s);
/* The keeper's answer to that. */
void session_open_failed(struct box *box, uint32_t id);
/* Fields user= cwd= env.*: what its next shell starts with. */
void session_start_fields(struct box *box, const struct session *s, struct text *fields);
/* What MSG_SESSION says. */
void session_told(struct box *box, const char *fields, size_t len, pid_t shell_pid);
/* There is no keeper any more. */
void sessions_keeper_gone(struct box *box);

#endif
