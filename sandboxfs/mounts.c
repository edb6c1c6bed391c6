/* SPDX-License-Identifier: MIT */
/*
 * A box's mounts: what was asked for, asking its keeper, what that says. Must not wait: who waits is
 * parked on the box with the tag of what is under way. Lock: box->lock, held by the callers.
 */
#include "mount.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "base/log.h"
#include "box.h"
#include "daemon.h"
#include "events.h"
#include "keeper.h"
#include "keeper_private.h"
#include "runtime.h"
#include "store.h"
#include "wake.h"

/* --- the list ----------------------------------------------------------------------------------------- */

struct box_mount *mount_by_id(const struct box *box, uint32_t id)
{
	struct box_mount *m = box->mounts;

	while (m && m->id != id)
		m = m->next;
	return m;
}

struct box_mount *mount_by_name(const struct box *box, const char *name)
{
	struct box_mount *m = box->mounts;

	while (m && strcmp(m->name, name))
		m = m->next;
	return m;
}

/* That with the request of this tag under way; NULL: none. */
static struct box_mount *mount_by_tag(const struct box *box, uint64_t tag)
{
	struct box_mount *m = box->mounts;

	while (m && m->tag != tag)
		m = m->next;
	return m;
}

static struct box_mount *mount_new(struct box *box, const char *name)
{
	struct box_mount *m = calloc(1, sizeof(*m)), **end = &box->mounts;

	if (!m)
		return NULL;
	m->id = ++box->last_mount;
	m->state = BUCKET_GONE;
	snprintf(m->name, sizeof(m->name), "%s", name);
	while (*end)
		end = &(*end)->next;
	*end = m;
	return m;
}

static void mount_free(struct box *box, struct box_mount *m)
{
	struct box_mount **link = &box->mounts;

	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	mount_settings_free(&m->set);
	free(m->status);
	free(m);
}

void mounts_free(struct box *box)
{
	while (box->mounts)
		mount_free(box, box->mounts);
}

int mount_create(struct box *box, const char *name, struct box_mount **out)
{
	uint64_t n = 0;

	if (!name_is_valid(name))
		return -EINVAL;
	for (const struct box_mount *m = box->mounts; m; m = m->next)
		n++;
	if (mount_by_name(box, name))
		return -EEXIST;
	if (n >= the_options.bucket_mounts || box->last_mount >= NODE_MAX_ITEM)
		return -EDQUOT;
	*out = mount_new(box, name);
	return *out ? 0 : -ENOMEM;
}

void mount_drop_draft(struct box *box, struct box_mount *m)
{
	if (!m->stored && !m->tag)
		mount_free(box, m);
}

void mounts_load(struct box *box)
{
	store_mounts_load(box, mount_new);
}

static int save(struct box *box)
{
	int r = store_mounts_save(box);

	if (r < 0)
		log_error("box %s: keep what is mounted in it: %s", box->name, strerror(-r));
	return r;
}

void mounts_veil(struct box *box)
{
	static const char workspace[] = "/workspace/";
	struct files_volume *vol = box->volumes[FILES_WORKSPACE];
	const char *paths[256];
	size_t n = 0;

	for (const struct box_mount *m = box->removed ? NULL : box->mounts; m; m = m->next) {
		if (m->stored && n < ARRAY_SIZE(paths) &&
		    !strncmp(m->set.target, workspace, strlen(workspace)))
			paths[n++] = m->set.target + strlen(workspace);
	}
	if (vol && files_volume_set_veils(vol, paths, n) < 0)
		log_error("box %s: files/: out of memory", box->name);
}

/* --- asking -------------------------------------------------------------------------------------------- */

/* Answers who waits for that tag, once what is collected is answered. */
static void finish(struct box *box, uint64_t tag, int error)
{
	for (struct park *p = box->parks.first; p; p = p->next) {
		if (p->wait.tag != tag)
			continue;
		p->done = true;
		p->error = error;
	}
}

static void add_mount_fields(const struct box_mount *m, uid_t uid, struct text *fields)
{
	field_add(fields, "bucket", m->name);
	mount_settings_fields(&m->set, uid, fields, field_add);
}

/* Fields hold what may be secret. */
static void wipe(struct text *t)
{
	if (t->data)
		explicit_bzero(t->data, t->size);
	text_free(t);
}

