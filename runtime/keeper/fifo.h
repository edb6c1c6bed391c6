/* SPDX-License-Identifier: MIT */
/*
 * One FIFO that a command writes to, and where its bytes go: a file on disk (moved by splice(2),
 * never through our memory), a bounded buffer, or nowhere. The writer is never blocked for longer
 * than the loop needs to come round, whatever happens to the file.
 */
#ifndef KEEPER_FIFO_H
#define KEEPER_FIFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "keeper/loop.h"

struct fifo {
	struct loop_source source; /* the FIFO's read end, owned */
	struct loop_task again;	   /* more is waiting, but the others come first */
	struct loop *loop;
	int file;	     /* owned; -1: not open yet, or there is none */
	struct text *memory; /* the owner's; at most memory_max bytes are kept */
	size_t memory_max;
	uint64_t size;	   /* bytes kept */
	bool opened;	   /* a writer has been there */
	bool idle;	   /* nobody has it open for writing at present */
	bool by_copy;	   /* the file takes no splice */
	int error;	   /* errno of the file: what comes is dropped from then on */
	unsigned int full; /* how often the pipe was found at least half full */
	uint32_t pipe_bytes;

	void *owner;
	/* Makes the file when the first bytes are there: a descriptor or -errno. NULL: there is none. */
	int (*open)(struct fifo *fifo);
	/* Both may be NULL. before: bytes may be moved now; after: size, idle or error changed. */
	void (*before)(struct fifo *fifo);
	void (*after)(struct fifo *fifo);
};

/* Takes fd (O_RDONLY | O_NONBLOCK). NULL when out of memory or watches (fd is closed then). */
struct fifo *fifo_new(struct loop *loop, int fd);
/* Removes, closes, frees. NULL is fine. */
void fifo_free(struct fifo *fifo);

/*
 * Moves what the pipe holds now (and no more than it can hold, so a writer that never pauses
 * cannot keep us here) and notes whether a writer is left. Calls before and after.
 */
void fifo_drain(struct fifo *fifo);
/* Appends bytes of our own to the file; calls after, not before. */
void fifo_append(struct fifo *fifo, const char *bytes, size_t len);
/* Has a writer ever opened it? Asks the pipe where that is not known. */
bool fifo_was_opened(struct fifo *fifo);

#endif
