/* SPDX-License-Identifier: MIT */
/*
 * The registry of boxes: names, numbers, creation, removal, renaming. Must not wait for a box.
 * Locks: registry (write for names and numbers), then one box->lock.
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon.h"
#include "events.h"
#include "input.h"
#include "keeper.h"
#include "mount.h"
#include "named.h"
#include "store.h"
#include "tty.h"

static pthread_rwlock_t registry = PTHREAD_RWLOCK_INITIALIZER;
static struct box *by_id;   /* live and removed */
static struct box *by_name; /* live only */

/* --- references -------------------------------------------------------------------------------- */

static struct box *box_new(uint32_t id)
{
	struct box *box = calloc(1, sizeof(*box));

	if (!box)
		return NULL;
	box->id = id;
	atomic_init(&box->refs, 1);
	pthread_mutex_init(&box->lock, NULL);
	pthread_rwlock_init(&box->whole_output, NULL);
	why_init(&box->why);
	box->live_root[FILES_WORKSPACE] = box->live_root[FILES_ROOT] = -1;
	box->created_us = box->changed_us = realtime_us();
	box->net_private = the_options.network_mode == NETWORK_PRIVATE;
	box->net_bandwidth = the_options.network_bandwidth;
	box->net_allow = strdup("");
	box->net_deny = strdup("");
	if (!box->net_allow || !box->net_deny || sessions_init(box) < 0) {
		free(box->net_allow);
		free(box->net_deny);
		pthread_mutex_destroy(&box->lock);
		pthread_rwlock_destroy(&box->whole_output);
		why_free(&box->why);
		free(box);
		return NULL;
	}
	return box;
}

/* What shows the files answers ESTALE from now on; another life of the box gets new ones. */
static void end_volumes(struct box *box)
{
	for (int i = 0; i < 2; i++) {
		struct files_volume **bigger;

		if (!box->volumes[i])
			continue;
		files_volume_end(box->volumes[i]);
		bigger = realloc(box->ended_volumes, (box->n_ended_volumes + 1) * sizeof(*bigger));
		if (!bigger)
			continue; /* it stays in its place, ended */
		box->ended_volumes = bigger;
		bigger[box->n_ended_volumes++] = take_ptr(box->volumes[i]);
	}
}

static void box_free(struct box *box)
{
	struct run *run, *next;

	HASH_ITER (hh, box->runs, run, next) {
		HASH_DELETE(hh, box->runs, run);
		run_put(run);
	}
	sessions_free(box);
	named_free_all(box);
	mounts_free(box);
	free(box->image_user);
	free(box->image_cwd);
	free(box->image_command);
	free(box->net_allow);
	free(box->net_deny);
	for (int i = 0; i < N_MEASURES; i++)
		free(box->measured[i]);
	why_free(&box->why);
	end_volumes(box);
	for (size_t i = 0; i < box->n_ended_volumes; i++)
		files_volume_put(box->ended_volumes[i]);
	free(box->ended_volumes);
	for (int i = 0; i < 2; i++)
		close_fd(&box->live_root[i]);
	pthread_rwlock_destroy(&box->whole_output);
	pthread_mutex_destroy(&box->lock);
	free(box);
}

struct box *box_ref(struct box *box)
{
	atomic_fetch_add(&box->refs, 1);
	return box;
}

void box_put(struct box *box)
{
	if (atomic_fetch_sub(&box->refs, 1) == 1)
		box_free(box);
}

struct box *box_get(uint32_t id)
{
	struct box *box;

	pthread_rwlock_rdlock(&registry);
	HASH_FIND(hh_id, by_id, &id, sizeof(id), box);
	if (box)
		box_ref(box);
	pthread_rwlock_unlock(&registry);
	return box;
}

struct box *box_find(const char *name)
{
	struct box *box;

	pthread_rwlock_rdlock(&registry);
	HASH_FIND(hh_name, by_name, name, strlen(name), box);
	if (box)
		box_ref(box);
	pthread_rwlock_unlock(&registry);
	return box;
}

size_t boxes_count(void)
{
	size_t n;

	pthread_rwlock_rdlock(&registry);
	n = HASH_CNT(hh_name, by_name);
	pthread_rwlock_unlock(&registry);
	return n;
}

