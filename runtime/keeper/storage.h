/* SPDX-License-Identifier: MIT */
/* The folders of a box on disk, made at its first start. */
#ifndef KEEPER_STORAGE_H
#define KEEPER_STORAGE_H

#include "stages.h"

/*
 * Makes the limits of disk hold: a box that gets its first one may be copied to an image. Then
 * opens what holds the box's folders. A stage.
 */
int storage_open(struct start *s);

/* Makes system/{upper,work,usr-upper,usr-work} and workspace/ where they are missing, owned by
 * the storage block's root; gives a new upper its name and time zone. A stage. */
int storage_prepare(struct start *s);

#endif
