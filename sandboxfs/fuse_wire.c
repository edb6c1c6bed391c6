/* SPDX-License-Identifier: MIT */
/*
 * The wire to the kernel where stock libfuse 3.14 has no words for it. libfuse keeps reading,
 * decoding and answering requests; three things are done to the bytes that pass by:
 *
 * - INIT: the request's flags are noted, and the reply gets passthrough, its stack depth and
 *   HANDLE_KILLPRIV_V2 added before it is written;
 * - TMPFILE, unknown to libfuse, has the layout of CREATE and becomes a CREATE of the name "/",
 *   which no CREATE can have;
 * - replies to OPEN and CREATE with newer flags, and newer notifications, are built here.
 *
 * Must not know what a node is. One mount per process, hence the state is static. No locks:
 * what is written after INIT is atomic, everything else is written before the session loop runs.
 */
#include "fuse_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fuse_kernel.h"

/* Deepest stack a backing file may lie on: overlayfs is one level. 3 and more is refused by the
 * kernel, which then turns passthrough off without an error (FILESYSTEM_MAX_STACK_DEPTH). */
enum { STACK_DEPTH = 2 };

static struct {
	int dev; /* /dev/fuse; owned by the session */
	bool want_passthrough;
	uint64_t mount_id;
	_Atomic(char *) mountpoint; /* absolute; NULL when not mounted by us */
	uint64_t kernel_flags;	    /* of the INIT request */
	uint32_t kernel_minor;
	atomic_uint_least64_t init_unique; /* of the INIT request; 0 once it is answered */
	atomic_uint features;		   /* bits 1 << enum fuse_wire_feature */
} wire = { .dev = -1 };

/*
 * A request comes after the reply that made it possible (a RELEASE after the last READ's). The
 * kernel sees to that; a thread sanitizer must be told. Before each reply, after each request.
 */
static void keep_order(void)
{
#ifdef __SANITIZE_THREAD__
	static atomic_uint turn;

	atomic_fetch_add(&turn, 1);
#endif
}

static void note_init(const struct fuse_in_header *head, size_t len)
{
	struct wire_init_in in = { 0 };

	memcpy(&in, head + 1, MIN(len - sizeof(*head), sizeof(in)));
	wire.kernel_minor = in.major == 7 ? in.minor : 0;
	wire.kernel_flags = in.flags;
	if (in.flags & WIRE_INIT_EXT)
		wire.kernel_flags |= (uint64_t)in.flags2 << 32;
	atomic_store(&wire.init_unique, head->unique);
}

static ssize_t wire_read(int fd, void *buf, size_t size, void *ctx)
{
	struct fuse_in_header *head = buf;
	ssize_t n = read(fd, buf, size);

	(void)ctx;
	if (n < (ssize_t)sizeof(*head))
		return n;
	keep_order();
	if (head->opcode == FUSE_INIT)
		note_init(head, n);
	else if (head->opcode == WIRE_OP_TMPFILE)
		head->opcode = WIRE_OP_CREATE;
	return n;
}

/* What the kernel has been told; from here on fuse_wire_has() knows. */
static void settle_features(uint64_t flags)
{
	unsigned int features = 0;

	if (flags & WIRE_INIT_PASSTHROUGH)
		features |= 1U << WIRE_PASSTHROUGH;
	if (wire.kernel_minor >= WIRE_MINOR_INC_EPOCH)
		features |= 1U << WIRE_INC_EPOCH;
	if (wire.kernel_minor >= WIRE_MINOR_STREAM)
		features |= 1U << WIRE_STREAM;
	atomic_store(&wire.features, features);
}

