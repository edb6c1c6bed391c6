/* SPDX-License-Identifier: MIT */
/*
 * Runs. The record of an end is on disk before the end is said; that of a start, which nobody waits
 * for, is written by a task when nothing else is ready. Must not know sessions or processes. One
 * thread, no locks.
 */
#include "keeper/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/record.h"
#include "limit.h"
#include "runtime.h"

static const char *const stream_words[N_STREAMS] = { "output", "error output" };

static bool folder_is_live(struct folders *folders, uint64_t number)
{
	return runs_find(container_of(folders, struct runs, folders), number) != NULL;
}

static void folders_to_go(struct folders *folders, const uint64_t *numbers, size_t n)
{
	run_logs_drop(container_of(folders, struct runs, folders), numbers, n);
}

int runs_open(struct runs *runs, struct loop *loop, struct daemon *daemon, int dir, uint64_t keep,
	      const char *token)
{
	*runs = (struct runs){ .loop = loop,
			       .daemon = daemon,
			       .box_dir = dir,
			       .token = token,
			       .output_limit = LIMIT_NONE };
	runs->folders.dir = -1;
	int r = folders_open(&runs->folders, loop, dir, keep);

	output_total_open(runs);
	runs->folders.is_live = folder_is_live;
	runs->folders.before_removal = folders_to_go;
	return r;
}

struct run *runs_find(struct runs *runs, uint64_t number)
{
	struct run *run = runs->live[number % RUN_HASH];

	while (run && run->number != number)
		run = run->next_live;
	return run;
}

void runs_each(struct runs *runs, void (*fn)(struct run *run, void *ctx), void *ctx)
{
	for (int i = 0; i < RUN_HASH; i++) {
		for (struct run *run = runs->live[i], *next; run; run = next) {
			next = run->next_live;
			fn(run, ctx);
		}
	}
}

static void live_add(struct run *run)
{
	struct run **at = &run->runs->live[run->number % RUN_HASH];

	run->next_live = *at;
	run->prev_live = at;
	if (*at)
		(*at)->prev_live = &run->next_live;
	*at = run;
}

static void live_remove(struct run *run)
{
	*run->prev_live = run->next_live;
	if (run->next_live)
		run->next_live->prev_live = run->prev_live;
}

uint64_t run_size(const struct run *run, enum stream which)
{
	return run->streams[which] ? run->streams[which]->size : run->closed_size[which];
}

bool run_is_closed(const struct run *run)
{
	return run_state_is_end(run->state) && !run->streams[STREAM_OUT] &&
	       !run->streams[STREAM_ERR];
}

static void run_write_record(struct run *run)
{
	_cleanup_text_ struct text t = { 0 };
	struct record record = {
		.session = run->session,
		.token = run->runs->token,
		.state = run->state,
		.code = run->code,
		.pid = run->box_pid,
		.started_us = run->started_us,
		.ended_us = run->ended_us,
		.truncated = run->truncated,
		.name = run->name,
		.user = run->user,
		.cwd = run->cwd,
		.timeout_ms = run->timeout_ms,
		.timeout_is_default = run->timeout_is_default,
		.usage = run->has_usage ? &run->used : NULL,
	};
	int r;

	memcpy(record.end_size, run->end_size, sizeof(record.end_size));
	record_write(&t, &record);
	run->record_is_old = false;
	if (run->folder.dir < 0)
		return;
	r = run_folder_write_record(&run->folder, &t);
	if (r < 0)
		log_error("run %llu: write its record: %s", (unsigned long long)run->number,
			  strerror(-r));
}

static void free_options(struct run *run)
{
	free(run->session);
	free(run->name);
	free(run->user);
	free(run->cwd);
}

