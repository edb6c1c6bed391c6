/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What faces FUSE: fs_meta.c (names), fs_attr.c (attributes), fs_dir.c (directories), fs_file.c (data). Each
 * request is answered exactly once, by the thread that took it; no lock is held across an answer but
 * that of the content whose spool file is spliced.
 */
#ifndef MOUNTS_FS_H
#define MOUNTS_FS_H

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "names.h"
#include "node.h"
#include "waiting.h"

/* The node behind a number of the kernel's. */
struct node *fs_node(fuse_ino_t ino);
/* An entry for what was found, with one lookup counted. 0 or -ENOMEM. tree_lock held. */
int fs_entry(struct node *dir, const char *name, const struct found *found,
	     struct fuse_entry_param *e);
/* Takes the lookup back: the answer did not reach the kernel. */
void fs_entry_undo(const struct fuse_entry_param *e);
/* Is what was found of the node's type, as far as it is known? tree_lock held. */
bool fs_same_type(const struct node *node, const struct found *found);
/* A file that was heard of too long ago is asked for. -ENOENT: there is none; -ESTALE: of another type. */
int fs_refresh(struct node *node);
/* Seconds that an attribute with that end may be kept by the kernel. */
double fs_timeout(int64_t fresh_until_ms);

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned int flags);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
		  struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

extern const struct fuse_lowlevel_ops fs_ops;

/* Everything written is in the bucket, and everything removed is gone, when this returns 0. */
int fs_sync(void);

#endif
