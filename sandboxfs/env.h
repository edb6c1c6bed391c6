/* SPDX-License-Identifier: MIT */
/*
 * The environment of a session: what a command sees (`value`), and what was asked for from outside
 * (`wanted`, `unwanted`), which every new shell gets. And that of a named run, of which only the
 * latter matters. A variable keeps its index as long as the environment lives: nodes refer to it.
 * Called with box->lock held.
 */
#ifndef SANDBOXFS_ENV_H
#define SANDBOXFS_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

struct env_var {
	char *name;
	char *value;	/* what a command sees; NULL: not set at present */
	char *base;	/* of the image; NULL if it has none */
	char *wanted;	/* written from outside: set in every new shell; NULL if not */
	bool unwanted;	/* removed from outside */
	uint64_t since; /* number of the first run that sees what was asked for last; 0 settled */
};

struct env {
	struct env_var *vars;
	size_t n;
	bool of_image; /* the box is made from an imported image: host's own variables are not */
};

enum {
	ENV_MAX_BYTES = 512 << 10, /* names and values from outside, of one environment */
	ENV_MAX_VARS = 4096,
};

/* Fills in what a fresh box's commands see; not the user's own (HOME, SHELL) where of_root is
 * false: the box knows them. 0 or -ENOMEM. */
int env_init(struct env *env, bool of_root);
void env_free(struct env *env);
/* The image's variables (field list NAME=VALUE) take the place of those of another image; NULL: the
 * image is host. env_init() shows them. 0 or -ENOMEM. */
int env_set_base(struct env *env, const char *fields, size_t len);
/* Adds env.NAME=VALUE: what a program starts with, that is the image's and what was asked for. */
void env_start_fields(const struct env *env, bool of_root, struct text *fields);
/* Adds env.NAME=VALUE for what was asked for alone; a later field takes the place of an earlier. */
void env_wanted_fields(const struct env *env, struct text *fields);
/* Takes over what MSG_SESSION says. last_ended: the newest run that has ended. */
void env_take_session(struct env *env, uint64_t last_ended, const char *fields, size_t len);
/* The variable of that name, NULL if it was never heard of. */
struct env_var *env_find(const struct env *env, const char *name);
/* May it be exported by a shell? [A-Za-z_][A-Za-z0-9_]* */
bool env_name_is_valid(const char *name);
/* What was asked for (NULL: removed); next_run is the first that sees it, 0 when nothing runs.
 * 0, -ENOMEM or -E2BIG. */
int env_want(struct env *env, const char *name, const char *value, uint64_t next_run);
/* Size of what was asked for. */
size_t env_wanted_bytes(const struct env *env);
/* The same as env_want(), as read from disk. */
int env_restore(struct env *env, const char *name, const char *value);
/* What was asked for in one is asked for in the other, and both have the same image. 0 or -ENOMEM. */
int env_copy_wanted(struct env *to, const struct env *from);
/* Adds "env.NAME = VALUE" and "unset.NAME = " to a record, for what was asked for. */
void env_record(const struct env *env, struct text *record);
/* A line of a record, if it is one of those: 1, 0 it is none, -errno. */
int env_record_line(struct env *env, const char *key, const char *value);

#endif
