/* SPDX-License-Identifier: MIT */
/*
 * What a control node of the tree is, and its 64-bit node id: nothing is allocated for one, a
 * stale one is ESTALE and never another box. Bit 63 is set for nodes of files.h only.
 */
#ifndef SANDBOXFS_NODE_H
#define SANDBOXFS_NODE_H

#include <stdbool.h>
#include <stdint.h>

enum dir_kind {
	DIR_ROOT = 1,
	DIR_DOT,   /* .sandboxfs */
	DIR_TRASH, /* .sandboxfs/trash */
	DIR_ROOTS, /* .sandboxfs/root */
	DIR_BOX,
	DIR_TRASHED, /* .sandboxfs/trash/NAME */
	DIR_PROCS,
	DIR_RUN,
	DIR_ENV, /* of a session */
	DIR_SESSIONS,
	DIR_SESSION,
	DIR_NAMED, /* a run with a name */
	DIR_NAMED_ENV,
	DIR_RUN_ENV,
	DIR_IMAGES, /* .sandboxfs/images; item = number of an image */
	DIR_NET,
	DIR_LIMITS,
	DIR_USAGE,
	DIR_MOUNTS, /* item = number of a mount */
	N_DIR_KINDS,
	NODE_ALIAS = 63, /* item = number of an alias (alias.h) */
};

enum {
	ROW_SELF = 0,	  /* the directory itself; row n of its table is n+1 */
	ROW_DYNAMIC = 63, /* a file that is no row: env/NAME */
};

struct node {
	uint8_t kind; /* enum dir_kind */
	uint8_t row;
	uint32_t box;  /* 24 bits; 0 where there is none */
	uint32_t item; /* 27 bits: run number, number of a session or of a name */
	uint32_t sub;  /* 0, or 1 + index of a variable. No part of the id: it has an alias */
};

enum { NODE_BOX_BITS = 24, NODE_ITEM_BITS = 27 };
#define NODE_MAX_BOX ((1u << NODE_BOX_BITS) - 1)
#define NODE_MAX_ITEM ((1u << NODE_ITEM_BITS) - 1)

static inline uint64_t node_id(struct node n)
{
	if (n.kind == DIR_ROOT && n.row == ROW_SELF)
		return 1; /* FUSE_ROOT_ID */
	return (uint64_t)n.kind << 57 | (uint64_t)n.row << 51 | (uint64_t)n.box << NODE_ITEM_BITS |
	       n.item;
}

static inline struct node node_of_id(uint64_t id)
{
	if (id == 1)
		return (struct node){ .kind = DIR_ROOT };
	return (struct node){
		.kind = id >> 57 & 63,
		.row = id >> 51 & 63,
		.box = id >> NODE_ITEM_BITS & NODE_MAX_BOX,
		.item = id & NODE_MAX_ITEM,
	};
}

static inline bool node_is_dir(struct node n)
{
	return n.row == ROW_SELF && n.kind != NODE_ALIAS;
}

#endif
