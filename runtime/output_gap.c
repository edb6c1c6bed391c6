/* SPDX-License-Identifier: MIT */
/* The gap in a run's output. Must not trust what it reads to be whole. No state, no locks. */
#include "output_gap.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "runtime.h"

enum {
	WORDS = 3,
	BYTES = WORDS * 8,
	LOOKS = 100, /* a keeper that writes it is done in a moment, unless it died there */
	BLOCK = 4096,
};

static uint64_t check_of(uint64_t head, uint64_t tail)
{
	return ~(head * 3 + tail);
}

/* Where the words of a gap stand; of streams that are gone behind the others. */
static off_t place_of(enum stream which, bool of_gone)
{
	return ((off_t)which + (of_gone ? N_STREAMS : 0)) * BYTES;
}

static int read_words(int fd, off_t at, struct output_gap *gap)
{
	*gap = (struct output_gap){ 0, 0 };
	for (int i = 0; i < LOOKS; i++) {
		uint64_t words[WORDS];
		ssize_t n = pread(fd, words, BYTES, at);

		if (n < 0)
			return -errno;
		/* Of what stands before others a hole, if only those are said. */
		if (n < BYTES || (!words[0] && !words[1] && !words[2]))
			return 0;
		gap->head = le64toh(words[0]);
		gap->tail = le64toh(words[1]);
		if (le64toh(words[2]) == check_of(gap->head, gap->tail) && gap->head <= gap->tail)
			return 0;
		sched_yield();
	}
	*gap = (struct output_gap){ 0, 0 };
	return -EIO;
}

static int write_words(int fd, off_t at, const struct output_gap *gap)
{
	const uint64_t words[WORDS] = { htole64(gap->head), htole64(gap->tail),
					htole64(check_of(gap->head, gap->tail)) };
	ssize_t n = pwrite(fd, words, BYTES, at);

	if (n < 0)
		return -errno;
	return n == BYTES ? 0 : -ENOSPC;
}

int output_gap_read(int fd, enum stream which, struct output_gap *gap)
{
	return read_words(fd, place_of(which, false), gap);
}

int output_gap_write(int fd, enum stream which, const struct output_gap *gap)
{
	return write_words(fd, place_of(which, false), gap);
}

void output_gap_guess(int file, uint64_t size, struct output_gap *gap)
{
	off_t head = lseek(file, 0, SEEK_HOLE);
	off_t tail = head < 0 || (uint64_t)head >= size ? -1 : lseek(file, head, SEEK_DATA);

	*gap = (struct output_gap){ 0, 0 };
	if (tail > head)
		*gap = (struct output_gap){ (uint64_t)head, (uint64_t)tail };
}

int output_gap_punch(int file, const struct output_gap *gap)
{
	uint64_t from = (gap->head + BLOCK - 1) / BLOCK * BLOCK, to = gap->tail / BLOCK * BLOCK;

	if (from >= to)
		return 0;
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		return -errno;
	return 0;
}

bool output_gap_possible(int dir)
{
	_cleanup_close_ int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* Where it cannot be tried, the keeper will say so. */
	if (fd < 0)
		return true;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK) == 0 ||
	       errno != EOPNOTSUPP;
}

size_t output_gap_line(char line[OUTPUT_LINE_SIZE], uint64_t bytes)
{
	return (size_t)snprintf(line, OUTPUT_LINE_SIZE, "\n[… %llu bytes are missing here …]\n",
				(unsigned long long)bytes);
}

/* --- the whole of a run -------------------------------------------------------------------------- */

static const char *const stream_files[N_STREAMS] = { RUN_OUT, RUN_ERR };

static int open_gaps(int dir)
{
	return openat(dir, RUN_GAPS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

uint64_t output_gone(int fd, enum stream which)
{
	struct output_gap gap;

	if (fd < 0 || read_words(fd, place_of(which, true), &gap) < 0)
		return 0;
	return gap.tail;
}

bool output_is_partial(int dir)
{
	_cleanup_close_ int fd = open_gaps(dir);
	struct output_gap gap;

	for (int i = 0; fd >= 0 && i < 2 * N_STREAMS; i++) {
		if (read_words(fd, (off_t)i * BYTES, &gap) == 0 && gap.head < gap.tail)
			return true;
	}
	return false;
}

static uint64_t file_size(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t output_kept(int dir)
{
	uint64_t kept = file_size(dir, RUN_ORDER);
	_cleanup_close_ int fd = open_gaps(dir);

	for (int i = 0; i < N_STREAMS; i++) {
		struct output_gap gap = { 0, 0 };
		uint64_t size = file_size(dir, stream_files[i]);

		if (size && fd >= 0)
			output_gap_read(fd, (enum stream)i, &gap);
		kept += size - MIN(size, gap.tail - gap.head);
	}
	return kept;
}

int output_take(int dir)
{
	_cleanup_close_ int fd =
		openat(dir, RUN_GAPS, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : 0;

	/* What a keeper took that was killed meanwhile is not there, and said already. */
	for (int i = 0; r == 0 && i < N_STREAMS; i++) {
		const struct output_gap all = { 0, file_size(dir, stream_files[i]) };

		if (all.tail)
			r = write_words(fd, place_of((enum stream)i, true), &all);
	}
	for (int i = 0; r == 0 && i < N_STREAMS; i++) {
		if (unlinkat(dir, stream_files[i], 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	if (r == 0 && unlinkat(dir, RUN_ORDER, 0) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}
