/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keys of the mount, by its settings; and new ones when the server calls them expired. */
#ifndef MOUNTS_KEYS_H
#define MOUNTS_KEYS_H

#include "credentials.h"
#include "options.h"

/*
 * By the setting `credentials` the section of that name in the file `config`, by `profile` the user's
 * profile, else the environment, else the default profile, else none (a public bucket). Endpoint,
 * region and style that stand there go into opt where it does not say them itself. -errno, *error.
 */
int keys_load(struct credentials *out, struct options *opt, struct object_error *error);
/* For object_settings.renew: asks the same places again. */
int keys_renew(void *arg, struct object_credentials *fresh);

/* From now on keys come from there instead. */
void keys_ask(int (*ask)(struct credentials *out, struct object_error *error));

#endif
