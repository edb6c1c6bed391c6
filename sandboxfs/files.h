/* SPDX-License-Identifier: MIT */
/*
 * `files/` and `root` of a box: real files served through FUSE. A volume is one such tree: the
 * box's /workspace or its /. It knows nothing of boxes' states, runs or the control tree; fuse.c
 * hands every request on a node that files_owns() to files_ops.
 *
 * See sandboxfs(5) ("files and root") for what users are promised, and files_inode.c for how inodes
 * are found again. Thread-safe: any thread may call anything here.
 */
#ifndef SANDBOXFS_FILES_H
#define SANDBOXFS_FILES_H

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct files_volume;

enum files_kind {
	FILES_WORKSPACE, /* /workspace: one filesystem */
	FILES_ROOT,	 /* / : overlays, /workspace, the box's tmpfs; proc, sys, dev show empty */
};

/* Where a volume's files are at present. */
struct files_backing {
	int root;      /* O_PATH descriptor of its root directory; taken over. It and what was
			       found from it hold the mount until the next set_backing or drop */
	uid_t id_base; /* ids id_base … id_base+65535 on it are the box's 0 … 65535 */
	bool live;     /* something may run in the box and change files behind our back: no
			       caching of names and attributes in the kernel */
};

/*
 * Global set-up, once, before any volume, in a process that is still single-threaded. passthrough
 * false never uses it; true uses it if INIT agreed (fuse_wire.h). Sets the process's umask to 0
 * and a handler for SIGURG, which ends waits for locks. -EPERM without CAP_SETUID.
 */
int files_init(bool passthrough);
/* To be called by the `init` operation: what files/ needs of the kernel. */
void files_want_capabilities(struct fuse_conn_info *conn);

/* The session has ended and no thread uses it any more: forgets what the kernel had not. */
void files_end(void);

/* A volume without a backing: its root answers ENOENT. box is the box's number (mixed into
 * inode numbers). NULL when out of memory. */
struct files_volume *files_volume_new(uint64_t box, enum files_kind kind);
/* The owner that everything shows as, and the permission bits of the box's directory: whoever may
 * write in that acts as the owner does. */
void files_volume_set_owner(struct files_volume *vol, uid_t uid, gid_t gid, mode_t box_mode);
/* What statfs shows as all there is, where the file system that holds a box's limit is larger than
 * that: bytes and inodes, 0 for what it has. */
void files_volume_set_limits(struct files_volume *vol, uint64_t bytes, uint64_t inodes);
/*
 * Directories that something is mounted on as soon as the box runs: they show as if it was now, empty
 * and not to be changed, so that nothing is written to what lies below. paths: n strings from the
 * volume's root on, without a leading '/'; copied. 0 or -ENOMEM (the old ones hold).
 */
int files_volume_set_veils(struct files_volume *vol, const char *const *paths, size_t n);
/*
 * Puts the volume on other ground (the box started: the mount inside it; stopped: the folder on
 * disk). Open files keep what they have; inodes are found again by what they are. NULL: no
 * backing; everything but open files answers ENOENT.
 */
void files_volume_set_backing(struct files_volume *vol, const struct files_backing *backing);
/* The box is destroyed: everything answers ESTALE from now on. The caller keeps his reference,
 * since another thread may be about to use it. */
void files_volume_end(struct files_volume *vol);
/* Ends it and drops the caller's reference. */
void files_volume_put(struct files_volume *vol);

/* Node id of the volume's root, and its attributes as `ls -ld` of it shows them. 0 or -errno. */
fuse_ino_t files_volume_root(struct files_volume *vol);
int files_volume_root_attr(struct files_volume *vol, struct stat *st);

/* Answers a LOOKUP that leads to the volume's root. */
void files_reply_root(fuse_req_t req, struct files_volume *vol);

/* Is it a node of a volume? (bit 63 of the node id) */
static inline bool files_owns(fuse_ino_t ino)
{
	return (uint64_t)ino >> 63;
}

/*
 * lookup forget getattr setattr readlink mknod mkdir unlink rmdir symlink rename link open create
 * read write_buf flush release fsync opendir readdir readdirplus releasedir fsyncdir statfs
 * setxattr
 * getxattr listxattr removexattr access getlk setlk flock fallocate copy_file_range lseek.
 * rename and link between two volumes answer EXDEV.
 */
extern const struct fuse_lowlevel_ops files_ops;

/*
 * Requests that ask a bucket may wait for ever, and belong on threads that may (remote.h), which say so
 * by files_may_wait(). files_remote_key() tells from a request's bytes whether it is one, and which
 * box's and bucket's. One that found out only while it was served has not been answered:
 * files_ask_again(), on the same thread directly afterwards.
 */
struct files_remote_key {
	uint64_t box, dev;
};
bool files_remote_key(const void *request, size_t size, struct files_remote_key *key);
bool files_ask_again(struct files_remote_key *key);
void files_may_wait(void);

/* For `.sandboxfs/status`: inodes known, descriptors held, open files, locks waiting. */
struct files_counts {
	uint64_t inodes, descriptors, open_files, waiting_locks;
};
void files_count(struct files_counts *out);

#endif
