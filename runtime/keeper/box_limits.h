/* SPDX-License-Identifier: MIT */
/* The limits of the running box (runtime/limit.h). */
#ifndef KEEPER_BOX_LIMITS_H
#define KEEPER_BOX_LIMITS_H

#include "keeper/keeper.h"

/* MSG_LIMIT: 0, the limit of its field holds; or -errno with a sentence, and the old one does. */
int limits_change(struct keeper *k, const char *fields, size_t len, struct failure *why);

/* Those that no controller enforces, for a box that has just started; nothing but init runs in it. */
int limits_begin(struct keeper *k, struct failure *why);

/* open_files.c */
int open_files_set(struct keeper *k, enum limit which, uint64_t value, struct failure *why);

#endif
