/* SPDX-License-Identifier: MIT */
/* Descriptors and small files. Must not log, must not keep state. No locks. */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

void close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

ssize_t read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += n;
	}
	return (ssize_t)done;
}

int write_full(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += n;
	}
	return 0;
}

int read_file_at(int dirfd, const char *path, size_t max, char **data, size_t *len)
{
	_cleanup_close_ int fd =
		openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *buf = NULL;
	size_t size = 4096, used = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		char *bigger = realloc(buf, size + 1);
		ssize_t n;

		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		n = read_full(fd, buf + used, size - used);
		if (n < 0)
			return (int)n;
		used += n;
		if (used > max)
			return -EFBIG;
		if (used < size)
			break;
		size *= 2;
	}
	buf[used] = '\0';
	if (len)
		*len = used;
	*data = take_ptr(buf);
	return 0;
}

int write_file_at(int dirfd, const char *path, const void *data, size_t len, int sync)
{
	static atomic_uint serial;
	char temp[512];
	_cleanup_close_ int fd = -1;
	int r;

	if (snprintf(temp, sizeof(temp), "%s.%d.%u~", path, getpid(),
		     atomic_fetch_add(&serial, 1)) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_full(fd, data, len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, temp, dirfd, path) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

int write_control_at(int dirfd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int open_how_at(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/*
 * Empties the directory dir, which it owns, by lifting every subdirectory's contents to the
 * top: a subdirectory that is not empty is moved to a numbered name in the top directory and
 * comes up again, so neither stack nor path length grows with the depth of a hostile tree.
 */
static int remove_entries(int top, uint64_t *serial)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	int again = 0;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	take_fd(&fd);
	while ((e = readdir(dir))) {
		_cleanup_closedir_ DIR *sub = NULL;
		struct dirent *s;
		int sub_fd;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(top, e->d_name, 0) == 0)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		if (unlinkat(top, e->d_name, AT_REMOVEDIR) == 0)
			continue;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		again = 1;
		sub_fd = openat(top, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub_fd < 0)
			return -errno;
		sub = fdopendir(sub_fd);
		if (!sub) {
			close(sub_fd);
			return -errno;
		}
		while ((s = readdir(sub))) {
			char name[32];

			if (!strcmp(s->d_name, ".") || !strcmp(s->d_name, ".."))
				continue;
			if (unlinkat(sub_fd, s->d_name, 0) == 0 ||
			    unlinkat(sub_fd, s->d_name, AT_REMOVEDIR) == 0)
				continue;
			do {
				snprintf(name, sizeof(name), ".%llx~",
					 (unsigned long long)(*serial)++);
				if (renameat(sub_fd, s->d_name, top, name) == 0)
					break;
				if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
					return -errno;
			} while (1);
		}
	}
	return again;
}

int remove_tree_at(int dirfd, const char *path)
{
	_cleanup_close_ int top = -1;
	uint64_t serial = 0;
	int r;

	if (unlinkat(dirfd, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (unlinkat(dirfd, path, AT_REMOVEDIR) == 0)
		return 0;
	top = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (top < 0)
		return -errno;
	do {
		r = remove_entries(top, &serial);
	} while (r > 0);
	if (r < 0)
		return r;
	return unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

#define MAX_PACKET_FDS 8

int send_packet(int sock, const void *buf, size_t len, const int *fds, int n_fds)
{
	struct iovec io = { .iov_base = (void *)buf, .iov_len = len };
	union {
		char bytes[CMSG_SPACE(MAX_PACKET_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds > MAX_PACKET_FDS)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t recv_packet(int sock, void *buf, size_t size, int *fds, int *n_fds)
{
	struct iovec io = { .iov_base = buf, .iov_len = size };
	union {
		char bytes[CMSG_SPACE(MAX_PACKET_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int room = n_fds ? *n_fds : 0, got = 0;
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		int count, fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (int i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (got < room)
				fds[got++] = fd;
			else
				close(fd);
		}
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (got > 0)
			close(fds[--got]);
		if (n_fds)
			*n_fds = 0;
		return -EMSGSIZE;
	}
	if (n_fds)
		*n_fds = got;
	return n;
}

int set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int64_t monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t monotonic_ms(void)
{
	return monotonic_us() / 1000;
}
