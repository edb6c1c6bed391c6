/* SPDX-License-Identifier: MIT */
/*
 * FIFO to file. Watched edge-triggered: a writer may come and go more than once while its command
 * runs (`exec >file`, `echo >/dev/stdout`), so an end of file is final only when the owner says so.
 * Must not block and must not keep data in memory. One thread, no locks.
 */
#include "keeper/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum {
	PIPE_BYTES = 64 << 10,	    /* what a new pipe holds, pipe(7) */
	PIPE_BYTES_MAX = 256 << 10, /* more is no faster, and all pipes of a user are counted */
	FULL_BEFORE_GROWING = 8,
	SLICE_BYTES = 4 << 20, /* moved at a time, before the others get their turn */
	DRAIN_BYTES = 1 << 20, /* what a pipe can hold at the most, whoever made it larger */
	COPY_BYTES = 64 << 10,
};

/* A pipe that we find half full again and again is too small for its writer. */
static void fifo_note_full(struct fifo *fifo, size_t moved)
{
	int bytes;

	if (moved < fifo->pipe_bytes / 2 || fifo->pipe_bytes >= PIPE_BYTES_MAX ||
	    ++fifo->full < FULL_BEFORE_GROWING)
		return;
	fifo->full = 0;
	bytes = fcntl(fifo->source.fd, F_SETPIPE_SZ, MIN(fifo->pipe_bytes * 4, PIPE_BYTES_MAX));
	/* EPERM: this user's pipes hold enough already (pipe(7)). Not asked again. */
	fifo->pipe_bytes = bytes < 0 ? PIPE_BYTES_MAX : (uint32_t)bytes;
}

/* Is there a file to write to? Opens it. */
static bool fifo_has_file(struct fifo *fifo)
{
	if (fifo->file < 0 && fifo->open && !fifo->error) {
		fifo->file = fifo->open(fifo);
		if (fifo->file < 0)
			fifo->error = -fifo->file;
	}
	return fifo->file >= 0 && !fifo->error;
}

/* Through our memory: to the buffer, to a file (its first bytes, or if it takes no splice), or
 * nowhere. */
static ssize_t fifo_copy(struct fifo *fifo)
{
	static char buf[COPY_BYTES];
	ssize_t n = read(fifo->source.fd, buf, sizeof(buf));
	size_t done = 0;

	if (n <= 0)
		return n < 0 ? -errno : 0;
	if (fifo->memory && fifo->memory->len < fifo->memory_max)
		text_add(fifo->memory, buf, MIN((size_t)n, fifo->memory_max - fifo->memory->len));
	if (!fifo_has_file(fifo))
		return n;
	while (done < (size_t)n) {
		ssize_t w = pwrite(fifo->file, buf + done, n - done, (off_t)fifo->size);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			fifo->error = errno;
			break;
		}
		done += w;
		fifo->size += w;
	}
	return n;
}

/* One move: bytes moved, 0 = no writer, -EAGAIN = empty. An error of the file is none of ours. */
static ssize_t fifo_move(struct fifo *fifo)
{
	loff_t at = (loff_t)fifo->size;
	ssize_t n;

	if (fifo->file < 0 || fifo->error || fifo->by_copy)
		return fifo_copy(fifo);
	n = splice(fifo->source.fd, NULL, fifo->file, &at, DRAIN_BYTES,
		   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n > 0) {
		fifo->size += n;
		fifo_note_full(fifo, n);
	}
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		return -errno;
	if (errno == EINVAL)
		fifo->by_copy = true;
	else
		fifo->error = errno;
	return fifo_copy(fifo);
}

/* Up to max bytes; true if more may be waiting. */
static bool fifo_move_some(struct fifo *fifo, size_t max)
{
	size_t moved = 0;
	ssize_t n;

	if (fifo->before)
		fifo->before(fifo);
	do {
		n = fifo_move(fifo);
		moved += MAX(n, 0);
	} while ((n > 0 && moved < max) || n == -EINTR);
	/* Without a writer a read is an end of file, with one it would wait. */
	fifo->idle = n == 0;
	fifo->opened |= moved > 0 || n == -EAGAIN;
	if (fifo->after)
		fifo->after(fifo);
	return n > 0;
}

/* The owner may have freed the stream in after(), but never does when more is waiting. */
static void fifo_pump(struct fifo *fifo)
{
	if (fifo_move_some(fifo, SLICE_BYTES))
		loop_task_add(fifo->loop, &fifo->again);
}

static void fifo_again(struct loop_task *task)
{
	fifo_pump(container_of(task, struct fifo, again));
}

static void fifo_ready(struct loop_source *source, uint32_t events)
{
	struct fifo *fifo = container_of(source, struct fifo, source);

	if (events & EPOLLHUP)
		fifo->opened = true;
	if (fifo->owner)
		fifo_pump(fifo);
}

struct fifo *fifo_new(struct loop *loop, int fd)
{
	struct fifo *fifo = calloc(1, sizeof(*fifo));

	if (!fifo) {
		close(fd);
		return NULL;
	}
	fifo->source.fd = fd;
	fifo->source.ready = fifo_ready;
	fifo->again.run = fifo_again;
	fifo->loop = loop;
	fifo->file = -1;
	fifo->pipe_bytes = PIPE_BYTES;
	if (loop_add(loop, &fifo->source, EPOLLIN | EPOLLET) < 0) {
		close(fd);
		free(fifo);
		return NULL;
	}
	return fifo;
}

void fifo_free(struct fifo *fifo)
{
	if (!fifo)
		return;
	loop_task_cancel(fifo->loop, &fifo->again);
	loop_remove(fifo->loop, &fifo->source);
	close_fd(&fifo->source.fd);
	close_fd(&fifo->file);
	free(fifo);
}

void fifo_drain(struct fifo *fifo)
{
	fifo_move_some(fifo, DRAIN_BYTES);
}

void fifo_append(struct fifo *fifo, const char *bytes, size_t len)
{
	while (len && fifo_has_file(fifo)) {
		ssize_t n = pwrite(fifo->file, bytes, len, (off_t)fifo->size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fifo->error = errno;
			break;
		}
		bytes += n;
		len -= n;
		fifo->size += n;
	}
	if (fifo->after)
		fifo->after(fifo);
}

bool fifo_was_opened(struct fifo *fifo)
{
	struct pollfd p = { .fd = fifo->source.fd, .events = POLLIN };

	if (fifo->opened)
		return true;
	/* Before the first writer a FIFO shows no POLLHUP; after the last one it does. */
	if (poll(&p, 1, 0) > 0)
		fifo->opened = true;
	else
		fifo_drain(fifo);
	return fifo->opened;
}
