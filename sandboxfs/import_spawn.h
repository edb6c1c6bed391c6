/* SPDX-License-Identifier: MIT */
/* Starts an importer, for import.c. No state, no locks. */
#ifndef SANDBOXFS_IMPORT_SPAWN_H
#define SANDBOXFS_IMPORT_SPAWN_H

/*
 * Our ends of three pipes, which are the caller's also when it fails: the archive goes into the
 * first, the record that tells of the end comes out of the second, both non-blocking; closing the
 * third gives the import up. They are -1 before. 0 or -errno.
 */
int import_spawn(int *archive, int *result, int *control);

#endif
