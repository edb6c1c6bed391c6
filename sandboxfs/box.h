/* SPDX-License-Identifier: MIT */
/*
 * Boxes as the daemon knows them: the registry of names, each box's settings, state, live runs,
 * environment and refusals. What is on disk is store.h's, what a keeper says is keeper.h's.
 *
 * Locks: the registry's (inside box.c) before one box's `lock`; never two boxes at once. A box is
 * reference-counted; holding a reference keeps the struct, not the box: check `removed`.
 */
#ifndef SANDBOXFS_BOX_H
#define SANDBOXFS_BOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

#include "base/text.h"
#include "files.h"
#include "limit.h"
#include "node.h"
#include "options.h"
#include "park.h"
#include "protocol.h"
#include "runtime.h"
#include "session.h"
#include "why.h"

struct box_mount;
struct input;
struct keeper;

/* UINT64_MAX where it is not known. Times in µs, sizes in bytes. */
struct run_usage {
	uint64_t wall_us, cpu_user_us, cpu_system_us, memory_peak, read, written;
};

/* A run that may still change: from its submission until nothing can write to its streams. */
struct run {
	UT_hash_handle hh; /* by number, in box->runs */
	uint64_t number;
	atomic_int refs;
	char session[SESSION_KEY_SIZE]; /* its key; "": a run of its own */
	char name[64];			/* "": none */
	enum run_state state;
	int code;		      /* as in `exit` */
	uint64_t end_size[N_STREAMS]; /* sizes when the command ended */
	bool ended, closed, truncated;
	int refused;   /* errno of a refused submission */
	bool answered; /* the keeper has said whether it took it */
	char *script;  /* until then: to record a refused one */
	size_t script_len;
	bool watching[N_STREAMS]; /* a MSG_WATCH is out */
	int files[N_STREAMS];	  /* its output, open while it has readers, one for all; -1 */
	unsigned int readers[N_STREAMS];
	bool unwanted;		/* to be removed once it is closed */
	int64_t timeout_ms;	/* 0: may run for ever; -1: as the box's limit says */
	struct input *input;	/* input.c; NULL: nobody has opened it yet */
	struct run_usage usage; /* as last told */
	struct park_list parks; /* requests that wait for it */
	char title[81];		/* beginning of its script's first line, any bytes */
	int64_t started_us;	/* 0: not yet */
	uint64_t pid;		/* in the box, 0: not yet */
};

enum { ENDED_RUNS = 8, REMOVED_FOR_GOOD = 1 };

/* What folders of the kernel's tell of a box, cgroup.NAME of MSG_WELCOME; see dir_usage.c. */
enum measure { MEASURE_MEMORY, MEASURE_CPU, MEASURE_PIDS, MEASURE_PRESSURE, N_MEASURES };
extern const char *const measure_fields[N_MEASURES];

struct box {
	UT_hash_handle hh_id;
	UT_hash_handle hh_name;
	uint32_t id;
	atomic_int refs;

	pthread_mutex_t lock; /* everything below, and the runs */
	char name[64];
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
	char image[128];
	char *image_user, *image_cwd;  /* of an imported image; NULL: the usual */
	char *image_command;	       /* what it is made to run; NULL: nothing */
	struct limits limits;	       /* its own; 0: it has none, box_limit() tells */
	bool output_shrinks;	       /* a limit may take away what live runs have written */
	pthread_rwlock_t whole_output; /* read-held by who relies on it that nothing does */
	int64_t created_us, changed_us;
	int64_t removed_us;  /* REMOVED_FOR_GOOD: not even the trash shows it */
	atomic_bool removed; /* in the trash */
	atomic_bool gone;    /* not even there any more */
	atomic_int writers;  /* open handles by which something can be asked of it */
	uint32_t block;	     /* number of its block of ids while it runs, else 0 */

	bool net_private;	  /* net/mode */
	bool net_chosen;	  /* somebody wrote that; else the box starts without, if need be */
	unsigned int net_changes; /* counts writes */
	char *net_allow, *net_deny; /* as written, never NULL */
	uint64_t net_bandwidth;	    /* bytes/s, UINT64_MAX unlimited */

	struct box_mount *mounts; /* mount.h */
	uint32_t last_mount;	  /* highest number given to one */

	enum box_state state;
	char failed_why[256];
	char image_key[IMAGE_KEY_SIZE]; /* of the running system */
	char token[17];
	struct keeper *keeper; /* NULL: nothing runs */
	bool after_stop_start; /* restart, reset: start once it has stopped */
	bool after_stop_reset;
	bool cleaning;	 /* what a killed keeper left is being removed: it cannot start yet */
	int start_errno; /* why the last start failed */

	struct run *runs;		    /* live ones, and the newest ended ones */
	struct run *ended_runs[ENDED_RUNS]; /* a ring of those */
	unsigned int next_ended;
	uint64_t next_run;	 /* 0: not yet read from disk */
	uint64_t last_run;	 /* newest of all; 0 none */
	size_t collected;	 /* bytes of scripts written and not yet submitted */
	uint64_t last_ended_run; /* of those the present keeper told of */

	struct session *sessions; /* the default one first */
	uint32_t last_session;	  /* highest number given to one */
	struct named *named_by_id, *named_by_name;
	uint32_t last_named;
	bool named_loaded;

