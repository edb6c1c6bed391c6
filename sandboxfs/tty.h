/* SPDX-License-Identifier: MIT */
/*
 * `tty`: a terminal in a box, one for each open handle. The keeper holds the terminal; a handle has
 * a stream to it, whose bytes are what is read and written.
 */
#ifndef SANDBOXFS_TTY_H
#define SANDBOXFS_TTY_H

#include <stdint.h>

#include "park.h"
#include "tree.h"

struct msg;

extern const struct row_ops tty_ops;

/* --- from the keeper's messages; box->lock held */

/* MSG_TERMINAL_FD: takes *fd if somebody still waits for it, and leaves -1. */
void tty_take_stream(struct box *box, uint64_t tag, uint64_t number, int *fd);
/* MSG_TERMINAL_END; who can be answered now is put before ready, the new head is returned. */
struct park *tty_note_end(struct box *box, uint64_t number, int code, struct park *ready);
/* The keeper is gone (error EIO), or nobody may wait any more (ESTALE). */
struct park *ttys_lost(struct box *box, int error, struct park *ready);

#endif
