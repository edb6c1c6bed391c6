/* SPDX-License-Identifier: MIT */
/*
 * The mounter: a second process of the keeper's that keeps what mounting takes (CAP_SYS_ADMIN) when
 * the keeper gives it up, and does nothing but mount FUSE filesystems in this one box and take them
 * away again. It ends with the keeper. Each request is worked on by a process of its own that ends
 * within MOUNTER_PATIENCE_MS, whatever stands on the way to the target.
 */
#ifndef KEEPER_MOUNTER_H
#define KEEPER_MOUNTER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { MOUNTER_PATIENCE_MS = 10000 };

enum mounter_op {
	MOUNTER_MOUNT,
	MOUNTER_REPLACE, /* the mount that is there goes in the same moment */
	MOUNTER_UNMOUNT, /* also while it is in use */
};

/* Both in the machine's byte order: the processes are of one program. */
struct mounter_request {
	enum mounter_op op;
	bool readonly;
	uint32_t n_made;   /* UNMOUNT: as was answered; those that are empty go */
	uint64_t mount_id; /* REPLACE, UNMOUNT: of what is there */
	char target[PATH_MAX];
	char source[1200]; /* as /proc/mounts shows it */
};

struct mounter_answer {
	int error;	   /* errno; 0: done */
	uint32_t n_made;   /* directories that were made for it, the target and above */
	uint64_t mount_id; /* what is there now */
	char why[256];	   /* may be empty */
};

/*
 * Makes the mounter of the box whose init is behind /proc/PID, proc_child. uid_base is its root's.
 * 0 or -errno.
 */
int mounter_start(int proc_child, uid_t uid_base, int *sock, pid_t *pid);
/* Closes *sock, which ends it, and waits for that. Fine when there is none. */
void mounter_end(int *sock, pid_t pid);
/* Asks. *answer becomes readable, and is the caller's. 0 or -errno. */
int mounter_ask(int sock, const struct mounter_request *request, int *answer);
/*
 * 0, and with MOUNT and REPLACE *fuse is the open /dev/fuse of the mount, the caller's; or -errno:
 * -EAGAIN none yet, -EIO: who worked on it has ended without a word (it took too long).
 */
int mounter_receive(int answer, struct mounter_answer *out, int *fuse);

#endif
