/* SPDX-License-Identifier: MIT */
/*
 * One box: its state, its live runs, its volumes. Must not wait for the box. Everything here is
 * called with box->lock held, but the janitor's work at the end, which takes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "box.h"
#include "box_disk.h"
#include "daemon.h"
#include "dirs.h"
#include "events.h"
#include "input.h"
#include "keeper.h"
#include "keeper_private.h"
#include "mount.h"
#include "store.h"

void box_set_state(struct box *box, enum box_state state, const char *reason)
{
	_cleanup_text_ struct text why = { 0 };

	if (state == BOX_FAILED)
		snprintf(box->failed_why, sizeof(box->failed_why), "%s", reason ? reason : "");
	else if (state == BOX_STARTING)
		box->failed_why[0] = '\0';
	if (state == BOX_FAILED)
		why_add(&box->why, box->uid, "the box has failed: %s", box->failed_why);
	if (box->state == state)
		return;
	box->state = state;
	box->changed_us = realtime_us();
	/* What a keeper says may hold any bytes. */
	if (reason)
		text_add_escaped(&why, reason, strlen(reason));
	event_add(box, "state", why.data ? "{s:s,s:s}" : "{s:s}", "state", box_state_word(state),
		  "why", why.data);
	/* Starting, and what follows it, is saved by who knows that it went well. */
	if (state == BOX_STOPPED || state == BOX_FAILED) {
		store_save(box);
		mounts_ended(box);
	}
}

int box_failed_errno(const struct box *box)
{
	return box->start_errno ? box->start_errno : EIO;
}

/* --- runs ---------------------------------------------------------------------------------------- */

/* The newest run of each session that has none yet (or of that one), by the records on disk. */
static void find_last_runs(struct box *box, const struct session *only, const uint64_t *numbers,
			   size_t n)
{
	size_t left = only != NULL;

	for (struct session *s = box->sessions; s && !only; s = s->next)
		left += !s->last_run;
	for (size_t i = n; i-- > 0 && left;) {
		struct run_record rec;
		struct session *s;

		if (store_run_read(box, numbers[i], &rec) < 0)
			continue;
		s = session_by_key(box, rec.session);
		if (s && !s->last_run && (!only || s == only)) {
			s->last_run = numbers[i];
			left--;
		}
	}
}

void box_load_runs(struct box *box)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	size_t n = 0;

	if (box->next_run)
		return;
	if (store_run_numbers(box, &numbers, &n) < 0)
		n = 0;
	if (n)
		box->last_run = MAX(box->last_run, numbers[n - 1]);
	find_last_runs(box, NULL, numbers, n);
	box->next_run = box->last_run + 1;
}

bool box_run_exists(struct box *box, uint64_t number)
{
	const struct run *run = box_live_run(box, number);
	struct run_record rec;

	return run ? !run->unwanted : store_run_read(box, number, &rec) == 0;
}

struct run *box_live_run(struct box *box, uint64_t number)
{
	struct run *run;

	HASH_FIND(hh, box->runs, &number, sizeof(number), run);
	return run;
}

static struct run *run_alloc(uint64_t number)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->number = number;
	atomic_init(&run->refs, 1);
	for (int s = 0; s < N_STREAMS; s++)
		run->files[s] = -1;
	run_usage_clear(&run->usage);
	run->timeout_ms = -1;
	return run;
}

struct run *box_run_adopt(struct box *box, uint64_t number)
{
	struct run *run = run_alloc(number);
	struct run_record rec;

	if (!run)
		return NULL;
	/* box->token is already the living keeper's, so the record is believed. */
	if (store_run_read(box, number, &rec) == 0) {
		snprintf(run->session, sizeof(run->session), "%s", rec.session);
		snprintf(run->name, sizeof(run->name), "%s", rec.name);
		run->timeout_ms = rec.timeout_is_default ? -1 : rec.timeout_ms;
		run->started_us = rec.started_us;
	}
	HASH_ADD(hh, box->runs, number, sizeof(run->number), run);
	return run;
}

size_t box_live_runs(const struct box *box)
{
	size_t live = HASH_COUNT(box->runs);

	for (size_t i = 0; i < ENDED_RUNS; i++)
		live -= box->ended_runs[i] ? 1 : 0;
	return live;
}

struct run *box_run_new(struct box *box, struct session *session, const char *name)
{
	struct run *run;

	box_load_runs(box);
	if (box->next_run > NODE_MAX_ITEM)
		return NULL;
	run = run_alloc(box->next_run);
	if (!run)
		return NULL;
	box->next_run++;
	snprintf(run->session, sizeof(run->session), "%s", session ? session->key : "");
	snprintf(run->name, sizeof(run->name), "%s", name);
	run->state = RUN_QUEUED;
	box->last_run = run->number;
	if (session)
		session->last_run = run->number;
	HASH_ADD(hh, box->runs, number, sizeof(run->number), run);
	return run;
}

