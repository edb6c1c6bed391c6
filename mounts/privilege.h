/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a process of a mount in a box gives up. Before any thread. */
#ifndef MOUNTS_PRIVILEGE_H
#define MOUNTS_PRIVILEGE_H

#include <stdint.h>
#include <sys/types.h>

/* No core dump, and nobody may look into the memory: the very first thing. 0 or -errno. */
int privilege_hide(void);
/* Becomes that uid, which also is the one group, without any capability; then privilege_confine(0). */
int privilege_drop(uid_t uid);
/* Keeps at most those capabilities, never gets another, and cannot ask the kernel for what it has no
 * business with: other programs, namespaces, mounts, processes of others. 0 or -errno. */
int privilege_confine(uint64_t caps);

#endif
