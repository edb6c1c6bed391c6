/* SPDX-License-Identifier: MIT */
/*
 * The few parts of the kernel's FUSE protocol that are newer than the <linux/fuse.h> that a
 * distribution ships (Documentation/filesystems/fuse/, include/uapi/linux/fuse.h of Linux 6.18).
 * Included by fuse_wire.c alone; it asks the running kernel before it uses any of it.
 */
#ifndef SANDBOXFS_FUSE_KERNEL_H
#define SANDBOXFS_FUSE_KERNEL_H

#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* INIT flags; those from bit 32 on travel in flags2. */
#define WIRE_INIT_EXT (1ULL << 30)
#define WIRE_INIT_WRITEBACK_CACHE (1ULL << 16)
#define WIRE_INIT_HANDLE_KILLPRIV (1ULL << 19)
#define WIRE_INIT_HANDLE_KILLPRIV_V2 (1ULL << 28)
#define WIRE_INIT_PASSTHROUGH (1ULL << 37)

enum {
	WIRE_OP_CREATE = 35,
	WIRE_OP_TMPFILE = 51,

	WIRE_NOTIFY_INC_EPOCH = 8,

	WIRE_FOPEN_DIRECT_IO = 1 << 0,
	WIRE_FOPEN_NONSEEKABLE = 1 << 2,
	WIRE_FOPEN_STREAM = 1 << 4,
	WIRE_FOPEN_PASSTHROUGH = 1 << 7,

	/* Protocol minors (major 7) that brought a thing. */
	WIRE_MINOR_STREAM = 31,
	WIRE_MINOR_INC_EPOCH = 44,
};

/* struct fuse_init_in and fuse_init_out with all fields that have been given a meaning. */
struct wire_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2;
	uint32_t unused[11];
};

struct wire_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint16_t request_timeout;
	uint16_t unused[11];
};

struct wire_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

struct wire_create_out {
	struct fuse_entry_out entry;
	struct wire_open_out open;
};

struct wire_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define WIRE_IOC_BACKING_OPEN _IOW(229, 1, struct wire_backing_map)
#define WIRE_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

#endif
