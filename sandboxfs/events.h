/* SPDX-License-Identifier: MIT */
/*
 * Events: one JSON object a line, of box and run life, in one ring for the whole mount. A reader who
 * falls behind is told how many he missed of those that were for him. They live as long as the
 * daemon. Thread-safe; lock: events_lock, after any box's lock.
 */
#ifndef SANDBOXFS_EVENTS_H
#define SANDBOXFS_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "tree.h"

/*
 * Adds an event of box (its lock held): {"time":…,"box":…,"event":what, …}. fields is a format
 * of jansson's json_pack() for further members, as "s:I,s:s"; NULL for none.
 */
void event_add(struct box *box, const char *what, const char *fields, ...);

/* event_run.c: a run's life, told behind the change of its state, under the same box->lock. */
void event_run_title(struct run *run, const char *script, size_t len); /* for run_started */
void event_run_queued(struct box *box, const struct run *run);
void event_run_started(struct box *box, const struct run *run);
/* why: NULL, or why it never ran. */
void event_run_ended(struct box *box, const struct run *run, const char *why);

/* events of the root (all boxes that the caller may see) and of a box. */
extern const struct row_ops events_ops;

/* Wakes readers of what was added; called by the event thread and after each batch of work. */
void events_wake(void);
/* Ends the wait of everybody who reads events of this box (NULL: all). */
void events_end(const struct box *box);

#endif
