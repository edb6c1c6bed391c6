/* SPDX-License-Identifier: MIT */
/*
 * What a box's init and its keeper say to each other over init's descriptor INIT_SOCK, one end of
 * a SOCK_SEQPACKET socketpair. Both come from one build and live equally long, so these are plain
 * structs in the machine's byte order.
 *
 * The keeper sends a struct init_request with its text, three descriptors and the doors for each program; it
 * closes its end to end the box. Everything else goes the other way, as struct init_report. A box
 * cannot reach init's memory or descriptors, yet the keeper checks every word of a report and
 * takes a process's identity from the credentials that the kernel adds to the packet.
 */
#ifndef INIT_INIT_H
#define INIT_INIT_H

#include <stdint.h>

#include "keeper/box.h"

enum {
	INIT_SOCK = 3,
	INIT_MAX_TEXT = 128 << 10, /* cwd, argv and envp of one request, NULs included */
	INIT_MAX_CHILDREN = 4096,  /* programs of requests alive at once; EAGAIN beyond */
	INIT_PROGRAM_FDS = 3,
	INIT_REQUEST_FDS = INIT_PROGRAM_FDS + INIT_MAX_DOORS,
};

/* Followed by text_len bytes: cwd, then argc, then envc strings, each ended by a NUL. */
struct init_request {
	uint64_t id;
	uint32_t uid, gid;
	uint32_t groups[INIT_MAX_GROUPS], n_groups;
	uint32_t flags; /* INIT_SPAWN_… of keeper/box.h */
	uint32_t argc, envc;
	uint32_t n_doors; /* descriptors behind the first three */
	uint32_t text_len;
};

/*
 * Of one request come either REFUSED; or FORKED, sent by the new process itself before it becomes
 * the program, then STARTED and in the end EXITED, or REFUSED if it could not become the program.
 * FORKED is missing if it was killed before it could say so.
 */
enum init_report_type {
	INIT_REPORT_READY = 1, /* once, before all others */
	INIT_REPORT_FORKED,    /* pid: in the box */
	INIT_REPORT_STARTED,
	INIT_REPORT_REFUSED, /* status: errno */
	INIT_REPORT_EXITED,  /* status: as wait(2) gives it */
	INIT_REPORT_STAGE,   /* before READY: the box could not be made. id: number of the stage,
				status: errno; a sentence follows the struct (keeper/stages.h) */
};

struct init_report {
	uint32_t type;
	int32_t status;
	uint64_t id;
	int32_t pid;
	uint32_t unused;
};

#endif
