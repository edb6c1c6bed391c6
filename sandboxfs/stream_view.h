/* SPDX-License-Identifier: MIT */
/*
 * What a reader of `out` or `err` sees of a stream that has a gap (output_gap.h): the first half, a
 * line that says how much is missing, and what follows. Offsets are his own from there on and stay,
 * however much more is taken away: where he has come too late for that as well, another line tells,
 * and what he then reads again of before it is blanks.
 */
#ifndef SANDBOXFS_STREAM_VIEW_H
#define SANDBOXFS_STREAM_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "output_gap.h"

struct stream_view {
	uint64_t from;	  /* his offset of the first line */
	uint64_t line_at; /* of the latest */
	uint64_t data;	  /* the stream's offset of what follows it */
	size_t len;	  /* of that line; 0: there is none yet */
	char line[OUTPUT_LINE_SIZE];
};

/* What stands at an offset of his: bytes of the stream, or of a line, or blanks. */
struct stream_piece {
	enum { PIECE_STREAM, PIECE_LINE, PIECE_BLANKS } kind;
	uint64_t at; /* in the stream, in the line, or how many blanks before the end of them */
	size_t len;  /* 0: nothing yet, or the end */
};

/*
 * Looks at an offset, at most size bytes. end: of the stream for him; gap: as it is now. passed: how
 * far he has read.
 */
void stream_view_find(struct stream_view *view, struct output_gap gap, uint64_t end,
		      uint64_t passed, uint64_t offset, size_t size, struct stream_piece *piece);
/* The stream's offset of his, or what is next to it. */
uint64_t stream_view_offset(const struct stream_view *view, uint64_t offset);
/* How much there is to see of a stream of that size, for who begins. */
uint64_t stream_view_size(struct output_gap gap, uint64_t end);
/* The bytes of a line or of blanks. */
void stream_view_copy(const struct stream_view *view, const struct stream_piece *piece, char *buf);

#endif