/* Hands the request that m->asked says to the keeper. */
static int ask(struct box *box, struct box_mount *m)
{
	struct text fields = { 0 };
	int r;

	if (m->asked == MSG_BUCKET)
		add_mount_fields(m, box->uid, &fields);
	else
		field_add(&fields, "bucket", m->name);
	r = keeper_request(box, (enum msg_type)m->asked, m->tag, 0, &fields);
	wipe(&fields);
	return r;
}

static void begin(struct box_mount *m, enum msg_type type)
{
	m->tag = KEEPER_MOUNT_TAG | keeper_new_tag();
	m->asked = (int)type;
	m->unwanted = false;
}

/* What was asked for is not to be; a draft goes with it. */
static void give_up(struct box *box, struct box_mount *m, int error, const char *why)
{
	uint64_t tag = m->tag;

	why_add(&box->why, m->asker, "mounts/%s: %s", m->name, why && *why ? why : strerror(error));
	m->tag = 0;
	m->due = false;
	if (!m->stored)
		mount_free(box, m);
	else if (m->asked == MSG_BUCKET && m->state != BUCKET_MOUNTED)
		text_escape(m->error, sizeof(m->error), why && *why ? why : strerror(error));
	finish(box, tag, error);
}

static int refuse(struct box *box, struct box_mount *m, int error, const char *why)
{
	why_add(&box->why, m->asker, "mounts/%s: %s", m->name, why);
	if (!m->stored && !m->tag)
		mount_free(box, m);
	return error;
}

/* Of a running box. 1 or -errno. */
static int ask_keeper(struct box *box, struct box_mount *m, enum msg_type type)
{
	int r;

	begin(m, type);
	r = ask(box, m);
	if (r < 0)
		m->tag = 0;
	return r < 0 ? refuse(box, m, r, "its keeper does not answer") : 1;
}

/* Begins with MSG_BUCKET, or lets the box start first. 1 or -errno. */
static int ask_for_mount(struct box *box, struct box_mount *m)
{
	int r = box_wake(box);

	if (r < 0)
		return refuse(box, m, r, "the box does not start");
	begin(m, MSG_BUCKET);
	m->due = r == 1;
	if (r == 1)
		return 1;
	r = ask(box, m);
	if (r < 0) {
		m->tag = 0;
		return refuse(box, m, r, "its keeper does not take it");
	}
	return 1;
}

/* --- what a user wants ------------------------------------------------------------------------------------ */

static int mount_with(struct box *box, struct box_mount *m, struct mount_settings *set)
{
	for (const struct box_mount *o = box->mounts; o; o = o->next) {
		char why[MOUNT_WHY_SIZE];

		if (o == m || !o->set.target || strcmp(o->set.target, set->target))
			continue;
		snprintf(why, sizeof(why), "mounts/%s is at %.200s already", o->name, set->target);
		return refuse(box, m, -EBUSY, why);
	}
	if (m->stored && !mount_settings_equal(&m->set, set))
		return refuse(box, m, -EEXIST,
			      "it is mounted with other settings; rm it first, then write anew");
	if (m->stored && m->state == BUCKET_MOUNTED)
		return 0;
	if (!m->stored) {
		mount_settings_free(&m->set);
		m->set = *set;
		*set = (struct mount_settings){ 0 };
	}
	return ask_for_mount(box, m);
}

static int flush(struct box *box, struct box_mount *m)
{
	if (!m->stored)
		return refuse(box, m, -EINVAL, "nothing is mounted that could be flushed");
	if (!box->keeper) {
		/* It has saved everything when it was stopped, or left what it could not. */
		if (!store_mount_is_dirty(box, m->name))
			return 0;
		return refuse(box, m, -ENOTCONN,
			      "the box does not run, and not all that was written is in the "
			      "bucket: start it");
	}
	return ask_keeper(box, m, MSG_BUCKET_FLUSH);
}

int mount_write(struct box *box, struct box_mount *m, const char *text)
{
	struct mount_settings set = { 0 };
	char why[MOUNT_WHY_SIZE] = "";
	size_t len = strcspn(text, "\n");
	int r;

	if (m->tag)
		return refuse(box, m, -EBUSY, "something else is just being done with it");
	if (len == 5 && !strncmp(text, "flush", 5) && !text[5 + strspn(text + 5, "\n")])
		return flush(box, m);
	r = mount_settings_parse(&set, m->name, text, m->asker, why);
	if (r < 0)
		return refuse(box, m, r, why);
	r = mount_with(box, m, &set);
	mount_settings_free(&set);
	return r;
}

