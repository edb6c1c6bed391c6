/* SPDX-License-Identifier: MIT */
/*
 * The environment of a box's default session: what a command sees (`value`), and what was asked
 * for from outside (`wanted`, `unwanted`), which every new shell gets. A variable keeps its index
 * for the life of the daemon: node ids refer to it. Called with box->lock held.
 */
#ifndef SANDBOXFS_ENV_H
#define SANDBOXFS_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "box.h"

/* Fills in what a fresh box's commands see. 0 or -ENOMEM. */
int env_init(struct box *box);
void env_free(struct box *box);
/* Adds env.NAME=VALUE for MSG_START. */
void env_start_fields(const struct box *box, struct text *fields);
/* Takes over what MSG_SESSION says. */
void env_take_session(struct box *box, const char *fields, size_t len);
/* The variable of that name, NULL if it was never heard of. */
struct env_var *env_find(struct box *box, const char *name);
/* May it be exported by a shell? [A-Za-z_][A-Za-z0-9_]* */
bool env_name_is_valid(const char *name);
/* Set from outside (NULL: removed): for the commands after the present one. 0 or -errno. */
int env_set(struct box *box, const char *name, const char *value);

#endif
