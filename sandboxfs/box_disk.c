/* SPDX-License-Identifier: MIT */
/*
 * A box's limits of disk: what holds them here, and what it takes. Unlike the other limits they
 * hold while nothing runs, too, and setting them takes privileges, so the daemon does it and not
 * the keeper. Must not wait for the box; a call waits for its file system.
 * Locks: disk_lock before box->lock; so no two change the size of one disk.
 */
#include "box_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon.h"
#include "store.h"

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;

struct disk_limits box_disk_limits(const struct box *box)
{
	return (struct disk_limits){
		limit_to_wire(box_limit(box, LIMIT_DISK)),
		limit_to_wire(box_limit(box, LIMIT_DISK_INODES)),
	};
}

/* The box's files are in a plain folder: only its next start can put them where a limit holds. */
static int check_first_limit(const struct disk_limits *limits, bool runs, char *why)
{
	int r = disk_is_limited(limits) ? store_disk_method(the_options.disk_method, why) : 0;

	if (r < 0)
		return r;
	if (!disk_is_limited(limits) || !runs)
		return 0;
	return disk_say(why, EBUSY,
			"the running box's files lie where nothing limits them, and are moved by a "
			"start: stop the box first");
}

/* Where a box's files are: its folder, and its workspace while it runs. */
struct place {
	int dir, live; /* the caller's; live is -1 while it does not run */
	bool runs;
};

static int place_of(struct box *box, struct place *place)
{
	int live = box->live_root[FILES_WORKSPACE];

	*place = (struct place){ .dir = box->gone ? -ESTALE : store_box_dir(box), .live = -1 };
	if (place->dir < 0)
		return place->dir;
	/* The keeper of one that has ended may be on its way out still. */
	place->runs = box->keeper && box->state != BOX_STOPPED && box->state != BOX_FAILED;
	if (live >= 0)
		place->live = fcntl(live, F_DUPFD_CLOEXEC, 3);
	return 0;
}

static void place_close(struct place *place)
{
	close_fd(&place->dir);
	close_fd(&place->live);
}

/* Makes limits hold. 0, or -errno with a sentence. */
static int hold(const struct place *place, const struct disk_limits *limits, char *why)
{
	int r;

	if (disk_is_tmpfs(place->live))
		return disk_resize_tmpfs(place->live, limits, why);
	r = disk_set_limits(place->dir, limits, why);
	if (r == -ENOSYS)
		return check_first_limit(limits, place->runs, why);
	if (r == -EPERM) /* the next start moves them to a larger disk */
		return place->runs ? -EBUSY : 0;
	return r;
}

/* A limit that somebody writes, and what keeps it once it holds. */
struct new_limit {
	enum limit which;
	uint64_t value, own;
	int (*keep)(struct box *box, enum limit which, uint64_t own);
};

static int keep_or_undo(struct box *box, const struct place *place, const struct new_limit *new,
			const struct disk_limits *old)
{
	char ignored[DISK_WHY_SIZE];
	int r;

	pthread_mutex_lock(&box->lock);
	r = box->removed ? -ESTALE : new->keep(box, new->which, new->own);
	if (r == 0)
		box_disk_show(box);
	/* A start that began meanwhile was told the old limits. */
	if (r == 0 && box->keeper && !place->runs) {
		box->disk_due = true;
		box_disk_started(box);
	}
	pthread_mutex_unlock(&box->lock);
	if (r < 0)
		hold(place, old, ignored);
	return r;
}

static int change(struct box *box, const struct new_limit *new, char *why)
{
	struct disk_limits old, limits;
	struct place place;
	bool starting;
	int r;

	pthread_mutex_lock(&box->lock);
	old = limits = box_disk_limits(box);
	starting = box->state == BOX_STARTING;
	r = place_of(box, &place);
	pthread_mutex_unlock(&box->lock);
	if (r < 0)
		return r;
	*(new->which == LIMIT_DISK ? &limits.bytes : &limits.inodes) = limit_to_wire(new->value);
	if (starting)
		r = disk_say(why, EBUSY, "the box is starting: try again when it runs");
	else
		r = hold(&place, &limits, why);
	if (r == 0)
		r = keep_or_undo(box, &place, new, &old);
	place_close(&place);
	return r;
}

int box_disk_change(struct box *box, enum limit which, uint64_t value, uint64_t own,
		    int (*keep)(struct box *box, enum limit which, uint64_t own), char *why)
{
	const struct new_limit new = { which, value, own, keep };
	int r;

	why[0] = '\0';
	pthread_mutex_lock(&disk_lock);
	r = change(box, &new, why);
	pthread_mutex_unlock(&disk_lock);
	if (r < 0 && !why[0])
		disk_say(why, -r, "%s", strerror(-r));
	return r;
}

/* What the settings say now. box->lock is not held, but before there are threads. */
static void hold_settings(struct box *box, const struct place *place,
			  const struct disk_limits *limits)
{
	char why[DISK_WHY_SIZE];

	if (hold(place, limits, why) < 0)
		why_add(&box->why, box->uid,
			"limits/disk and disk_inodes hold from the box's next start on: %s", why);
}

void box_disk_adopted(struct box *box)
{
	const struct disk_limits limits = box_disk_limits(box);
	struct place place;

	if (place_of(box, &place) < 0)
		return;
	hold_settings(box, &place, &limits);
	place_close(&place);
}

static void hold_now(struct box *box)
{
	struct disk_limits limits;
	struct place place;
	int r;

	pthread_mutex_lock(&disk_lock);
	pthread_mutex_lock(&box->lock);
	limits = box_disk_limits(box);
	r = place_of(box, &place);
	pthread_mutex_unlock(&box->lock);
	if (r == 0) {
		hold_settings(box, &place, &limits);
		place_close(&place);
	}
	pthread_mutex_unlock(&disk_lock);
}

void box_disk_started(struct box *box)
{
	if (!box->disk_due || box->state == BOX_STARTING)
		return;
	box->disk_due = false;
	daemon_later(box, hold_now);
}

void box_disk_show(struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);
	struct disk_limits limits = { 0 };

	/* The file system of an image may be larger than what the box may use of it. */
	if (dir >= 0 && disk_has_image(dir))
		limits = box_disk_limits(box);
	for (int kind = 0; kind < 2; kind++) {
		if (box->volumes[kind])
			files_volume_set_limits(box->volumes[kind], limits.bytes, limits.inodes);
	}
}

int box_disk_usage(struct box *box, struct disk_usage *usage)
{
	struct place place;
	int r;

	pthread_mutex_lock(&box->lock);
	r = place_of(box, &place);
	pthread_mutex_unlock(&box->lock);
	if (r < 0)
		return r;
	if (disk_is_tmpfs(place.live))
		r = disk_tmpfs_usage(place.live, usage);
	else
		r = disk_get_usage(place.dir, usage);
	place_close(&place);
	return r;
}
