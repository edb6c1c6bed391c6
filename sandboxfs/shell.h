/* SPDX-License-Identifier: MIT */
/* `sandboxfs shell`: a person's terminal, connected to one in a box. */
#ifndef SANDBOXFS_SHELL_H
#define SANDBOXFS_SHELL_H

/* argv[0] is "shell". Returns the exit status: that of the box's shell, 0 when it was detached, 1 the
 * terminal could not be had or was lost, 2 wrong usage. */
int shell_command(int argc, char **argv);

#endif
