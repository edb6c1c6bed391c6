/* SPDX-License-Identifier: MIT */
/*
 * What a stream of bytes does to the terminal that shows it, as far as somebody who looks at it
 * later, or stops looking, has to know: private modes (alternate screen, hidden cursor, mouse,
 * bracketed paste, cursor keys), the keypad, and which bytes belong to the normal screen. Not an
 * emulator: no cursor, no cells. Control functions as in ECMA-48 and xterm's ctlseqs.
 */
#ifndef BASE_TERM_MODES_H
#define BASE_TERM_MODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum { TERM_SEQUENCE_MAX = 48 };

/* All zero: a terminal after its reset. */
struct term_modes {
	unsigned char state;
	bool keypad;  /* application keypad */
	uint32_t set; /* private modes that are not as after a reset, see the table in the .c */
	uint8_t len;  /* of sequence */
	char sequence[TERM_SEQUENCE_MAX]; /* a control sequence that is not complete yet */
};

void term_modes_feed(struct term_modes *modes, const char *bytes, size_t len);
/* Is the alternate screen shown (full-screen programs)? */
bool term_modes_alternate(const struct term_modes *modes);
/* Adds what brings a terminal that has just been reset into these modes. */
void term_modes_add_set(const struct term_modes *modes, struct text *t);
/* Adds what brings a terminal in these modes back; nothing if there is nothing to do. */
void term_modes_add_reset(const struct term_modes *modes, struct text *t);

/*
 * Adds the last lines (at most max_lines, max_bytes) that the bytes put on the normal screen, from
 * the start of a line on: text, colours and cursor movements, without anything that changes a mode
 * or that a terminal would answer as if it were typed.
 */
void term_modes_add_normal(const char *bytes, size_t len, size_t max_lines, size_t max_bytes,
			   struct text *t);

#endif
