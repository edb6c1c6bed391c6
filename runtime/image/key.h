/* SPDX-License-Identifier: MIT */
/* The key of the machine's software below another root folder; see image_host_key(). */
#ifndef IMAGE_KEY_H
#define IMAGE_KEY_H

#include "runtime.h"

/* 0, or -ENOMEM. root is a descriptor of the folder; what is not there counts as absent. */
int image_key_at(int root, char key[IMAGE_KEY_SIZE]);

#endif
