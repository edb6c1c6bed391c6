/* SPDX-License-Identifier: MIT */
/*
 * limits/output: takes the middle of what a run has written from the disk while it writes, in steps,
 * and to the byte when a stream ends; and the same for limits/output_total. Where that cannot be, its
 * output stays whole. Must not wait. One thread, no locks.
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
static struct output_gap gap_wanted(const struct run *run, enum stream which, uint64_t limit)
{
	uint64_t size = run_size(run, which), half = limit / 2;
	struct output_gap gap = run->gap[which];

	if (size <= limit)
		return gap;
	gap.head = gap.tail ? MIN(gap.head, half) : half;
	gap.tail = MAX(gap.tail, size - (limit - half));
	return gap;
}

static int punch(struct run *run, enum stream which, const struct output_gap *gap)
{
	_cleanup_close_ int own = -1;

	if (run->streams[which])
		return output_gap_punch(run->streams[which]->file, gap);
	/* It has closed this one, and still may write to the other. */
	own = run_folder_open_stream(&run->folder, which);
	return own < 0 ? own : output_gap_punch(own, gap);
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
	r = punch(run, which, gap);
	if (r == -EOPNOTSUPP) /* all of it is still there */
		output_gap_write(run->folder.gaps, which, &run->gap[which]);
	if (r >= 0 || r == -EOPNOTSUPP)
		return r;
	/* Some may have gone; the next step tries the whole stretch again. */
	log_warn("run %llu: free a part of its output: %s", (unsigned long long)run->number,
		 strerror(-r));
	return 0;
}

static void note_truncated(struct run *run)
{
	if (run->truncated)
		return;
	run->truncated = true;
	run_touch_record(run);
	run_say(run);
}

/* Unless it would be less than `step` more. */
static int trim(struct run *run, enum stream which, uint64_t limit, uint64_t step)
{
	struct output_gap *old = &run->gap[which], gap = gap_wanted(run, which, limit);
	uint64_t more = gap.tail - gap.head - (old->tail - old->head);
	int r;

	if (!more || more < step)
		return 0;
	r = take_away(run, which, &gap);
	if (r < 0)
		return r; /* tried again when it has written more */
	*old = gap;
	note_truncated(run);
	return 0;
}

static void hold_limit(struct run *run, enum stream which, bool exact)
{
	uint64_t limit = run->runs->output_limit;
	int r;

	if (limit == LIMIT_NONE || !run->streams[which] || run->streams[which]->file < 0)
		return;
	r = trim(run, which, limit, exact ? 0 : MAX(limit / STEPS, (uint64_t)STEP_MIN_BYTES));
	if (r < 0 && !run->trim_failed) {
		run->trim_failed = true;
		daemon_why(run->runs->daemon, "limits/output does not hold for run %llu: %s",
			   (unsigned long long)run->number, strerror(-r));
	}
}

void run_trim(struct run *run, enum stream which, bool exact)
{
	hold_limit(run, which, exact);
	output_total_note(run, which);
}

int run_trim_to(struct run *run, enum stream which, uint64_t limit)
{
	return trim(run, which, limit, 0);
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