/* It is mounted no more, and does not come back. */
static int forget(struct box *box, struct box_mount *m)
{
	bool was = m->stored;
	int r;

	m->stored = false;
	r = was ? save(box) : 0;
	if (r < 0) {
		m->stored = true;
		return r;
	}
	if (was && !box->keeper)
		store_mount_clear(box, m->name);
	if (was)
		event_add(box, "unmount", "{s:s,s:s}", "mount", m->name, "target", m->set.target);
	mount_free(box, m);
	mounts_veil(box);
	return 0;
}

int mount_remove(struct box *box, struct box_mount *m)
{
	if (m->tag)
		return refuse(box, m, -EBUSY, "something else is just being done with it");
	if (!m->stored)
		return forget(box, m);
	if (!box->keeper) {
		if (!store_mount_is_dirty(box, m->name))
			return forget(box, m);
		return refuse(box, m, -EBUSY,
			      "not all that was written is in the bucket yet: start the box");
	}
	return ask_keeper(box, m, MSG_BUCKET_END);
}

int mount_ask_status(struct box *box, struct box_mount *m, uint64_t *tag)
{
	_cleanup_text_ struct text fields = { 0 };
	int r;

	if (!m->stored || !box->keeper || box->state == BOX_STARTING)
		return 0;
	*tag = KEEPER_MOUNT_TAG | keeper_new_tag();
	field_add(&fields, "bucket", m->name);
	r = keeper_request(box, MSG_BUCKET_STATUS, *tag, m->id, &fields);
	return r < 0 ? r : 1;
}

void mount_abandon(struct box *box, uint64_t tag)
{
	struct box_mount *m = mount_by_tag(box, tag);

	if (m && m->asked == MSG_BUCKET && !m->stored)
		m->unwanted = true;
}

/* --- the box's life ----------------------------------------------------------------------------------------- */

static unsigned int depth_of(const struct box_mount *m)
{
	unsigned int depth = 0;

	for (const char *p = m->set.target; p && *p; p++)
		depth += *p == '/';
	return depth;
}

void mounts_start_fields(const struct box *box, struct text *fields)
{
	unsigned int deepest = 0;

	for (const struct box_mount *m = box->mounts; m; m = m->next)
		deepest = MAX(deepest, depth_of(m));
	/* What is mounted inside another comes behind it. */
	for (unsigned int depth = 0; depth <= deepest; depth++) {
		for (const struct box_mount *m = box->mounts; m; m = m->next) {
			struct text record = { 0 };
			char key[80];

			if (!m->stored || depth_of(m) != depth)
				continue;
			mount_settings_fields(&m->set, box->uid, &record, record_add);
			fields->failed |= record.failed;
			snprintf(key, sizeof(key), "bucket.%s", m->name);
			if (!record.failed)
				field_add(fields, key, record.data);
			wipe(&record);
		}
	}
}

void mounts_started(struct box *box)
{
	struct box_mount *m, *next;

	for (m = box->mounts; m; m = next) {
		int r;

		next = m->next;
		/* What is kept, but the keeper that was found has not: it lost its daemon first. */
		if (m->stored && !m->tag && m->state == BUCKET_GONE)
			begin(m, MSG_BUCKET);
		else if (!m->due)
			continue;
		m->due = false;
		r = ask(box, m);
		if (r < 0)
			give_up(box, m, -r, "its keeper does not take it");
	}
}

void mounts_ended(struct box *box)
{
	struct box_mount *m, *next;

	for (m = box->mounts; m; m = next) {
		next = m->next;
		m->state = BUCKET_GONE;
		m->lost = false;
		free(m->status);
		m->status = NULL;
		if (m->due && (box->after_stop_start || box->after_stop_reset))
			continue; /* it starts again */
		if (m->tag)
			give_up(box, m, box->state == BOX_FAILED ? box_failed_errno(box) : EIO,
				box->state == BOX_FAILED ? box->failed_why : "the box has ended");
	}
}

