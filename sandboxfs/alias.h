/* SPDX-License-Identifier: MIT */
/*
 * Fresh node ids for files that are told apart by who opened them (cmd, ctl): each lookup answers
 * an alias of its own, so that two opens never share a kernel inode. Then /proc/PID/fdinfo tells a
 * duplicate from another open, and a writer that waits holds nobody else's inode lock.
 * An alias lives until the kernel forgets it. Thread-safe.
 */
#ifndef SANDBOXFS_ALIAS_H
#define SANDBOXFS_ALIAS_H

#include <stdint.h>

#include "node.h"

/* The id of a new alias of node with one lookup, 0 when out of memory. */
uint64_t alias_new(struct node node);
/* The node behind an id; id may be of any node. kind 0: forgotten. */
struct node alias_resolve(uint64_t id);
void alias_forget(uint64_t id, uint64_t lookups);

#endif
