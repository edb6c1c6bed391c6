/* SPDX-License-Identifier: MIT */
/*
 * A running box as the keeper holds it: making it (box_start, the recipe), its cgroup, killing it,
 * and asking its init to start programs. Knows nothing of sessions, runs or the daemon.
 * Everything that comes out of the box (init's words, the control folder's files) is hostile.
 */
#ifndef KEEPER_BOX_H
#define KEEPER_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "disk/disk.h"
#include "limit.h"

/* Parsed MSG_START. Strings point into the message, which must outlive it. */
struct box_settings {
	uint64_t number;
	const char *name, *hostname, *token, *image, *image_dir, *cgroup, *cwd, *tz;
	const char *layers; /* of an imported image, highest first; NULL: the image is host */
	const char *user;   /* whom commands run as if nobody says; "" is root */
	uid_t uid_base, storage_base;
	bool network;	     /* more than loopback */
	bool network_if_any; /* or less, where the machine can have none */
	uint64_t keep_runs;
	struct limits limits;
	enum disk_method disk_method;
	const char *fields; /* the field list itself, for env.NAME */
	size_t fields_len;
};

/* Why something failed: filled by whoever knows best; becomes the sentence in `why`. */
struct failure {
	int error;	  /* positive errno */
	const char *step; /* "mount the root overlay" */
	char text[256];
};

struct cgroup; /* cgroup.h */
struct groups; /* group.h */

struct box {
	struct box_settings set;
	int dir;	/* the box's folder */
	pid_t init_pid; /* on the host */
	int init_pidfd; /* readable when init has died: the box is dead then */
	int init_sock;	/* SEQPACKET, non-blocking: see init_* below */
	int control;	/* root of the control tmpfs, which the box sees at CONTROL_PATH */
	int workspace;	/* O_PATH, as seen in the box's mount namespace */
	int root;	/* O_PATH, the box's / */
	int usr;	/* O_PATH, its /usr, an overlay of its own: held for box_close() */
	int network;	/* to sandbox-net: the box has a link as long as it is open. -1: none */
	int network_ns; /* its network namespace */
	int mounter;	/* mounter.h; -1: none */
	pid_t mounter_pid;
	char network_why[256]; /* why it has no network after all */
	struct cgroup *cgroup;
	struct groups *groups;	  /* NULL where the machine can make none */
	struct init_client *init; /* init_client.h */
};

/* Where the box sees the control tmpfs. Its root belongs to the host's root (0755); session.c makes
 * a folder per session below, owned by the box's root. */
#define CONTROL_PATH "/run/box"

/* Parses a MSG_START field list; -EINVAL and *why for what is missing or out of range. */
int box_settings_parse(struct box_settings *set, const char *fields, size_t len,
		       struct failure *why);

/*
 * Makes the box: all of it or nothing. 0, or -errno with *why filled. Takes dir on success.
 * Leaves the keeper with no more privileges than it needs afterwards.
 */
int box_start(struct box *box, const struct box_settings *set, int dir, struct failure *why);

/* Puts the keeper out of its maker's session scope and cgroups (before box_start). */
int keeper_leave_caller(const struct box_settings *set, struct failure *why);

/* Ends every process of the box but init (all: also init). Returns when none is left or after
 * timeout_ms (-ETIMEDOUT). Never blocks longer. */
int box_kill_processes(struct box *box, bool also_init, int timeout_ms);
/* Sends sig to every process of the box but init. */
int box_signal_all(struct box *box, int sig);
/*
 * Sends sig (0: only counts) to those of pids that are processes of the box, but not to its init nor
 * to except. How many of the others there were, or -errno.
 */
int box_signal_pids(struct box *box, const pid_t *pids, size_t n, pid_t except, int sig);
int box_freeze(struct box *box);
int box_thaw(struct box *box);
/* True if the memory limit has killed something since the last call. */
bool box_oom_killed(struct box *box);
/* Path of the folder with cgroup.procs, for MSG_WELCOME. */
const char *box_cgroup_path(const struct box *box);
/* Adds cgroup.memory= and the like of MSG_WELCOME: where what it uses can be read. */
void box_add_cgroups(const struct box *box, struct text *fields);
/* Ends all of it and takes its cgroups, mounts and namespaces away. Idempotent. */
void box_destroy(struct box *box);
/*
 * Lets go of the two overlays, after box_destroy(). Whoever closes the last descriptor of an
 * overlay waits until the kernel has written all that is dirty on the disk below it, so this is
 * for the keeper's last moments, when nobody waits for it any more; its exit does the same.
 */
void box_close(struct box *box);

/*
 * For `sandbox-keeper --remove-cgroup PATH`: ends what a killed keeper left of its box and removes
 * its cgroup, PATH being the field of MSG_START. 0 also if there is none, -EINVAL, -EBUSY.
 */
int box_remove_cgroup(const char *path);

/* --- init ------------------------------------------------------------------------------- */

enum {
	/* Soft, where there is no limit on open files: above it select(2) breaks, so a program must ask
	 * for more. */
	BOX_OPEN_FILES = 1024,
};

enum {
	INIT_SPAWN_SETSID = 1, /* own session and process group (else only a group of its own) */
	INIT_SPAWN_TTY = 2,    /* descriptor 0 becomes the new session's controlling terminal */
	INIT_SPAWN_ARGV0 = 4,  /* argv[0] is the program, and argv[1] what it sees as its argv[0] */
};

enum {
	INIT_MAX_GROUPS = 32, /* supplementary ones */
	INIT_MAX_DOORS = 4,
};

struct init_spawn {
	uint64_t id;				    /* chosen by the keeper, comes back in events */
	uint32_t uid, gid;			    /* inside the box */
	uint32_t groups[INIT_MAX_GROUPS], n_groups; /* likewise; none: gid alone */
	uint32_t flags;
	const char *cwd;
	const char *const *argv; /* argv[0] is looked up in PATH of envp if it has no slash */
	const char *const *envp;
	int fds[3]; /* 0, 1, 2 of the program; stay the caller's */
	/* cgroup.procs or tasks of cgroups that the new process enters before anything else of it
	 * runs (cgroup.h: a process that moves itself need not wait); stay the caller's. */
	int doors[INIT_MAX_DOORS], n_doors;
};

enum init_event_type {
	INIT_STARTED, /* pid and pidfd are the host's, from the kernel, not init's word */
	INIT_FAILED,  /* status = errno of execve or of a step before it */
	INIT_EXITED,  /* status = wait status; without STARTED if it was killed just before */
};

struct init_event {
	enum init_event_type type;
	uint64_t id;
	pid_t pid;     /* host pid; STARTED only */
	pid_t box_pid; /* pid in the box; STARTED only */
	int pidfd;     /* STARTED only; the caller's; -1 if it was gone already */
	int status;
};

/* Asks init to start a program. 0 or -errno (-E2BIG for more than 128 KiB of argv and envp). */
int init_spawn(struct box *box, const struct init_spawn *request);
/* The next event: 1, 0 none waiting, -errno: init speaks garbage or is gone (end the box). */
int init_next_event(struct box *box, struct init_event *event);

#endif
