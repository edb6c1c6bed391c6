/* SPDX-License-Identifier: MIT */
/*
 * What a box's folder keeps of sessions (one file, BOX_SESSIONS) and of runs' names (a file each in
 * BOX_NAMES, by number): what was asked for from outside, so that it is there after the box's and
 * the daemon's next start. A garbled file costs what it held, and nothing else. No locks.
 */
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
#include "base/log.h"
#include "log_index.h"
#include "named.h"
#include "session.h"
#include "store.h"

#define BOX_SESSIONS "sessions"
#define BOX_NAMES "names"

/* A byte of a value may take four in the file. That of the sessions is written anew at each change,
 * while a request waits, and is kept small. */
enum { MAX_SESSIONS_FILE = SESSIONS_BYTES, MAX_NAME_FILE = 4 * ENV_MAX_BYTES + (256 << 10) };

/* --- sessions ------------------------------------------------------------------------------- */

static void session_record(const struct session *s, struct text *t)
{
	record_add_u64(t, "session", s->id);
	record_add(t, "name", s->name);
	if (s->user[0])
		record_add(t, "user", s->user);
	record_add(t, "cwd", s->cwd);
	env_record(&s->env, t);
}

int store_sessions_save(const struct box *box)
{
	_cleanup_text_ struct text t = { 0 };
	_cleanup_close_ int dir = -1;

	record_add_u64(&t, "last", box->last_session);
	for (const struct session *s = box->sessions->next; s; s = s->next)
		session_record(s, &t);
	if (t.failed)
		return -ENOMEM;
	if (t.len > MAX_SESSIONS_FILE)
		return -EDQUOT;
	dir = store_box_dir(box);
	return dir < 0 ? dir : write_file_at(dir, BOX_SESSIONS, t.data, t.len, 0);
}

void store_session_log_remove(const struct box *box, const char *key)
{
	_cleanup_close_ int dir = store_box_dir(box);

	if (dir >= 0)
		log_index_remove(dir, key);
}

struct sessions_reader {
	struct box *box;
	struct session *session;
	uint32_t id;
};

static int session_line(void *ctx, const char *key, const char *value)
{
	struct sessions_reader *reader = ctx;
	struct session *s = reader->session;
	uint64_t id = 0;

	if (!strcmp(key, "last") || !strcmp(key, "session")) {
		if (parse_u64(value, 0, NODE_MAX_ITEM, &id) < 0)
			return -EINVAL;
		reader->box->last_session = MAX(reader->box->last_session, (uint32_t)id);
		reader->id = (uint32_t)id;
		reader->session = NULL;
	} else if (!strcmp(key, "name")) {
		reader->session = session_restore(reader->box, reader->id, value);
		return reader->session ? 0 : -EINVAL;
	} else if (s && !strcmp(key, "user")) {
		snprintf(s->user, sizeof(s->user), "%s", value);
	} else if (s && !strcmp(key, "cwd")) {
		return string_replace(&s->cwd, value);
	} else if (s) {
		return MIN(env_record_line(&s->env, key, value), 0);
	}
	return 0;
}

void store_sessions_load(struct box *box)
{
	struct sessions_reader reader = { .box = box };
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_free_ char *data = NULL;
	int line = 0;
	int r = dir < 0 ? dir : read_file_at(dir, BOX_SESSIONS, MAX_SESSIONS_FILE, &data, NULL);

	if (r == 0)
		r = record_parse(data, session_line, &reader, &line);
	if (r < 0 && r != -ENOENT)
		log_warn("box %u: its sessions (line %d) cannot be read: %s", box->id, line,
			 strerror(-r));
	for (struct session *s = box->sessions->next; s; s = s->next)
		env_init(&s->env, !s->user[0]);
}

/* --- names of runs ----------------------------------------------------------------------------- */

static void name_path(uint32_t id, char path[32])
{
	snprintf(path, 32, BOX_NAMES "/%u", id);
}

int store_name_save(const struct box *box, const struct named *named)
{
	_cleanup_text_ struct text t = { 0 };
	_cleanup_close_ int dir = store_box_dir(box);
	char path[32];

	if (dir < 0)
		return dir;
	record_add(&t, "name", named->name);
	record_add_u64(&t, "run", named->run);
	if (named->timeout_ms >= 0)
		record_add_u64(&t, "timeout", (uint64_t)named->timeout_ms);
	if (named->user[0])
		record_add(&t, "user", named->user);
	if (named->cwd)
		record_add(&t, "cwd", named->cwd);
	env_record(&named->env, &t);
	if (t.failed)
		return -ENOMEM;
	if (mkdirat(dir, BOX_NAMES, 0700) < 0 && errno != EEXIST)
		return -errno;
	name_path(named->id, path);
	return write_file_at(dir, path, t.data, t.len, 0);
}

void store_name_remove(const struct box *box, uint32_t id)
{
	_cleanup_close_ int dir = store_box_dir(box);
	char path[32];

	name_path(id, path);
	if (dir >= 0 && unlinkat(dir, path, 0) < 0 && errno != ENOENT)
		log_warn("box %u: %s: %s", box->id, path, strerror(errno));
}

struct name_reader {
	struct box *box;
	struct named *named;
	uint32_t id;
};

static int name_line(void *ctx, const char *key, const char *value)
{
	struct name_reader *reader = ctx;
	struct named *named = reader->named;
	uint64_t n = 0;

	if (!strcmp(key, "name")) {
		reader->named = named_restore(reader->box, reader->id, value);
		return reader->named ? 0 : -EINVAL;
	}
	if (!named)
		return -EINVAL;
	if (!strcmp(key, "run") || !strcmp(key, "timeout")) {
		if (parse_u64(value, 0, INT64_MAX, &n) < 0)
			return -EINVAL;
		if (*key == 'r')
			named->run = n;
		else
			named->timeout_ms = (int64_t)n;
	} else if (!strcmp(key, "user")) {
		snprintf(named->user, sizeof(named->user), "%s", value);
	} else if (!strcmp(key, "cwd")) {
		return string_replace(&named->cwd, value);
	} else {
		return MIN(env_record_line(&named->env, key, value), 0);
	}
	return 0;
}

static void load_name(struct box *box, int dir, const char *file)
{
	struct name_reader reader = { .box = box };
	_cleanup_free_ char *data = NULL;
	uint64_t id;
	int line, r;

	if (parse_u64(file, 1, NODE_MAX_ITEM, &id) < 0)
		return;
	reader.id = (uint32_t)id;
	r = read_file_at(dir, file, MAX_NAME_FILE, &data, NULL);
	if (r == 0)
		r = record_parse(data, name_line, &reader, &line);
	if (r < 0)
		log_warn("box %u: the name of a run (" BOX_NAMES "/%s) cannot be read: %s", box->id,
			 file, strerror(-r));
}

void store_names_load(struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_close_ int fd = -1;
	_cleanup_closedir_ DIR *names = NULL;
	struct dirent *e;

	if (dir < 0)
		return;
	fd = openat(dir, BOX_NAMES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	names = fd < 0 ? NULL : fdopendir(fd);
	if (!names)
		return;
	take_fd(&fd);
	while ((e = readdir(names)))
		load_name(box, dirfd(names), e->d_name);
}
