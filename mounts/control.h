/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The conversation with the keeper of the box that the mount is in (base/bucket.h). */
#ifndef MOUNTS_CONTROL_H
#define MOUNTS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The first packet, BUCKET_SAY_SETTINGS: its fields without say=, which are the caller's to wipe and
 * free. -errno, -ETIMEDOUT if none comes.
 */
int control_receive_settings(char **fields, size_t *len);
void control_say_ready(void);
void control_say_failed(int error, const char *why);

/* Is there a keeper? Else the others are not to be called. */
bool control_is_served(void);
/*
 * Has that process an open descriptor of that file? Who serves without privileges must ask, and waits
 * for a moment; false also if no answer comes. For any thread.
 */
bool control_is_held(pid_t pid, uint64_t ino);

/*
 * A session_watcher: answers the keeper until the session has ended. With BUCKET_SAY_SAVE, with TERM,
 * and once the keeper is gone it saves everything and ends the process.
 */
void *control_watch(void *signals);

#endif
