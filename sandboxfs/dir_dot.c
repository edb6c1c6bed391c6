/* SPDX-License-Identifier: MIT */
/*
 * .sandboxfs, the mount itself:
 *
 *	version status config events
 *	images/NAME  imported images; cp adds one, rm takes it away
 *	trash/NAME/  removed boxes, till keep_removed has passed; mv brings one back
 *	root/NAME    the filesystems of running boxes; lists nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "events.h"
#include "perm.h"
#include "store.h"
#include "version.h"

static int dot_version_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	text_printf(out, "%s\n", SANDBOXFS_VERSION);
	return 0;
}

struct status_table {
	struct ctx *ctx;
	struct text *out;
};

static int status_line(struct box *box, void *arg)
{
	struct status_table *table = arg;
	struct ps_totals totals = { 0 };
	_cleanup_text_ struct text name = { 0 };
	struct ctx of_box = *table->ctx;
	int64_t idle_ms;
	const char *state;

	of_box.box = box;
	if (!perm_owns(&of_box))
		return 0;
	pthread_mutex_lock(&box->lock);
	text_add_escaped(&name, box->name, strlen(box->name));
	state = box_state_word(box->state);
	idle_ms = !box_is_idle(box) ? 0 : (realtime_us() - box->changed_us) / 1000;
	pthread_mutex_unlock(&box->lock);
	ps_totals(box, &totals);
	text_printf(table->out, "%-24s %-9s %9u %8llu MiB %8.2f s %8lld s\n",
		    name.data ? name.data : "", state, totals.processes,
		    (unsigned long long)totals.memory_bytes >> 20, (double)totals.cpu_ms / 1000,
		    (long long)idle_ms / 1000);
	return 0;
}

/* What the daemon has for itself alone, in bytes; 0 unknown. */
static uint64_t own_memory(void)
{
	_cleanup_close_ int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char line[160], *at = line;
	uint64_t pages[3]; /* size, resident, shared */
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (n <= 0)
		return 0;
	line[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = strtoull(at, &at, 10);
	return pages[1] < pages[2] ? 0 : (pages[1] - pages[2]) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int dot_status_show(struct ctx *ctx, struct text *out)
{
	struct status_table table = { ctx, out };
	struct files_counts files;
	struct park_totals waiting;
	int r;

	text_printf(out, "%-24s %-9s %9s %12s %10s %10s\n", "BOX", "STATE", "PROCESSES", "MEMORY",
		    "CPU", "IDLE");
	r = boxes_each(false, status_line, &table);
	files_count(&files);
	park_total(&waiting);
	text_printf(out, "\nwaiting requests: %llu of %llu, %llu KiB\n",
		    (unsigned long long)waiting.requests,
		    (unsigned long long)the_options.max_waiting,
		    (unsigned long long)waiting.bytes >> 10);
	text_printf(out, "memory of the daemon: %llu KiB\n",
		    (unsigned long long)own_memory() >> 10);
	text_printf(out, "control entries open: %llu\n", (unsigned long long)handles_open());
	text_printf(out, "files: %llu inodes, %llu descriptors, %llu open, %llu locks waiting\n",
		    (unsigned long long)files.inodes, (unsigned long long)files.descriptors,
		    (unsigned long long)files.open_files, (unsigned long long)files.waiting_locks);
	return r;
}

static int dot_config_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	options_show(&the_options, out);
	return 0;
}

static const struct row dot_rows[] = {
	{ "version", S_IFREG | 0444, ROW_SIZED, .show = dot_version_show,
	  .help = "version of the daemon" },
	{ "status", S_IFREG | 0444, .show = dot_status_show,
	  .help = "a table of your boxes (root: of all)" },
	{ "config", S_IFREG | 0400, ROW_SIZED, .show = dot_config_show,
	  .help = "the effective settings" },
	{ "events", S_IFREG | 0444, .ops = &events_ops,
	  .help = "events of your boxes, JSON lines; waits for more" },
	{ "images", S_IFDIR | 0755, .dir = DIR_IMAGES,
	  .help = "what boxes can be made from; cp ARCHIVE images/NAME adds one" },
	{ "trash", S_IFDIR | 0755, .dir = DIR_TRASH, .help = "removed boxes; mv one back" },
	{ "root", S_IFDIR | 0755, .dir = DIR_ROOTS, .help = "where each box's root leads" },
};

const struct dir_type dir_dot = {
	.rows = dot_rows,
	.n_rows = ARRAY_SIZE(dot_rows),
	.mode = 0755,
	.hint = "this directory is the daemon's own",
};

/* --- trash ---------------------------------------------------------------------------------------- */

static int trash_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	_cleanup_box_ struct box *box = box_find_removed(name);
	struct ctx of_box = *ctx;

	of_box.box = box;
	if (!box || !perm_owns(&of_box))
		return -ENOENT;
	*child = (struct child){ .node = { .kind = DIR_TRASHED, .box = box->id } };
	return 0;
}

