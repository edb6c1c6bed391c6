/* SPDX-License-Identifier: MIT */
/* The FUSE face of the tree: what fuse_*.c and handle.c share. */
#ifndef SANDBOXFS_FUSE_OPS_H
#define SANDBOXFS_FUSE_OPS_H

#include "tree.h"

/* All operations: nodes of files.h go to files_ops, the others to the tree. */
extern const struct fuse_lowlevel_ops sandboxfs_ops;

/* Fills ctx for a request on a control node; a reference to its box, which ctx_end() drops. 0 or
 * -ESTALE when what it names is gone. */
int ctx_begin(struct ctx *ctx, fuse_req_t req, fuse_ino_t ino);
void ctx_end(struct ctx *ctx);

struct handle *handle_new(const struct ctx *ctx, uint64_t ino, const struct row *row, int flags);
/* Answers a READ with what was rendered, rendering it first: TREE_ANSWERED or -errno. */
int handle_reply_rendered(struct ctx *ctx, struct handle *h, size_t size, off_t offset);

/* Answers a LOOKUP or CREATE that leads to child. */
int entry_fill(struct ctx *ctx, const struct child *child, struct fuse_entry_param *entry);
void entry_reply(struct ctx *ctx, const struct child *child);
/* Checks permission for an open(2) with these flags, and opens. 0: *made is open and unanswered;
 * TREE_ANSWERED: the request is parked with it; or -errno. */
int node_open(struct ctx *ctx, uint64_t ino, int flags, struct handle **made);
/* May the caller search this directory? 0 or -EACCES. */
int dir_may(struct ctx *ctx, int mask);

/* fuse_dir.c */
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		const char *newname, unsigned int flags);
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		struct fuse_file_info *fi);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* fuse_file.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
		   struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
	       struct fuse_file_info *fi, unsigned int flags, const void *in, size_t in_size,
	       size_t out_size);
void ops_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct fuse_pollhandle *ph);

#endif
