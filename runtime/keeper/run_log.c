/* SPDX-License-Identifier: MIT */
/*
 * Transcripts. Where the log ends is known without asking the disk: the last entry, and how much
 * its run has written. A disk that is full costs texts and order, never an offset: an entry that
 * cannot be written is left out, and what its run writes comes with its next one. One thread, no
 * locks.
 */
#include "keeper/run_log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/run.h"
#include "log_index.h"
#include "runtime.h"

struct run_log {
	struct run_log *next;
	char *session;
	struct log_index index;
	struct log_entry last; /* index.n of 0: none */
	struct run *source;    /* whose output is behind it; NULL: that of a run that is over, */
	uint64_t source_size;  /* which wrote so much */
	bool failed;	       /* said so already */
};

static uint64_t stream_size(const struct run *run, enum stream which)
{
	return run->streams[which] ? run->streams[which]->size : run->closed_size[which];
}

static uint64_t run_written(const struct run *run)
{
	return stream_size(run, STREAM_OUT) + stream_size(run, STREAM_ERR);
}

static uint64_t source_size(const struct run_log *log)
{
	return log->source ? run_written(log->source) : log->source_size;
}

static uint64_t log_end(const struct run_log *log)
{
	return log->index.n ? log_entry_end(&log->last, source_size(log)) : 0;
}

static void note_error(struct run_log *log, int r)
{
	if (!log->failed)
		log_error("log of session %s: %s", log->session, strerror(-r));
	log->failed = true;
}

static int open_log(struct runs *runs, struct run_log *log)
{
	int r = log_index_open_append(&log->index, runs->box_dir, log->session);

	if (r == 0 && log->index.n)
		r = log_index_entry(&log->index, log->index.n - 1, &log->last);
	if (r < 0) {
		log_index_close(&log->index);
		note_error(log, r);
		return r;
	}
	log->source = NULL;
	log->source_size = log->index.n ? log_run_size(runs->box_dir, log->last.run) : 0;
	return 0;
}

static struct run_log *find_log(struct runs *runs, const char *session)
{
	struct run_log *log = runs->logs;

	while (log && strcmp(log->session, session))
		log = log->next;
	return log;
}

/* The session's log, ready for appending; NULL if it cannot be. */
static struct run_log *get_log(struct runs *runs, const char *session)
{
	struct run_log *log;

	if (!session || !*session)
		return NULL;
	log = find_log(runs, session);
	if (!log) {
		log = calloc(1, sizeof(*log));
		if (!log)
			return NULL;
		log->index.fd = -1;
		log->session = strdup(session);
		if (!log->session) {
			free(log);
			return NULL;
		}
		log->next = runs->logs;
		runs->logs = log;
	}
	return log->index.fd >= 0 || open_log(runs, log) == 0 ? log : NULL;
}

static void free_log(struct run_log *log)
{
	log_index_close(&log->index);
	free(log->session);
	free(log);
}

/* run: the entry's, NULL when it is not live. */
static int append(struct run_log *log, struct run *run, struct log_entry *entry)
{
	int r;

	entry->begin = log_end(log);
	r = log_index_append(&log->index, entry, 1);
	if (r < 0) {
		note_error(log, r);
		return r;
	}
	log->failed = false;
	if (log->source && log->source != run)
		log->source->logged = run_written(log->source);
	log->last = *entry;
	log->source = run;
	log->source_size = entry->from;
	return 0;
}

/* Does the log end in a newline at present? */
static bool at_line_start(const struct runs *runs, const struct run_log *log)
{
	const struct run *run = log->source;
	uint64_t size;
	char last;

	if (!log->index.n || source_size(log) <= log->last.from)
		return true;
	if (!run || run->last_stream < 0 || !run->streams[run->last_stream])
		return log_run_ends_line(runs->box_dir, log->last.run);
	size = stream_size(run, run->last_stream);
	return !size ||
	       pread(run->streams[run->last_stream]->file, &last, 1, (off_t)size - 1) != 1 ||
	       last == '\n';
}

/* How much of the run stands in the log, or will with the bytes that are there. */
static uint64_t logged(const struct run *run)
{
	return run->log->source == run ? run_written(run) : run->logged;
}

