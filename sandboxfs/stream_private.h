/* SPDX-License-Identifier: MIT */
/* Shared by stream.c and stream_exit.c only. */
#ifndef SANDBOXFS_STREAM_PRIVATE_H
#define SANDBOXFS_STREAM_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "tree.h"

/* The run that the handle is of; to_command_end: what came later is not. box->lock held. */
void stream_bind(struct handle *h, uint64_t number, bool to_command_end);
/* Opens for the session's newest command, and for the directory's run. 0 or -errno. */
int stream_out_open(struct ctx *ctx, struct handle *h);
int stream_run_out_open(struct ctx *ctx, struct handle *h);

#endif
