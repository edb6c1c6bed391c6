/* SPDX-License-Identifier: MIT */
/* A program that mounts goes to the background once its mount answers. */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

#include <stdbool.h>

/*
 * The parent waits until the child calls background_ready(), and exits with 0, or 1 if the child ends
 * without. Returns in the child only, which has a session of its own; -errno: no child was made.
 */
int background_enter(void);
/* Somebody waits for background_ready(). */
bool background_is_awaited(void);
/* Lets the parent go. Nothing if nobody waits. */
void background_ready(void);

#endif
