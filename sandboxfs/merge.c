/* SPDX-License-Identifier: MIT */
/* Two streams as one. No locks; its owner serializes. */
#include "merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "output_gap.h"
#include "store.h"

struct merge {
	const struct box *box;
	uint64_t run;
	int fd[N_STREAMS], order;
	uint64_t at[N_STREAMS], limit[N_STREAMS];
	off_t order_at;		     /* words read of the order */
	int turn;		     /* whose bytes come next, by the order */
	uint64_t turn_left;	     /* how many */
	uint64_t covered[N_STREAMS]; /* by the words read so far */
	int gaps;
	uint64_t gone[N_STREAMS]; /* bytes of a stream whose file was taken away */
	bool keeps_offsets;
	char line[OUTPUT_LINE_SIZE]; /* to be read before anything else: */
	size_t line_at, line_len;
};

/* True: of a stream that has no file here there was one. */
static bool find_gone(struct merge *m)
{
	bool found = false;

	for (int s = 0; s < N_STREAMS; s++) {
		if (m->fd[s] >= 0 || m->gone[s])
			continue;
		m->gone[s] = store_run_gone(m->box, m->run, (enum stream)s);
		found |= m->gone[s] > 0;
	}
	return found;
}

struct merge *merge_open(const struct box *box, uint64_t run)
{
	struct merge *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->box = box;
	m->run = run;
	m->order = m->gaps = -1;
	m->fd[STREAM_OUT] = store_run_open(box, run, RUN_OUT);
	m->fd[STREAM_ERR] = store_run_open(box, run, RUN_ERR);
	m->limit[STREAM_OUT] = m->limit[STREAM_ERR] = UINT64_MAX;
	find_gone(m);
	return m;
}

void merge_close(struct merge *m)
{
	for (int s = 0; s < N_STREAMS; s++)
		close_fd(&m->fd[s]);
	close_fd(&m->order);
	close_fd(&m->gaps);
	free(m);
}

void merge_set_keeps_offsets(struct merge *m)
{
	m->keeps_offsets = true;
}

void merge_set_limit(struct merge *m, const uint64_t limit[N_STREAMS])
{
	for (int s = 0; s < N_STREAMS; s++)
		m->limit[s] = limit[s];
}

uint64_t merge_position(const struct merge *m, enum stream stream)
{
	return m->at[stream];
}

static uint64_t size_of(struct merge *m, int s)
{
	struct stat st;

	if (m->gone[s])
		return MIN(m->gone[s], m->limit[s]);
	if (m->fd[s] < 0) {
		m->fd[s] = store_run_open(m->box, m->run, s == STREAM_OUT ? RUN_OUT : RUN_ERR);
		if (m->fd[s] < 0)
			return 0;
	}
	if (fstat(m->fd[s], &st) < 0)
		return 0;
	return MIN((uint64_t)st.st_size, m->limit[s]);
}

uint64_t merge_pending(struct merge *m, const struct box *box, uint64_t run)
{
	struct merge *fresh = m ? NULL : merge_open(box, run);
	struct merge *of = m ? m : fresh;
	uint64_t n = of ? of->line_len - of->line_at : 0;

	for (int s = 0; of && s < N_STREAMS; s++)
		n += MAX(size_of(of, s), of->at[s]) - of->at[s];
	if (fresh)
		merge_close(fresh);
	return n;
}

/* The next word of the order, if the keeper has written it. */
static void next_turn(struct merge *m)
{
	uint64_t word;

	if (m->order < 0)
		m->order = store_run_open(m->box, m->run, RUN_ORDER);
	while (!m->turn_left && m->order >= 0 &&
	       pread(m->order, &word, sizeof(word), m->order_at) == (ssize_t)sizeof(word)) {
		m->order_at += sizeof(word);
		m->turn = word & 1;
		m->covered[m->turn] += word >> 1;
		/* Of a stretch that had no word yet, some may have been read already. */
		m->turn_left = MAX(m->covered[m->turn], m->at[m->turn]) - m->at[m->turn];
	}
}

