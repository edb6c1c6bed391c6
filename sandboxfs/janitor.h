/* SPDX-License-Identifier: MIT */
/* The janitor's life; work is given to it by daemon_later() and daemon_close_later(). */
#ifndef SANDBOXFS_JANITOR_H
#define SANDBOXFS_JANITOR_H

/* 0 or -errno. */
int janitor_start(void);
/* Does what is queued and ends. */
void janitor_stop(void);
/* Deletes what has been in the trash for long enough. */
void janitor_look_at_trash(void);

/* Likewise images of a machine of the past. */
void janitor_look_at_images(void);

#endif
