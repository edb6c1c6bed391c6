/* SPDX-License-Identifier: MIT */
/* Stages of the child: the box's / from the trees that the keeper made. */
#ifndef KEEPER_ROOTFS_H
#define KEEPER_ROOTFS_H

#include "stages.h"

int rootfs_make_stage(struct start *s);	  /* a tmpfs to put things together on */
int rootfs_attach_trees(struct start *s); /* the layers, on the stage */
int rootfs_mount_root(struct start *s);	  /* the overlay of / */
int rootfs_mount_usr(struct start *s);	  /* the overlay of /usr */
int rootfs_mount_workspace(struct start *s);
int rootfs_mount_run(struct start *s); /* /run with the control folder */
int rootfs_enter(struct start *s);     /* it becomes /, all else goes */

#endif
