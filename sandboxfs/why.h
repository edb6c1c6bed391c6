/* SPDX-License-Identifier: MIT */
/*
 * `why`: the last refusals of a box, or of the root, newest last. Each is one line: time, uid, what
 * was asked, why it was refused and what would help. Has a lock of its own, the innermost of all.
 */
#ifndef SANDBOXFS_WHY_H
#define SANDBOXFS_WHY_H

#include <pthread.h>
#include <sys/types.h>

#include "base/text.h"

enum { WHY_LINES = 16 };

struct why {
	pthread_mutex_t lock;
	char *lines[WHY_LINES];
	unsigned int next;
};

void why_init(struct why *why);
void why_free(struct why *why);
/* Adds a line. Unprintable bytes of the text are escaped. */
void why_add(struct why *why, uid_t uid, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void why_show(struct why *why, struct text *out);

/* Refusals that have no box. */
extern struct why root_why;

#endif