/* Whose bytes come next, and how many of them are there now; 0 none. */
static uint64_t next_bytes(struct merge *m, int *stream)
{
	uint64_t left[N_STREAMS];
	int s;

	next_turn(m);
	for (s = 0; s < N_STREAMS; s++)
		left[s] = MAX(size_of(m, s), m->at[s]) - m->at[s];
	if (!m->turn_left && left[STREAM_OUT] && left[STREAM_ERR])
		next_turn(m); /* the other one took over while we looked */
	s = m->turn_left ? m->turn : left[STREAM_OUT] ? STREAM_OUT : STREAM_ERR;
	*stream = s;
	return m->turn_left ? MIN(left[s], m->turn_left) : left[s];
}

static void go_on(struct merge *m, int stream, uint64_t n)
{
	m->at[stream] += n;
	if (m->turn_left)
		m->turn_left -= n;
}

void merge_skip(struct merge *m, uint64_t n)
{
	while (n) {
		int s;
		uint64_t step = MIN(n, next_bytes(m, &s));

		if (!step)
			return;
		go_on(m, s, step);
		n -= step;
	}
}

/* What is missing of the first `end` bytes of a stream. */
static int find_gap(struct merge *m, int s, uint64_t end, struct output_gap *gap)
{
	int r = 0;

	*gap = (struct output_gap){ 0, MIN(m->gone[s], m->limit[s]) };
	if (m->gone[s] || end <= OUTPUT_WHOLE_BYTES)
		return 0;
	if (m->gaps < 0)
		m->gaps = store_run_open(m->box, m->run, RUN_GAPS);
	if (m->gaps < 0)
		output_gap_guess(m->fd[s], end, gap);
	else
		r = output_gap_read(m->gaps, (enum stream)s, gap);
	gap->tail = MIN(gap->tail, m->limit[s]);
	return r;
}

static size_t read_line(struct merge *m, char *buf, size_t size)
{
	size_t n = MIN(size, m->line_len - m->line_at);

	memcpy(buf, m->line + m->line_at, n);
	m->line_at += n;
	return n;
}

/* Leaves the gap behind, for a line that says so. */
static void jump(struct merge *m, int s, const struct output_gap *gap)
{
	m->line_len = output_gap_line(m->line, gap->tail - m->at[s]);
	m->line_at = 0;
	m->at[s] = gap->tail;
	/* Of the other stream's turns in between nothing is lost: they come next. */
	if (m->turn_left)
		m->turn_left = MAX(m->covered[s], m->at[s]) - m->at[s];
}

/* A byte of the gap for each that is missing: the line, and blanks to a last newline. */
static size_t fill_gap(struct merge *m, int s, const struct output_gap *gap, char *buf, size_t size)
{
	char line[OUTPUT_LINE_SIZE];
	size_t len = output_gap_line(line, gap->tail - gap->head), n = 0;
	uint64_t at = m->at[s];

	for (; n < size && at < gap->tail; n++, at++)
		buf[n] = at - gap->head < len  ? line[at - gap->head]
			 : at == gap->tail - 1 ? '\n'
					       : ' ';
	return n;
}

ssize_t merge_read(struct merge *m, char *buf, size_t size)
{
	struct output_gap gap;
	uint64_t there;
	ssize_t n;
	int s, r;

	if (m->line_at < m->line_len)
		return (ssize_t)read_line(m, buf, size);
	there = next_bytes(m, &s);
	if (!there && find_gone(m))
		there = next_bytes(m, &s);
	if (!there)
		return 0;
	n = (ssize_t)MIN(size, there);
	if (!m->gone[s])
		n = pread(m->fd[s], buf, (size_t)n, (off_t)m->at[s]);
	if (n < 0)
		return -errno;
	/* Afterwards: what was read before it was taken away is whole. */
	r = find_gap(m, s, m->at[s] + (uint64_t)n, &gap);
	if (r < 0)
		return r;
	if (m->at[s] >= gap.head && m->at[s] < gap.tail) {
		if (!m->keeps_offsets) {
			jump(m, s, &gap);
			return (ssize_t)read_line(m, buf, size);
		}
		n = (ssize_t)fill_gap(m, s, &gap, buf, (size_t)n);
	} else if (m->at[s] < gap.head && gap.head < gap.tail) {
		n = (ssize_t)MIN((uint64_t)n, gap.head - m->at[s]);
	}
	go_on(m, s, (uint64_t)n);
	return n;
}
