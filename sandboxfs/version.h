/* SPDX-License-Identifier: MIT */
#ifndef SANDBOXFS_VERSION_H
#define SANDBOXFS_VERSION_H

#define SANDBOXFS_VERSION "0.1.0"

#endif
