/* SPDX-License-Identifier: MIT */
/*
 * The folder runs/ of a box: making a run's folder fast, and removing old ones. One is always kept
 * ready, so a new run costs one rename and one write; and where old ones have to go, the ready one
 * is an old one: making and freeing files is what costs on a disk (a filesystem that discards frees
 * no block without waiting for the device). Knows nothing of what runs.
 *
 * So a folder, its RUN_SCRIPT and its RUN_RECORD may belong to another run later, but only after
 * the folder has lost its number: who reads them by path and then still finds the same folder under
 * that number has read that run's. RUN_OUT, RUN_ERR, RUN_ORDER and RUN_GAPS are a run's own for
 * ever, and exist only if something was written to them.
 */
#ifndef KEEPER_FOLDERS_H
#define KEEPER_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "keeper/loop.h"
#include "protocol.h"

/* The descriptors of a run's folder; -1 what is not open. */
struct run_folder {
	int dir;
	int record; /* RUN_RECORD, for writing */
	int order;  /* RUN_ORDER, made when it is needed */
	int gaps;   /* RUN_GAPS, likewise */
};

struct folders {
	struct loop *loop;
	int dir; /* runs/ */
	uint64_t keep;
	uint64_t n_ended; /* folders of ended runs, about: others remove some too */
	uint64_t newest;  /* highest number made or seen */
	struct run_folder spare;
	int spare_script;
	uint64_t spare_script_size;
	struct loop_task spare_task, evict_task;
	struct loop_timer evict_timer;
	uint64_t *evict; /* numbers to remove or to use again, oldest last; malloc'd */
	size_t n_evict;
	bool scanned, idle;
	/* Is that run live? Then its folder stays. */
	bool (*is_live)(struct folders *folders, uint64_t number);
	/* Those, in descending order, are going to be removed, unless one turns out to live. */
	void (*before_removal)(struct folders *folders, const uint64_t *numbers, size_t n);
};

void run_folder_init(struct run_folder *folder);
void run_folder_close(struct run_folder *folder);

/* Opens (and makes, if need be) runs/ below the box's folder. 0 or -errno. */
int folders_open(struct folders *folders, struct loop *loop, int box_dir, uint64_t keep);
void folders_close(struct folders *folders);
/* Makes the folder of run number with its script in it; -EEXIST if it is there. Nothing is left
 * on an error. */
int folders_make(struct folders *folders, uint64_t number, const char *script, size_t len,
		 struct run_folder *out);
/* Opens an existing one again. */
int folders_reopen(struct folders *folders, uint64_t number, struct run_folder *out);
/* Removes a folder and what a keeper puts into it. */
void folders_remove(struct folders *folders, uint64_t number);
/* Numbers of all folders but those to skip, newest first; malloc'd. 0 or -errno. */
int folders_list(struct folders *folders, bool (*skip)(struct folders *folders, uint64_t number),
		 uint64_t **numbers, size_t *n);
/* The folder of a run, for reading. A descriptor or -errno. */
int folders_dir(struct folders *folders, uint64_t number);
/* A run has ended for good: its folder counts, and old ones go when there are too many. */
void folders_note_ended(struct folders *folders);
/* Makes and opens RUN_OUT or RUN_ERR, for reading and writing. A descriptor or -errno. */
int run_folder_open_stream(const struct run_folder *folder, enum stream which);
/* Seals the text (base/kv.h) and makes it the run's record. 0 or -errno. */
int run_folder_write_record(const struct run_folder *folder, struct text *record);
/* Opens the run's RUN_ORDER for appending. A descriptor or -errno. */
int run_folder_open_order(struct run_folder *folder);

#endif
