/* SPDX-License-Identifier: MIT */
/*
 * The index of a session's transcript (`log`): which bytes stand where. It holds no output; it
 * refers to the runs' own files. One file a session, LOG_FOLDER/SESSION in the box's folder:
 *
 *	header	LOG_MAGIC, u64 bytes dropped so far
 *	entry	…, in the order in which things happened
 *
 * An entry is a text of known length and behind it what its run wrote from then on, both streams in
 * the order of RUN_ORDER, until the next entry begins:
 *
 *	LOG_HEAD	"[N] $ script"	a command begins
 *	LOG_MORE	no text		a run writes after something else came between
 *	LOG_TAIL	"[N] exit 0"	a command has ended
 *
 * So a usual command has two entries, and the last entry grows by itself. `begin` never changes:
 * offsets are for ever. A run that is removed takes its bytes out of the log: its entries get a
 * length in `gone`, and when many are gone the file is written anew with LOG_GAP for what was
 * between. Who opens the log afterwards does not see gaps; who had it open keeps his offsets.
 *
 * Only one program appends at a time: the box's keeper, or the daemon while there is none. Both may
 * drop runs; they lock the file for it (flock(2)). Readers lock nothing. All numbers little-endian.
 */
#ifndef RUNTIME_LOG_INDEX_H
#define RUNTIME_LOG_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

#define LOG_FOLDER "logs"
#define LOG_MAGIC "sbxlog1\n"

enum log_kind { LOG_HEAD = 1, LOG_MORE, LOG_TAIL, LOG_GAP };

enum { LOG_ENTRY_SIZE = 48 };

struct log_entry {
	uint64_t begin; /* offset in the log */
	uint64_t run;	/* 0: of a gap */
	uint64_t from;	/* how much of the run's output stands before this entry */
	uint64_t gone;	/* 0: in the log; else its length + 1, and nobody new reads it */
	uint32_t text;	/* length of its text */
	int32_t code;	/* LOG_TAIL: as in `exit` */
	uint8_t kind;	/* enum log_kind */
	uint8_t state;	/* LOG_TAIL: enum run_state */
	bool newline;	/* the text begins with one: the output before it did not end in one */
};

struct log_index {
	int fd;	    /* owned; -1: there is no file, and n is 0 */
	uint64_t n; /* entries */
	uint64_t dropped;
	ino_t ino;
};

void log_entry_pack(const struct log_entry *entry, uint8_t bytes[LOG_ENTRY_SIZE]);
/* False: these bytes are no entry (torn, garbled). */
bool log_entry_parse(const uint8_t bytes[LOG_ENTRY_SIZE], struct log_entry *entry);

/* Fill in text, kind and the rest of a head or tail of entry->run; newline must be set before. */
void log_entry_set_head(struct log_entry *entry, uint64_t script_len, bool script_ends_line);
void log_entry_set_tail(struct log_entry *entry, enum run_state state, int code);
/* The text of a tail, or of a head up to its script; its length. */
enum { LOG_TEXT_SIZE = 64 };
size_t log_entry_text(const struct log_entry *entry, char text[LOG_TEXT_SIZE]);

/* Opens for reading. 0 (also when there is no log yet) or -errno; close with log_index_close(). */
int log_index_open(struct log_index *index, int box_dir, const char *session);
/* The same for log_index_drop(). */
int log_index_open_drop(struct log_index *index, int box_dir, const char *session);
/* Opens for appending; makes what is not there, cuts off what is torn, and ends as RUN_LOST every
 * run that has a head and no tail: nobody else can write any more. 0 or -errno. */
int log_index_open_append(struct log_index *index, int box_dir, const char *session);
void log_index_close(struct log_index *index);
/* Is that still the whole log: same file, no further entry? */
bool log_index_is_current(const struct log_index *index, int box_dir, const char *session);

/* 0, or -ENODATA: not there or garbled, or -errno. */
int log_index_entry(const struct log_index *index, uint64_t i, struct log_entry *entry);
/* The last entry that begins at or before that offset. 0 or as above. */
int log_index_find(const struct log_index *index, uint64_t offset, uint64_t *i);
/* How much a run has written, in both streams; 0 if there is no such run. */
uint64_t log_run_size(int box_dir, uint64_t run);
/* Where the entry ends if it is the last one and its run has written run_size bytes. */
uint64_t log_entry_end(const struct log_entry *entry, uint64_t run_size);
/* Does the last line of a run's output end in a newline? True without any. */
bool log_run_ends_line(int box_dir, uint64_t run);

/* Appends entries (a few). 0 or -errno, and then none of them is there. */
int log_index_append(struct log_index *index, const struct log_entry *entries, size_t n);
/* Calls fn for each entry, in order, with its length; end: of the log. */
int log_index_each(const struct log_index *index, uint64_t end,
		   int (*fn)(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length),
		   void *ctx);
/*
 * Takes runs out of the log: call it before their folders are removed. end: of the log. compact:
 * also writes the file anew when most of it is gone; for the keeper only. 0 or -errno (-EAGAIN:
 * somebody holds the lock).
 */
int log_index_drop(struct log_index *index, int box_dir, const char *session, uint64_t end,
		   bool (*is_gone)(const void *ctx, uint64_t run), const void *ctx, bool compact);
/* Calls fn for each session that has a log. */
void log_index_sessions(int box_dir, void (*fn)(void *ctx, const char *session), void *ctx);
/* The session is gone, and its log with it. */
void log_index_remove(int box_dir, const char *session);

#endif