int boxes_each(bool removed, int (*fn)(struct box *box, void *ctx), void *ctx)
{
	struct box **all, *box, *next;
	size_t n = 0, size;
	int r = 0;

	pthread_rwlock_rdlock(&registry);
	size = HASH_CNT(hh_id, by_id);
	all = calloc(size + 1, sizeof(*all));
	if (all) {
		HASH_ITER (hh_id, by_id, box, next) {
			if (box->removed == removed)
				all[n++] = box_ref(box);
		}
	}
	pthread_rwlock_unlock(&registry);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = fn(all[i], ctx);
		box_put(all[i]);
	}
	free(all);
	return r;
}

/* --- the trash ---------------------------------------------------------------------------------- */

/* The newest box removed under a name shows it bare, older ones with their number behind it. */
void box_trash_name(struct box *box, char shown[96])
{
	struct box *other, *next;
	bool newest = true;

	pthread_rwlock_rdlock(&registry);
	HASH_ITER (hh_id, by_id, other, next) {
		if (other != box && other->removed && !strcmp(other->name, box->name) &&
		    other->removed_us > box->removed_us)
			newest = false;
	}
	if (newest)
		snprintf(shown, 96, "%s", box->name);
	else
		snprintf(shown, 96, "%s.%u", box->name, box->id);
	pthread_rwlock_unlock(&registry);
}

struct trash_search {
	const char *shown;
	struct box *found;
};

static int match_trash(struct box *box, void *ctx)
{
	struct trash_search *search = ctx;
	char shown[96];

	box_trash_name(box, shown);
	if (box->removed_us == REMOVED_FOR_GOOD || strcmp(shown, search->shown))
		return 0;
	search->found = box_ref(box);
	return 1;
}

struct box *box_find_removed(const char *shown)
{
	struct trash_search search = { .shown = shown };

	boxes_each(true, match_trash, &search);
	return search.found;
}

static void registry_forget(struct box *box)
{
	pthread_rwlock_wrlock(&registry);
	HASH_DELETE(hh_id, by_id, box);
	box->gone = true;
	pthread_rwlock_unlock(&registry);
	box_put(box);
}

static int empty_one(struct box *box, void *ctx)
{
	int64_t now_us = *(int64_t *)ctx;
	int r;

	pthread_mutex_lock(&box->lock);
	/* The folder goes only when nothing of the box runs any more. */
	if (box->keeper || box->cleaning || box->gone ||
	    now_us - box->removed_us < the_options.keep_removed_ms * 1000) {
		pthread_mutex_unlock(&box->lock);
		return 0;
	}
	box->gone = true;
	pthread_mutex_unlock(&box->lock);
	r = store_delete(box);
	if (r < 0) {
		log_warn("trash of box %s: %s; will be tried again", box->name, strerror(-r));
		box->gone = false;
		box->removed_us = now_us; /* not at once */
		return 0;
	}
	registry_forget(box);
	return 0;
}

void boxes_empty_trash(int64_t now_us)
{
	boxes_each(true, empty_one, &now_us);
}

/* --- creating, naming, removing -------------------------------------------------------------- */

static size_t count_of_user(uid_t uid)
{
	struct box *box, *next;
	size_t n = 0;

	HASH_ITER (hh_name, by_name, box, next)
		n += box->uid == uid;
	return n;
}

/* Registry write-locked. */
static int may_add(const char *name, uid_t uid)
{
	struct box *other;

	HASH_FIND(hh_name, by_name, name, strlen(name), other);
	if (other)
		return -EEXIST;
	if (HASH_CNT(hh_name, by_name) >= the_options.max_boxes ||
	    (uid != 0 && count_of_user(uid) >= the_options.max_boxes_per_user))
		return -EDQUOT;
	return 0;
}

static int fill_new(struct box *box, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	snprintf(box->name, sizeof(box->name), "%s", name);
	snprintf(box->image, sizeof(box->image), "%s", the_options.image);
	box->uid = uid;
	box->gid = gid;
	box->mode = mode & 0777;
	box->next_run = 1;
	return box_take_image(box);
}

