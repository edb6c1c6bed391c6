/* SPDX-License-Identifier: MIT */
/*
 * What is missing of a run's output: with limits/output its keeper keeps the first and the last half
 * of that of each stream and takes what is between from the disk, as a hole in the file: no offset
 * ever moves. RUN_GAPS of the run's folder says where. It is written before anything goes, so who
 * reads bytes, then the gap, and finds them outside of it has read output and not a hole.
 *
 * RUN_GAPS holds three u64 little-endian words a stream: head, tail, and a check over both.
 */
#ifndef RUNTIME_OUTPUT_GAP_H
#define RUNTIME_OUTPUT_GAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

enum {
	OUTPUT_MIN_BYTES = 64 << 10,		   /* of limits/output */
	OUTPUT_WHOLE_BYTES = OUTPUT_MIN_BYTES / 2, /* so much at the front is never missing */
};

/* The bytes [head, tail) of a stream; none if they are equal. */
struct output_gap {
	uint64_t head, tail;
};

/* fd: of RUN_GAPS. 0 (also where nothing is said of the stream) or -errno; -EIO: garbled. */
int output_gap_read(int fd, enum stream which, struct output_gap *gap);
int output_gap_write(int fd, enum stream which, const struct output_gap *gap);
/* What the file itself tells, where RUN_GAPS is gone: its first hole. */
void output_gap_guess(int file, uint64_t size, struct output_gap *gap);
/* Takes the whole blocks of that from a file. 0 or -errno (EOPNOTSUPP: of this filesystem). */
int output_gap_punch(int file, const struct output_gap *gap);
/* Can files in this folder have holes made into them? Tries it. */
bool output_gap_possible(int dir);

enum { OUTPUT_LINE_SIZE = 72 };
/* The line that stands for that many bytes; its length. */
size_t output_gap_line(char line[OUTPUT_LINE_SIZE], uint64_t bytes);

#endif
