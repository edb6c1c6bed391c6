/* SPDX-License-Identifier: MIT */
/*
 * A run's two streams as one, in the order in which they arrived (RUN_ORDER in runtime.h). A
 * sequential cursor over files on disk; holds three descriptors. Not thread-safe.
 */
#ifndef SANDBOXFS_MERGE_H
#define SANDBOXFS_MERGE_H

#include <stdint.h>
#include <sys/types.h>

#include "box.h"

struct merge;

/* Opens the streams of a run; NULL and errno. limit: where each ends, UINT64_MAX not yet known. */
struct merge *merge_open(const struct box *box, uint64_t run);
/* What is missing of it (output_gap.h) shows as a line; keeps_offsets: and blanks, as long as it was. */
void merge_set_keeps_offsets(struct merge *m);
void merge_close(struct merge *m);
void merge_set_limit(struct merge *m, const uint64_t limit[N_STREAMS]);
/* The next bytes: > 0, 0 nothing more at present (or for good, if the limits are known), -errno. */
ssize_t merge_read(struct merge *m, char *buf, size_t size);
/* Goes n bytes on without reading them (as far as there are any). */
void merge_skip(struct merge *m, uint64_t n);
/* How many bytes can be read now; m may be NULL (nothing read yet). */
uint64_t merge_pending(struct merge *m, const struct box *box, uint64_t run);
/* Bytes read of a stream so far. */
uint64_t merge_position(const struct merge *m, enum stream stream);

#endif
