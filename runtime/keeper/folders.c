/* SPDX-License-Identifier: MIT */
/*
 * runs/: making and removing run folders. Only we write below it, so names in it are trusted; it
 * may be large, so it is listed only when something is to be removed. One thread, no locks.
 */
#include "keeper/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/text.h"
#include "runtime.h"

#define SPARE_NAME ".next"

enum {
	EVICT_SLACK = 16, /* and a quarter of keep may gather while commands follow each other, */
	EVICT_IDLE_MS = 500, /* and until none has ended for so long */
	SCRIPT_KEPT = 4096,  /* of an old script's file, for the next one */
	NUMBER_SIZE = 24,
};

static const char *const file_names[N_STREAMS] = { RUN_OUT, RUN_ERR };
static const char *const all_names[] = { RUN_SCRIPT, RUN_OUT,  RUN_ERR,
					 RUN_ORDER,  RUN_GAPS, RUN_RECORD };

static const char *number_name(char name[NUMBER_SIZE], uint64_t number)
{
	snprintf(name, NUMBER_SIZE, "%llu", (unsigned long long)number);
	return name;
}

void run_folder_init(struct run_folder *folder)
{
	folder->dir = folder->record = folder->order = folder->gaps = -1;
}

void run_folder_close(struct run_folder *folder)
{
	close_fd(&folder->dir);
	close_fd(&folder->record);
	close_fd(&folder->order);
	close_fd(&folder->gaps);
}

int run_folder_open_stream(const struct run_folder *folder, enum stream which)
{
	int fd = openat(folder->dir, file_names[which], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			0600);

	return fd < 0 ? -errno : fd;
}

