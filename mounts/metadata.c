/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Metadata of objects, read and written. It must not know FUSE. Lock: tree_lock, where it is said.
 */
#include "metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "names.h"

enum {
	IDS_OF_A_BOX = 65536,
	/* Listings tell seconds: a change within the same one would not be seen. */
	STAMP_SETTLES_US = 2000000,
};

static const char *const our_fields[] = { "mode", "uid", "gid", "mtime" };

struct meta meta_default(bool is_dir, int64_t mtime_us)
{
	return (struct meta){ .known = true,
			      .mode = is_dir ? S_IFDIR | the_options.dir_mode
					     : S_IFREG | the_options.file_mode,
			      .uid = the_options.uid,
			      .gid = the_options.gid,
			      .mtime_ns = mtime_us * 1000 };
}

struct meta meta_new(mode_t mode, uid_t uid, gid_t gid)
{
	return (struct meta){ .known = the_options.metadata,
			      .mode = mode & (S_IFMT | META_MODE_BITS),
			      .uid = uid,
			      .gid = gid,
			      .mtime_ns = realtime_us() * 1000,
			      .good_till_ms = monotonic_ms() + the_options.ttl_ms };
}

/* --- as text ------------------------------------------------------------------------------------ */

static bool is_mode(unsigned long v, bool is_dir)
{
	return v <= 0177777 && (is_dir ? S_ISDIR(v) : S_ISREG(v) || S_ISLNK(v));
}

/* s3fs writes it in decimal, rclone in octal; with the type in it no number is both. */
static bool parse_mode(const char *text, bool is_dir, mode_t *mode)
{
	for (int base = 10; base >= 8; base -= 2) {
		char *end;
		unsigned long v = strtoul(text, &end, base);

		if (*text < '0' || *text > '9' || *end || !is_mode(v, is_dir))
			continue;
		*mode = (mode_t)(v & (S_IFMT | META_MODE_BITS));
		return true;
	}
	return false;
}

/* Ids are counted from id_base; those of a box end with its block. */
static void parse_id(const char *text, uint32_t *id)
{
	uint64_t base = the_options.id_base, v;

	if (text && parse_u64(text, 0, base ? IDS_OF_A_BOX - 1 : UINT32_MAX - 1, &v) == 0)
		*id = (uint32_t)(base + v);
}

/* Seconds, perhaps with a fraction, perhaps before 1970. */
static bool parse_time(const char *text, int64_t *ns)
{
	bool before = *text == '-';
	const char *dot = strchrnul(text += before, '.');
	uint64_t seconds, fraction = 0, unit = 100000000;
	char digits[24];

	if ((size_t)snprintf(digits, sizeof(digits), "%.*s", (int)(dot - text), text) >=
		    sizeof(digits) ||
	    parse_u64(digits, 0, INT64_MAX / 1000000000 - 1, &seconds) < 0)
		return false;
	for (const char *p = dot + (*dot == '.'); *p; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return false;
		fraction += (uint64_t)(*p - '0') * unit;
	}
	*ns = (int64_t)(seconds * 1000000000 + fraction) * (before ? -1 : 1);
	return true;
}

void meta_parse(struct meta *meta, const char *fields, size_t len, bool is_dir)
{
	const char *mode = field_get(fields, len, "mode"), *mtime = field_get(fields, len, "mtime");

	if (mode)
		(void)parse_mode(mode, is_dir, &meta->mode);
	parse_id(field_get(fields, len, "uid"), &meta->uid);
	parse_id(field_get(fields, len, "gid"), &meta->gid);
	if (mtime)
		(void)parse_time(mtime, &meta->mtime_ns);
}

/* Not of the box: whom it belongs to is not to be known there, and means nothing. */
static uint64_t kept_id(uint32_t id)
{
	uint64_t base = the_options.id_base;

	return !base ? id : id >= base && id < base + IDS_OF_A_BOX ? id - base : 0;
}

void meta_add(struct text *fields, const struct meta *meta, bool with_mtime)
{
	int64_t ns = meta->mtime_ns, magnitude = ns < 0 ? -ns : ns;
	char mtime[48];

	field_add_u64(fields, "mode", meta->mode);
	field_add_u64(fields, "uid", kept_id(meta->uid));
	field_add_u64(fields, "gid", kept_id(meta->gid));
	if (!with_mtime)
		return;
	snprintf(mtime, sizeof(mtime), "%s%" PRId64 ".%09" PRId64, ns < 0 ? "-" : "",
		 magnitude / 1000000000, magnitude % 1000000000);
	field_add(fields, "mtime", mtime);
}

