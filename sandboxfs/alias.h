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
/*
 * The id of node as it is seen in this view, with one lookup more; 0 when out of memory. Files
 * whose beginning may be taken away (log) have one: what is open keeps its offsets and its size.
 * A variable's is its index, which the node's id does not tell.
 */
uint64_t alias_of_view(struct node node, uint64_t view);
/* The node behind an id, and the view (0 if it has none); id may be of any node. kind 0: forgotten. */
struct node alias_resolve(uint64_t id, uint64_t *view);
void alias_forget(uint64_t id, uint64_t lookups);

#endif
