/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `sandbox-bucket --served`: the server of a mount in a box, started by the box's keeper. */
#ifndef MOUNTS_SERVED_H
#define MOUNTS_SERVED_H

/* As base/bucket.h says. Ends the process. */
_Noreturn void served_main(void);

#endif