	struct why why;
	uint64_t n_events;		 /* so far; under events_lock */
	struct park_list parks;		 /* requests that wait for the box */
	struct tty *ttys;		 /* open terminals, see tty.c */
	struct handle *polls;		 /* handles somebody polls, each a reference */
	struct files_volume *volumes[2]; /* by enum files_kind; NULL until first used */
	struct files_volume **ended_volumes;
	size_t n_ended_volumes;
	bool disk_due;		    /* its limits of disk have changed since its keeper was told */
	bool ground_due;	    /* the workspace has no ground until its disk is mounted */
	int live_root[2];	    /* by enum files_kind: from the keeper while it runs, -1 */
	char cgroup[512];	    /* folder with cgroup.procs while it runs */
	char *measured[N_MEASURES]; /* folders that tell what it uses; NULL: none does */
};

/* --- registry ---------------------------------------------------------------------------- */

/* Loads every box from disk and adopts living keepers. 0 or -errno. */
int boxes_load(void);
/* Answers whoever waits and leaves the keepers; then, when no thread is left, frees all boxes. */
void boxes_leave(void);
void boxes_free(void);

struct box *box_get(uint32_t id);		 /* a reference, or NULL */
struct box *box_find(const char *name);		 /* live ones by name */
struct box *box_find_removed(const char *shown); /* by the name shown in the trash */
struct box *box_ref(struct box *box);
void box_put(struct box *box);
#define _cleanup_box_ __attribute__((cleanup(box_cleanup)))
static inline void box_cleanup(struct box **box)
{
	if (*box)
		box_put(*box);
}

/* Calls fn for each box (live or removed) with a reference held and no lock. A non-zero return ends it. */
int boxes_each(bool removed, int (*fn)(struct box *box, void *ctx), void *ctx);
/* The name a removed box shows in the trash. */
void box_trash_name(struct box *box, char shown[96]);
size_t boxes_count(void);

/* What may go wrong: EEXIST EDQUOT ENOSPC … The new box in *made (a reference). */
int box_create(const char *name, uid_t uid, gid_t gid, mode_t mode, struct box **made);
int box_rename(struct box *box, const char *name);
/* Takes the name away at once, ends processes behind it. */
int box_remove(struct box *box);
int box_restore(struct box *box, const char *name);
int box_set_owner(struct box *box, uid_t uid, gid_t gid); /* (uid_t)-1 keeps */
int box_set_mode(struct box *box, mode_t mode);
/* Deletes what has been in the trash for long enough (all: everything that may go). Background. */
void boxes_empty_trash(int64_t now_us);

/* Janitor's work for one box: delete its system/, remove what a killed keeper left (box->cleaning). */
void box_reset_now(struct box *box);
void box_clean_now(struct box *box);
/* Mounts its disk for files/. */
void box_ground_now(struct box *box);
/* The same before there are threads. */
void box_clean_at_start(struct box *box);

/* --- state, under box->lock ----------------------------------------------------------------- */

/* Changes the state, tells events, wakes who waits for the box. reason only with BOX_FAILED. */
void box_set_state(struct box *box, enum box_state state, const char *reason);
/* The errno an open of `cmd` gets for a failed box. */
int box_failed_errno(const struct box *box);

/* --- limits, under box->lock ------------------------------------------------------------------ */

/* What holds for it, or will when it runs. */
uint64_t box_limit(const struct box *box, enum limit which);
void box_limits(const struct box *box, struct limits *out);

/* --- image, under box->lock ------------------------------------------------------------------ */

/* Makes it one of that image: 0, -ENOENT there is none, -ENOMEM. */
int box_set_image(struct box *box, const char *name);
/* Takes environment, user and directory over from its image; one that is gone gives none. */
int box_take_image(struct box *box);
/* Whom a session or run of that user ("": nobody was chosen) runs as: the image's user, else root. */
const char *box_user(const struct box *box, const char *user);
bool box_user_is_root(const struct box *box, const char *user);
/* May somebody choose that? Takes box->lock. */
bool box_user_may_be(struct box *box, const char *user);
/* Puts it into a field of a session or name, where the box's own user is "". Under box->lock. */
void box_user_note(const struct box *box, char field[64], const char *user);

/* --- runs, under box->lock ---------------------------------------------------------------- */

/* Reads the run numbers from disk if that was not done yet. */
void box_load_runs(struct box *box);
struct run *box_live_run(struct box *box, uint64_t number); /* no reference; NULL */
size_t box_live_runs(const struct box *box);		    /* how many have not ended */
bool box_run_exists(struct box *box, uint64_t number);
/* A new run of the next number: the latest of its session, or with session NULL one of its own, by
 * that name ("": none). NULL when out of memory. */
struct run *box_run_new(struct box *box, struct session *session, const char *name);
/* A live run that an adopted keeper tells of. */
struct run *box_run_adopt(struct box *box, uint64_t number);
struct run *run_ref(struct run *run);
void run_put(struct run *run);
/* Its streams are closed: it will be forgotten (waiters keep their reference). */
void box_run_forget(struct box *box, struct run *run);
/* Removes the record of a run that is closed; its number is not used again. */
int box_run_remove(struct box *box, uint64_t number);
/* Nothing is queued, runs or may still write. */
bool box_is_idle(struct box *box);
/* The keeper is gone: every live run is lost. Collects who waited for them. */
void box_runs_lost(struct box *box, struct park **ready);

/* --- files ----------------------------------------------------------------------------------- */

/* The volume, made on first use; NULL when out of memory. Under box->lock. */
struct files_volume *box_volume(struct box *box, enum files_kind kind);
/* The box runs now (descriptors are taken over) or no longer. Under box->lock. */
void box_volumes_live(struct box *box, int workspace, int root);
void box_volumes_stopped(struct box *box);
/* Its keeper is about to be told to start it. */
void box_volumes_starting(struct box *box);

#endif
