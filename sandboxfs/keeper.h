/* SPDX-License-Identifier: MIT */
/*
 * The daemon's side of a keeper: starting one, finding a living one again, asking, and turning
 * what it says into changes of struct box. The only part of the daemon that knows that a keeper is
 * a local process. Everything here but keeper_handle_*() is called with box->lock held.
 */
#ifndef SANDBOXFS_KEEPER_H
#define SANDBOXFS_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "box.h"
#include "options.h"

/* The ids that boxes get. 0, or -errno with a sentence. */
int keeper_init(uid_t uid_base, uint64_t uid_count, struct options_error *err);

/*
 * Begins to start the box: state BOX_STARTING, then BOX_RUNNING or BOX_FAILED follow by
 * themselves. Waits for nothing; also right while the image is still being built.
 */
void keeper_start(struct box *box);
/* Goes on with boxes that waited for their image. No lock held. */
void keeper_image_ready(void);

/* Connects to the box's living keeper and takes its state over. Blocks up to 5 s. 0 or -errno. */
int keeper_adopt(struct box *box);

/* A tag for a request whose reply somebody waits for (park_wait.tag). */
uint64_t keeper_new_tag(void);
/* Sends a request. 0 or -EIO (no keeper). fields may be NULL. */
int keeper_request(struct box *box, enum msg_type type, uint64_t tag, int64_t v0,
		   const struct text *fields);
/* Hands a run to the keeper, with the fields of MSG_SUBMIT (the script is added to them); its reply
 * becomes run->answered, run->refused. */
int keeper_submit(struct box *box, struct run *run, struct text *fields, const char *script,
		  size_t len);
/* MSG_TERMINAL_SIZE. */
int keeper_terminal_size(struct box *box, uint64_t number, uint16_t rows, uint16_t columns);
int keeper_run_request(struct box *box, enum msg_type type, uint64_t run, int64_t v0, int64_t v1);

/* A signal to everything that the run started; tag as above, 0 for none. */
int keeper_signal_tree(struct box *box, uint64_t run, int sig, uint64_t tag);
/* A request about a run that is answered, with a tag as above or of keeper_private.h. */
int keeper_run_ask(struct box *box, enum msg_type type, uint64_t tag, uint64_t run);

/* MSG_LIMIT; tag as above, 0 for none. */
int keeper_limit(struct box *box, enum limit which, uint64_t value, uint64_t tag);

/* Freezes it until something is asked of it. */
int keeper_freeze_idle(struct box *box);

/* Stops the box: TERM, then KILL after timeout_ms; tag as above, 0 for none; why (or NULL) is for
 * the event. 0 or -errno. */
int keeper_stop(struct box *box, int64_t timeout_ms, uint64_t tag, const char *why);
/* Ends everything at once; the box has been removed. */
void keeper_destroy(struct box *box);
/* Drops the connection, leaving the keeper running. */
void keeper_leave(struct box *box);

/* Lets go of the keeper that was kept ready; for the daemon's end. */
void keeper_end_spare(void);

/* Ids of the block a box has while it runs. */
uid_t keeper_block_base(uint32_t block);
/* Nothing of the box runs any more. */
void keeper_block_free(struct box *box);
/* How many blocks of these ids boxes have now, of all mounts of this machine; or -errno. */
int keeper_blocks_in_use(uid_t base, uint64_t count);

#endif
