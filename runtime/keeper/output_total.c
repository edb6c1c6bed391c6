/* SPDX-License-Identifier: MIT */
/*
 * limits/output_total: how much of the output of all runs stays on disk. When there is more, that of
 * ended runs goes, the oldest first, each as a whole; if that is not enough, live runs keep the first
 * and the last part of each stream, as with limits/output: those with the most, to one measure. A
 * little more than needed goes each time, so that this is looked at seldom. Must not wait. One
 * thread, no locks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/run.h"
#include "limit.h"

enum {
	PART = 8,				/* of the limit, is what goes beyond need */
	LEAST_OF_LIVE = 2 * OUTPUT_WHOLE_BYTES, /* what a live stream keeps in any case */
};

static uint64_t total_now(const struct output_total *total)
{
	return total->live + total->ended;
}

/* --- ended runs ------------------------------------------------------------------------------------ */

static bool may_be_written(struct folders *folders, uint64_t number)
{
	const struct run *run = runs_find(container_of(folders, struct runs, folders), number);

	return run && !run_is_closed(run);
}

static uint64_t kept_of(struct runs *runs, uint64_t number)
{
	_cleanup_close_ int dir = folders_dir(&runs->folders, number);

	return dir < 0 ? 0 : output_kept(dir);
}

/* What it had, if that is gone now. */
static uint64_t take_one(struct runs *runs, uint64_t number)
{
	_cleanup_close_ int dir = folders_dir(&runs->folders, number);
	uint64_t kept = dir < 0 ? 0 : output_kept(dir);
	int r = kept ? output_take(dir) : 0;

	if (r == 0)
		return kept;
	log_warn("run %llu: take its output away: %s", (unsigned long long)number, strerror(-r));
	return 0;
}

/* Counts anew, since the daemon removes runs as well, and takes the oldest until it is `want`. */
static int hold_ended(struct runs *runs, uint64_t want)
{
	struct output_total *total = &runs->total;
	_cleanup_free_ uint64_t *numbers = NULL;
	size_t n = 0;
	int r = folders_list(&runs->folders, may_be_written, &numbers, &n);

	if (r < 0)
		return r;
	total->ended = 0;
	for (size_t i = 0; i < n; i++)
		total->ended += kept_of(runs, numbers[i]);
	total->is_known = true;
	if (total_now(total) <= total->limit)
		return 0;
	while (n && total_now(total) > want)
		total->ended -= take_one(runs, numbers[--n]);
	return 0;
}

/* --- live runs -------------------------------------------------------------------------------------- */

struct sizes {
	uint64_t *of; /* malloc'd */
	size_t n, size;
	uint64_t level;
	int error;
};

static void add_sizes(struct run *run, void *ctx)
{
	struct sizes *sizes = ctx;

	for (int i = 0; i < N_STREAMS && !sizes->error; i++) {
		if (!run->counted[i])
			continue;
		if (sizes->n == sizes->size) {
			size_t more = sizes->size ? sizes->size * 2 : 64;
			uint64_t *of = reallocarray(sizes->of, more, sizeof(*of));

			if (!of) {
				sizes->error = -ENOMEM;
				return;
			}
			sizes->of = of;
			sizes->size = more;
		}
		sizes->of[sizes->n++] = run->counted[i];
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The measure to which streams must be cut for all of them to be `want`. */
static uint64_t find_level(struct sizes *sizes, uint64_t want)
{
	if (sizes->n)
		qsort(sizes->of, sizes->n, sizeof(*sizes->of), compare);
	for (size_t i = 0; i < sizes->n; i++) {
		uint64_t share = want / (sizes->n - i);

		if (sizes->of[i] > share)
			return MAX(share, (uint64_t)LEAST_OF_LIVE);
		want -= sizes->of[i];
	}
	return LIMIT_NONE;
}

static void count(struct run *run, enum stream which)
{
	struct output_total *total = &run->runs->total;
	uint64_t kept = run_size(run, which) - (run->gap[which].tail - run->gap[which].head);

	total->live += kept - run->counted[which];
	run->counted[which] = kept;
}

static void cut_to_level(struct run *run, void *ctx)
{
	struct sizes *sizes = ctx;

	for (int i = 0; i < N_STREAMS; i++) {
		int r;

		if (run->counted[i] <= sizes->level)
			continue;
		r = run_trim_to(run, i, sizes->level);
		if (r < 0)
			sizes->error = r;
		count(run, i);
	}
}

static int hold_live(struct runs *runs, uint64_t want)
{
	struct sizes sizes = { 0 };
	uint64_t orders = runs->total.live;

	runs_each(runs, add_sizes, &sizes);
	for (size_t i = 0; i < sizes.n; i++)
		orders -= sizes.of[i];
	sizes.level = find_level(&sizes, want - MIN(want, orders));
	free(sizes.of);
	if (!sizes.error)
		runs_each(runs, cut_to_level, &sizes);
	return sizes.error;
}

/* --- both ------------------------------------------------------------------------------------------- */

static void hold(struct runs *runs)
{
	struct output_total *total = &runs->total;
	uint64_t want = total->limit - total->limit / PART;
	int r = 0;

	if (total->ended || !total->is_known)
		r = hold_ended(runs, want);
	if (r == 0 && total_now(total) > total->limit)
		r = hold_live(runs, want - MIN(want, total->ended));
	if (r < 0)
		log_error("limits/output_total: %s", strerror(-r));
	if (total_now(total) > total->limit && total->try_at <= total->limit)
		daemon_why(runs->daemon, "limits/output_total is exceeded: %llu bytes are kept%s%s",
			   (unsigned long long)total_now(total), r < 0 ? ": " : "",
			   r < 0 ? strerror(-r) : "");
	total->try_at = total->limit;
	if (total_now(total) > total->limit) /* not each time that something is written */
		total->try_at = total_now(total) + total->limit / PART;
}

static void task_run(struct loop_task *task)
{
	hold(container_of(task, struct runs, total.task));
}

void runs_set_output_total(struct runs *runs, uint64_t bytes, bool at_once)
{
	struct output_total *total = &runs->total;

	loop_task_cancel(runs->loop, &total->task);
	total->limit = total->try_at = bytes;
	if (bytes == LIMIT_NONE)
		return;
	if (at_once)
		hold(runs);
	else
		loop_task_add(runs->loop, &total->task);
}

void output_total_note(struct run *run, enum stream which)
{
	const struct output_total *total = &run->runs->total;

	count(run, which);
	if (total->limit != LIMIT_NONE && total->is_known && total_now(total) > total->try_at)
		hold(run->runs);
}

bool output_total_may_order(struct run *run, uint64_t bytes)
{
	struct output_total *total = &run->runs->total;
	uint64_t limit = MIN(run->runs->output_limit, total->limit / PART);

	/* From then on never: a word tells what stands between it and the one before. */
	if (run->counted_order + bytes > limit)
		run->order_full = true;
	if (run->order_full)
		return false;
	run->counted_order += bytes;
	total->live += bytes;
	return true;
}

void output_total_note_closed(struct run *run)
{
	struct output_total *total = &run->runs->total;
	uint64_t all = run->counted_order;

	for (int i = 0; i < N_STREAMS; i++) {
		all += run->counted[i];
		run->counted[i] = 0;
	}
	run->counted_order = 0;
	total->live -= all;
	total->ended += all;
}

void output_total_open(struct runs *runs)
{
	runs->total = (struct output_total){ .limit = LIMIT_NONE,
					     .try_at = LIMIT_NONE,
					     .task.run = task_run };
}

void output_total_close(struct runs *runs)
{
	loop_task_cancel(runs->loop, &runs->total.task);
}