void run_log_begin(struct run *run)
{
	struct log_entry head = { .run = run->number };

	if (run->headed)
		return;
	run->log = get_log(run->runs, run->session);
	if (!run->log)
		return;
	head.newline = !at_line_start(run->runs, run->log);
	log_entry_set_head(&head, run->script_len, run->script_ends_line);
	run->headed = append(run->log, run, &head) == 0;
}

bool run_log_is_turn(const struct run *run)
{
	return !run->log || run->log->source == run;
}

void run_log_take_turn(struct run *run)
{
	struct log_entry more = { .kind = LOG_MORE, .run = run->number, .from = run->logged };

	if (!run_log_is_turn(run))
		append(run->log, run, &more);
}

void run_log_end(struct run *run)
{
	struct log_entry tail = { .run = run->number };

	run_log_begin(run); /* one that never started */
	if (!run->log)
		return;
	tail.from = logged(run);
	tail.newline = !at_line_start(run->runs, run->log);
	log_entry_set_tail(&tail, run->state, run->code);
	append(run->log, run, &tail);
}

void run_log_forget(struct run *run)
{
	if (!run->log || run->log->source != run)
		return;
	run->log->source_size = run_written(run);
	run->log->source = NULL;
}

void run_log_refused(struct runs *runs, const char *session, uint64_t number, uint64_t script_len,
		     bool script_ends_line)
{
	struct run_log *log = get_log(runs, session);
	struct log_entry entry = { .run = number };

	if (!log)
		return;
	entry.newline = !at_line_start(runs, log);
	log_entry_set_head(&entry, script_len, script_ends_line);
	if (append(log, NULL, &entry) < 0)
		return;
	entry = (struct log_entry){ .run = number };
	log_entry_set_tail(&entry, RUN_FAILED, 0);
	append(log, NULL, &entry);
}

/* --- dropping --------------------------------------------------------------------------------- */

struct numbers {
	struct runs *runs;
	const uint64_t *sorted; /* descending */
	size_t n;
};

static int compare_number(const void *key, const void *at)
{
	uint64_t x = *(const uint64_t *)key, y = *(const uint64_t *)at;

	return x > y ? -1 : x < y;
}

static bool is_among(const void *ctx, uint64_t run)
{
	const struct numbers *numbers = ctx;

	return bsearch(&run, numbers->sorted, numbers->n, sizeof(*numbers->sorted),
		       compare_number) != NULL;
}

/* A session that has run nothing in this keeper's life. */
static int drop_unopened(const struct runs *runs, const char *session,
			 const struct numbers *numbers)
{
	struct log_index index;
	struct log_entry last;
	uint64_t end = 0;
	int r = log_index_open_drop(&index, runs->box_dir, session);

	if (r == 0 && index.n) {
		r = log_index_entry(&index, index.n - 1, &last);
		if (r == 0)
			end = log_entry_end(&last, log_run_size(runs->box_dir, last.run));
		if (r == 0)
			r = log_index_drop(&index, runs->box_dir, session, end, is_among, numbers,
					   true);
	}
	log_index_close(&index);
	return r;
}

static void drop_of(void *ctx, const char *session)
{
	const struct numbers *numbers = ctx;
	struct runs *runs = numbers->runs;
	struct run_log *log = find_log(runs, session);
	int r;

	if (log && log->index.fd >= 0)
		r = log_index_drop(&log->index, runs->box_dir, session, log_end(log), is_among,
				   numbers, true);
	else
		r = drop_unopened(runs, session, numbers);
	if (r < 0)
		log_error("log of session %s: drop old runs: %s", session, strerror(-r));
}

void run_logs_drop(struct runs *runs, const uint64_t *numbers, size_t n)
{
	struct numbers set = { runs, numbers, n };

	if (n)
		log_index_sessions(runs->box_dir, drop_of, &set);
}

static void leave_log(struct run *run, void *log)
{
	if (run->log == log)
		run->log = NULL;
}

void run_log_remove(struct runs *runs, const char *session)
{
	struct run_log **at = &runs->logs, *log;

	while (*at && strcmp((*at)->session, session))
		at = &(*at)->next;
	log = *at;
	if (log) {
		*at = log->next;
		runs_each(runs, leave_log, log);
		free_log(log);
	}
	log_index_remove(runs->box_dir, session);
}

void run_logs_close(struct runs *runs)
{
	while (runs->logs) {
		struct run_log *log = runs->logs;

		runs->logs = log->next;
		free_log(log);
	}
}