int run_folder_open_order(struct run_folder *folder)
{
	int fd = openat(folder->dir, RUN_ORDER,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

int run_folder_write_record(const struct run_folder *folder, struct text *record)
{
	ssize_t n;

	record_seal(record);
	if (record->failed)
		return -ENOMEM;
	/* In place, over a longer one perhaps: the seal tells a reader where it ends. */
	n = pwrite(folder->record, record->data, record->len, 0);
	if (n < 0)
		return -errno;
	return (size_t)n == record->len ? 0 : -ENOSPC;
}

static void remove_named(struct folders *folders, const char *name)
{
	_cleanup_close_ int dir =
		openat(folders->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(all_names); i++)
		unlinkat(dir, all_names[i], 0);
	if (unlinkat(folders->dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		remove_tree_at(folders->dir, name);
}

void folders_remove(struct folders *folders, uint64_t number)
{
	char name[NUMBER_SIZE];

	remove_named(folders, number_name(name, number));
}

static int open_folder(int parent, const char *name, struct run_folder *out)
{
	out->dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out->dir < 0)
		return -errno;
	out->record =
		openat(out->dir, RUN_RECORD, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return out->record < 0 ? -errno : 0;
}

/* Takes the oldest of what is to go from under its number. False: there is none any more. */
static bool spare_take_old(struct folders *folders)
{
	while (folders->n_evict) {
		uint64_t number = folders->evict[--folders->n_evict];
		char name[NUMBER_SIZE];

		if (folders->is_live(folders, number))
			continue;
		if (renameat2(folders->dir, number_name(name, number), folders->dir, SPARE_NAME,
			      RENAME_NOREPLACE) == 0)
			return true;
		if (errno != ENOENT) /* the daemon has removed it */
			break;
	}
	return false;
}

/* Old or new: nothing in it may tell of another run. */
static int spare_open(struct folders *folders)
{
	static const char *const of_one_run[] = { RUN_OUT, RUN_ERR, RUN_ORDER, RUN_GAPS };
	struct run_folder *spare = &folders->spare;
	_cleanup_text_ struct text nothing = { 0 };
	int r = open_folder(folders->dir, SPARE_NAME, spare);
	struct stat st;

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(of_one_run); i++) {
		if (unlinkat(spare->dir, of_one_run[i], 0) < 0 && errno != ENOENT)
			return -errno;
	}
	folders->spare_script =
		openat(spare->dir, RUN_SCRIPT, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (folders->spare_script < 0 || fstat(folders->spare_script, &st) < 0)
		return -errno;
	folders->spare_script_size = MIN((uint64_t)st.st_size, (uint64_t)SCRIPT_KEPT);
	if (st.st_size > SCRIPT_KEPT && ftruncate(folders->spare_script, SCRIPT_KEPT) < 0)
		return -errno;
	return run_folder_write_record(spare, &nothing);
}

static void spare_drop(struct folders *folders)
{
	close_fd(&folders->spare_script);
	run_folder_close(&folders->spare);
	remove_named(folders, SPARE_NAME);
}

static int spare_make(struct folders *folders)
{
	int r;

	if (folders->spare_script >= 0)
		return 0;
	if (!spare_take_old(folders) && mkdirat(folders->dir, SPARE_NAME, 0700) < 0) {
		if (errno != EEXIST)
			return -errno;
		/* Left by a keeper that was killed. */
		remove_named(folders, SPARE_NAME);
		if (mkdirat(folders->dir, SPARE_NAME, 0700) < 0)
			return -errno;
	}
	r = spare_open(folders);
	if (r < 0)
		spare_drop(folders);
	return r;
}

static void spare_task_run(struct loop_task *task)
{
	/* What stands in the way is met again, and reported, by the next folders_make(). */
	spare_make(container_of(task, struct folders, spare_task));
}

int folders_make(struct folders *folders, uint64_t number, const char *script, size_t len,
		 struct run_folder *out)
{
	char name[NUMBER_SIZE];
	int r = spare_make(folders);

	if (r < 0)
		return r;
	r = write_full(folders->spare_script, script, len);
	if (r == 0 && folders->spare_script_size > len &&
	    ftruncate(folders->spare_script, (off_t)len) < 0)
		r = -errno;
	if (r == 0 && renameat2(folders->dir, SPARE_NAME, folders->dir, number_name(name, number),
				RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		spare_drop(folders);
		return r;
	}
	close_fd(&folders->spare_script);
	*out = folders->spare;
	run_folder_init(&folders->spare);
	folders->newest = MAX(folders->newest, number);
	loop_task_add(folders->loop, &folders->spare_task);
	return 0;
}

int folders_reopen(struct folders *folders, uint64_t number, struct run_folder *out)
{
	char name[NUMBER_SIZE];
	int r;

	run_folder_init(out);
	r = open_folder(folders->dir, number_name(name, number), out);
	if (r < 0)
		run_folder_close(out);
	return r;
}

int folders_dir(struct folders *folders, uint64_t number)
{
	char name[NUMBER_SIZE];
	int fd = openat(folders->dir, number_name(name, number),
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int compare_descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

int folders_list(struct folders *folders, bool (*skip)(struct folders *folders, uint64_t number),
		 uint64_t **out, size_t *n_out)
{
	int fd = openat(folders->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	_cleanup_free_ uint64_t *numbers = NULL;
	size_t n = 0, size = 0;
	struct dirent *e;

	if (!dir) {
		close_fd(&fd);
		return -errno;
	}
	while ((e = readdir(dir))) {
		uint64_t number;

		/* What the daemon was removing when it died, or is removing. */
		if (!strncmp(e->d_name, RUN_GONE_PREFIX, strlen(RUN_GONE_PREFIX)))
			remove_named(folders, e->d_name);
		if (parse_u64(e->d_name, 1, UINT64_MAX, &number) < 0)
			continue;
		folders->newest = MAX(folders->newest, number);
		if (skip(folders, number))
			continue;
		if (n == size) {
			uint64_t *more = realloc(numbers, (size + 256) * sizeof(*numbers));

			if (!more)
				return -ENOMEM;
			numbers = more;
			size += 256;
		}
		numbers[n++] = number;
	}
	if (n)
		qsort(numbers, n, sizeof(*numbers), compare_descending);
	*out = take_ptr(numbers);
	*n_out = n;
	return 0;
}

/*
 * How many more than keep may be there at present before some are to go. They stay until new runs
 * have taken them, so half of what may gather at the most.
 */
static uint64_t slack(const struct folders *folders)
{
	return folders->idle ? 0 : (folders->keep / 4 + EVICT_SLACK) / 2;
}

static bool too_many(const struct folders *folders)
{
	return folders->n_ended > folders->keep + slack(folders);
}

/* Makes the list of what goes: all but the newest keep ended runs. */
static void evict_plan(struct folders *folders)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	size_t n = 0, keep = (size_t)MIN(folders->keep, (uint64_t)SIZE_MAX), n_evict = 0;

	folders->scanned = folders_list(folders, folders->is_live, &numbers, &n) == 0;
	folders->n_ended = n; /* none if it failed: the next end tries again */
	if (!too_many(folders))
		return;
	for (size_t i = keep; i < n; i++) {
		if (numbers[i] != folders->newest)
			numbers[n_evict++] = numbers[i];
	}
	free(folders->evict);
	folders->evict = take_ptr(numbers);
	folders->n_evict = n_evict;
	folders->n_ended = n - n_evict;
	if (folders->before_removal)
		folders->before_removal(folders, folders->evict, n_evict);
}

/* Removing waits for a pause; until then new runs take what is to go, one each. */
static void evict_task_run(struct loop_task *task)
{
	struct folders *folders = container_of(task, struct folders, evict_task);

	if (!folders->n_evict)
		evict_plan(folders);
	if (folders->n_evict > slack(folders)) {
		uint64_t number = folders->evict[--folders->n_evict];

		if (!folders->is_live(folders, number))
			folders_remove(folders, number);
	}
	if (folders->n_evict > slack(folders) || (!folders->n_evict && too_many(folders)))
		loop_task_add(folders->loop, task);
}

static void evict_timer_fire(struct loop_timer *timer)
{
	struct folders *folders = container_of(timer, struct folders, evict_timer);

	folders->idle = true;
	if (folders->n_evict || too_many(folders))
		loop_task_add(folders->loop, &folders->evict_task);
}

void folders_note_ended(struct folders *folders)
{
	folders->n_ended++;
	folders->idle = false;
	if (!folders->scanned || (too_many(folders) && !folders->n_evict))
		loop_task_add(folders->loop, &folders->evict_task);
	loop_timer_set(folders->loop, &folders->evict_timer, EVICT_IDLE_MS);
}

int folders_open(struct folders *folders, struct loop *loop, int box_dir, uint64_t keep)
{
	*folders = (struct folders){ .loop = loop, .keep = keep, .spare_script = -1 };
	run_folder_init(&folders->spare);
	folders->spare_task.run = spare_task_run;
	folders->evict_task.run = evict_task_run;
	folders->evict_timer.fire = evict_timer_fire;
	if (mkdirat(box_dir, "runs", 0700) < 0 && errno != EEXIST)
		return -errno;
	folders->dir = openat(box_dir, "runs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folders->dir < 0)
		return -errno;
	loop_task_add(loop, &folders->spare_task);
	return 0;
}

void folders_close(struct folders *folders)
{
	loop_task_cancel(folders->loop, &folders->spare_task);
	loop_task_cancel(folders->loop, &folders->evict_task);
	loop_timer_clear(folders->loop, &folders->evict_timer);
	spare_drop(folders);
	free(folders->evict);
	close_fd(&folders->dir);
}
