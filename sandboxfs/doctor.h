/* SPDX-License-Identifier: MIT */
/* `sandboxfs doctor`: what this machine offers, what an absence costs, and what helps. */
#ifndef SANDBOXFS_DOCTOR_H
#define SANDBOXFS_DOCTOR_H

/* The command behind "sandboxfs": argv[0] is "doctor". Returns the exit code: 0 boxes can run, 1
 * something essential is missing, 2 the command line is wrong. */
int doctor_command(int argc, char **argv);

#endif
