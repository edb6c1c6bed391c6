/* SPDX-License-Identifier: MIT */
/*
 * The state directory: its lock and format, one folder per box by a number that is never reused,
 * the trash, and the records of runs. Layout:
 *
 *   format            "format = 1"
 *   lock              POSIX write lock of the daemon that uses it
 *   last_box          box numbers up to this one may be in use
 *   boxes/ID/         see runtime.h; BOX_META is a record of the settings in struct box
 *   trash/ID/         removed boxes, the same inside
 *   images/host/KEY/  made by sandbox-image
 *
 * Functions return 0 or -errno. Locks: none of its own; a box's files are written under its lock.
 */
#ifndef SANDBOXFS_STORE_H
#define SANDBOXFS_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "box.h"

/* Opens or makes the state directory and takes its lock, waiting up to wait_ms for another daemon
 * to let go of it. On an error a sentence is in *err. */
int store_open(const char *path, int64_t wait_ms, struct options_error *err);
void store_close(void);
/* Notes which ids own the files of this state, or checks that it is these. 0, or -errno with a sentence. */
int store_check_ids(uid_t uid_base, struct options_error *err);
/* Pid of the daemon that holds the lock of the state directory at path, 0 none, -errno. */
int store_lock_holder(const char *path);
const char *store_path(void);

/* A box number never used before, or 0 with errno. */
uint32_t store_new_id(void);

/* The box's folder, opened (a descriptor for the caller) or -errno. */
int store_box_dir(const struct box *box);
/* The folder that holds its workspace/ and system/: the same, or the root of its disk's image, which
 * may have to be mounted. */
int store_files_dir(const struct box *box);
/* What holds limits of disk here (disk_choose()), or -EOPNOTSUPP and a sentence. */
int store_disk_method(enum disk_method wanted, char *why);
/* Makes the folder with workspace/ (owned by storage_id) and the settings. */
int store_create(const struct box *box, uid_t storage_id);
int store_save(const struct box *box);
/* Moves it between boxes/ and trash/ to where box->removed says. */
int store_move(const struct box *box);
/* Deletes a removed box's folder, for good. Slow. */
int store_delete(const struct box *box);
/* Deletes system/ : back to the image. Slow. */
int store_reset(const struct box *box);
/* Calls fn for each box folder of boxes/ or trash/. */
int store_each(bool removed, void (*fn)(uint32_t id, bool removed));
/* Fills the settings of box (id and removed are set). -EINVAL and a sentence when garbled. */
int store_load(struct box *box, char *why, size_t why_size);
/* True while a keeper holds its lock. */
bool store_keeper_lives(const struct box *box);

/* Sessions, but for the default one, which is part of the settings; names of runs. */
struct named;
int store_sessions_save(const struct box *box);
void store_sessions_load(struct box *box);
void store_session_log_remove(const struct box *box, const char *key);
int store_name_save(const struct box *box, const struct named *named);
void store_name_remove(const struct box *box, uint32_t id);
void store_names_load(struct box *box);

/* Buckets mounted in it (mount.h). load() calls make(box, name) for each. */
struct box_mount;
int store_mounts_save(const struct box *box);
void store_mounts_load(struct box *box,
		       struct box_mount *(*make)(struct box *box, const char *name));
/* Does something written to that mount lie on disk that is not in the bucket? Of one that is not
 * served now. */
bool store_mount_is_dirty(const struct box *box, const char *name);
/* Takes its empty folder away. */
void store_mount_clear(const struct box *box, const char *name);

/* --- runs ------------------------------------------------------------------------------------- */

void run_usage_clear(struct run_usage *usage);
/* Takes a field of a record or message, if it is one of usage. */
void run_usage_set(struct run_usage *usage, const char *key, uint64_t value);

struct run_record {
	char session[64]; /* its key (session.h); "": a run of its own */
	char name[64], user[64], cwd[4096];
	char token[32];
	enum run_state state;
	int code;
	uint64_t pid;
	int64_t started_us, ended_us, timeout_ms;
	uint64_t end_size[N_STREAMS];
	bool truncated, timeout_is_default;
	struct run_usage usage;
};

/* Reads a run's record; -ENOENT no such run; a garbled one is RUN_LOST. */
int store_run_read(const struct box *box, uint64_t number, struct run_record *record);
/* Records a submission that no keeper took, with its script. */
int store_run_refused(const struct box *box, const struct run *run, const void *script, size_t len);
/* Takes the record away at once. */
int store_run_remove(const struct box *box, uint64_t number);
/* Opens RUN_OUT, RUN_ERR or RUN_ORDER of the run for reading. -ENOENT also when it wrote nothing. */
int store_run_open(const struct box *box, uint64_t number, const char *file);
/* How much of a stream limits/output_total has taken, of a run of which nothing is kept; else 0. */
uint64_t store_run_gone(const struct box *box, uint64_t number, enum stream which);
/* Bytes of its output that are kept. -ENOENT */
int store_run_kept(const struct box *box, uint64_t number, uint64_t *bytes);
/* Adds up to max bytes of its script. 0 or -errno, and then nothing was added. */
int store_run_script(const struct box *box, uint64_t number, uint64_t offset, size_t max,
		     struct text *out);
int compare_u64(const void *a, const void *b); /* for bsearch over them */
/* The numbers of all runs on disk, ascending; *numbers is the caller's. */
int store_run_numbers(const struct box *box, uint64_t **numbers, size_t *n);

#endif
