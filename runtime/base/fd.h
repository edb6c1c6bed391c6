/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and small files. All descriptors made here are O_CLOEXEC. Functions return
 * 0 (or what they say) and -errno; nothing is left half-made on an error.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct open_how;

/* Everything or -errno; restarts after EINTR. read_full returns the bytes read (short at end of file). */
ssize_t read_full(int fd, void *buf, size_t len);
int write_full(int fd, const void *buf, size_t len);

/*
 * Reads a whole file below dirfd (or AT_FDCWD), at most max bytes (-EFBIG beyond). *data is
 * NUL-terminated and the caller's to free. Never follows a link on the last component.
 */
int read_file_at(int dirfd, const char *path, size_t max, char **data, size_t *len);

/*
 * Replaces a file atomically: temporary name in the same directory, write, fsync if sync,
 * rename. Mode 0600. A reader sees the old or the new text, never a mix.
 */
int write_file_at(int dirfd, const char *path, const void *data, size_t len, int sync);

/* Writes one string to an existing file (a /proc or cgroup control file), in one write(2). */
int write_control_at(int dirfd, const char *path, const char *text);

/* openat2(2) with RESOLVE flags; -errno. */
int open_how_at(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/*
 * Removes path below dirfd and all that lies under it, without following links and without
 * recursion (deep trees), crossing no mount. 0 also when it is not there. Slow: for background work.
 */
int remove_tree_at(int dirfd, const char *path);

/* One packet with up to 8 descriptors (SCM_RIGHTS). send returns 0 or -errno (EAGAIN when full). */
int send_packet(int sock, const void *buf, size_t len, const int *fds, int n_fds);
/*
 * One packet. *n_fds: in the room in fds, out how many came; they are the caller's. Returns its
 * length, 0 at end of file, -errno; -EMSGSIZE when it was cut (descriptors are closed then).
 */
ssize_t recv_packet(int sock, void *buf, size_t size, int *fds, int *n_fds);

int set_nonblock(int fd);

/* Clocks: microseconds and milliseconds since the epoch, and of CLOCK_MONOTONIC. */
int64_t realtime_us(void);
int64_t monotonic_us(void);
int64_t monotonic_ms(void);

#endif
