/* SPDX-License-Identifier: MIT */
/* Copying a box's files from one file system to another, as they are. */
#ifndef DISK_COPY_H
#define DISK_COPY_H

/*
 * Copies the folder name below from to the same name below to, which must not be there: owners,
 * modes, times, attributes, hard links, holes, special files; sockets are left out. What is gone
 * by the time its turn comes is left out. 0 or -errno.
 */
int disk_copy_tree(int from, int to, const char *name);

/* Both folders of a box, as far as they are there; a sentence in why (disk.h). */
int disk_copy_folders(int from, int to, char *why);

#endif
