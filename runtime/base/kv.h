/* SPDX-License-Identifier: MIT */
/*
 * Two small formats. A record is text of lines "key = value", for state files that a person
 * may read. A field list is "key=value\0key=value\0…", for messages; values hold anything but NUL.
 */
#ifndef BASE_KV_H
#define BASE_KV_H

#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* Calls fn for each line of a record; comments (#) and empty lines are skipped. The first
 * non-zero return ends it and is returned; -EINVAL with *line for a line that is none. */
int record_parse(char *text, int (*fn)(void *ctx, const char *key, const char *value), void *ctx,
		 int *line);
/* Adds "key = value\n"; value is escaped as \ooo where it holds control characters. */
void record_add(struct text *t, const char *key, const char *value);
void record_add_u64(struct text *t, const char *key, uint64_t value);
/*
 * A record that is written over an older one, in place: record_seal() puts a comment before the
 * lines and a sum of them behind; record_unseal() gives the lines, in place. -EAGAIN: they are not
 * whole, so a writer is at work (or was when the machine died); -ENOMEM. A text without the comment
 * is taken as it is.
 */
void record_seal(struct text *t);
int record_unseal(char *text);

/* The value of key in a field list, NULL if it is not there or the list is not NUL-terminated. */
const char *field_get(const char *fields, size_t len, const char *key);
/* Steps through a field list: pos NULL gives the first entry, then the next one; NULL at the end. */
const char *field_next(const char *fields, size_t len, const char *pos);
/* The number in key, or otherwise fallback (also when it does not parse). */
uint64_t field_get_u64(const char *fields, size_t len, const char *key, uint64_t fallback);
void field_add(struct text *t, const char *key, const char *value);
void field_add_u64(struct text *t, const char *key, uint64_t value);

#endif
