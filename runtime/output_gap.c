/* SPDX-License-Identifier: MIT */
/* The gap in a run's output. Must not trust what it reads to be whole. No state, no locks. */
#include "output_gap.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

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

int output_gap_read(int fd, enum stream which, struct output_gap *gap)
{
	*gap = (struct output_gap){ 0, 0 };
	for (int i = 0; i < LOOKS; i++) {
		uint64_t words[WORDS];
		ssize_t n = pread(fd, words, BYTES, (off_t)which * BYTES);

		if (n < 0)
			return -errno;
		/* Of the first stream a hole, if only the second one has a gap. */
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

int output_gap_write(int fd, enum stream which, const struct output_gap *gap)
{
	const uint64_t words[WORDS] = { htole64(gap->head), htole64(gap->tail),
					htole64(check_of(gap->head, gap->tail)) };
	ssize_t n = pwrite(fd, words, BYTES, (off_t)which * BYTES);

	if (n < 0)
		return -errno;
	return n == BYTES ? 0 : -ENOSPC;
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
