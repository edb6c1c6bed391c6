/* SPDX-License-Identifier: MIT */
/*
 * The state directory and the boxes' settings. Must not know what a box does. A change is written
 * to a temporary file and renamed, so a crash leaves the old or the new text. No locks.
 */
#include "session.h"
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "disk/disk.h"

#define LIMIT_KEY "limit."

enum { STORE_FORMAT = 1, ID_CHUNK = 256, MAX_META = 1 << 22 };

static int state_dir = -1, boxes_dir = -1, trash_dir = -1, lock_file = -1;
static char *state_path;
static uint32_t last_id, reserved_id;
static pthread_mutex_t id_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- the directory ------------------------------------------------------------------------- */

static int make_path(const char *path)
{
	char copy[4096];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int subdir(const char *name)
{
	int fd;

	if (mkdirat(state_dir, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(state_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int take_lock(int64_t wait_ms, pid_t *holder)
{
	int64_t deadline = monotonic_ms() + wait_ms;

	lock_file = openat(state_dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock_file < 0)
		return -errno;
	for (;;) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		if (fcntl(lock_file, F_SETLK, &lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (monotonic_ms() >= deadline) {
			if (fcntl(lock_file, F_GETLK, &lock) == 0)
				*holder = lock.l_pid;
			return -EBUSY;
		}
		usleep(20000);
	}
}

static int read_number(const char *file, const char *key, uint64_t fallback, uint64_t *out)
{
	_cleanup_free_ char *data = NULL;
	char *eq;
	int r = read_file_at(state_dir, file, 4096, &data, NULL);

	*out = fallback;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	eq = strchr(data, '=');
	if (!eq || strncmp(data, key, strlen(key)))
		return -EINVAL;
	return parse_u64(text_strip(eq + 1), 0, UINT32_MAX, out);
}

static int write_number(const char *file, const char *key, uint64_t value)
{
	_cleanup_text_ struct text t = { 0 };

	record_add_u64(&t, key, value);
	return t.failed ? -ENOMEM : write_file_at(state_dir, file, t.data, t.len, 1);
}

static int check_format(const char *path, struct options_error *err)
{
	uint64_t format;
	int r = read_number("format", "format", 0, &format);

	if (r < 0) {
		snprintf(err->text, sizeof(err->text),
			 "%s/format does not say which format this state has; is it a state "
			 "directory "
			 "of sandboxfs?",
			 path);
		return r;
	}
	if (format > STORE_FORMAT) {
		snprintf(
			err->text, sizeof(err->text),
			"%s was written by a newer sandboxfs (format %llu, this one knows %d): use "
			"the newer program, or another state_dir",
			path, (unsigned long long)format, STORE_FORMAT);
		return -EINVAL;
	}
	if (format == STORE_FORMAT)
		return 0;
	return write_number("format", "format", STORE_FORMAT);
}

/* The highest number that any folder bears, or that was handed out before. */
static void note_id(uint32_t id, bool removed)
{
	(void)removed;
	last_id = MAX(last_id, id);
}

int store_open(const char *path, int64_t wait_ms, struct options_error *err)
{
	uint64_t reserved;
	pid_t holder = 0;
	int r;

	state_path = strdup(path);
	r = state_path ? make_path(path) : -ENOMEM;
	if (r == 0) {
		state_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = state_dir < 0 ? -errno : 0;
	}
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "state_dir %s: %s", path, strerror(-r));
		return r;
	}
	r = take_lock(wait_ms, &holder);
	if (r == -EBUSY)
		snprintf(err->text, sizeof(err->text),
			 "%s is in use by another sandboxfs (pid %d): stop it, or give this one a "
			 "state_dir of its own",
			 path, holder);
	else if (r == 0)
		r = check_format(path, err);
	if (r < 0) {
		if (!err->text[0])
			snprintf(err->text, sizeof(err->text), "%s/lock: %s", path, strerror(-r));
		return r;
	}
	boxes_dir = subdir("boxes");
	trash_dir = subdir("trash");
	r = MIN(boxes_dir, trash_dir);
	if (r >= 0)
		r = read_number("last_box", "last_box", 0, &reserved);
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "%s: %s", path, strerror(-r));
		return r;
	}
	store_each(false, note_id);
	store_each(true, note_id);
	last_id = MAX(last_id, (uint32_t)reserved);
	reserved_id = last_id;
	return 0;
}

int store_check_ids(uid_t uid_base, struct options_error *err)
{
	uint64_t noted;
	int r = read_number("uid_base", "uid_base", 0, &noted);

	if (r == 0 && !noted)
		r = write_number("uid_base", "uid_base", uid_base);
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "%s/uid_base: %s", state_path, strerror(-r));
		return r;
	}
	if (!noted || noted == uid_base)
		return 0;
	snprintf(
		err->text, sizeof(err->text),
		"the files of boxes in %s belong to ids from %llu on: set uid_base to that, or use "
		"another state_dir",
		state_path, (unsigned long long)noted);
	return -EINVAL;
}

