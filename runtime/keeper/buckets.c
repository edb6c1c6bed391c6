/* SPDX-License-Identifier: MIT */
/*
 * The list of a box's buckets, in the order in which they can be mounted, and what the daemon asks of
 * them. Must not wait but for the mounter at the box's start. One thread, no locks.
 */
#include "keeper/buckets.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "base/text.h"
#include "keeper/bucket.h"

enum {
	SAVE_MAX_MS = 600000,
	SAVE_MARGIN_MS = 10000,
	INNER_PATIENCE_MS = 10000,
	RETRY_FOR_MS = 30000, /* as sandbox-bucket has it */
	MAX_FIELDS = 32 << 10,
	MAX_SOURCE = 1100, /* a bucket's name and a key */
};

/* --- checks --------------------------------------------------------------------------------------- */

/* Is path below, or the same as, folder? */
static bool is_within(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(path, folder, len) && (path[len] == '/' || path[len] == '\0');
}

static bool is_plain_path(const char *path)
{
	if (path[0] != '/' || !path[1] || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; *p;) {
		size_t len = strcspn(++p, "/");

		if (!len || len > NAME_MAX || (len <= 2 && !strncmp(p, "..", len)))
			return false;
		p += len;
	}
	return true;
}

static int check_target(const char *target, const char **why)
{
	/* What the box is made of, and what the keeper itself needs there. */
	static const char *const within[] = { "/proc", "/sys", "/dev", "/run/box" };
	static const char *const exactly[] = { "/run", "/workspace" };

	if (!target || !is_plain_path(target)) {
		*why = "the target must be an absolute path of the box, without . and .. and not /";
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(within); i++) {
		if (!is_within(target, within[i]))
			continue;
		*why = "nothing can be mounted in /proc, /sys, /dev and /run/box";
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(exactly); i++) {
		if (strcmp(target, exactly[i]) != 0)
			continue;
		*why = "a bucket can be mounted below this directory, but not on it";
		return -EINVAL;
	}
	return 0;
}

/* 0, or -EBUSY; *in is the bucket that the target lies in. */
static int check_others(struct keeper *k, const struct bucket *b, struct bucket **in,
			const char **why)
{
	*in = NULL;
	for (struct bucket *other = k->buckets.first; other; other = other->next) {
		if (other == b)
			continue;
		if (!strcmp(b->target, other->target)) {
			*why = "another bucket is mounted there";
			return -EBUSY;
		}
		if (is_within(other->target, b->target)) {
			*why = "another bucket is mounted inside of the target, and would be "
			       "hidden";
			return -EBUSY;
		}
		if (is_within(b->target, other->target) &&
		    (!*in || is_within(other->target, (*in)->target)))
			*in = other;
	}
	return 0;
}

/* --- the list ------------------------------------------------------------------------------------- */

static struct bucket *find(struct keeper *k, const char *name)
{
	struct bucket *b = name ? k->buckets.first : NULL;

	while (b && strcmp(b->name, name) != 0)
		b = b->next;
	return b;
}

static int find_slot(struct keeper *k, unsigned *slot)
{
	for (*slot = 0; *slot < MAX_BUCKETS; ++*slot) {
		struct bucket *b = k->buckets.first;

		while (b && b->slot != *slot)
			b = b->next;
		if (!b)
			return 0;
	}
	return -EDQUOT;
}

static const char *get(const struct bucket *b, const char *key)
{
	const char *value = field_get(b->fields.data, b->fields.len, key);

	return value && *value ? value : NULL;
}

static int check_fields(struct bucket *b, const char **why)
{
	b->name = get(b, "bucket");
	b->source = get(b, "source");
	b->target = get(b, "target");
	if (!b->name || !name_is_valid(b->name)) {
		*why = "a mount needs a name";
		return -EINVAL;
	}
	if (!b->source || strlen(b->source) > MAX_SOURCE) {
		*why = "the source must be s3://BUCKET or s3://BUCKET/PREFIX";
		return -EINVAL;
	}
	if (get(b, "set.retry_for") &&
	    (parse_duration_ms(get(b, "set.retry_for"), &b->retry_for_ms) < 0 ||
	     b->retry_for_ms <= 0 || b->retry_for_ms > SAVE_MAX_MS)) {
		*why = "retry_for is no duration, or too long";
		return -EINVAL;
	}
	return check_target(b->target, why);
}

/* fields' data is taken. NULL with *r: it cannot be one. */
static struct bucket *make(struct keeper *k, struct text *fields, int *r, const char **why)
{
	struct bucket *b = calloc(1, sizeof(*b));

	*r = -ENOMEM;
	if (!b)
		return NULL;
	bucket_init(b, k);
	b->fields = *fields;
	*fields = (struct text){ 0 };
	b->retry_for_ms = RETRY_FOR_MS;
	*r = b->fields.failed ? -ENOMEM : b->fields.len > MAX_FIELDS ? -E2BIG : 0;
	if (*r == 0)
		*r = check_fields(b, why);
	if (*r == 0) {
		*r = find_slot(k, &b->slot);
		if (*r < 0)
			*why = "a box may have 64 buckets";
	}
	if (*r < 0) {
		bucket_free(b);
		return NULL;
	}
	return b;
}

