/* SPDX-License-Identifier: MIT */
/* Records of runs on disk, as keepers write them (runtime.h). No locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "output_gap.h"
#include "store.h"

enum {
	RUN_PATH = 48,
	RECORD_LOOKS = 100,
};

static const char *run_path(char path[RUN_PATH], uint64_t number)
{
	snprintf(path, RUN_PATH, "runs/%llu", (unsigned long long)number);
	return path;
}

/* The box's folder and the run's. */
struct run_dirs {
	int box, run;
};

static void close_dirs(struct run_dirs *dirs)
{
	close_fd(&dirs->box);
	close_fd(&dirs->run);
}

#define _cleanup_dirs_ __attribute__((cleanup(close_dirs)))

static int open_dirs(const struct box *box, uint64_t number, struct run_dirs *dirs)
{
	char path[RUN_PATH];

	dirs->box = store_box_dir(box);
	if (dirs->box < 0)
		return dirs->box;
	dirs->run = openat(dirs->box, run_path(path, number),
			   O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return dirs->run < 0 ? -errno : 0;
}

/* 0 if the folder still is that run's: its keeper may have given it to another one meanwhile, and
 * what was read is the other's. Else -ENOENT. */
static int check_dirs(const struct run_dirs *dirs, uint64_t number)
{
	char path[RUN_PATH];
	struct stat there, ours;

	if (fstat(dirs->run, &ours) < 0 ||
	    fstatat(dirs->box, run_path(path, number), &there, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return there.st_ino == ours.st_ino ? 0 : -ENOENT;
}

void run_usage_clear(struct run_usage *usage)
{
	memset(usage, 0xff, sizeof(*usage));
}

void run_usage_set(struct run_usage *usage, const char *key, uint64_t value)
{
	const struct {
		const char *key;
		uint64_t *field;
	} fields[] = {
		{ "wall", &usage->wall_us },
		{ "cpu_user", &usage->cpu_user_us },
		{ "cpu_system", &usage->cpu_system_us },
		{ "memory_peak", &usage->memory_peak },
		{ "read", &usage->read },
		{ "written", &usage->written },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(key, fields[i].key))
			*fields[i].field = value;
	}
}

static int record_line(void *ctx, const char *key, const char *value)
{
	struct run_record *rec = ctx;
	uint64_t n = 0;

	if (!strcmp(key, "session")) {
		snprintf(rec->session, sizeof(rec->session), "%s", value);
		return 0;
	}
	if (!strcmp(key, "name")) {
		snprintf(rec->name, sizeof(rec->name), "%s", value);
		return 0;
	}
	if (!strcmp(key, "user")) {
		snprintf(rec->user, sizeof(rec->user), "%s", value);
		return 0;
	}
	if (!strcmp(key, "cwd")) {
		snprintf(rec->cwd, sizeof(rec->cwd), "%s", value);
		return 0;
	}
	if (!strcmp(key, "token")) {
		snprintf(rec->token, sizeof(rec->token), "%s", value);
		return 0;
	}
	if (!strcmp(key, "state")) {
		int state = run_state_parse(value);

		rec->state = state < 0 ? RUN_LOST : (enum run_state)state;
		return 0;
	}
	if (!strcmp(key, "timeout_default"))
		return parse_bool(value, &rec->timeout_is_default);
	if (!strcmp(key, "truncated"))
		return parse_bool(value, &rec->truncated);
	if (parse_u64(value, 0, UINT64_MAX, &n) < 0)
		return 0;
	run_usage_set(&rec->usage, key, n);
	if (!strcmp(key, "exit"))
		rec->code = (int)n;
	else if (!strcmp(key, "pid"))
		rec->pid = n;
	else if (!strcmp(key, "started"))
		rec->started_us = (int64_t)n;
	else if (!strcmp(key, "ended"))
		rec->ended_us = (int64_t)n;
	else if (!strcmp(key, "out_end"))
		rec->end_size[STREAM_OUT] = n;
	else if (!strcmp(key, "err_end"))
		rec->end_size[STREAM_ERR] = n;
	else if (!strcmp(key, "timeout"))
		rec->timeout_ms = (int64_t)n;
	return 0;
}

/* The record's text. A keeper that writes it anew is done in a moment, unless it died there. */
static int read_record(int dir, char **data)
{
	int r = 0;

	for (int i = 0; i < RECORD_LOOKS; i++) {
		free(take_ptr(*data));
		r = read_file_at(dir, RUN_RECORD, 65536, data, NULL);
		if (r == 0)
			r = record_unseal(*data);
		if (r != -EAGAIN)
			break;
		sched_yield();
	}
	return r;
}

int store_run_read(const struct box *box, uint64_t number, struct run_record *rec)
{
	_cleanup_dirs_ struct run_dirs dirs = { -1, -1 };
	_cleanup_free_ char *data = NULL;
	int line, r = open_dirs(box, number, &dirs);

	*rec = (struct run_record){ .state = RUN_LOST,
				    .end_size = { UINT64_MAX, UINT64_MAX },
				    .session = DEFAULT_SESSION };
	run_usage_clear(&rec->usage);
	if (r < 0)
		return r;
	if (read_record(dirs.run, &data) == 0 && record_parse(data, record_line, rec, &line) < 0)
		rec->state = RUN_LOST;
	/* Only the living keeper's runs can still be under way. */
	if (!run_state_is_end(rec->state) && (!box->keeper || strcmp(rec->token, box->token)))
		rec->state = RUN_LOST;
	rec->truncated |= output_is_partial(dirs.run);
	return check_dirs(&dirs, number);
}

int store_run_refused(const struct box *box, const struct run *submitted, const void *script,
		      size_t len)
{
	_cleanup_text_ struct text t = { 0 };
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_close_ int run = -1;
	char path[RUN_PATH];
	int64_t now = realtime_us();
	int r;

	if (dir < 0)
		return dir;
	run_path(path, submitted->number);
	if ((mkdirat(dir, "runs", 0700) < 0 && errno != EEXIST) ||
	    (mkdirat(dir, path, 0700) < 0 && errno != EEXIST))
		return -errno;
	run = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (run < 0)
		return -errno;
	record_add(&t, "session", submitted->session);
	record_add(&t, "name", submitted->name);
	record_add(&t, "state", run_state_word(RUN_FAILED));
	record_add_u64(&t, "started", now);
	record_add_u64(&t, "ended", now);
	record_add_u64(&t, "out_end", 0);
	record_add_u64(&t, "err_end", 0);
	record_seal(&t);
	r = t.failed ? -ENOMEM : write_file_at(run, RUN_RECORD, t.data, t.len, 0);
	if (r == 0)
		r = write_file_at(run, RUN_SCRIPT, script, len, 0);
	return r;
}

int store_run_remove(const struct box *box, uint64_t number)
{
	_cleanup_close_ int dir = store_box_dir(box);
	char path[RUN_PATH], gone[RUN_PATH];
	int r;

	if (dir < 0)
		return dir;
	/* From under its number first: its keeper may be about to use the folder for another run. */
	snprintf(gone, sizeof(gone), "runs/" RUN_GONE_PREFIX "%llu", (unsigned long long)number);
	if (renameat(dir, run_path(path, number), dir, gone) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* A handful of files: quick enough for a request. What is left the keeper removes, who may
	 * be at it already. */
	r = remove_tree_at(dir, gone);
	return r == -ENOENT ? 0 : r;
}

int store_run_open(const struct box *box, uint64_t number, const char *file)
{
	_cleanup_dirs_ struct run_dirs dirs = { -1, -1 };
	_cleanup_close_ int fd = -1;
	int r = open_dirs(box, number, &dirs);

	if (r < 0)
		return r;
	fd = openat(dirs.run, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = check_dirs(&dirs, number);
	return r < 0 ? r : take_fd(&fd);
}

uint64_t store_run_gone(const struct box *box, uint64_t number, enum stream which)
{
	_cleanup_close_ int fd = store_run_open(box, number, RUN_GAPS);

	return output_gone(fd, which);
}

int store_run_kept(const struct box *box, uint64_t number, uint64_t *bytes)
{
	_cleanup_dirs_ struct run_dirs dirs = { -1, -1 };
	int r = open_dirs(box, number, &dirs);

	if (r < 0)
		return r;
	*bytes = output_kept(dirs.run);
	return check_dirs(&dirs, number);
}

int store_run_script(const struct box *box, uint64_t number, uint64_t offset, size_t max,
		     struct text *out)
{
	_cleanup_dirs_ struct run_dirs dirs = { -1, -1 };
	_cleanup_text_ struct text script = { 0 };
	_cleanup_close_ int fd = -1;
	int r = open_dirs(box, number, &dirs);
	char buf[65536];
	ssize_t n = 1;

	if (r < 0)
		return r;
	fd = openat(dirs.run, RUN_SCRIPT, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	while (script.len < max && n > 0) {
		n = pread(fd, buf, MIN(sizeof(buf), max - script.len),
			  (off_t)(offset + script.len));
		if (n < 0)
			return -errno;
		text_add(&script, buf, (size_t)n);
		if (script.failed)
			return -ENOMEM;
	}
	r = check_dirs(&dirs, number);
	if (r == 0)
		text_add(out, script.data, script.len);
	return r;
}

int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int store_run_numbers(const struct box *box, uint64_t **numbers, size_t *n)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_close_ int fd = -1;
	_cleanup_closedir_ DIR *runs = NULL;
	struct dirent *e;
	size_t size = 0;

	*numbers = NULL;
	*n = 0;
	if (dir < 0)
		return dir;
	fd = openat(dir, "runs", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	runs = fdopendir(fd);
	if (!runs)
		return -errno;
	take_fd(&fd);
	while ((e = readdir(runs))) {
		uint64_t number;

		if (parse_u64(e->d_name, 1, NODE_MAX_ITEM, &number) < 0)
			continue;
		if (*n == size) {
			uint64_t *bigger = realloc(*numbers, (size = size ? size * 2 : 32) * 8);

			if (!bigger) {
				free(take_ptr(*numbers));
				return -ENOMEM;
			}
			*numbers = bigger;
		}
		(*numbers)[(*n)++] = number;
	}
	if (*n)
		qsort(*numbers, *n, sizeof(**numbers), compare_u64);
	return 0;
}
