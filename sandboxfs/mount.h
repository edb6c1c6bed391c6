/* SPDX-License-Identifier: MIT */
/*
 * Buckets mounted in a box: what `mounts/NAME` says, and what becomes of it. Its keeper does the
 * mounting (runtime.h); here is what was asked for, which is kept with the box's settings, and what
 * the keeper told last. Everything is called with box->lock held; a struct box_mount is good only as
 * long as that is.
 *
 * A mount begins as a draft: a name with nothing behind it, which goes when it is closed and nothing was
 * written, or when the bucket cannot be mounted.
 */
#ifndef SANDBOXFS_MOUNT_H
#define SANDBOXFS_MOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "protocol.h"

struct box;

enum { MOUNT_WHY_SIZE = 320, MOUNT_TEXT_MAX = 16 << 10 };

/* NULL or 0: not said. No secret is ever in it. */
struct mount_settings {
	char *source, *target, *credentials, *profile, *endpoint, *region, *style;
	bool readonly;
	uint64_t cache, spool;
	bool by_root; /* root wrote it: any credentials, endpoint and size */
};

struct box_mount {
	struct box_mount *next; /* in the order in which they were made */
	uint32_t id;		/* not used again while the daemon lives */
	char name[64];
	bool stored; /* it was mounted once, and comes back with the box; else a draft */
	struct mount_settings set;
	enum bucket_state state; /* BUCKET_GONE while the box does not run */
	char error[MOUNT_WHY_SIZE];
	char *status;	      /* lines as of MSG_BUCKET_TEXT, NULL: none yet */
	unsigned int handles; /* open files of it that may be written */
	uid_t asker;	      /* who wrote last */
	uint64_t tag;	      /* of what is under way, 0: nothing */
	int asked;	      /* enum msg_type of that */
	bool due;	      /* to be asked for when the box has started */
	bool lost;	      /* it was told that it is out of order */
	bool unwanted;	      /* who asked for it has gone: to be unmounted again */
};

/* --- settings (mount_settings.c) ----------------------------------------------------------------- */

/* Fills *set from what was written to mounts/NAME by a user: 0, or -EINVAL, -EPERM, -ENOMEM and why. */
int mount_settings_parse(struct mount_settings *set, const char *name, const char *text, uid_t uid,
			 char why[MOUNT_WHY_SIZE]);
void mount_settings_free(struct mount_settings *set);
bool mount_settings_equal(const struct mount_settings *a, const struct mount_settings *b);
/* Lines "key = value" of what was said, as they may be written again. */
void mount_settings_show(const struct mount_settings *set, struct text *out);
/* The same by add(). */
void mount_settings_each(const struct mount_settings *set, struct text *out,
			 void (*add)(struct text *t, const char *key, const char *value));
/* One line of these, from disk: 0, -EINVAL, -ENOMEM; an unknown key is left alone. */
int mount_settings_line(struct mount_settings *set, const char *key, const char *value);
/*
 * The fields of runtime.h, but bucket=, by add(): field_add() or record_add(). There may be a secret in
 * them, of the daemon's environment.
 */
void mount_settings_fields(const struct mount_settings *set, uid_t box_uid, struct text *out,
			   void (*add)(struct text *t, const char *key, const char *value));

/* --- a box's mounts (mounts.c) -------------------------------------------------------------------- */

void mounts_load(struct box *box);
void mounts_free(struct box *box);
struct box_mount *mount_by_id(const struct box *box, uint32_t id);
struct box_mount *mount_by_name(const struct box *box, const char *name);
/* A draft: -EINVAL no name for one, -EEXIST, -EDQUOT, -ENOMEM. */
int mount_create(struct box *box, const char *name, struct box_mount **out);
/* Removes a draft that nothing was asked for; nothing if it is not one. */
void mount_drop_draft(struct box *box, struct box_mount *m);

/*
 * What was written to it. 0 it is so already; 1 under way: replied with m->tag (park_wait.tag); or
 * -errno with a sentence in why. A draft may be gone after an error.
 */
int mount_write(struct box *box, struct box_mount *m, const char *text);
/* Unmounts and forgets it; as mount_write(), with 0 m is gone. */
int mount_remove(struct box *box, struct box_mount *m);
/* Asks how it is; m->status is new when that is replied. As mount_write(). */
int mount_ask_status(struct box *box, struct box_mount *m, uint64_t *tag);
/* Who waited for the reply with this tag waits no more. */
void mount_abandon(struct box *box, uint64_t tag);

/* Shows files/ without what is to be mounted in it, whether or not the box runs. */
void mounts_veil(struct box *box);
/* Fields bucket.NAME= of MSG_START. */
void mounts_start_fields(const struct box *box, struct text *fields);
/* The box has started, or was found running: what is due is asked for. */
void mounts_started(struct box *box);
/* It will not start now, or has ended. */
void mounts_ended(struct box *box);
/* Messages of the keeper. quiet: it tells what has been so for long. */
void mounts_told_state(struct box *box, const char *fields, size_t len, int state, bool quiet);
void mounts_told_text(struct box *box, uint64_t tag, const char *text);
void mounts_replied(struct box *box, uint64_t tag, int error, const char *why);

#endif
