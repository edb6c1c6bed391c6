/* SPDX-License-Identifier: MIT */
/*
 * What the files_*.c share: volumes, the ground they stand on, inodes, anchors, open files.
 *
 * Locks: one mutex, files.lock, for all tables, counts, reference counts and pointers between
 * these objects. It is held for a few instructions, never across a system call that touches a
 * box's file, a reply or a notification. Fields marked (const) do not change after creation.
 * A directory stream and a lock owner have a mutex of their own, taken before files.lock.
 */
#ifndef SANDBOXFS_FILES_INTERNAL_H
#define SANDBOXFS_FILES_INTERNAL_H

#include <limits.h>
#include <linux/stat.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "files.h"

enum {
	HANDLE_BYTES = 40, /* longest file handle kept; ext4 8, xfs 24, btrfs 40 */

	/* Descriptors that each takes. */
	FDS_OPEN_FILE = 2,
	FDS_STREAM = 1,
	FDS_LOCK_OWNER = 1,
};

/* A seconds' worth that stands for "until told otherwise". */
#define LONG_TIMEOUT 3600.0

/* An O_PATH descriptor of an object of a box, counted. */
struct anchor {
	unsigned int refs;
	int fd;		 /* (const) */
	uint64_t mnt;	 /* (const) id of the mount it was reached by */
	uint64_t ground; /* (const) serial of the ground it was found on */
};

/* Where a volume's files are at present; replaced as a whole, counted. */
struct ground {
	unsigned int refs;
	uint64_t serial;     /* (const) unique in this process */
	struct anchor *root; /* (const) */
	int handle_fd;	     /* (const) for open_by_handle_at(2), or -1 */
	uid_t id_base;	     /* (const) */
	bool live;	     /* (const) */
	dev_t dev;	     /* (const) of the root directory */
};

struct files_volume {
	unsigned int refs;
	uint64_t box;		  /* (const) */
	enum files_kind kind;	  /* (const) */
	struct files_inode *root; /* (const) */
	struct ground *ground;	  /* NULL: no backing */
	bool dropped;
	uint64_t serial; /* of ground and owner: what was said for long before it rose is void */
	unsigned int descriptors, waiting; /* that its clients hold open; waits */
	_Atomic uid_t uid;
	_Atomic gid_t gid;
	_Atomic uint64_t max_bytes, max_inodes; /* as statfs shows them, 0: what is there */
	_Atomic mode_t mode;	   /* of the box: who may write in it acts as its owner */
	char *veils;		   /* NULL, or paths, each with its NUL, and an empty one */
	struct files_volume *next; /* all volumes */
};

struct file_id {
	int type;
	unsigned int len; /* 0: none */
	unsigned char bytes[HANDLE_BYTES];
};

/*
 * What the kernel knows by one node id: the address with bit 63 set. A regular file is one inode
 * whatever its names. A directory that the box moved elsewhere, and each name of a symbolic link,
 * are inodes of their own, so that `parent` always is what `..` means to the kernel.
 */
struct files_inode {
	struct files_volume *vol; /* (const) */
	dev_t dev;		  /* (const) of the object; see files_inode.c on identity */
	ino_t ino;		  /* (const) */
	mode_t type;		  /* (const) S_IFMT bits as shown */
	bool veiled;		  /* (const) a mount that is not entered: an empty directory */
	bool remote;	   /* (const) on a FUSE filesystem, a bucket: may be slow or go away */
	struct file_id id; /* (const) */

	uint64_t nlookup;	    /* the kernel's references */
	unsigned int refs;	    /* ours: children, open files, requests */
	bool superseded;	    /* the box moved it, and another inode stands for it now */
	bool placed;		    /* in the table of places */
	bool long_attr;		    /* the kernel was given attributes for long */
	struct files_inode *parent; /* NULL for a root */
	char *name;
	struct files_inode *next_identity, *next_place;
	struct anchor *anchor; /* NULL or cached; in the LRU list then */
	struct files_inode *lru_prev, *lru_next;

	struct open_file *open_files;
	unsigned int n_backed; /* of these, through passthrough with backing_id */
	int backing_id;
	struct lock_owner *lock_owners;
};

