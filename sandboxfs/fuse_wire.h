/* SPDX-License-Identifier: MIT */
/*
 * What stock libfuse 3.14 cannot say to the kernel, said at the wire: mounting /dev/fuse
 * ourselves, the INIT reply with the newer flags (passthrough, HANDLE_KILLPRIV_V2), opening
 * files with FOPEN_PASSTHROUGH or FOPEN_STREAM, backing ids, and the newer notifications. With a
 * libfuse or kernel that lacks a thing it is not used, and fuse_wire_has() says so.
 */
#ifndef SANDBOXFS_FUSE_WIRE_H
#define SANDBOXFS_FUSE_WIRE_H

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

enum fuse_wire_feature {
	WIRE_PASSTHROUGH, /* known after INIT */
	WIRE_INC_EPOCH,
	WIRE_STREAM,
};

/* Mounts on mountpoint (source shows as `source` in mountinfo, type fuse.sandboxfs; nosuid,
 * nodev; no default_permissions: the daemon checks) and attaches the session to it.
 * want_passthrough false never asks for it. 0 or -errno (-ENOENT/-ENODEV: no /dev/fuse). */
int fuse_wire_mount(struct fuse_session *se, const char *mountpoint, const char *source,
		    bool allow_other, bool want_passthrough);
/* Lazy unmount by us; idempotent. */
void fuse_wire_unmount(void);
/* The mount's id in mountinfo. */
uint64_t fuse_wire_mount_id(void);

bool fuse_wire_has(enum fuse_wire_feature feature);

/* A backing id for a regular file's descriptor (FUSE_DEV_IOC_BACKING_OPEN): > 0 or -errno. */
int fuse_wire_backing_open(int fd);
void fuse_wire_backing_close(int backing_id);
/* Answers OPEN (create: CREATE with entry) with passthrough to backing_id. 0 or -errno as
 * fuse_reply_open(). */
int fuse_wire_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int backing_id);
int fuse_wire_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
			   const struct fuse_file_info *fi, int backing_id);
/* Answers OPEN of a stream: FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | FOPEN_STREAM (reads and writes of
 * one handle do not wait for each other; READ's offset is 0 then). */
int fuse_wire_reply_open_stream(fuse_req_t req, const struct fuse_file_info *fi);

/* Answers a request by its number with 0 or -errno and nothing else, behind libfuse's back. */
void fuse_wire_answer(uint64_t unique, int error);

/* All cached names of the mount are looked up again from now on (FUSE_NOTIFY_INC_EPOCH). */
int fuse_wire_inc_epoch(void);
/* The kernel asks for this node's attributes again (FUSE_NOTIFY_INVAL_INODE); data stay cached. */
int fuse_wire_inval_attr(fuse_ino_t ino);

#endif
