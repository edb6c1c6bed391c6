/* SPDX-License-Identifier: MIT */
/*
 * limits/output: takes the middle of what a run has written from the disk while it writes, in steps,
 * and to the byte when a stream ends. Where that cannot be, its output stays whole. Must not wait.
 * One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/run.h"
#include "limit.h"
#include "runtime.h"

enum {
	STEPS = 8, /* in the time that the limit's size is written, */
	STEP_MIN_BYTES = 64 << 10,
};

/* What it should be now. */
static struct output_gap gap_wanted(const struct run *run, enum stream which)
{
	uint64_t limit = run->runs->output_limit, half = limit / 2;
	uint64_t size = run->streams[which]->size;
	struct output_gap gap = run->gap[which];

	if (size <= limit)
		return gap;
	gap.head = gap.tail ? MIN(gap.head, half) : half;
	gap.tail = MAX(gap.tail, size - (limit - half));
	return gap;
}

static int take_away(struct run *run, enum stream which, const struct output_gap *gap)
{
	int r;

	if (run->folder.gaps < 0)
		run->folder.gaps = openat(run->folder.dir, RUN_GAPS,
					  O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (run->folder.gaps < 0)
		return -errno;
	r = output_gap_write(run->folder.gaps, which, gap);
	if (r < 0)
		return r;
	r = output_gap_punch(run->streams[which]->file, gap);
	if (r == -EOPNOTSUPP) /* all of it is still there */
		output_gap_write(run->folder.gaps, which, &run->gap[which]);
	if (r >= 0 || r == -EOPNOTSUPP)
		return r;
	/* Some may have gone; the next step tries the whole stretch again. */
	log_warn("run %llu: free a part of its output: %s", (unsigned long long)run->number,
		 strerror(-r));
	return 0;
}

void run_trim(struct run *run, enum stream which, bool exact)
{
	struct output_gap *old = &run->gap[which], gap;
	bool was_truncated = run->truncated;
	uint64_t more;
	int r;

	if (run->runs->output_limit == LIMIT_NONE || !run->streams[which] ||
	    run->streams[which]->file < 0)
		return;
	gap = gap_wanted(run, which);
	more = gap.tail - gap.head - (old->tail - old->head);
	if (!more ||
	    (!exact && more < MAX(run->runs->output_limit / STEPS, (uint64_t)STEP_MIN_BYTES)))
		return;
	r = take_away(run, which, &gap);
	if (r < 0 && !run->trim_failed) {
		run->trim_failed = true;
		daemon_why(run->runs->daemon, "limits/output does not hold for run %llu: %s",
			   (unsigned long long)run->number, strerror(-r));
	}
	if (r < 0)
		return; /* tried again when it has written more */
	*old = gap;
	run->truncated = true;
	if (!was_truncated) {
		run_touch_record(run);
		run_say(run);
	}
}

static void trim_both(struct run *run, void *ctx)
{
	(void)ctx;
	for (int i = 0; i < N_STREAMS; i++)
		run_trim(run, i, false);
}

void runs_set_output_limit(struct runs *runs, uint64_t bytes)
{
	runs->output_limit = bytes;
	runs_each(runs, trim_both, NULL);
}
