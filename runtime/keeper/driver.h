/* SPDX-License-Identifier: MIT */
/*
 * The loop that a session's shell runs. It comes in a variable (a list of processes shows a short
 * command line), is parsed once, and owns no descriptor:
 * whatever a command does to the shell (closes descriptors, overrides builtins, sets options), the
 * loop goes on, or the shell ends and is replaced.
 */
#ifndef KEEPER_DRIVER_H
#define KEEPER_DRIVER_H

#include "base/text.h"

enum driver_kind { DRIVER_BASH, DRIVER_SH };

/* A line for the control folder's `prev`. */
extern const char driver_prev_text[];

#define DRIVER_VARIABLE "__sbx_loop"
/* What is given with -c. */
extern const char driver_command[];

/* Adds the loop's text; dir (of the control folder, as the box sees it) must hold nothing that a
 * shell minds. */
void driver_add(struct text *t, enum driver_kind kind, const char *dir);

#endif