int box_create(const char *name, uid_t uid, gid_t gid, mode_t mode, struct box **made)
{
	struct box *box;
	uint32_t id;
	int r;

	if (!name_is_valid(name))
		return -EINVAL;
	pthread_rwlock_rdlock(&registry);
	r = may_add(name, uid);
	pthread_rwlock_unlock(&registry);
	if (r < 0)
		return r;
	id = store_new_id();
	if (!id)
		return -errno;
	box = box_new(id);
	r = box ? fill_new(box, name, uid, gid, mode) : -ENOMEM;
	if (r == 0)
		r = store_create(box, keeper_block_base(0));
	if (r < 0) {
		if (box)
			box_put(box);
		return r;
	}
	pthread_rwlock_wrlock(&registry);
	r = may_add(name, uid); /* somebody may have been faster */
	if (r == 0) {
		HASH_ADD(hh_id, by_id, id, sizeof(box->id), box);
		HASH_ADD(hh_name, by_name, name[0], strlen(box->name), box);
	}
	pthread_rwlock_unlock(&registry);
	if (r < 0) {
		box->removed = true;
		if (store_move(box) == 0)
			store_delete(box);
		box_put(box);
		return r;
	}
	event_add(box, "created", NULL);
	*made = box_ref(box);
	return 0;
}

int box_rename(struct box *box, const char *name)
{
	struct box *other;
	char old[64];
	int r = 0;

	if (!name_is_valid(name))
		return -EINVAL;
	pthread_rwlock_wrlock(&registry);
	HASH_FIND(hh_name, by_name, name, strlen(name), other);
	if (other)
		r = -EEXIST;
	pthread_mutex_lock(&box->lock);
	if (r == 0 && box->removed)
		r = -ENOENT;
	if (r == 0) {
		HASH_DELETE(hh_name, by_name, box);
		strcpy(old, box->name);
		snprintf(box->name, sizeof(box->name), "%s", name);
		r = store_save(box);
		if (r < 0)
			strcpy(box->name, old);
		HASH_ADD(hh_name, by_name, name[0], strlen(box->name), box);
	}
	if (r == 0)
		event_add(box, "renamed", "{s:s}", "from", old);
	pthread_mutex_unlock(&box->lock);
	pthread_rwlock_unlock(&registry);
	return r;
}

static struct park *end_waiters(struct box *box)
{
	struct park *ready = park_collect(&box->parks, ESTALE, NULL);
	struct run *run, *next;

	HASH_ITER (hh, box->runs, run, next) {
		ready = park_collect(&run->parks, ESTALE, ready);
		ready = input_close(run, ESTALE, ready);
	}
	return ttys_lost(box, ESTALE, ready);
}

int box_remove(struct box *box)
{
	struct park *ready = NULL;
	int r = 0;

	pthread_rwlock_wrlock(&registry);
	pthread_mutex_lock(&box->lock);
	if (box->removed) {
		r = -ENOENT;
	} else {
		box->removed = true;
		box->removed_us = realtime_us();
		r = store_move(box);
	}
	if (r < 0) {
		if (r != -ENOENT)
			box->removed = false;
	} else {
		HASH_DELETE(hh_name, by_name, box);
		event_add(box, "removed", NULL);
		keeper_destroy(box);
		box->after_stop_start = box->after_stop_reset = false;
		if (!box->keeper)
			box->state = BOX_STOPPED;
		store_save(box);
		ready = end_waiters(box);
		end_volumes(box);
	}
	pthread_mutex_unlock(&box->lock);
	pthread_rwlock_unlock(&registry);
	park_answer(ready);
	if (r == 0) {
		events_end(box);
		daemon_kick();
	}
	return r;
}

int box_restore(struct box *box, const char *name)
{
	struct box *other;
	int r = 0;

	if (!name_is_valid(name))
		return -EINVAL;
	pthread_rwlock_wrlock(&registry);
	HASH_FIND(hh_name, by_name, name, strlen(name), other);
	if (other)
		r = -EEXIST;
	pthread_mutex_lock(&box->lock);
	if (r == 0 && (!box->removed || box->gone || box->removed_us == REMOVED_FOR_GOOD))
		r = -ENOENT;
	if (r == 0) {
		box->removed = false;
		r = store_move(box);
		if (r < 0) {
			box->removed = true;
		} else {
			end_volumes(box);
			snprintf(box->name, sizeof(box->name), "%s", name);
			box->removed_us = 0;
			/* Its processes may just be being ended: opens wait for that. */
			box->state = box->keeper ? BOX_STOPPING : BOX_STOPPED;
			store_save(box);
			HASH_ADD(hh_name, by_name, name[0], strlen(box->name), box);
			event_add(box, "restored", NULL);
		}
	}
	pthread_mutex_unlock(&box->lock);
	pthread_rwlock_unlock(&registry);
	return r;
}