/* Behind those whose targets lead to its own. */
static void insert(struct keeper *k, struct bucket *b)
{
	struct bucket **at = &k->buckets.first;

	while (*at && strcmp((*at)->target, b->target) < 0)
		at = &(*at)->next;
	b->next = *at;
	*at = b;
}

void buckets_remove(struct bucket *b)
{
	struct bucket **at = &b->k->buckets.first;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	for (struct bucket *other = b->k->buckets.first; other; other = other->next) {
		if (other->in == b)
			other->in = b->in;
	}
	if (b->in && !b->k->buckets.ending)
		bucket_note_inside(b->in);
	bucket_free(b);
}

void buckets_changed(struct keeper *k)
{
	if (k->buckets.ending)
		return;
	for (struct bucket *b = k->buckets.first; b; b = b->next) {
		if (!b->in)
			continue;
		if (b->in->phase == PHASE_WAITING)
			bucket_restart(b);
		else if (b->in->phase == PHASE_UP && b->phase == PHASE_WAITING)
			bucket_start(b);
	}
}

/* --- the box's start ------------------------------------------------------------------------------ */

static int add_field(void *ctx, const char *key, const char *value)
{
	field_add(ctx, key, value);
	return 0;
}

/* bucket.NAME=TEXT. One that cannot be understood is left out: the daemon wrote it. */
static int add_stored(struct keeper *k, const char *entry)
{
	const char *eq = strchr(entry, '='), *why = "it cannot be understood";
	_cleanup_free_ char *text = strdup(eq + 1), *name = NULL;
	struct text fields = { 0 };
	struct bucket *b = NULL;
	int line, r = -ENOMEM;

	name = strndup(entry, (size_t)(eq - entry));
	if (text && name) {
		field_add(&fields, "bucket", name);
		r = record_parse(text, add_field, &fields, &line);
	}
	if (text)
		explicit_bzero(text, strlen(text));
	if (r == 0)
		b = make(k, &fields, &r, &why);
	text_free(&fields);
	if (!b) {
		daemon_why(&k->daemon, "bucket %s: %s", name ? name : "", why);
		return r == -ENOMEM ? r : 0;
	}
	insert(k, b);
	return 0;
}

/* Is one not mounted because another one has not answered yet? */
static bool inner_is_late(const struct keeper *k)
{
	for (const struct bucket *b = k->buckets.first; b; b = b->next) {
		if (b->in && (b->phase == PHASE_MOUNTING ||
			      (b->phase == PHASE_WAITING && b->in->phase == PHASE_OPENING)))
			return true;
	}
	return false;
}

/*
 * What lies in another bucket is mounted once that one answers, which is worth a while: until then
 * what is asked of it fails. Only buckets are listened to, the loop does not turn yet.
 */
static void wait_for_inner(struct keeper *k)
{
	int64_t until = monotonic_ms() + INNER_PATIENCE_MS;

	while (inner_is_late(k) && monotonic_ms() < until) {
		struct loop_source *sources[3 * MAX_BUCKETS];
		struct pollfd p[3 * MAX_BUCKETS];
		nfds_t n = 0;

		for (struct bucket *b = k->buckets.first; b; b = b->next) {
			struct loop_source *const all[] = { &b->mounter, &b->control, &b->death };

			for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
				if (all[i]->fd < 0)
					continue;
				sources[n] = all[i];
				p[n++] = (struct pollfd){ .fd = all[i]->fd, .events = POLLIN };
			}
		}
		if (poll(p, n, (int)(until - monotonic_ms())) <= 0)
			return;
		/* One at a time: it may close others. */
		for (nfds_t i = 0; i < n; i++) {
			if (!p[i].revents)
				continue;
			sources[i]->ready(sources[i], EPOLLIN);
			break;
		}
	}
}

int buckets_begin(struct keeper *k)
{
	const char *f = NULL, *why;
	int r = 0;

	while (r == 0 && (f = field_next(k->set.fields, k->set.fields_len, f))) {
		if (!strncmp(f, "bucket.", 7) && strchr(f, '='))
			r = add_stored(k, f + 7);
	}
	for (struct bucket *b = k->buckets.first; b && r == 0; b = b->next)
		check_others(k, b, &b->in, &why);
	for (struct bucket *b = k->buckets.first; b && r == 0; b = b->next)
		bucket_start_now(b);
	if (r == 0)
		wait_for_inner(k);
	return r;
}

/* --- requests ------------------------------------------------------------------------------------- */

static bool same_settings(const struct bucket *b, const struct text *fields)
{
	return b->fields.len == fields->len && !memcmp(b->fields.data, fields->data, fields->len);
}

/* It is there already: with these settings? */
static int mount_again(struct bucket *b, const struct text *fields, uint64_t tag, const char **why)
{
	if (!same_settings(b, fields)) {
		*why = "it is mounted with other settings";
		return -EEXIST;
	}
	if (b->phase == PHASE_UP)
		return 0;
	if (b->mount_tag || b->end_tag || b->phase >= PHASE_LEAVING) {
		*why = "it is being mounted or unmounted";
		return -EALREADY;
	}
	if (b->said == BUCKET_FAILED) {
		*why = b->why;
		return b->error;
	}
	b->mount_tag = tag;
	return 1;
}