struct run *run_ref(struct run *run)
{
	atomic_fetch_add(&run->refs, 1);
	return run;
}

void run_put(struct run *run)
{
	if (atomic_fetch_sub(&run->refs, 1) != 1)
		return;
	free(run->script);
	free(run);
}

/* Its keeper writes the record behind the message that told of the end, so the newest ended runs
 * are still answered for from memory. */
void box_run_forget(struct box *box, struct run *run)
{
	struct run **slot = &box->ended_runs[box->next_ended++ % ENDED_RUNS];

	if (*slot) {
		HASH_DELETE(hh, box->runs, *slot);
		run_put(*slot);
	}
	*slot = run;
}

/* The session that had it as its newest has an older one now. */
static void forget_last_run(struct box *box, uint64_t number)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	struct session *s = box->sessions;
	size_t n = 0;

	while (s && s->last_run != number)
		s = s->next;
	if (!s)
		return;
	s->last_run = 0;
	if (store_run_numbers(box, &numbers, &n) == 0)
		find_last_runs(box, s, numbers, n);
}

int box_run_remove(struct box *box, uint64_t number)
{
	struct run *run = box_live_run(box, number);
	struct run_record rec;
	int r;

	box_load_runs(box);
	if (store_run_read(box, number, &rec) == 0)
		log_drop_run(box, rec.session, number);
	if (run) {
		for (size_t i = 0; i < ENDED_RUNS; i++) {
			if (box->ended_runs[i] == run)
				box->ended_runs[i] = NULL;
		}
		HASH_DELETE(hh, box->runs, run);
		run_put(run);
	}
	r = store_run_remove(box, number);
	forget_last_run(box, number);
	/* The highest number must be known after the next start, too. */
	if (r == 0 && number == box->last_run)
		r = store_save(box);
	return r;
}

bool box_is_idle(struct box *box)
{
	struct run *run, *next;

	HASH_ITER (hh, box->runs, run, next) {
		if (!run->closed)
			return false;
	}
	return true;
}

/* Forgetting one takes another out of the list: so always from its beginning. */
static struct run *first_open_run(struct box *box)
{
	struct run *run, *next;

	HASH_ITER (hh, box->runs, run, next) {
		if (!run->closed)
			return run;
	}
	return NULL;
}

void box_runs_lost(struct box *box, struct park **ready)
{
	struct run *run;

	while ((run = first_open_run(box))) {
		if (!run->ended) {
			run->state = RUN_LOST;
			run->end_size[STREAM_OUT] = run->end_size[STREAM_ERR] = UINT64_MAX;
			event_run_ended(box, run, NULL);
		}
		run->ended = run->closed = run->answered = true;
		*ready = input_close(run, EPIPE, *ready);
		*ready = park_collect(&run->parks, 0, *ready);
		if (run->unwanted)
			box_run_remove(box, run->number);
		else
			box_run_forget(box, run);
	}
}

/* --- files ---------------------------------------------------------------------------------------- */

/* Does its keeper move its files to where its first limit of disk holds? What somebody wrote to
 * the old place meanwhile would be lost. */
static bool moves_files(struct box *box)
{
	const struct disk_limits limits = box_disk_limits(box);

	return box->keeper && box->state == BOX_STARTING && disk_is_limited(&limits);
}

