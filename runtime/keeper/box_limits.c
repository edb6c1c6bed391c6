/* SPDX-License-Identifier: MIT */
/*
 * Limits of the running box: what each one does when it changes. What a controller enforces goes to
 * the cgroup. A limit that does not take is refused, and the old one holds on. Must not wait for the
 * box. One thread, no locks.
 */
#include "keeper/box_limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "base/text.h"
#include "keeper/cgroup.h"
#include "keeper/idle.h"
#include "keeper/stages.h"
#include "keeper/tree.h"

static int set_in_cgroup(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	return k->box.cgroup->ops->set_limit(k->box.cgroup, which, value, why);
}

static void set_deadline(struct run *run, void *ctx)
{
	const int64_t *ms = ctx;

	/* -ESRCH: it has ended. */
	if (run->timeout_is_default)
		tree_set_timeout(run, *ms);
}

/* For those that go on as well, from their start. */
static int set_timeout(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	int64_t ms = (int64_t)limit_to_wire(value);

	(void)which;
	(void)why;
	runs_each(&k->runs, set_deadline, &ms);
	return 0;
}

static int set_output(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	(void)which;
	(void)why;
	runs_set_output_limit(&k->runs, value);
	return 0;
}

static int set_output_total(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	(void)which;
	(void)why;
	runs_set_output_total(&k->runs, value, true);
	return 0;
}

/* What holds a limit of disk takes privileges that the keeper no longer has (disk/disk.h). */
static int leave_to_daemon(struct keeper *k, enum limit which, uint64_t value, struct failure *why)
{
	(void)k;
	(void)which;
	(void)value;
	(void)why;
	return 0;
}

static const struct {
	int (*set)(struct keeper *k, enum limit which, uint64_t value, struct failure *why);
} types[N_LIMITS] = {
	[LIMIT_MEMORY] = { set_in_cgroup }, [LIMIT_CPUS] = { set_in_cgroup },
	[LIMIT_PIDS] = { set_in_cgroup },   [LIMIT_FILES] = { open_files_set },
	[LIMIT_TIMEOUT] = { set_timeout },  [LIMIT_IDLE] = { idle_set },
	[LIMIT_DISK] = { leave_to_daemon }, [LIMIT_DISK_INODES] = { leave_to_daemon },
	[LIMIT_OUTPUT] = { set_output },    [LIMIT_OUTPUT_TOTAL] = { set_output_total },
};

/* The field that a message has. */
static int take_field(const char *fields, size_t len, enum limit *which, uint64_t *value)
{
	const char *f = field_next(fields, len, NULL), *eq = f ? strchr(f, '=') : NULL;
	const struct limit_type *type;
	char name[32];
	int found;

	if (!eq || snprintf(name, sizeof(name), "%.*s", (int)(eq - f), f) >= (int)sizeof(name))
		return -EINVAL;
	found = limit_find(name);
	if (found < 0)
		return -EOPNOTSUPP; /* of a newer daemon */
	type = &limit_types[found];
	if (parse_u64(eq + 1, 0, type->max, value) < 0 || (*value && *value < type->min))
		return -EINVAL;
	*which = (enum limit)found;
	*value = limit_of_wire(*value);
	return 0;
}

int limits_begin(struct keeper *k, struct failure *why)
{
	uint64_t files = k->set.limits.of[LIMIT_FILES];

	return files == LIMIT_NONE ? 0 : open_files_set(k, LIMIT_FILES, files, why);
}

int limits_change(struct keeper *k, const char *fields, size_t len, struct failure *why)
{
	enum limit which;
	uint64_t value;
	int r = take_field(fields, len, &which, &value);

	if (r < 0)
		return failure_set(why, -r, "the keeper of this box does not know such a limit");
	if (k->ending) /* for the next start, which is the daemon's */
		return 0;
	r = k->set.limits.of[which] == value ? 0 : types[which].set(k, which, value, why);
	if (r == 0)
		k->set.limits.of[which] = value;
	return r;
}
