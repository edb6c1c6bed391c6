/* SPDX-License-Identifier: MIT */
/*
 * The making of a box as two recipes that run side by side, each a table of named stages: the
 * keeper's (start.c) and the child's (child.c), which ends by becoming the box's init. They meet
 * three times, over the socketpair that later is init's: the keeper says that the ids are mapped,
 * hands the trees over, and opens the cgroups; in between both work at the same
 * time, as most of a start is time in the kernel. A stage returns 0 or -errno; the runner notes its name, a stage may add a
 * sentence by failure_set() where the errno alone would not help a person.
 */
#ifndef KEEPER_STAGES_H
#define KEEPER_STAGES_H

#include "box.h"

/* Detached mounts that the keeper makes and the child attaches. */
enum tree {
	TREE_SYSTEM,	/* the box's system/, idmapped: upper and work folders of both overlays; if
			   the box has a disk all of that, with both folders */
	TREE_WORKSPACE, /* the box's workspace/, idmapped; if it has a disk the same as above */
	TREE_ROOT,    /* the image's lower of /, or the folder of all layers, idmapped, read-only */
	TREE_CONTROL, /* the control tmpfs */
	TREE_USRMASK, /* host: the image's upper lower of /usr, likewise */
	TREE_USR,     /* host: the machine's /usr, likewise */
	N_TREES,
	N_TREES_IMPORTED = TREE_USRMASK, /* how many a box of an imported image has */
};

/* Everything of a start; the child works on its own copy. Descriptors are -1 where not open. */
struct start {
	const struct box_settings *set;
	struct box *box;
	struct failure *why;
	int dir;   /* the box's folder */
	int store; /* what holds system/ and workspace/: the same, or the root of its disk */
	int disk;  /* its image's or tmpfs's mount, until it is trees[TREE_SYSTEM] */
	bool has_disk;
	int image; /* the image's folder */
	int init_program;
	int null; /* the machine's /dev/null, checked */
	int sock, child_sock;
	pid_t pid;
	int pidfd;
	int proc_child; /* /proc/PID of the child */
	int trees[N_TREES];
	/* the child's */
	int stage_dir; /* staging tmpfs, on which the box's tree is put together */
	int root;      /* the box's / while it is being made */
};

/* Is the box made from this machine's own software, or else from an imported image? */
static inline bool start_is_host(const struct start *s)
{
	return !s->set->layers;
}

static inline int start_n_trees(const struct start *s)
{
	return start_is_host(s) ? N_TREES : N_TREES_IMPORTED;
}

struct stage {
	const char *step; /* "mount the root overlay" */
	int (*run)(struct start *s);
};

/* A constant sentence or a formatted one; the first one stays. Returns -error. */
int failure_set(struct failure *why, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Runs stages in order up to the first that fails; *failed is its index then. */
int stages_run(struct start *s, const struct stage *stages, size_t n, size_t *failed);

/* The child's recipe; never returns. The text of its stage i, NULL for a number that is none. */
_Noreturn void child_main(struct start *s);
const char *child_stage_step(uint64_t i);

/* What the keeper says to the child, one byte each, in this order; with START_TREES come the
 * trees' descriptors, with START_CGROUP the doors of cgroup_make_rest(). */
enum { START_IDS_MAPPED = 'i', START_TREES = 't', START_CGROUP = 'c' };

#endif