/* --- reading ------------------------------------------------------------------------------------ */

bool meta_recall(const struct node *dir, const char *name, struct found *found)
{
	const struct node *node = node_find(dir, name);
	const struct meta *meta = node ? &node->meta : NULL;
	bool same;

	if (!meta || !meta->known || node->is_dir != (found->kind == CHANGE_DIR))
		return false;
	same = found->kind == CHANGE_FILE && node->etag && !strcmp(node->etag, found->etag);
	if (!node->content && !(same && found->is_ours) &&
	    !(same && meta->stamp_us && meta->stamp_us == found->mtime_us) &&
	    !((same || node->is_dir) && monotonic_ms() < meta->good_till_ms))
		return false;
	found->meta = *meta;
	return true;
}

static int ask(const char *key, struct found *found)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	int64_t asked_ms = monotonic_ms(), asked_us = realtime_us();
	bool is_dir = found->kind == CHANGE_DIR;
	struct object_call call = { 0 };
	int r = object_head(the_store, &call, key, &info);

	if (r == -ENOENT && !is_dir)
		*found = (struct found){ .kind = CHANGE_GONE };
	if (r < 0 && r != -ENOENT && r != -EACCES)
		return bucket_failed("head", key, r, &call);
	found->meta = meta_default(is_dir, is_dir ? info.mtime_us : found->mtime_us);
	found->meta.good_till_ms = asked_ms + the_options.ttl_ms;
	if (r < 0)
		return 0; /* a directory without marker; or one may list only */
	/* A long listing may be old by the time it comes to this name. */
	found->fresh_until_ms = MAX(found->fresh_until_ms, asked_ms + the_options.ttl_ms);
	meta_parse(&found->meta, info.meta, info.meta_len, is_dir);
	if (is_dir)
		return 0;
	if (!strcmp(info.etag, found->etag)) {
		if (!found->is_ours && found->mtime_us + STAMP_SETTLES_US < asked_us)
			found->meta.stamp_us = found->mtime_us;
		return 0;
	}
	found->size = info.size;
	found->mtime_us = info.mtime_us;
	memcpy(found->etag, info.etag, sizeof(found->etag));
	return 0;
}

int meta_complete(struct node *dir, const char *name, struct found *found)
{
	char key[OBJECT_KEY_MAX + 1];
	bool known;
	int r = 0;

	if (!the_options.metadata || found->kind == CHANGE_GONE)
		return 0;
	pthread_mutex_lock(&tree_lock);
	known = meta_recall(dir, name, found);
	if (!known)
		r = node_child_key(dir, name, found->kind == CHANGE_DIR, key);
	pthread_mutex_unlock(&tree_lock);
	return known || r < 0 ? r : ask(key, found);
}

/* --- writing ------------------------------------------------------------------------------------ */

static void keep_others(struct text *fields, const struct object_info *info)
{
	for (const char *f = field_next(info->meta, info->meta_len, NULL); f;
	     f = field_next(info->meta, info->meta_len, f)) {
		size_t len = strcspn(f, "="), i;

		for (i = 0; i < ARRAY_SIZE(our_fields); i++) {
			if (strlen(our_fields[i]) == len && !strncmp(f, our_fields[i], len))
				break;
		}
		if (i == ARRAY_SIZE(our_fields))
			text_add(fields, f, strlen(f) + 1);
	}
}

int meta_write(const char *key, bool is_dir, const struct meta *meta, char etag[OBJECT_ETAG_SIZE])
{
	_cleanup_object_info_ struct object_info info = { 0 };
	_cleanup_text_ struct text fields = { 0 };
	struct object_call call = { 0 };
	int r = object_head(the_store, &call, key, &info);

	if (r < 0 && !(is_dir && r == -ENOENT))
		return bucket_failed("head", key, r, &call);
	keep_others(&fields, &info);
	meta_add(&fields, meta, true);
	if (fields.failed)
		return -ENOMEM;
	if (is_dir) {
		struct object_put put = { .key = key,
					  .content_type = "application/x-directory",
					  .meta = fields.data,
					  .meta_len = fields.len,
					  .body.bytes = "" };

		r = object_put(the_store, &call, &put, etag);
	} else {
		struct object_copy copy = { .from = key,
					    .to = key,
					    .size = info.size,
					    .content_type = info.content_type,
					    .meta = fields.data,
					    .meta_len = fields.len,
					    .replace = true };

		r = object_copy(the_store, &call, &copy, etag);
	}
	return r < 0 ? bucket_failed("metadata", key, r, &call) : 0;
}
