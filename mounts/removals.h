/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files that are removed one after the other are deleted together, up to a thousand in one request: the
 * first unlink of a row waits for the server, those that follow within a second are answered at once
 * and done a moment later. What then fails is told to the next unlink or rmdir of that directory, to
 * fsync of it and to sync, and the file is shown again.
 */
#ifndef MOUNTS_REMOVALS_H
#define MOUNTS_REMOVALS_H

#include "node.h"

/* Removes the name of a file that is there. -errno. No locks held. */
int removals_add(struct node *dir, const char *name);
/* Waits until that key, if it is to be deleted, is. Always 0 (what failed is there again). */
int removals_wait(const char *key);
/* Waits for all; returns, and forgets, the error of those below dir (NULL: of all). */
int removals_flush(struct node *dir);
/* Waits for all and ends the thread. */
void removals_stop(void);

#endif
