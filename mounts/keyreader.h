/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A second process that can read what the server of a mount must not: the files with keys. It answers
 * one question, "which keys?", with what credentials.h finds, and ends with who asks.
 */
#ifndef MOUNTS_KEYREADER_H
#define MOUNTS_KEYREADER_H

#include <sys/types.h>

#include "credentials.h"
#include "options.h"

/*
 * Before any thread, and while privileged: from now on keys_load() and keys_renew() ask the process.
 * opt says which keys, and they are those of user uid. 0 or -errno.
 */
int key_reader_start(const struct options *opt, uid_t uid);
/* Ends it, and waits for that. Fine when there is none. */
void key_reader_stop(void);

#endif