struct trash_listing {
	struct ctx *ctx;
	struct dir_list *list;
};

static int list_removed(struct box *box, void *arg)
{
	struct trash_listing *listing = arg;
	struct ctx of_box = *listing->ctx;
	char shown[96];

	of_box.box = box;
	if (box->gone || box->removed_us == REMOVED_FOR_GOOD || !perm_owns(&of_box))
		return 0;
	box_trash_name(box, shown);
	dir_list_add(listing->list, shown, (struct node){ .kind = DIR_TRASHED, .box = box->id },
		     S_IFDIR);
	return 0;
}

static int trash_list(struct ctx *ctx, struct dir_list *list)
{
	struct trash_listing listing = { ctx, list };

	return boxes_each(true, list_removed, &listing);
}

/* It is not seen any more, and its files go as soon as nothing of it runs. */
static int trash_rmdir(struct ctx *ctx, const char *name)
{
	_cleanup_box_ struct box *box = box_find_removed(name);
	struct ctx of_box = *ctx;

	of_box.box = box;
	if (!box || !perm_owns(&of_box))
		return -ENOENT;
	pthread_mutex_lock(&box->lock);
	box->removed_us = REMOVED_FOR_GOOD;
	store_save(box);
	pthread_mutex_unlock(&box->lock);
	daemon_kick();
	return 0;
}

const struct dir_type dir_trash = {
	.mode = 0755,
	.lookup = trash_lookup,
	.list = trash_list,
	.rmdir = trash_rmdir,
	.hint = "mv .sandboxfs/trash/NAME NAME brings a box back; rmdir deletes it for good",
};

static const struct row trashed_rows[] = {
	{ "files", S_IFDIR | 0700, .volume = 1 + FILES_WORKSPACE, .help = "its /workspace" },
};

const struct dir_type dir_trashed = {
	.rows = trashed_rows,
	.n_rows = ARRAY_SIZE(trashed_rows),
	.mode = 0700,
	.hint = "mv brings the box back; rmdir deletes it for good",
};

/* --- root ------------------------------------------------------------------------------------------ */

static int roots_lookup(struct ctx *ctx, const char *name, struct child *child)
{
	_cleanup_box_ struct box *box = box_find(name);
	struct ctx of_box = *ctx;
	int r = 0;

	of_box.box = box;
	if (!box)
		return -ENOENT;
	if (perm_box(&of_box, PERM_X) < 0)
		return -EACCES;
	pthread_mutex_lock(&box->lock);
	*child = (struct child){ .node = { .kind = DIR_BOX, .box = box->id } };
	if (box->live_root[FILES_ROOT] < 0)
		r = -ENOENT; /* there is no such filesystem while the box does not run */
	else if (box_volume(box, FILES_WORKSPACE)) /* root shows it, too, and must know it */
		child->volume = box_volume(box, FILES_ROOT);
	pthread_mutex_unlock(&box->lock);
	return r < 0 ? r : child->volume ? 0 : -ENOMEM;
}

const struct dir_type dir_roots = {
	.mode = 0711,
	.lookup = roots_lookup,
	.hint = "a box's filesystem is found through its link: BOX/root/",
};