/* An open regular file. */
struct open_file {
	struct files_inode *inode;
	struct ground *ground;
	struct anchor *anchor; /* keeps the object reachable after its name went */
	int fd;
	atomic_int flags;
	bool backed;
	struct open_file *next; /* of the inode */
};

/* The answer of the backing about one name. */
struct found {
	int fd; /* O_PATH, -1 when veiled */
	uint64_t mnt;
	bool veiled, remote;
	struct statx stx;
	struct file_id id;
};

/* A request being served. */
struct call {
	fuse_req_t req;
	struct files_inode *inode;
	struct files_volume *vol;
	struct ground *ground;
	uint64_t serial;
	uid_t id_base; /* of the ground, or of the ground on which an open file was opened */
	bool owner;    /* the caller is the volume's owner or root */
};

extern struct files_state {
	pthread_mutex_t lock;
	bool passthrough;
	struct files_volume *volumes;
	uint64_t ground_serial;
	unsigned int anchors, max_anchors;
	unsigned int descriptors, max_descriptors; /* besides anchors */
	unsigned int open_files;
	unsigned int waiting;
	uint64_t inodes;
} files;

#define _cleanup_call_ __attribute__((cleanup(call_end)))
#define _cleanup_anchor_ __attribute__((cleanup(cleanup_anchor)))
#define _cleanup_found_ __attribute__((cleanup(cleanup_found)))

/* files_volume.c */

/* Begins serving req on ino: 0, -ESTALE (destroyed), -ENOENT (no backing). */
int call_begin(struct call *c, fuse_req_t req, fuse_ino_t ino);
void call_end(struct call *c);
void ground_get(struct ground *g);
void ground_put(struct ground *g);
void volume_put_locked(struct files_volume *vol);
/* Accounts for descriptors held on behalf of clients: 0 or -ENFILE. */
int descriptors_take(struct files_volume *vol, unsigned int n);
void descriptors_give(struct files_volume *vol, unsigned int n);
/* Is name in dir one of the veils? */
bool volume_is_veil(const struct files_inode *dir, const char *name);
/* The device of the box's workspace, 0 if it has none now. */
dev_t volume_workspace_dev(uint64_t box);
/* Path of fd's magic link below /proc/self/fd, for calls that take no descriptor. */
const char *proc_path(char buf[32], int fd);

/* files_inode.c */

static inline struct files_inode *inode_of(fuse_ino_t ino)
{
	return (struct files_inode *)(uintptr_t)((uint64_t)ino & ~(1ULL << 63));
}

static inline fuse_ino_t inode_id(const struct files_inode *inode)
{
	return (fuse_ino_t)((uint64_t)(uintptr_t)inode | 1ULL << 63);
}

static inline bool inode_is_root(const struct files_inode *inode)
{
	return inode == inode->vol->root;
}

/* The inode for what was found as name in dir, with one more kernel reference; NULL: no memory. */
struct files_inode *inode_obtain(struct files_inode *dir, const char *name, struct found *found);
struct files_inode *inode_new_root(struct files_volume *vol);
void inode_get(struct files_inode *inode);
void inode_put(struct files_inode *inode);
/* Drops n kernel references. */
void inode_forget(struct files_inode *inode, uint64_t n);
/* Follows what a rename did, as the kernel does with its dentries. own_…: copies of the names
 * made beforehand (so that this cannot fail), taken over. */
void inode_renamed(struct files_inode *dir, const char *name, struct files_inode *new_dir,
		   const char *new_name, char *own_name, char *own_new_name, bool exchange);
/* How many directories lie between the volume's root and what is in dir (0: in the root). */
unsigned int inode_depth(const struct files_inode *dir);
/* The path from the volume's root, without a leading '/': 0 or -ENAMETOOLONG. */
int inode_path(const struct files_inode *inode, char path[PATH_MAX]);
/* The number that users see in st_ino. */
uint64_t inode_shown_ino(const struct files_volume *vol, dev_t dev, ino_t ino);
/* Notes that the kernel was given attributes for long; inode_next_long() gives these inodes back
 * one by one. */