void store_close(void)
{
	close_fd(&boxes_dir);
	close_fd(&trash_dir);
	close_fd(&state_dir);
	close_fd(&lock_file);
	free(state_path);
	state_path = NULL;
}

int store_lock_holder(const char *path)
{
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CLOEXEC);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

const char *store_path(void)
{
	return state_path;
}

uint32_t store_new_id(void)
{
	uint32_t id = 0;
	int r = 0;

	pthread_mutex_lock(&id_lock);
	if (last_id == reserved_id && last_id + ID_CHUNK <= NODE_MAX_BOX) {
		r = write_number("last_box", "last_box", last_id + ID_CHUNK);
		if (r == 0)
			reserved_id = last_id + ID_CHUNK;
	}
	if (r == 0 && last_id < reserved_id)
		id = ++last_id;
	pthread_mutex_unlock(&id_lock);
	if (!id)
		errno = r < 0 ? -r : ENOSPC;
	return id;
}

/* --- a box's folder ------------------------------------------------------------------------ */

static int parent_dir(const struct box *box)
{
	return box->removed ? trash_dir : boxes_dir;
}

static const char *folder(const struct box *box, char name[16])
{
	snprintf(name, 16, "%u", box->id);
	return name;
}

int store_box_dir(const struct box *box)
{
	char name[16];
	int fd = openat(parent_dir(box), folder(box, name),
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static void limits_text(const struct box *box, struct text *t)
{
	for (int i = 0; i < N_LIMITS; i++) {
		char key[32], value[32];

		snprintf(key, sizeof(key), LIMIT_KEY "%s", limit_types[i].name);
		if (box->limits.of[i])
			record_add(t, key, limit_format((enum limit)i, box->limits.of[i], value));
	}
}

int store_files_dir(const struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);

	return dir < 0 ? dir : disk_open(dir);
}

int store_disk_method(enum disk_method wanted, char *why)
{
	return disk_choose(boxes_dir, wanted, why);
}

static void meta_text(const struct box *box, struct text *t)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", box->mode);
	record_add(t, "name", box->name);
	record_add_u64(t, "uid", box->uid);
	record_add_u64(t, "gid", box->gid);
	record_add(t, "mode", mode);
	record_add(t, "image", box->image);
	record_add_u64(t, "created", box->created_us);
	record_add_u64(t, "removed", box->removed_us);
	record_add(t, "state", box_state_word(box->state));
	record_add_u64(t, "block", box->block);
	record_add_u64(t, "last_run", box->last_run);
	record_add(t, "token", box->token);
	record_add(t, "image_key", box->image_key);
	record_add(t, "cwd", box->sessions->cwd);
	record_add(t, "network", box->net_private ? "private" : "none");
	record_add_u64(t, "network_chosen", box->net_chosen);
	record_add(t, "allow", box->net_allow);
	record_add(t, "deny", box->net_deny);
	record_add_u64(t, "bandwidth", box->net_bandwidth);
	if (box->failed_why[0])
		record_add(t, "failed", box->failed_why);
	limits_text(box, t);
	env_record(&box->sessions->env, t);
	/* A reader that does not find this line last knows that the file was cut. */
	record_add(t, "end", "meta");
}

static int save_in(int dir, const struct box *box)
{
	_cleanup_text_ struct text t = { 0 };

	meta_text(box, &t);
	return t.failed ? -ENOMEM : write_file_at(dir, BOX_META, t.data, t.len, 0);
}

int store_save(const struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);

	return dir < 0 ? dir : save_in(dir, box);
}

/* Made under a temporary name and renamed: a crash leaves none or a whole one. */
int store_create(const struct box *box, uid_t storage_id)
{
	_cleanup_close_ int dir = -1;
	char name[16], temp[24];
	int r = 0;

	snprintf(temp, sizeof(temp), "%s~", folder(box, name));
	if (mkdirat(boxes_dir, temp, 0700) < 0)
		return -errno;
	dir = openat(boxes_dir, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || mkdirat(dir, "workspace", 0755) < 0 || mkdirat(dir, "runs", 0700) < 0 ||
	    fchownat(dir, "workspace", storage_id, storage_id, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0)
		r = disk_new_project(
			dir, hash_u64(hash_bytes(state_path, strlen(state_path)) + box->id));
	if (r == 0)
		r = save_in(dir, box);
	if (r == 0 && renameat(boxes_dir, temp, boxes_dir, name) < 0)
		r = -errno;
	if (r < 0)
		remove_tree_at(boxes_dir, temp);
	return r;
}

int store_move(const struct box *box)
{
	char name[16];
	int from = box->removed ? boxes_dir : trash_dir, to = parent_dir(box);

	folder(box, name);
	return renameat(from, name, to, name) < 0 ? -errno : 0;
}

int store_delete(const struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);
	uint32_t project = dir < 0 ? 0 : disk_project(dir);
	char name[16];
	int r = remove_tree_at(trash_dir, folder(box, name));

	if (r == 0)
		disk_drop_project(trash_dir, project);
	return r;
}

