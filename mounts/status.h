/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What has been going on in this mount, for people. */
#ifndef MOUNTS_STATUS_H
#define MOUNTS_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* A request of a program has failed for that reason: the newest one is shown. */
void status_note_error(const char *sentence);
/* Adds lines "key: value", about max bytes at the most. Waits for no upload. */
void status_show(struct text *out, size_t max);
/* Files that somebody has open for writing; *unsaved of them hold something that is not in the bucket. */
size_t status_count_writers(size_t *unsaved);

#endif
