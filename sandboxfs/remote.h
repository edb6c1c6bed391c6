/* SPDX-License-Identifier: MIT */
/*
 * Requests that ask a bucket: they may take as long as its server likes, or for ever, so none of them
 * is served by the threads of loop.c. Each bucket has a few threads of its own; what is more than
 * these waits in a queue.
 *
 * Nobody is kept waiting who does not want to any more: who asked is answered EINTR when a signal ends
 * him, also while a thread of ours still sits in his request. The answer that it gives in the end finds
 * nobody, which the operations know how to deal with (fuse_reply_*() return -ENOENT).
 */
#ifndef SANDBOXFS_REMOTE_H
#define SANDBOXFS_REMOTE_H

#include <stdbool.h>

struct fuse_buf;
struct fuse_session;

/* Serves a request that was just read: at once, or as said above. Any thread. */
void remote_serve(struct fuse_session *se, const struct fuse_buf *buf);

/* Event thread: lets go of who was interrupted; ms until it wants to be called again, -1: when told. */
int remote_run_interrupts(void);

/* Nothing is read any more: waits a few seconds for requests under way. False: some have not come
 * back, and still use what they were given. */
bool remote_end(void);

#endif
