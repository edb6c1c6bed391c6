/* SPDX-License-Identifier: MIT */
/*
 * What is missing of a run's output: with limits/output its keeper keeps the first and the last half
 * of that of each stream and takes what is between from the disk, as a hole in the file: no offset
 * ever moves. RUN_GAPS of the run's folder says where. It is written before anything goes, so who
 * reads bytes, then the gap, and finds them outside of it has read output and not a hole.
 *
 * With limits/output_total it does the same to several that are live, and of an ended run takes the
 * files themselves: RUN_GAPS then says how long they were. Who has one open keeps all of it.
 *
 * RUN_GAPS holds three u64 little-endian words a stream: head, tail, and a check over both; and
 * behind these as many for a stream that is gone as a whole, from 0 to its size.
 */
#ifndef RUNTIME_OUTPUT_GAP_H
#define RUNTIME_OUTPUT_GAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

enum {
	OUTPUT_MIN_BYTES = 64 << 10,	  /* of limits/output, */
	OUTPUT_TOTAL_MIN_BYTES = 1 << 20, /* and of limits/output_total */
	OUTPUT_WHOLE_BYTES = 4096,	  /* so much at either end of a file is never missing */
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

/* How long a stream was that has been taken as a whole; 0: it has not. fd: of RUN_GAPS, or -1. */
uint64_t output_gone(int fd, enum stream which);
/* Has anything of a run's output been taken away? dir: the run's folder. */
bool output_is_partial(int dir);
/* Bytes of a run that are kept, of its streams and their order. */
uint64_t output_kept(int dir);
/* Takes all output of a run that nothing can write to any more. 0 or -errno. */
int output_take(int dir);

enum { OUTPUT_LINE_SIZE = 72 };
/* The line that stands for that many bytes; its length. */
size_t output_gap_line(char line[OUTPUT_LINE_SIZE], uint64_t bytes);

#endif