/* --- what the keeper says ------------------------------------------------------------------------------------- */

static void note_error(struct box_mount *m, const char *why)
{
	text_escape(m->error, sizeof(m->error), why ? why : "");
}

/* One that it has and we have not: the daemon that asked for it died before it was told. */
static void end_unknown(struct box *box, const char *name)
{
	_cleanup_text_ struct text fields = { 0 };

	field_add(&fields, "bucket", name);
	keeper_request(box, MSG_BUCKET_END, 0, 0, &fields);
}

static void tell(struct box *box, struct box_mount *m, enum bucket_state was, bool quiet)
{
	bool lost =
		m->state == BUCKET_FAILED || (was == BUCKET_MOUNTED && m->state == BUCKET_STARTING);

	if (lost && !m->lost && !quiet) {
		event_add(box, "mount_lost", "{s:s,s:s,s:s}", "mount", m->name, "target",
			  m->set.target, "why", m->error[0] ? m->error : "its process has ended");
		why_add(&box->why, box->uid, "mounts/%s is out of order, and tried again: %s",
			m->name, m->error[0] ? m->error : "its process has ended");
	}
	if (m->state == BUCKET_MOUNTED && !quiet)
		event_add(box, m->lost ? "mount_back" : "mount", "{s:s,s:s}", "mount", m->name,
			  "target", m->set.target);
	if (lost || m->state == BUCKET_MOUNTED)
		m->lost = lost;
}

void mounts_told_state(struct box *box, const char *fields, size_t len, int state, bool quiet)
{
	const char *name = field_get(fields, len, "bucket");
	struct box_mount *m = name ? mount_by_name(box, name) : NULL;
	enum bucket_state was;

	if (!name || state < 0 || state >= N_BUCKET_STATES)
		return;
	if (!m) {
		if (quiet && state != BUCKET_GONE)
			end_unknown(box, name);
		return;
	}
	was = m->state;
	m->state = (enum bucket_state)state;
	if (state == BUCKET_MOUNTED || state == BUCKET_FAILED)
		note_error(m, state == BUCKET_FAILED ? field_get(fields, len, "why") : NULL);
	/* Of a draft the reply will tell. */
	if (m->stored && m->state != was)
		tell(box, m, was, quiet);
}

void mounts_told_text(struct box *box, uint64_t tag, const char *text)
{
	/* Its reader's park names the mount. */
	for (struct park *p = box->parks.first; p; p = p->next) {
		struct box_mount *m;

		if (p->wait.tag != tag || !p->handle)
			continue;
		m = mount_by_id(box, p->handle->node.item);
		if (m)
			string_replace(&m->status, text);
	}
}

/* It is mounted, and comes back with the box from now on. */
static int keep(struct box *box, struct box_mount *m)
{
	int r;

	m->stored = true;
	r = save(box);
	if (r < 0) {
		m->stored = false;
		end_unknown(box, m->name);
		return r;
	}
	m->state = BUCKET_MOUNTED;
	mounts_veil(box);
	note_error(m, NULL);
	event_add(box, "mount", "{s:s,s:s}", "mount", m->name, "target", m->set.target);
	return 0;
}

static void mounted(struct box *box, struct box_mount *m)
{
	uint64_t tag = m->tag;
	int r = 0;

	if (m->unwanted) {
		end_unknown(box, m->name);
		give_up(box, m, EINTR, "who asked for it did not wait");
		return;
	}
	if (!m->stored)
		r = keep(box, m);
	if (r < 0) {
		give_up(box, m, -r, "its settings could not be kept");
		return;
	}
	m->tag = 0;
	finish(box, tag, 0);
}

void mounts_replied(struct box *box, uint64_t tag, int error, const char *why)
{
	struct box_mount *m = mount_by_tag(box, tag);

	if (!m) { /* of a status: there is nothing more to it */
		finish(box, tag, error);
		return;
	}
	/* It has gone by itself: that is what was wanted. */
	if (m->asked == MSG_BUCKET_END && error == ENOENT)
		error = 0;
	if (error) {
		give_up(box, m, error, why);
	} else if (m->asked == MSG_BUCKET) {
		mounted(box, m);
	} else {
		m->tag = 0;
		if (m->asked == MSG_BUCKET_END)
			error = -forget(box, m);
		finish(box, tag, error);
	}
}
