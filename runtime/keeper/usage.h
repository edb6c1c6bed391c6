/* SPDX-License-Identifier: MIT */
/* What processes have used, as it is measured (group.h), told and recorded (record.h). */
#ifndef KEEPER_USAGE_H
#define KEEPER_USAGE_H

#include <stdint.h>

/* UINT64_MAX: the machine cannot tell. */
struct usage {
	uint64_t cpu_user_us, cpu_system_us;
	uint64_t memory_peak;	/* bytes */
	uint64_t read, written; /* bytes, of block devices */
};

#define USAGE_UNKNOWN ((struct usage){ UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX })

#endif
