/* SPDX-License-Identifier: MIT */
/*
 * ioctl(2) on an open `tty`. FUSE hands a filesystem only requests whose number says how much they
 * carry, which the terminal ones of the kernel (TIOCSWINSZ, TCGETS) do not: hence numbers of our own.
 */
#ifndef SANDBOXFS_TTY_IOCTL_H
#define SANDBOXFS_TTY_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

struct tty_size {
	uint16_t rows, columns;
};

/* Sets the window size: 0x40045b01 on most machines. */
#define TTY_SET_SIZE _IOW('[', 1, struct tty_size)
/* The exit code of the shell once it has ended, 128+n for signal n; EAGAIN before: 0x80045b02. */
#define TTY_EXIT_CODE _IOR('[', 2, int32_t)

#endif
