/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Uploads in parts that are under way, written down in spool_dir, so that the next mount of the same
 * prefix by the same user can end those of a process that was killed.
 */
#ifndef MOUNTS_JOURNAL_H
#define MOUNTS_JOURNAL_H

/* Ends what dead processes left, and begins a journal of our own. Asks the server. */
void journal_open(void);
void journal_starting(const char *key);
void journal_started(const char *key, const char *id);
void journal_ended(const char *id);
/* Everything has ended: the file goes. */
void journal_close(void);

#endif