static void volumes_owner(struct box *box)
{
	for (int i = 0; i < 2; i++) {
		if (box->volumes[i])
			files_volume_set_owner(box->volumes[i], box->uid, box->gid, box->mode);
	}
}

int box_set_owner(struct box *box, uid_t uid, gid_t gid)
{
	int r;

	pthread_mutex_lock(&box->lock);
	if (uid != (uid_t)-1)
		box->uid = uid;
	if (gid != (gid_t)-1)
		box->gid = gid;
	volumes_owner(box);
	r = store_save(box);
	pthread_mutex_unlock(&box->lock);
	return r;
}

int box_set_mode(struct box *box, mode_t mode)
{
	int r;

	pthread_mutex_lock(&box->lock);
	box->mode = mode & 0777;
	volumes_owner(box);
	r = store_save(box);
	pthread_mutex_unlock(&box->lock);
	return r;
}

/* --- start and end of the daemon --------------------------------------------------------------- */

static void adopt(struct box *box)
{
	bool lives = store_keeper_lives(box);
	enum box_state was = box->state;
	int r;

	if (was != BOX_NEW && was != BOX_FAILED)
		box->state = BOX_STOPPED;
	if (!lives) {
		if (was == BOX_STARTING || was == BOX_RUNNING || was == BOX_FROZEN ||
		    was == BOX_STOPPING) {
			box_clean_at_start(box);
			event_add(box, "state", "{s:s,s:s}", "state", box_state_word(box->state),
				  "why", "its keeper ended while there was no daemon");
		}
		box->block = 0;
		return;
	}
	box->failed_why[0] = '\0';
	r = keeper_adopt(box);
	if (r < 0) {
		log_error("box %s: its keeper does not answer: %s", box->name, strerror(-r));
		box->state = BOX_FAILED;
		snprintf(box->failed_why, sizeof(box->failed_why),
			 "its keeper lives but does not answer: %s", strerror(-r));
	} else if (box->removed) {
		keeper_destroy(box);
	}
}

static void load_one(uint32_t id, bool removed)
{
	struct box *box = box_new(id);
	struct box *other;
	char why[256];
	int r;

	if (!box)
		return;
	box->removed = removed;
	r = store_load(box, why, sizeof(why));
	if (r < 0) {
		log_error("box %u: %s", id, why);
		if (!name_is_valid(box->name))
			snprintf(box->name, sizeof(box->name), "box-%u", id);
		box->state = BOX_FAILED;
		box->mode = box->mode ? box->mode : 0700;
		snprintf(box->failed_why, sizeof(box->failed_why), "%.250s", why);
		why_add(&box->why, 0, "%s", why);
	}
	if (!box->image[0])
		snprintf(box->image, sizeof(box->image), "%s", the_options.image);
	env_init(&box->sessions->env, true);
	store_sessions_load(box);
	mounts_load(box);
	box_take_image(box);
	pthread_rwlock_wrlock(&registry);
	HASH_FIND(hh_name, by_name, box->name, strlen(box->name), other);
	if (!removed && other) /* a garbled file, or two folders put together by hand */
		snprintf(box->name, sizeof(box->name), "box-%u", id);
	HASH_ADD(hh_id, by_id, id, sizeof(box->id), box);
	if (!removed)
		HASH_ADD(hh_name, by_name, name[0], strlen(box->name), box);
	pthread_rwlock_unlock(&registry);
	pthread_mutex_lock(&box->lock);
	adopt(box);
	pthread_mutex_unlock(&box->lock);
}

int boxes_load(void)
{
	int r = store_each(false, load_one);

	return r < 0 ? r : store_each(true, load_one);
}

static int leave_one(struct box *box, void *ctx)
{
	struct park *ready;

	(void)ctx;
	pthread_mutex_lock(&box->lock);
	ready = end_waiters(box);
	store_save(box);
	keeper_leave(box);
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	return 0;
}

void boxes_leave(void)
{
	boxes_each(false, leave_one, NULL);
	boxes_each(true, leave_one, NULL);
}

void boxes_free(void)
{
	struct box *box, *next;

	HASH_ITER (hh_name, by_name, box, next)
		HASH_DELETE(hh_name, by_name, box);
	HASH_ITER (hh_id, by_id, box, next) {
		HASH_DELETE(hh_id, by_id, box);
		box_put(box);
	}
}