static void run_free(struct run *run)
{
	loop_task_cancel(run->runs->loop, &run->record_task);
	run_log_forget(run);
	output_total_note_closed(run);
	loop_timer_clear(run->runs->loop, &run->force_timer);
	live_remove(run);
	if (run->forget_own)
		run->forget_own(run);
	group_free(run->group);
	free_options(run);
	for (int i = 0; i < N_STREAMS; i++) {
		fifo_free(run->streams[i]);
		free(run->watch[i].offsets);
	}
	run_folder_close(&run->folder);
	free(run);
}

static bool run_is_over(const struct run *run)
{
	return run->said_closed && !run->unsettled && !run->group && !run->own &&
	       run->force == FORCE_NONE;
}

void run_settle(struct run *run)
{
	if (run_is_over(run))
		loop_task_add(run->runs->loop, &run->record_task);
}

void run_touch_record(struct run *run)
{
	run->record_is_old = true;
	loop_task_add(run->runs->loop, &run->record_task);
}

/* Work that nobody waits for: the record of a start, and forgetting a run that is over. */
static void record_task_run(struct loop_task *task)
{
	struct run *run = container_of(task, struct run, record_task);
	struct folders *folders = &run->runs->folders;

	if (run->record_is_old)
		run_write_record(run);
	if (!run_is_over(run)) {
		if (run->said_closed) /* the last record is written; a process may be left for days */
			run_folder_close(&run->folder);
		return;
	}
	run_free(run);
	folders_note_ended(folders);
}

void runs_write_records(struct runs *runs)
{
	for (int i = 0; i < RUN_HASH; i++) {
		for (struct run *run = runs->live[i], *next; run; run = next) {
			next = run->next_live;
			if (!run->record_task.queued)
				continue;
			loop_task_cancel(runs->loop, &run->record_task);
			run->record_task.run(&run->record_task);
		}
	}
}

static void free_any(struct run *run, void *ctx)
{
	(void)ctx;
	run_free(run);
}

void runs_close(struct runs *runs)
{
	runs_write_records(runs);
	output_total_close(runs);
	runs_each(runs, free_any, NULL);
	run_logs_close(runs);
	folders_close(&runs->folders);
}

static int copy_options(struct run *run, const char *session, const struct run_options *options)
{
	run->timeout_ms = options->timeout_ms;
	run->timeout_is_default = options->timeout_is_default;
	run->session = strdup(session);
	if (!run->session)
		return -ENOMEM;
	if (options->name && !(run->name = strdup(options->name)))
		return -ENOMEM;
	if (options->user && !(run->user = strdup(options->user)))
		return -ENOMEM;
	return 0;
}

int run_new(struct runs *runs, uint64_t number, const char *session,
	    const struct run_options *options, const char *script, size_t len, struct run **out)
{
	struct run *run;
	int r;

	if (!number || runs_find(runs, number))
		return -EEXIST;
	run = calloc(1, sizeof(*run));
	if (!run)
		return -ENOMEM;
	run->runs = runs;
	run->number = number;
	run->state = RUN_QUEUED;
	run->last_stream = -1;
	run->script_len = len;
	run->script_ends_line = len && script[len - 1] == '\n';
	run->record_task.run = record_task_run;
	run_folder_init(&run->folder);
	r = copy_options(run, session, options);
	if (r == 0)
		r = folders_make(&runs->folders, number, script, len, &run->folder);
	if (r < 0) {
		free_options(run);
		free(run);
		return r;
	}
	live_add(run);
	*out = run;
	return 0;
}

void run_drop(struct run *run)
{
	struct folders *folders = &run->runs->folders;
	uint64_t number = run->number;

	run_free(run);
	folders_remove(folders, number);
}

void run_park(struct run *run)
{
	run_write_record(run);
	run_folder_close(&run->folder);
}

int run_unpark(struct run *run)
{
	if (run->folder.dir >= 0)
		return 0;
	return folders_reopen(&run->runs->folders, run->number, &run->folder);
}