/* Of a box that does not run, or does not yet. -1 where there is none, or only janitor's work. */
static int stopped_root(struct box *box, enum files_kind kind, bool may_wait)
{
	_cleanup_close_ int dir = kind == FILES_WORKSPACE ? store_box_dir(box) : -1;
	_cleanup_close_ int files = -1;

	box->ground_due &= kind != FILES_WORKSPACE;
	if (dir < 0)
		return -1;
	if (!may_wait && disk_has_image(dir)) {
		box->ground_due = true;
		daemon_later(box, box_ground_now);
		return -1;
	}
	if (disk_is_plain(dir) && moves_files(box))
		return disk_open_frozen(dir);
	files = disk_open(dir);
	if (files < 0) {
		log_warn("box %s: open its disk: %s", box->name, strerror(-files));
		return -1;
	}
	return openat(files, "workspace", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/*
 * The ground under the volume as the box is now: the mount inside it, or the folder on disk. To
 * mount an image takes its time: if not may_wait, that is left to the janitor or the next look.
 */
static void volume_ground(struct box *box, enum files_kind kind, bool may_wait)
{
	struct files_volume *vol = box->volumes[kind];
	struct files_backing backing = { .live = true };

	box_disk_show(box);

	if (box->live_root[kind] >= 0) {
		backing.root = fcntl(box->live_root[kind], F_DUPFD_CLOEXEC, 3);
		backing.id_base = keeper_block_base(box->block);
		files_volume_set_backing(vol, backing.root < 0 ? NULL : &backing);
		return;
	}
	backing.live = box->keeper != NULL;
	backing.id_base = keeper_block_base(0);
	backing.root = stopped_root(box, kind, may_wait);
	files_volume_set_backing(vol, backing.root < 0 ? NULL : &backing);
}

struct files_volume *box_volume(struct box *box, enum files_kind kind)
{
	if (box->volumes[kind]) {
		if (box->ground_due && kind == FILES_WORKSPACE)
			volume_ground(box, kind, true);
		return box->volumes[kind];
	}
	box->volumes[kind] = files_volume_new(box->id, kind);
	if (!box->volumes[kind])
		return NULL;
	files_volume_set_owner(box->volumes[kind], box->uid, box->gid, box->mode);
	if (kind == FILES_WORKSPACE)
		mounts_veil(box);
	volume_ground(box, kind, true);
	return box->volumes[kind];
}

void box_volumes_starting(struct box *box)
{
	if (box->volumes[FILES_WORKSPACE] && moves_files(box))
		volume_ground(box, FILES_WORKSPACE, false);
}

static void volumes_moved(struct box *box)
{
	for (int kind = 0; kind < 2; kind++) {
		if (box->volumes[kind])
			volume_ground(box, kind, false);
	}
}

void box_volumes_live(struct box *box, int workspace, int root)
{
	int old_workspace = box->live_root[FILES_WORKSPACE], old_root = box->live_root[FILES_ROOT];

	box->live_root[FILES_WORKSPACE] = workspace;
	box->live_root[FILES_ROOT] = root;
	volumes_moved(box);
	/* The last close of an overlay writes to disk what is dirty there, which may take seconds. */
	daemon_close_later(old_workspace);
	daemon_close_later(old_root);
}

void box_volumes_stopped(struct box *box)
{
	box_volumes_live(box, -1, -1);
}

/* For those who stayed in files/ when the box stopped, and look up no name that leads there. */
void box_ground_now(struct box *box)
{
	pthread_mutex_lock(&box->lock);
	if (box->ground_due && box->volumes[FILES_WORKSPACE] && !box->gone)
		volume_ground(box, FILES_WORKSPACE, true);
	pthread_mutex_unlock(&box->lock);
}

/* --- janitor ---------------------------------------------------------------------------------------- */

void box_reset_now(struct box *box)
{
	struct park *ready;
	int r;

	pthread_mutex_lock(&box->lock);
	if (!box->after_stop_reset || box->keeper || box->removed) {
		pthread_mutex_unlock(&box->lock);
		return;
	}
	pthread_mutex_unlock(&box->lock);
	r = store_reset(box); /* slow; box->after_stop_reset keeps others from starting it */
	pthread_mutex_lock(&box->lock);
	box->after_stop_reset = false;
	if (r < 0)
		box_set_state(box, BOX_FAILED, "reset: could not remove its system's changes");
	else if (box->after_stop_start && !box->removed)
		keeper_start(box);
	box->after_stop_start = false;
	for (struct park *p = box->parks.first; p; p = p->next)
		p->done = true;
	ready = park_collect(&box->parks, 0, NULL);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
}

/* A keeper that was killed could not take its cgroup away; without locks. */
static void remove_cgroup(const struct box *box)
{
	char program[4096], cgroup[128],
		*argv[] = { KEEPER_PROGRAM, "--remove-cgroup", cgroup, NULL };
	char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	pid_t pid;

	keeper_cgroup_name(box, cgroup, sizeof(cgroup));
	if (daemon_helper(KEEPER_PROGRAM, program, sizeof(program)) < 0 ||
	    posix_spawn(&pid, program, NULL, NULL, argv, envp) != 0) {
		log_warn("box %u: could not remove its cgroup", box->id);
		return;
	}
	/* ECHILD: the event thread was faster, which is as good. */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void box_clean_at_start(struct box *box)
{
	remove_cgroup(box);
	log_end_lost(box);
}

void box_clean_now(struct box *box)
{
	struct park *ready;

	remove_cgroup(box);
	pthread_mutex_lock(&box->lock);
	log_end_lost(box);
	keeper_block_free(box);
	box->cleaning = false;
	if (box->after_stop_reset)
		daemon_later(box, box_reset_now);
	if (box->after_stop_start && !box->keeper && !box->removed && !box->after_stop_reset) {
		box->after_stop_start = false;
		keeper_start(box);
	}
	ready = park_collect(&box->parks, 0, NULL);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	daemon_kick(); /* the trash may have waited for it */
}