int buckets_mount(struct keeper *k, const char *data, size_t len, uint64_t tag, const char **why)
{
	struct text fields = { 0 };
	struct bucket *b;
	int r;

	if (k->buckets.ending)
		return -ESHUTDOWN;
	text_add(&fields, data, len);
	b = fields.failed ? NULL : find(k, field_get(fields.data, fields.len, "bucket"));
	if (b) {
		r = mount_again(b, &fields, tag, why);
		explicit_bzero(fields.data, fields.len);
		text_free(&fields);
		return r;
	}
	b = make(k, &fields, &r, why);
	if (!b)
		return r;
	r = check_others(k, b, &b->in, why);
	if (r == 0 && b->in && b->in->phase != PHASE_UP) {
		*why = "the bucket that it would be mounted in does not answer";
		r = -ENOTCONN;
	}
	if (r < 0) {
		bucket_free(b);
		return r;
	}
	insert(k, b);
	r = b->in ? bucket_note_inside(b->in) : 0;
	if (r < 0) {
		buckets_remove(b);
		return r;
	}
	b->is_new = true;
	b->mount_tag = tag;
	bucket_say(b);
	bucket_start(b);
	return 1;
}

static bool has_inside(const struct bucket *b)
{
	for (const struct bucket *other = b->k->buckets.first; other; other = other->next) {
		if (other->in == b)
			return true;
	}
	return false;
}

int buckets_end(struct keeper *k, const char *name, uint64_t tag, const char **why)
{
	struct bucket *b = find(k, name);

	if (!b)
		return -ENOENT;
	if (has_inside(b)) {
		*why = "another bucket is mounted inside";
		return -EBUSY;
	}
	if (b->end_tag || b->is_new || b->phase >= PHASE_LEAVING || k->buckets.ending) {
		*why = "it is being mounted or unmounted";
		return -EBUSY;
	}
	b->end_tag = tag;
	bucket_leave(b);
	return 1;
}

static int ask(struct keeper *k, const char *name, const char *word, uint64_t tag, const char **why)
{
	struct bucket *b = find(k, name);
	int r = b ? bucket_ask(b, word, tag, !strcmp(word, BUCKET_SAY_STATUS)) : -ENOENT;

	if (r == -ENOTCONN)
		*why = b->why[0] ? b->why : "its server has not answered yet";
	return r;
}

int buckets_flush(struct keeper *k, const char *name, uint64_t tag, const char **why)
{
	return ask(k, name, BUCKET_SAY_FLUSH, tag, why);
}

/* While its server is away there is its last error to tell. */
int buckets_status(struct keeper *k, const char *name, uint64_t tag, const char **why)
{
	int r = ask(k, name, BUCKET_SAY_STATUS, tag, why);
	struct msg m = { .type = MSG_BUCKET_TEXT, .tag = tag };
	_cleanup_text_ struct text t = { 0 };
	const struct bucket *b;

	if (r != -ENOTCONN)
		return r;
	b = find(k, name);
	if (b->why[0])
		text_printf(&t, "last error: %s\n", b->why);
	if (t.failed)
		return -ENOMEM;
	m.len = t.len;
	daemon_send(&k->daemon, &m, t.data);
	return 0;
}

void buckets_say(struct keeper *k)
{
	for (struct bucket *b = k->buckets.first; b; b = b->next)
		bucket_say(b);
}

void buckets_forget_daemon(struct keeper *k)
{
	for (struct bucket *b = k->buckets.first; b; b = b->next) {
		b->mount_tag = b->end_tag = 0;
		bucket_drop_asks(b, -ECANCELED, "the daemon has gone");
	}
}

/* --- the end -------------------------------------------------------------------------------------- */

int64_t buckets_patience_ms(const struct keeper *k)
{
	int64_t most = 0;

	for (const struct bucket *b = k->buckets.first; b; b = b->next) {
		if (b->death.fd >= 0)
			most = MAX(most, b->retry_for_ms + SAVE_MARGIN_MS);
	}
	return most;
}

void buckets_abort(struct keeper *k)
{
	k->buckets.ending = true;
	for (struct bucket *b = k->buckets.first; b; b = b->next)
		bucket_server_kill(b);
}

bool buckets_save(struct keeper *k, bool at_once)
{
	bool left = false;

	k->buckets.ending = true;
	for (struct bucket *b = k->buckets.first; b; b = b->next) {
		if (b->death.fd < 0)
			continue;
		left = true;
		if (b->phase == PHASE_SAVING && (b->hurried || !at_once))
			continue;
		b->hurried = at_once;
		bucket_save(b, at_once ? b->retry_for_ms + SAVE_MARGIN_MS : SAVE_MAX_MS);
	}
	return !left;
}

void buckets_close(struct keeper *k)
{
	k->buckets.ending = true;
	while (k->buckets.first)
		buckets_remove(k->buckets.first);
}
