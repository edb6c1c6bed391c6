/* SPDX-License-Identifier: MIT */
/*
 * Runs with names: mkdir procs/NAME takes the name, writing to its cmd starts a run under it, and
 * again once that has ended. The name stands for its newest run; it goes by rmdir, or with the
 * record of that run. Called with box->lock held; a struct named is good only as long as it is.
 */
#ifndef SANDBOXFS_NAMED_H
#define SANDBOXFS_NAMED_H

#include <stdint.h>
#include <uthash.h>

#include "env.h"

struct box;
struct ctx;
struct text;

enum { NAMES_MAX = 4096, NAMES_ENV_BYTES = 16 << 20 };

struct named {
	UT_hash_handle hh_id;
	UT_hash_handle hh_name;
	uint32_t id; /* never used again in its box */
	char name[64];
	uint64_t run; /* the newest, 0 none yet */
	/* What the next run starts with. */
	char user[64];	    /* "": the box's (box_user()) */
	char *cwd;	    /* NULL: /workspace */
	int64_t timeout_ms; /* 0: none; -1: as the box's limit says */
	struct env env;	    /* over that of the box */
};

/* Reads them from disk when that was not done yet; before any other function here. */
void named_load(struct box *box);
void named_free_all(struct box *box);
struct named *named_by_id(struct box *box, uint32_t id);
struct named *named_by_name(struct box *box, const char *name);
/* The name whose newest run that is. */
struct named *named_of_run(struct box *box, uint64_t run);
/* 0, -EEXIST, -EINVAL (no name, or a number), -EDQUOT, -ENOMEM or of the disk. */
int named_create(struct box *box, const char *name, struct named **out);
/* Forgets the name, on disk too. Its run stays. */
void named_remove(struct box *box, struct named *named);
/* One read from disk. NULL: no memory, or the name is there. */
struct named *named_restore(struct box *box, uint32_t id, const char *name);
/* Fields user= cwd= timeout= env.* of MSG_SUBMIT. */
void named_fields(const struct named *named, struct text *fields);
/* Size of the environments of all names, at most NAMES_ENV_BYTES. */
size_t named_env_bytes(struct box *box);
/* Drops the names whose run's record is gone. */
void named_drop_stale(struct box *box);

#endif