void run_say(struct run *run)
{
	bool closed = run_is_closed(run);
	struct msg m = {
		.type = MSG_RUN,
		.flags = (closed ? MSG_RUN_CLOSED : 0) | (run->truncated ? MSG_RUN_TRUNCATED : 0),
		.run = run->number,
		.tag = run->box_pid,
		.v = { run->state, run->state == RUN_RUNNING ? run->started_us : run->code,
		       (int64_t)run_size(run, STREAM_OUT), (int64_t)run_size(run, STREAM_ERR) },
	};

	if (run->record_is_old && run_state_is_end(run->state))
		run_write_record(run);
	daemon_send(run->runs->daemon, &m, NULL);
	run->said_closed |= closed;
	if (run->record_is_old || run_is_over(run))
		loop_task_add(run->runs->loop, &run->record_task);
}

static void say_grown(struct runs *runs, uint64_t number, enum stream which, uint64_t size,
		      bool eof)
{
	struct msg m = {
		.type = MSG_GROWN,
		.flags = eof ? MSG_STREAM_EOF : 0,
		.run = number,
		.v = { which, (int64_t)size },
	};

	daemon_send(runs->daemon, &m, NULL);
}

/* Tells who waits for less than there is now; at the end, everybody. */
static void watch_tell(struct run *run, enum stream which)
{
	struct watch *w = &run->watch[which];
	uint64_t size = run_size(run, which);
	bool eof = !run->streams[which];
	size_t left = 0;

	for (size_t i = 0; i < w->n; i++) {
		if (!eof && w->offsets[i] >= size)
			w->offsets[left++] = w->offsets[i];
	}
	if (left < w->n)
		say_grown(run->runs, run->number, which, size, eof);
	w->n = left;
}

