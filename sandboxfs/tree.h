/* SPDX-License-Identifier: MIT */
/*
 * The control tree as data. Every directory is one dir_type with a table of rows; a file of the
 * tree is one row. Nothing else lists names: lookup, readdir, getattr, open and the README files
 * come from the tables. To add a file: one row, one or two functions beside it, one test.
 */
#ifndef SANDBOXFS_TREE_H
#define SANDBOXFS_TREE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/text.h"
#include "files.h"
#include "node.h"
#include "stream_view.h"

struct box;
struct event_reader;
struct log_reader;
struct merge;
struct row;
struct run;
struct tty;

/* One request: on which node, for whom. box is a reference held for its duration, or NULL. */
struct ctx {
	fuse_req_t req;
	struct node node;
	uint64_t view; /* of the node (alias.h), 0 none */
	struct box *box;
	uid_t uid;
	gid_t gid;
	int flags; /* of the open file now, in reads and writes: fcntl(2) may have changed them */
	pid_t pid; /* thread id of the caller in our pid namespace; 0 if it has none there */
};

/* An open file of the control tree. Freed when the last request using it has been answered. */
struct handle {
	atomic_int refs;
	LIST_ENTRY(handle) among_open; /* handle.c */
	struct node node;
	uint64_t ino; /* as fdinfo of a holder shows it */
	const struct row *row;
	struct box *box; /* a reference, or NULL */
	int flags;	 /* of open(2) */
	pid_t opener;	 /* thread group of the opener, 0 unknown */
	uint64_t opener_started;
	pthread_mutex_t lock; /* text, rendered */
	struct text text;     /* content rendered, or what was written so far */
	bool rendered;
	struct fuse_pollhandle *poll; /* the newest; under the box's lock */
	/* In box->polls, or in the list that is being told; link NULL when in none. */
	struct handle *poll_next, **poll_link;

	/* out, err, exit (stream.c); the run of cmd (submit.c). Under box->lock. */
	struct run *run;     /* a reference while it is live, or NULL */
	uint64_t run_number; /* 0: none yet */
	int fd;		     /* of the stream of a run that is not live, -1 */
	int gaps;	     /* of its RUN_GAPS, -1 */
	struct stream_view view;
	bool shares;	     /* is counted in run->readers */
	int stream;	     /* enum stream */
	bool to_command_end; /* ends when the command has ended, not the stream */
	uint64_t limit;	     /* offset of its end, once known; else UINT64_MAX */
	/* What the poll that is answered asks for. */
	unsigned int poll_events;
	/* cmd only */
	bool submitted;
	int refused;		/* errno of a write that makes the whole text void */
	bool killed;		/* its opener died of a signal: never run it */
	struct merge *merge;	/* a transaction's output */
	bool read_back;		/* a run's number has been read */
	struct log_reader *log; /* transcript.c */
	struct tty *tty;	/* tty.c */
	struct event_reader *events;
	uint64_t position; /* in a transaction's output */
};

struct handle *handle_ref(struct handle *handle);
void handle_put(struct handle *handle);
/* How many there are. */
uint64_t handles_open(void);

/* Answers an OPEN that was parked: with the handle, or with an error (the handle is dropped). */
void handle_reply_open(fuse_req_t req, struct handle *h);
void handle_abandon(fuse_req_t req, struct handle *h, int error);

/* Returned by operations that have parked or answered the request themselves. */
enum { TREE_ANSWERED = 1 };

