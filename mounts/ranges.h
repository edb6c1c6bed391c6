/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A set of bytes of a file: sorted ranges that neither overlap nor touch. Ends are exclusive. No locks:
 * the set's owner has one.
 */
#ifndef MOUNTS_RANGES_H
#define MOUNTS_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t from, to;
};

struct ranges {
	struct range *at;
	size_t n, room;
	uint64_t bytes; /* in all of them */
};

void ranges_free(struct ranges *set);
/* 0 or -ENOMEM, and then nothing has changed. */
int ranges_add(struct ranges *set, uint64_t from, uint64_t to);
int ranges_remove(struct ranges *set, uint64_t from, uint64_t to);
/* How many bytes of [from, to) are in the set. */
uint64_t ranges_count(const struct ranges *set, uint64_t from, uint64_t to);
/* The first bytes of [from, to) that are not in the set; false: all are. */
bool ranges_gap(const struct ranges *set, uint64_t from, uint64_t to, struct range *gap);

#endif