static ssize_t write_init_reply(int fd, const struct fuse_out_header *head,
				const struct iovec *body)
{
	struct wire_init_out out = { 0 };
	struct fuse_out_header longer = *head;
	struct iovec iov[2] = { { &longer, sizeof(longer) }, { &out, sizeof(out) } };
	uint64_t flags;
	ssize_t n;

	memcpy(&out, body->iov_base, MIN(body->iov_len, sizeof(out)));
	flags = out.flags;
	if (flags & WIRE_INIT_EXT)
		flags |= (uint64_t)out.flags2 << 32;
	/* The writeback cache and passthrough exclude each other, and the cache is never exact. */
	flags &= ~(WIRE_INIT_WRITEBACK_CACHE | WIRE_INIT_HANDLE_KILLPRIV);
	/* Without it every small write first asks for security.capability. */
	flags |= wire.kernel_flags & WIRE_INIT_HANDLE_KILLPRIV_V2;
	if (wire.want_passthrough && (wire.kernel_flags & WIRE_INIT_PASSTHROUGH)) {
		flags |= WIRE_INIT_PASSTHROUGH;
		out.max_stack_depth = STACK_DEPTH;
	}
	if (wire.kernel_flags & WIRE_INIT_EXT)
		flags |= WIRE_INIT_EXT;
	out.flags = (uint32_t)flags;
	out.flags2 = flags >> 32;
	longer.len = sizeof(longer) + sizeof(out);
	settle_features(flags);
	n = writev(fd, iov, 2);
	return n < 0 ? n : (ssize_t)head->len;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *ctx)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	uint64_t init = atomic_load_explicit(&wire.init_unique, memory_order_relaxed);

	(void)ctx;
	keep_order();
	if (init && head->unique == init && !head->error && count == 2) {
		atomic_store(&wire.init_unique, 0);
		return write_init_reply(fd, head, &iov[1]);
	}
	return writev(fd, iov, count);
}

static ssize_t wire_splice_send(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t len,
				unsigned int flags, void *ctx)
{
	(void)ctx;
	keep_order();
	return splice(fd_in, off_in, fd_out, off_out, len, flags);
}

/* No splice_receive: requests must pass through wire_read(), and data written is copied anyway. */
static const struct fuse_custom_io wire_io = {
	.read = wire_read,
	.writev = wire_writev,
	.splice_send = wire_splice_send,
};

/* The id of the mount that path leads to, without asking its filesystem; 0 if there is none. */
static uint64_t mount_id_of(const char *path)
{
	struct statx stx = { 0 };

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW,
		  STATX_MNT_ID, &stx) < 0 ||
	    !(stx.stx_mask & STATX_MNT_ID))
		return 0;
	return stx.stx_mnt_id;
}

int fuse_wire_mount(struct fuse_session *se, const char *mountpoint, const char *source,
		    bool allow_other, bool want_passthrough)
{
	_cleanup_free_ char *path = realpath(mountpoint, NULL);
	_cleanup_close_ int dev = -1;
	char data[128];
	int r;

	if (!path)
		return -errno;
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0%s", dev,
		 allow_other ? ",allow_other" : "");
	if (mount(source, path, "fuse.sandboxfs", MS_NOSUID | MS_NODEV, data) < 0)
		return -errno;
	wire.want_passthrough = want_passthrough;
	r = fuse_session_custom_io(se, &wire_io, dev);
	if (r < 0) {
		umount2(path, MNT_DETACH);
		return r;
	}
	wire.dev = take_fd(&dev);
	wire.mount_id = mount_id_of(path);
	atomic_store(&wire.mountpoint, take_ptr(path));
	return 0;
}

