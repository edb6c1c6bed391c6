/* SPDX-License-Identifier: MIT */
/*
 * The limits of a box, one row each: how a value is written, shown and sent, and whether this machine
 * can hold it. What a limit does is for keeper/box_limits.c; who may set it for sandboxfs/dir_limits.c. To
 * add one: a constant, a row in limit.c, a row in each of these two tables, and two settings in
 * sandboxfs/options.c.
 *
 * A public header of runtime/, as runtime.h is. Pure but for limit_is_lacking().
 */
#ifndef RUNTIME_LIMIT_H
#define RUNTIME_LIMIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* The order is that of the rows in limits/. */
enum limit {
	LIMIT_MEMORY,  /* bytes */
	LIMIT_CPUS,    /* thousandths of a CPU */
	LIMIT_PIDS,    /* processes and threads */
	LIMIT_FILES,   /* open files of a process */
	LIMIT_TIMEOUT, /* ms that a command may run, where it has no timeout of its own */
	LIMIT_IDLE,    /* ms that the box may be idle */
	LIMIT_DISK,    /* bytes of its files (disk/disk.h) */
	LIMIT_DISK_INODES,
	LIMIT_OUTPUT,	    /* bytes kept of each stream of a run (output_gap.h), */
	LIMIT_OUTPUT_TOTAL, /* and of all runs together */
	N_LIMITS,
};

#define LIMIT_NONE UINT64_MAX

struct limits {
	uint64_t of[N_LIMITS]; /* LIMIT_NONE: no limit */
};

extern const struct limits limits_none;

enum limit_unit { LIMIT_BYTES, LIMIT_MILLI, LIMIT_COUNT, LIMIT_MS };

struct limit_type {
	const char *name;  /* of its file, its setting, and in the record of a box's settings */
	const char *field; /* of MSG_START and MSG_LIMIT */
	enum limit_unit unit;
	uint64_t min, max;
	const char *form; /* how a value is written, for who wrote another one */
};

extern const struct limit_type limit_types[N_LIMITS];

/*
 * The value of a text, and back. "unlimited", "max", "none", and 0 of a duration, are LIMIT_NONE.
 * -EINVAL: no value of that kind; -ERANGE: less than min or more than max.
 */
int limit_parse(enum limit which, const char *text, uint64_t *value);
const char *limit_format(enum limit which, uint64_t value, char buf[32]);

/* As a number for a message or a record, where 0 stands for no limit; and back. */
static inline uint64_t limit_to_wire(uint64_t value)
{
	return value == LIMIT_NONE ? 0 : value;
}
static inline uint64_t limit_of_wire(uint64_t number)
{
	return number ? number : LIMIT_NONE;
}

/* The cgroup controller that enforces it, as the kernel names it; NULL: the keeper does that itself. */
const char *limit_controller(enum limit which);
/* Adds a field for each limit. */
void limits_add_fields(struct text *fields, const struct limits *limits);
/* The limit of that field or name; -1: none. */
int limit_find(const char *field);

/*
 * -EOPNOTSUPP with a sentence when this machine has nothing that could enforce that, else 0. Where a
 * box runs already, its keeper may still have a reason to refuse it.
 */
int limit_is_lacking(enum limit which, uint64_t value, char *why, size_t size);
/* How many files this machine lets a process have open, with what a root without CAP_SYS_RESOURCE may
 * give. */
uint64_t limit_most_files(void);

#endif