/* Operations of files that are more than show and store. Each returns 0, -errno or TREE_ANSWERED. */
struct row_ops {
	int (*open)(struct ctx *ctx, struct handle *h);
	int (*read)(struct ctx *ctx, struct handle *h, size_t size, off_t offset);
	int (*write)(struct ctx *ctx, struct handle *h, const char *data, size_t size);
	/* Instead of it where the place matters; and truncation to that size. */
	int (*write_at)(struct ctx *ctx, struct handle *h, const char *data, size_t size,
			off_t offset);
	void (*resize)(struct ctx *ctx, uint64_t size);
	int (*flush)(struct ctx *ctx, struct handle *h);
	void (*release)(struct handle *h);
	/* POLLIN and the like that hold now. box->lock is not held. */
	unsigned int (*poll)(struct ctx *ctx, struct handle *h);
	/* Keeps ph (its own from then on) and tells it when that changes. NULL: what is told when
	 * something of the box's runs moves will do. */
	void (*add_poll)(struct handle *h, struct fuse_pollhandle *ph);
	/* ioctl(2): in holds what cmd says is written, out gets what it says is read. 0 or -errno. */
	int (*ioctl)(struct ctx *ctx, struct handle *h, unsigned int cmd, const void *in,
		     struct text *out);
	bool stream; /* reads and writes of one handle must not wait for each other */
};

enum {
	ROW_SIZED = 1,	/* show is cheap: stat tells the true size */
	ROW_FRESH = 2,	/* each lookup answers a node of its own (alias.h) */
	ROW_RIGHTS = 4, /* open checks who may what itself; the mode is only shown */
};

struct row {
	const char *name;
	mode_t mode; /* type and the owner's permission bits; group's and others' follow the box's */
	unsigned int flags;
	int (*show)(struct ctx *ctx, struct text *out);
	/* The whole value without its last newline. */
	int (*store)(struct ctx *ctx, const char *value);
	const struct row_ops *ops;
	int (*link)(struct ctx *ctx, struct text *target);
	int dir;				       /* enum dir_kind of a subdirectory */
	int volume;				       /* 1 + enum files_kind of a volume's root */
	int (*attr)(struct ctx *ctx, struct stat *st); /* corrects what the tables say */
	uint64_t (*size)(struct ctx *ctx);
	uint64_t (*view)(struct ctx *ctx); /* that a lookup now gets (alias.h); 0: the plain node */
	const char *help;
};

/* What a name leads to. */
struct child {
	struct node node;
	struct files_volume *volume; /* not NULL: its root */
};

struct dir_list; /* of readdir */
void dir_list_add(struct dir_list *list, const char *name, struct node node, mode_t type);

struct dir_type {
	const struct row *rows;
	size_t n_rows;
	mode_t mode; /* owner's permission bits where it belongs to a box */
	/* All but rows may be NULL: not possible here (EPERM and `hint` in why). unlink may return
	 * TREE_ANSWERED. */
	int (*lookup)(struct ctx *ctx, const char *name, struct child *child);
	int (*list)(struct ctx *ctx, struct dir_list *list);
	int (*attr)(struct ctx *ctx, struct stat *st); /* corrects the directory's own */
	int (*setattr)(struct ctx *ctx, const struct stat *st, int to_set);
	int (*mkdir)(struct ctx *ctx, const char *name, mode_t mode, struct child *child);
	int (*rmdir)(struct ctx *ctx, const char *name);
	int (*create)(struct ctx *ctx, const char *name, struct child *child);
	int (*unlink)(struct ctx *ctx, const char *name);
	/* A dynamic file (ROW_DYNAMIC) behaves as this row. */
	const struct row *dynamic;
	const char *hint; /* what one can do here, for `why` */
};

extern const struct dir_type *const dir_types[N_DIR_KINDS];

/* The row behind a node; NULL for directories and what is gone. */
const struct row *tree_row(struct node node);
/* Attributes of a node. 0 or -errno (ESTALE: its box or run is gone). */
int tree_attr(struct ctx *ctx, struct stat *st);
int tree_lookup(struct ctx *ctx, const char *name, struct child *child);
int tree_list(struct ctx *ctx, struct dir_list *list);
/* st_ino of a node id, and of a node. */
uint64_t tree_ino(uint64_t id);
uint64_t node_ino(struct node node);
/* Call once before the first use. */
void tree_init(void);
/* Puts a sentence into the box's why, or the root's. */
void tree_refuse(struct ctx *ctx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
