/* SPDX-License-Identifier: MIT */
/* Texts of the machine as they stand in the image. Pure: text in, text out; 0 or -errno. */
#ifndef IMAGE_FILTER_H
#define IMAGE_FILTER_H

#include "base/text.h"

/* nsswitch.conf(5) without sources that need a service of the machine (sss, ldap, resolve, …). */
int filter_nsswitch(struct text *out, const char *in);
/* Any text, with "user:password@" taken out of its URLs. */
int filter_userinfo(struct text *out, const char *in);
/* A .repo file: the same, and without the lines that hold passwords or name keys. */
int filter_repository(struct text *out, const char *in);

#endif
