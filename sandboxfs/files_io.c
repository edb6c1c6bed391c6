/* SPDX-License-Identifier: MIT */
/*
 * Data of open files where it comes to us: everything without passthrough, and with it what the
 * kernel does not pass on (fallocate, copy_file_range, SEEK_DATA, fsync).
 *
 * What changes a file is done with the box's ids, so that quota, reserved blocks and set-user-id
 * bits are treated as for a process of the box. Must not look at names. No locks.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
	COPY_BYTES = 64 << 20, /* most for one request, so that no thread is away for long */
};

static struct open_file *file_of(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

/* fcntl(F_SETFL) reaches us by the flags of the next request only. */
static void follow_flags(struct open_file *file, int flags)
{
	const int mask = O_APPEND;
	int known = atomic_load(&file->flags);

	if (!((known ^ flags) & mask))
		return;
	known = (known & ~mask) | (flags & mask);
	if (fcntl(file->fd, F_SETFL, known & mask) == 0)
		atomic_store(&file->flags, known);
}

void files_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi)
{
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(size);

	(void)ino;
	buf.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	buf.buf[0].fd = file_of(fi)->fd;
	buf.buf[0].pos = off;
	fuse_reply_data(req, &buf, 0);
}

void files_op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
			struct fuse_file_info *fi)
{
	struct open_file *file = file_of(fi);
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	ssize_t n;

	(void)ino;
	follow_flags(file, fi->flags);
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = file->fd;
	out.buf[0].pos = off;
	ids_enter(file->ground->id_base);
	n = fuse_buf_copy(&out, in, 0);
	ids_leave();
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, n);
}

void files_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	int fd = file_of(fi)->fd;
	int r = datasync ? fdatasync(fd) : fsync(fd);

	(void)ino;
	fuse_reply_err(req, r < 0 ? errno : 0);
}

void files_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_file *file = file_of(fi);
	int r = 0;

	(void)ino;
	lock_release_owner(file->inode, fi->lock_owner);
	if (file->inode->remote) /* a bucket reports at close what it could not store */
		r = close(fcntl(file->fd, F_DUPFD_CLOEXEC, 0));
	fuse_reply_err(req, r < 0 ? errno : 0);
}

void files_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi)
{
	struct open_file *file = file_of(fi);
	long r = as_box_root(file->ground->id_base, file->fd, fallocate(file->fd, mode, off, len));

	(void)ino;
	fuse_reply_err(req, r == -ENOSYS ? EOPNOTSUPP : (int)-r);
}

void files_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			      struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			      struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct open_file *to;
	long n;

	if (!files_owns(ino_in) || !files_owns(ino_out)) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	to = file_of(fi_out);
	n = as_box_root(to->ground->id_base, to->fd,
			copy_file_range(file_of(fi_in)->fd, &off_in, to->fd, &off_out,
					MIN(len, (size_t)COPY_BYTES), flags));
	if (n < 0)
		fuse_reply_err(req, n == -ENOSYS ? EXDEV : (int)-n);
	else
		fuse_reply_write(req, n);
}

void files_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		    struct fuse_file_info *fi)
{
	off_t r = lseek(file_of(fi)->fd, off, whence);

	(void)ino;
	if (r < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, r);
}