int store_reset(const struct box *box)
{
	_cleanup_close_ int dir = store_files_dir(box);

	return dir < 0 ? dir : remove_tree_at(dir, "system");
}

int store_each(bool removed, void (*fn)(uint32_t id, bool removed))
{
	int parent = removed ? trash_dir : boxes_dir;
	_cleanup_close_ int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir)
		return -errno;
	take_fd(&fd);
	while ((e = readdir(dir))) {
		uint64_t id;

		if (parse_u64(e->d_name, 1, NODE_MAX_BOX, &id) == 0)
			fn((uint32_t)id, removed);
		else if (e->d_name[strlen(e->d_name) - 1] == '~')
			remove_tree_at(parent, e->d_name); /* half-made when we died */
	}
	return 0;
}

struct meta_reader {
	struct box *box;
	bool whole;
};

static int take_string(char *field, size_t size, const char *value)
{
	return snprintf(field, size, "%s", value) < (int)size ? 0 : -EINVAL;
}

/* 1: it was one of the network's. */
static int network_line(struct box *box, const char *key, const char *value)
{
	int r = 1;

	if (!strcmp(key, "network"))
		box->net_private = !strcmp(value, "private");
	else if (!strcmp(key, "network_chosen"))
		box->net_chosen = !strcmp(value, "1");
	else if (!strcmp(key, "allow"))
		r = string_replace(&box->net_allow, value) < 0 ? -ENOMEM : 1;
	else if (!strcmp(key, "deny"))
		r = string_replace(&box->net_deny, value) < 0 ? -ENOMEM : 1;
	else if (!strcmp(key, "bandwidth"))
		r = parse_u64(value, 0, UINT64_MAX, &box->net_bandwidth) < 0 ? -EINVAL : 1;
	else
		r = 0;
	return r;
}

/* One of a newer version is left alone. */
static int limit_line(struct box *box, const char *name, const char *value)
{
	int which = limit_find(name);

	if (which < 0)
		return 0;
	return limit_parse((enum limit)which, value, &box->limits.of[which]) < 0 ? -EINVAL : 0;
}

static int meta_line(void *ctx, const char *key, const char *value)
{
	struct meta_reader *reader = ctx;
	struct box *box = reader->box;
	uint64_t n = 0;
	int r = parse_u64(value, 0, INT64_MAX, &n), network;
	const struct {
		const char *key;
		char *field;
		size_t size;
	} strings[] = {
		{ "name", box->name, sizeof(box->name) },
		{ "image", box->image, sizeof(box->image) },
		{ "token", box->token, sizeof(box->token) },
		{ "image_key", box->image_key, sizeof(box->image_key) },
		{ "failed", box->failed_why, sizeof(box->failed_why) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		if (!strcmp(key, strings[i].key))
			return take_string(strings[i].field, strings[i].size, value);
	}
	if (env_record_line(&box->sessions->env, key, value))
		return 0;
	if (!strcmp(key, "cwd"))
		return string_replace(&box->sessions->cwd, value);
	network = network_line(box, key, value);
	if (network)
		return MIN(network, 0);
	if (!strncmp(key, LIMIT_KEY, strlen(LIMIT_KEY)))
		return limit_line(box, key + strlen(LIMIT_KEY), value);
	if (!strcmp(key, "end")) {
		reader->whole = true;
		return 0;
	}
	if (!strcmp(key, "state")) {
		for (int s = 0; s < N_BOX_STATES; s++) {
			if (!strcmp(value, box_state_word(s)))
				box->state = s;
		}
		return 0;
	}
	if (!strcmp(key, "mode")) {
		box->mode = strtoul(value, NULL, 8) & 0777;
		return 0;
	}
	if (r < 0)
		return -EINVAL;
	if (!strcmp(key, "uid"))
		box->uid = (uid_t)n;
	else if (!strcmp(key, "gid"))
		box->gid = (gid_t)n;
	else if (!strcmp(key, "created"))
		box->created_us = (int64_t)n;
	else if (!strcmp(key, "removed"))
		box->removed_us = (int64_t)n;
	else if (!strcmp(key, "block"))
		box->block = (uint32_t)n;
	else if (!strcmp(key, "last_run"))
		box->last_run = n;
	return 0; /* a key of a newer minor version */
}

int store_load(struct box *box, char *why, size_t why_size)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_free_ char *data = NULL;
	struct meta_reader reader = { .box = box };
	int line = 0;
	int r = dir < 0 ? dir : read_file_at(dir, BOX_META, MAX_META, &data, NULL);

	if (r == 0)
		r = record_parse(data, meta_line, &reader, &line);
	if (r == 0 && (!reader.whole || !name_is_valid(box->name)))
		r = -EINVAL;
	if (r < 0)
		snprintf(why, why_size, "its settings (boxes/%u/%s, line %d) cannot be read: %s",
			 box->id, BOX_META, line, r == -EINVAL ? "garbled" : strerror(-r));
	return r;
}

bool store_keeper_lives(const struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_close_ int fd =
		dir < 0 ? -1 : openat(dir, KEEPER_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}
