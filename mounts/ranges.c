/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sets of bytes as a sorted array: adding at the end, which is what most writers do, costs nothing.
 */
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void ranges_free(struct ranges *set)
{
	free(set->at);
	*set = (struct ranges){ 0 };
}

/* Index of the first range that ends behind `at` (or, with touching, at it). */
static size_t first_behind(const struct ranges *set, uint64_t at, bool touching)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		uint64_t to = set->at[middle].to;

		if (to > at || (touching && to == at))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int make_room(struct ranges *set)
{
	size_t room = set->room ? set->room * 2 : 8;
	struct range *at;

	if (set->n < set->room)
		return 0;
	at = reallocarray(set->at, room, sizeof(*at));
	if (!at)
		return -ENOMEM;
	set->at = at;
	set->room = room;
	return 0;
}

/* Puts `n` ranges in the place of those numbered first to end - 1; there is room. */
static void replace(struct ranges *set, size_t first, size_t end, const struct range *with,
		    size_t n)
{
	for (size_t i = first; i < end; i++)
		set->bytes -= set->at[i].to - set->at[i].from;
	for (size_t i = 0; i < n; i++)
		set->bytes += with[i].to - with[i].from;
	memmove(set->at + first + n, set->at + end, (set->n - end) * sizeof(*set->at));
	if (n)
		memcpy(set->at + first, with, n * sizeof(*with));
	set->n = set->n - (end - first) + n;
}

int ranges_add(struct ranges *set, uint64_t from, uint64_t to)
{
	struct range whole = { from, to };
	size_t first, end;

	if (from >= to)
		return 0;
	if (make_room(set) < 0)
		return -ENOMEM;
	first = first_behind(set, from, true);
	for (end = first; end < set->n && set->at[end].from <= to; end++) {
		whole.from = MIN(whole.from, set->at[end].from);
		whole.to = MAX(whole.to, set->at[end].to);
	}
	replace(set, first, end, &whole, 1);
	return 0;
}

int ranges_remove(struct ranges *set, uint64_t from, uint64_t to)
{
	struct range left[2];
	size_t first, end, n = 0;

	if (from >= to)
		return 0;
	if (make_room(set) < 0)
		return -ENOMEM;
	first = first_behind(set, from, false);
	for (end = first; end < set->n && set->at[end].from < to; end++) {
		if (set->at[end].from < from)
			left[n++] = (struct range){ set->at[end].from, from };
		if (set->at[end].to > to)
			left[n++] = (struct range){ to, set->at[end].to };
	}
	replace(set, first, end, left, n);
	return 0;
}

uint64_t ranges_count(const struct ranges *set, uint64_t from, uint64_t to)
{
	uint64_t count = 0;

	for (size_t i = first_behind(set, from, false); i < set->n && set->at[i].from < to; i++)
		count += MIN(to, set->at[i].to) - MAX(from, set->at[i].from);
	return count;
}

bool ranges_gap(const struct ranges *set, uint64_t from, uint64_t to, struct range *gap)
{
	size_t i = first_behind(set, from, false);

	if (i < set->n && set->at[i].from <= from) {
		from = set->at[i].to;
		i++;
	}
	if (from >= to)
		return false;
	*gap = (struct range){ from, i < set->n ? MIN(to, set->at[i].from) : to };
	return true;
}
