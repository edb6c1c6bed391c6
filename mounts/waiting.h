/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests that may wait for the server, and what becomes of one whose process is killed meanwhile: it
 * is answered at once with EINTR, which nobody sees, so that the process can end. The work goes on to
 * its end in the thread that has begun it; a file that was to be saved is saved.
 *
 * A signal that the process survives changes nothing: few programs expect EINTR of close, fsync or open.
 */
#ifndef MOUNTS_WAITING_H
#define MOUNTS_WAITING_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

/*
 * Before the first thing in a request that may wait. Its answer then goes through those below; nothing
 * else of req (such as its context) may be used any more.
 */
void waiting_begin(fuse_req_t req);
/* Answers those whose process was killed after another signal had come; every few seconds. */
void waiting_look(void);
/* The process is at its end because of a signal: nobody waits for its close. */
bool waiting_is_killed(pid_t pid);

/* As fuse_reply_…(), also for requests without waiting_begin(): -ENOENT if it has been answered. */
int fs_reply_err(fuse_req_t req, int error);
int fs_reply_entry(fuse_req_t req, const struct fuse_entry_param *e);
int fs_reply_attr(fuse_req_t req, const struct stat *st, double timeout);
int fs_reply_open(fuse_req_t req, const struct fuse_file_info *fi);
int fs_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
		    const struct fuse_file_info *fi);
int fs_reply_buf(fuse_req_t req, const char *buf, size_t size);
int fs_reply_iov(fuse_req_t req, const struct iovec *at, int n);
int fs_reply_data(fuse_req_t req, struct fuse_bufvec *data);
int fs_reply_write(fuse_req_t req, size_t size);
int fs_reply_readlink(fuse_req_t req, const char *target);

#endif