void fuse_wire_unmount(void)
{
	_cleanup_free_ char *path = atomic_exchange(&wire.mountpoint, NULL);

	/* Somebody may have unmounted it before us and put another filesystem there. */
	if (path && mount_id_of(path) == wire.mount_id)
		umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

uint64_t fuse_wire_mount_id(void)
{
	return wire.mount_id;
}

bool fuse_wire_has(enum fuse_wire_feature feature)
{
	return atomic_load_explicit(&wire.features, memory_order_relaxed) & (1U << feature);
}

int fuse_wire_backing_open(int fd)
{
	struct wire_backing_map map = { .fd = fd };
	int id = ioctl(wire.dev, WIRE_IOC_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

void fuse_wire_backing_close(int backing_id)
{
	uint32_t id = backing_id;

	ioctl(wire.dev, WIRE_IOC_BACKING_CLOSE, &id);
}

/* The flags that libfuse 3.14 knows come from fi. */
static uint32_t open_flags_of(const struct fuse_file_info *fi)
{
	return (fi->direct_io ? FOPEN_DIRECT_IO : 0) | (fi->keep_cache ? FOPEN_KEEP_CACHE : 0) |
	       (fi->nonseekable ? FOPEN_NONSEEKABLE : 0) | (fi->noflush ? FOPEN_NOFLUSH : 0);
}

int fuse_wire_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int backing_id)
{
	struct wire_open_out out = {
		.fh = fi->fh,
		.open_flags = open_flags_of(fi) | WIRE_FOPEN_PASSTHROUGH,
		.backing_id = backing_id,
	};

	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

int fuse_wire_reply_open_stream(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct wire_open_out out = {
		.fh = fi->fh,
		.open_flags = WIRE_FOPEN_DIRECT_IO | WIRE_FOPEN_NONSEEKABLE | WIRE_FOPEN_STREAM,
	};

	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void split_timeout(double timeout, uint64_t *sec, uint32_t *nsec)
{
	*sec = timeout > 0 ? (uint64_t)timeout : 0;
	*nsec = timeout > 0 ? (uint32_t)((timeout - (double)*sec) * 1e9) : 0;
}

static void fill_entry(struct fuse_entry_out *out, const struct fuse_entry_param *entry)
{
	const struct stat *st = &entry->attr;

	out->nodeid = entry->ino;
	out->generation = entry->generation;
	split_timeout(entry->entry_timeout, &out->entry_valid, &out->entry_valid_nsec);
	split_timeout(entry->attr_timeout, &out->attr_valid, &out->attr_valid_nsec);
	out->attr = (struct fuse_attr){
		.ino = st->st_ino,
		.size = st->st_size,
		.blocks = st->st_blocks,
		.atime = st->st_atim.tv_sec,
		.mtime = st->st_mtim.tv_sec,
		.ctime = st->st_ctim.tv_sec,
		.atimensec = st->st_atim.tv_nsec,
		.mtimensec = st->st_mtim.tv_nsec,
		.ctimensec = st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.blksize = st->st_blksize,
	};
}

int fuse_wire_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
			   const struct fuse_file_info *fi, int backing_id)
{
	struct wire_create_out out = {
		.open = {
			.fh = fi->fh,
			.open_flags = open_flags_of(fi) | WIRE_FOPEN_PASSTHROUGH,
			.backing_id = backing_id,
		},
	};

	fill_entry(&out.entry, entry);
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void fuse_wire_answer(uint64_t unique, int error)
{
	const struct fuse_out_header head = { .len = sizeof(head),
					      .error = error,
					      .unique = unique };

	keep_order();
	/* ENOENT: it has been answered, or nobody waits any more. */
	if (write(wire.dev, &head, sizeof(head)) < 0 && errno != ENOENT)
		log_debug("answer a request: %s", strerror(errno));
}

int fuse_wire_inc_epoch(void)
{
	struct fuse_out_header head = {
		.len = sizeof(head),
		.error = WIRE_NOTIFY_INC_EPOCH,
	};

	if (!fuse_wire_has(WIRE_INC_EPOCH))
		return -EOPNOTSUPP;
	return write(wire.dev, &head, sizeof(head)) < 0 ? -errno : 0;
}

int fuse_wire_inval_attr(fuse_ino_t ino)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out body;
	} note = {
		.head = { .len = sizeof(note), .error = FUSE_NOTIFY_INVAL_INODE },
		.body = { .ino = ino, .off = -1 },
	};

	return write(wire.dev, &note, sizeof(note)) < 0 ? -errno : 0;
}
