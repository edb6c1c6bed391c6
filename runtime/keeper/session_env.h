/* SPDX-License-Identifier: MIT */
/*
 * The exported environment of a session: a sorted set of variables, what a shell prints of it
 * (`export -p`, read strictly: it comes from the box), and the words that set it in a shell.
 */
#ifndef KEEPER_SESSION_ENV_H
#define KEEPER_SESSION_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "keeper/driver.h"

struct env_var {
	char *name;
	char *value; /* in the same allocation */
};

struct session_env {
	struct env_var *vars; /* sorted by name */
	size_t n, size;
};

enum { ENV_BYTES_MAX = 1 << 20 };

void session_env_free(struct session_env *env);
/* 0 or -ENOMEM. value may be NULL: the variable goes. */
int session_env_set(struct session_env *env, const char *name, const char *value);
const char *session_env_get(const struct session_env *env, const char *name);
bool session_env_equal(const struct session_env *a, const struct session_env *b);
/* Replaces *to. 0 or -ENOMEM, and *to is as it was. */
int session_env_copy(struct session_env *to, const struct session_env *from);

/* Sets what a field list has as env.NAME=VALUE. 0 or -ENOMEM. */
int session_env_add_fields(struct session_env *env, const char *fields, size_t len);

/* A name that a shell can assign to, and not one of the driver's own (__sbx_…). */
bool session_env_name_is_valid(const char *name);
/* The shell keeps it itself (PWD, SHLVL, _ …): not shown, and not settable from outside. */
bool session_env_name_is_shells(const char *name);

/*
 * Reads the output of `export -p` of bash, dash or busybox ash. Variables that are exported but
 * unset are left out, so are the driver's. *rest is set to the first line that is none of it (the
 * functions, in bash). 0, -EINVAL for what cannot be read, -ENOMEM.
 */
int session_env_parse_exports(struct session_env *env, const char *text, const char **rest);

/*
 * Splits what a new shell starts with: goes to *start ("NAME=VALUE", the vars' own strings are
 * copied) what may and fits in max bytes; the rest is added to script, as commands.
 */
int session_env_split_for_start(const struct session_env *env, enum driver_kind kind, size_t max,
				struct text *start, size_t *n_start, struct text *script);

/* Adds a command that sets (or with value NULL, unsets) a variable and cannot end the shell. */
void session_env_add_assignment(struct text *script, enum driver_kind kind, const char *name,
				const char *value);
/* Adds one that changes the directory, likewise. */
void session_env_add_chdir(struct text *script, enum driver_kind kind, const char *path);

/*
 * Could this script change what is exported? True for anything that looks like it (assignments,
 * export, sourcing); false is no promise, it may call a function that does.
 */
bool session_env_script_may_change(const char *script, size_t len);

#endif