int run_watch(struct run *run, enum stream which, uint64_t offset)
{
	struct watch *w = &run->watch[which];

	if (w->n == w->size) {
		uint64_t *more = realloc(w->offsets, (w->size + 8) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->offsets = more;
		w->size += 8;
	}
	w->offsets[w->n++] = offset;
	/* A run that has not begun has no streams, but is not at its end. */
	if (run->state > RUN_STARTING)
		watch_tell(run, which);
	return 0;
}

int runs_watch_ended(struct runs *runs, uint64_t number, enum stream which)
{
	_cleanup_text_ struct text path = { 0 };
	struct stat st;

	text_printf(&path, "%llu", (unsigned long long)number);
	if (path.failed)
		return -ENOMEM;
	if (fstatat(runs->folders.dir, path.data, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	text_printf(&path, "/%s", which == STREAM_OUT ? RUN_OUT : RUN_ERR);
	if (path.failed)
		return -ENOMEM;
	if (fstatat(runs->folders.dir, path.data, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_size = 0; /* nothing was ever written to it */
	say_grown(runs, number, which, st.st_size, true);
	return 0;
}

/* Before the first byte of a stream, or a run, that takes over: writes how much the other one had. */
static void run_take_turn(struct run *run, enum stream which)
{
	int last = run->last_stream;
	uint64_t word;

	run_log_take_turn(run);
	if (last == (int)which)
		return;
	run->last_stream = which;
	run->segment_start[which] = run_size(run, which);
	if (last < 0)
		return;
	word = (run_size(run, last) - run->segment_start[last]) << 1 | (uint64_t)last;
	if (run->folder.order < 0)
		run->folder.order = run_folder_open_order(&run->folder);
	/* Without it (a full disk, a limit) the streams themselves are still exact. */
	if (run->folder.order >= 0 && output_total_may_order(run, sizeof(word)) &&
	    write_full(run->folder.order, &word, sizeof(word)) < 0)
		close_fd(&run->folder.order);
}

static void stream_before(struct fifo *fifo)
{
	struct run *run = fifo->owner;
	enum stream which = run->streams[STREAM_ERR] == fifo;
	int waiting = 0;

	if (run->last_stream == (int)which && run_log_is_turn(run))
		return;
	if (ioctl(fifo->source.fd, FIONREAD, &waiting) == 0 && waiting > 0)
		run_take_turn(run, which);
}

static int stream_open(struct fifo *fifo)
{
	struct run *run = fifo->owner;

	return run_folder_open_stream(&run->folder, run->streams[STREAM_ERR] == fifo);
}

static void run_note_error(struct run *run, enum stream which)
{
	if (run->truncated)
		return;
	run->truncated = run->record_is_old = true;
	daemon_why(run->runs->daemon,
		   "the %s of run %llu is cut off at %llu bytes: it cannot be written: %s",
		   stream_words[which], (unsigned long long)run->number,
		   (unsigned long long)run->streams[which]->size,
		   strerror(run->streams[which]->error));
}

static void run_close_stream(struct run *run, enum stream which)
{
	run_trim(run, which, true);
	run->closed_size[which] = run->streams[which]->size;
	fifo_free(take_ptr(run->streams[which]));
	if (run_is_closed(run))
		output_total_note_closed(run);
	watch_tell(run, which);
}

static void stream_after(struct fifo *fifo)
{
	struct run *run = fifo->owner;
	enum stream which = run->streams[STREAM_ERR] == fifo;

	if (fifo->error)
		run_note_error(run, which);
	watch_tell(run, which);
	run_trim(run, which, false);
	/* While the command runs it may open the stream again. */
	if (!fifo->idle || !run_state_is_end(run->state))
		return;
	run_close_stream(run, which);
	if (run_is_closed(run))
		run_say(run);
}

void run_begin(struct run *run, const char *cwd, struct fifo *const streams[N_STREAMS])
{
	free(run->cwd);
	run->cwd = strdup(cwd); /* without it the record tells less */
	for (int i = 0; i < N_STREAMS; i++) {
		struct fifo *fifo = streams[i];

		fifo->owner = run;
		fifo->open = stream_open;
		fifo->before = stream_before;
		fifo->after = stream_after;
		run->streams[i] = fifo;
	}
	run->state = RUN_RUNNING;
	run->started_us = realtime_us();
	run->record_is_old = true;
	run_log_begin(run);
}

void run_note_pid(struct run *run, pid_t box_pid)
{
	run->box_pid = box_pid;
	run_touch_record(run);
}

void run_rewind(struct run *run)
{
	for (int i = 0; i < N_STREAMS; i++)
		fifo_free(take_ptr(run->streams[i]));
	run_folder_close(&run->folder);
	run->state = RUN_QUEUED;
	run->record_is_old = true;
	run->attempts++;
}

void run_end(struct run *run, enum run_state state, int code)
{
	for (int i = 0; i < N_STREAMS; i++) {
		if (run->streams[i])
			fifo_drain(run->streams[i]);
		run->end_size[i] = run_size(run, i);
	}
	run->ended_us = realtime_us();
	run->code = code;
	run->end_state = state;
}

void run_say_end(struct run *run)
{
	run->state = run->end_state;
	run->record_is_old = true;
	run_log_end(run);
	for (int i = 0; i < N_STREAMS; i++) {
		/* What came since belongs to whoever is left. */
		if (run->streams[i] && run->streams[i]->idle)
			run_close_stream(run, i);
		else if (!run->streams[i])
			watch_tell(run, i);
	}
	run_say(run);
}

void run_fail(struct run *run, const char *why)
{
	daemon_why(run->runs->daemon, "run %llu was not carried out: %s",
		   (unsigned long long)run->number, why);
	run_unpark(run);
	run_end(run, RUN_FAILED, 126);
	run_say_end(run);
}

void run_cut(struct run *run)
{
	for (int i = 0; i < N_STREAMS; i++) {
		if (!run->streams[i])
			continue;
		run->streams[i]->after = NULL;
		fifo_drain(run->streams[i]);
		run_close_stream(run, i);
	}
	if (run_is_closed(run) && !run->said_closed)
		run_say(run);
}

void run_append(struct run *run, enum stream which, const char *bytes, size_t len)
{
	if (!run->streams[which] || !len)
		return;
	run_take_turn(run, which);
	fifo_append(run->streams[which], bytes, len);
}
