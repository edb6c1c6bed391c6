/* SPDX-License-Identifier: MIT */
/*
 * What a box's folder keeps of the buckets mounted in it: one file, BOX_MOUNTS, with what was asked
 * for. No secret is in it. A garbled file costs what it held, and nothing else. No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "mount.h"
#include "runtime.h"
#include "store.h"

#define BOX_MOUNTS "mounts"

enum { MAX_MOUNTS_FILE = 4 << 20 };

int store_mounts_save(const struct box *box)
{
	_cleanup_text_ struct text t = { 0 };
	_cleanup_close_ int dir = -1;

	for (const struct box_mount *m = box->mounts; m; m = m->next) {
		if (!m->stored)
			continue;
		record_add(&t, "mount", m->name);
		if (m->set.by_root)
			record_add(&t, "by_root", "yes");
		mount_settings_each(&m->set, &t, record_add);
	}
	record_add(&t, "end", "mounts");
	if (t.failed)
		return -ENOMEM;
	dir = store_box_dir(box);
	return dir < 0 ? dir : write_file_at(dir, BOX_MOUNTS, t.data, t.len, 0);
}

struct mounts_reader {
	struct box *box;
	struct box_mount *(*make)(struct box *box, const char *name);
	struct box_mount *mount;
};

static int mount_line(void *ctx, const char *key, const char *value)
{
	struct mounts_reader *reader = ctx;

	if (!strcmp(key, "end"))
		return 0;
	if (!strcmp(key, "mount")) {
		if (!name_is_valid(value) || mount_by_name(reader->box, value))
			return -EINVAL;
		reader->mount = reader->make(reader->box, value);
		if (!reader->mount)
			return -ENOMEM;
		reader->mount->stored = true;
		return 0;
	}
	return reader->mount ? mount_settings_line(&reader->mount->set, key, value) : -EINVAL;
}

void store_mounts_load(struct box *box,
		       struct box_mount *(*make)(struct box *box, const char *name))
{
	struct mounts_reader reader = { .box = box, .make = make };
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_free_ char *data = NULL;
	int line = 0;
	int r = dir < 0 ? dir : read_file_at(dir, BOX_MOUNTS, MAX_MOUNTS_FILE, &data, NULL);

	if (r == 0)
		r = record_parse(data, mount_line, &reader, &line);
	if (r < 0 && r != -ENOENT)
		log_warn("box %u: what is mounted in it (" BOX_MOUNTS ", line %d) cannot be read: "
			 "%s",
			 box->id, line, strerror(-r));
	for (struct box_mount *m = box->mounts, *next; m; m = next) {
		next = m->next;
		m->stored = m->set.source && m->set.target;
		mount_drop_draft(box, m);
	}
}

/* The folder of what is on its way, below the box's. */
static void spool_path(const char *name, char path[128])
{
	snprintf(path, 128, BOX_BUCKETS "/%s", name);
}

bool store_mount_is_dirty(const struct box *box, const char *name)
{
	_cleanup_close_ int dir = store_box_dir(box), fd = -1;
	_cleanup_closedir_ DIR *entries = NULL;
	const struct dirent *e;
	char path[128];

	spool_path(name, path);
	fd = dir < 0 ? -1 : openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	entries = fd < 0 ? NULL : fdopendir(fd);
	if (!entries)
		return false;
	take_fd(&fd);
	while ((e = readdir(entries))) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			return true;
	}
	return false;
}

void store_mount_clear(const struct box *box, const char *name)
{
	_cleanup_close_ int dir = store_box_dir(box);
	char path[128];

	spool_path(name, path);
	if (dir >= 0 && unlinkat(dir, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warn("box %u: %s: %s", box->id, path, strerror(errno));
}
