/* SPDX-License-Identifier: MIT */
/*
 * `in` of a run of its own: what is written goes to the pipe that is its standard input, whose other
 * writing end the keeper holds. A write that does not fit waits, the oldest first; the last close is
 * end of file. Called with box->lock held.
 */
#ifndef SANDBOXFS_INPUT_H
#define SANDBOXFS_INPUT_H

#include "park.h"

struct input; /* of a struct run */
struct run;

/* The keeper's answer to MSG_INPUT: the pipe (fd is taken), or that there is none any more. Both put
 * the requests that can be answered now before `ready`, and return the new head. */
struct park *input_take_fd(struct input *input, int fd, struct park *ready);
struct park *input_refused(struct input *input, struct park *ready);
/* The run has ended, or its box is gone: the input of the run, if it has one, goes, and all who wait
 * get the error. A struct input keeps its box alive, so no run may be left with one. */
struct park *input_close(struct run *run, int error, struct park *ready);

#endif
