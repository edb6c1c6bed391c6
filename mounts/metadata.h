/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `metadata = yes` keeps with an object: mode with the file's type, owner, group and time, in
 * x-amz-meta-mode, -uid, -gid and -mtime as s3fs and rclone write them. A symbolic link is an object with the
 * mode of one and its target for content; a directory has the metadata of its marker.
 *
 * Listings do not tell it, so a name costs a HEAD, unless its node knows already: metadata belongs
 * to an ETag and a time of the listing, which a change of metadata alone changes too.
 */
#ifndef MOUNTS_METADATA_H
#define MOUNTS_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/text.h"
#include "object_store.h"

struct node;
struct found;

enum { META_MODE_BITS = 01777 }; /* of permissions */

struct meta {
	bool known;	/* false: the settings' owner and permissions are shown */
	bool mtime_set; /* somebody set it, after the last write */
	mode_t mode;	/* with the type; set-user-id and set-group-id are neither kept nor shown */
	uid_t uid;
	gid_t gid;
	int64_t mtime_ns;
	int64_t stamp_us;     /* the object's time in a listing; 0: not known */
	int64_t good_till_ms; /* monotonic; in any case until then */
};

/* What a file or directory has that nobody gave any. mtime_us: 0, not known. */
struct meta meta_default(bool is_dir, int64_t mtime_us);
/* What one is made with, now; not known without `metadata = yes`. */
struct meta meta_new(mode_t mode, uid_t uid, gid_t gid);
/* Of a field list of metadata; what is missing or no value stays as in *meta. */
void meta_parse(struct meta *meta, const char *fields, size_t len, bool is_dir);
/* Adds the fields; without mtime the object's own time counts. */
void meta_add(struct text *fields, const struct meta *meta, bool with_mtime);

/* --- with `metadata = yes` only ------------------------------------------------------------------ */

/* Sets found->meta if it is known without asking. tree_lock held. */
bool meta_recall(const struct node *dir, const char *name, struct found *found);
/*
 * Sets found->meta, asking if need be; the rest of *found becomes newer if the object did, or
 * CHANGE_GONE. 0 also without `metadata = yes`, when nothing is done. No locks held.
 */
int meta_complete(struct node *dir, const char *name, struct found *found);
/*
 * Gives an object other metadata, where the bytes stay: by a copy onto itself, of a directory by a new
 * marker. What else it has of user metadata stays. No lock but content->lock held; tree_lock is taken.
 */
int meta_write(const char *key, bool is_dir, const struct meta *meta, char etag[OBJECT_ETAG_SIZE]);

#endif