void inode_note_long(struct files_inode *inode);
fuse_ino_t inode_next_long(struct files_volume *vol);

/* Forgets all, at the end. */
void inode_end(void);

/* files_anchor.c */

struct anchor *anchor_new(int fd, uint64_t mnt,
			  uint64_t ground); /* takes fd over, also on failure */
void anchor_get(struct anchor *a);
void anchor_put(struct anchor *a);
void cleanup_anchor(struct anchor **a);
/* A descriptor of inode on c's ground, found again if it must be: 0 or -errno (-ESTALE: gone). */
int anchor_find(struct call *c, struct files_inode *inode, struct anchor **out);
/* Keeps fd (taken over) as inode's anchor if it may be kept. */
void anchor_offer(struct files_inode *inode, const struct ground *ground, int fd, uint64_t mnt);
/* Lets go of all anchors that are not of this ground (NULL: all) in a volume. */
void anchor_drop_volume(struct files_volume *vol, const struct ground *keep);
/* Takes an anchor off its inode; the caller puts it after unlocking. Call with files.lock. */
struct anchor *anchor_detach_locked(struct files_inode *inode);
/* Frees descriptors after EMFILE or ENFILE: true if a second try is worth it. */
bool anchor_relieve(int error);

/* files_ids.c */

int ids_init(void);
void ids_enter(uid_t id_base);
void ids_enter_backing(uid_t id_base); /* with CAP_SYS_ADMIN, for FUSE_DEV_IOC_BACKING_OPEN */
void ids_leave(void);
/* After a refusal: takes the capabilities of the box's own root if object_fd is the box's. */
bool ids_override(uid_t id_base, int object_fd);

/*
 * The value of a system call made as the box's root, or -errno. Refused by a mode, it is tried
 * once more with the capabilities that the box's root has over its own files.
 */
#define as_box_root(id_base, object_fd, expr)                                                      \
	({                                                                                         \
		long value_;                                                                       \
		ids_enter(id_base);                                                                \
		value_ = (expr);                                                                   \
		value_ = value_ < 0 ? -errno : value_;                                             \
		if ((value_ == -EACCES || value_ == -EPERM) && ids_override(id_base, object_fd)) { \
			value_ = (expr);                                                           \
			value_ = value_ < 0 ? -errno : value_;                                     \
		}                                                                                  \
		ids_leave();                                                                       \
		value_;                                                                            \
	})

enum { MAY_X = 1, MAY_W = 2, MAY_R = 4 };

/* Whether the caller may do `may` to an object of this mode: 0 or -EACCES. */
int ids_check(const struct call *c, mode_t mode, int may);
/* The same with the mode asked of the backing, if it matters. */
int ids_check_anchor(const struct call *c, const struct anchor *a, int may);

/* files_lookup.c */

/* Looks name up below an anchored directory: 0 or -errno. -EREMOTE: something is mounted there, and
 * this thread must not wait for an answer what it is. */
int look_up(struct call *c, struct files_inode *dir, const struct anchor *at, const char *name,
	    struct found *found);
/* The same for an inode that is known and to be found again: what is mounted there was looked at. */
int look_up_known(struct call *c, struct files_inode *dir, const struct anchor *at,
		  const char *name, const struct files_inode *known, struct found *found);
void cleanup_found(struct found *found);
/* The handle that finds an object of the workspace again; without one, names do. */
void look_take_handle(struct found *found);
/* Is name a mount in the box? Such are not removed or replaced: 0, -EROFS, -errno. */
int look_refuse_mount(const struct files_inode *dir, const struct anchor *at, const char *name);
int stat_fd(const struct files_inode *inode, int fd, struct statx *stx);
/* What users see. at: of the object, needed for a symbolic link. */
void show_attr(struct call *c, const struct files_inode *inode, int fd, const struct statx *stx,
	       struct stat *st);
/* Fills an entry for a found object (kernel reference taken): 0 or -errno. */
int show_entry(struct call *c, struct files_inode *dir, const struct anchor *at, const char *name,
	       struct found *found, struct fuse_entry_param *entry);
/* Answers with an entry; undoes the reference when the kernel no longer wants it. */
void reply_entry(struct call *c, const struct fuse_entry_param *entry);
void reply_attr(struct call *c, struct files_inode *inode, const struct stat *st);
/* To be called after a reply that gave long timeouts. */
void reply_was_long(struct call *c, struct files_inode *inode);
double call_timeout(const struct call *c);
/* Makes the kernel ask for all names again. */
void name_cache_reset(void);

/* files_remote.c */

/* Is this a thread that may wait for a bucket? */
bool remote_may_wait(void);
/* The request has to be asked again on such a one; it is not answered now. */
void remote_again(fuse_req_t req, const struct files_volume *vol, dev_t dev);
/* Notes that a bucket has this device; is it one's? May be wrong either way. */
void remote_note(dev_t dev);
bool remote_is_likely(dev_t dev);

/* files_symlink.c */

/* Resolves a path below the box's part of a volume; canonical has no links, "." or "..". */
typedef int (*symlink_resolve)(void *ctx, bool absolute, const char *path,
			       char canonical[PATH_MAX]);

/*
 * The target of a link in a directory of that depth as the host may see it: 0 or -ENAMETOOLONG.
 * The result is `..` at most depth times (or once more, and `root` next), then names only.
 */
int symlink_show(enum files_kind kind, unsigned int depth, const char *target,
		 symlink_resolve resolve, void *ctx, char out[PATH_MAX]);
/* What to store so that symlink_show() gives back what was given. */
int symlink_store(enum files_kind kind, unsigned int depth, const char *given, char out[PATH_MAX]);
/* Reads and rewrites the target of a link inode. */
int symlink_read(struct call *c, const struct files_inode *inode, int fd, char out[PATH_MAX]);

/* files_readdir.c */

/* Frees the streams that are still open, at the end. */
void readdir_end(void);

/* files_open.c */

/* A data descriptor of a regular file, never waiting for a lease (-EWOULDBLOCK). */
int open_data(struct call *c, const struct anchor *a, int flags);
void open_file_put(struct open_file *file);

/* files_wait.c */

struct waiter;

int wait_init(void);
/*
 * Hands a request that must wait to a thread of its own: run(w, arg) works in calls that end with
 * EINTR, looks at wait_is_over() after each, and returns the value to give to answer(). 0, or
 * -ENOLCK when the volume or the daemon has too many waiting (run and answer are not called then).
 */
int wait_start(struct files_volume *vol, fuse_req_t req, int (*run)(struct waiter *w, void *arg),
	       void (*answer)(fuse_req_t req, void *arg, int result), void *arg);
/* The caller was interrupted (-EINTR) or the box destroyed (-ESTALE); 0: go on waiting. */
int wait_is_over(struct waiter *w);
/* Ends all waits in a volume that is going away. */
void wait_end_volume(struct files_volume *vol);

/* files_lock.c */

/* What a process holds ends when it closes any descriptor of the file. */
void lock_release_owner(struct files_inode *inode, uint64_t owner);
void lock_release_all(struct files_inode *inode);

/* The operations, by file. */
void files_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void files_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void files_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		      struct fuse_file_info *fi);
void files_op_access(fuse_req_t req, fuse_ino_t ino, int mask);
void files_op_statfs(fuse_req_t req, fuse_ino_t ino);
void files_op_readlink(fuse_req_t req, fuse_ino_t ino);
void files_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void files_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void files_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void files_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void files_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void files_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void files_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		     const char *new_name, unsigned int flags);
void files_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi);
void files_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			  struct fuse_file_info *fi);
void files_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void files_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		     struct fuse_file_info *fi);
void files_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void files_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void files_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi);
void files_op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
			struct fuse_file_info *fi);
void files_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi);
void files_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			      struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			      struct fuse_file_info *fi_out, size_t len, int flags);
void files_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		    struct fuse_file_info *fi);
void files_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		       size_t size, int flags);
void files_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void files_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void files_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void files_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void files_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		    int sleep);
void files_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

#endif
