/* SPDX-License-Identifier: MIT */
/* Permission checks. Lock: takes box->lock briefly. */
#include "perm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"

static uid_t root_uid;
static gid_t root_gid;
static mode_t root_perms;

void perm_init(uid_t root_owner, gid_t root_group, mode_t root_mode)
{
	root_uid = root_owner;
	root_gid = root_group;
	root_perms = root_mode;
}

bool perm_in_group(gid_t gid, pid_t tid, gid_t group)
{
	_cleanup_free_ char *status = NULL;
	char path[64], *p;

	if (gid == group)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (tid <= 0 || read_file_at(AT_FDCWD, path, 1 << 20, &status, NULL) < 0)
		return false;
	p = strstr(status, "\nGroups:");
	if (!p)
		return false;
	for (p += strlen("\nGroups:"); *p && *p != '\n';) {
		char *end;
		unsigned long id = strtoul(p, &end, 10);

		if (end == p)
			break;
		if (id == group)
			return true;
		p = end + strspn(end, " \t");
	}
	return false;
}

bool perm_mode(uid_t uid, gid_t gid, pid_t tid, uid_t owner, gid_t group, mode_t mode, int mask)
{
	if (uid == 0)
		return true;
	if (uid == owner)
		return ((int)(mode >> 6) & mask) == mask;
	/* Looking up the groups is dear; needed only when the two answers differ. */
	if (((int)(mode >> 3) & mask) == mask && (mode & mask) == (mode_t)mask)
		return true;
	if (perm_in_group(gid, tid, group))
		return ((int)(mode >> 3) & mask) == mask;
	return (mode & mask) == (mode_t)mask;
}

static void box_owner(struct ctx *ctx, uid_t *uid, gid_t *gid, mode_t *mode)
{
	pthread_mutex_lock(&ctx->box->lock);
	*uid = ctx->box->uid;
	*gid = ctx->box->gid;
	*mode = ctx->box->mode;
	pthread_mutex_unlock(&ctx->box->lock);
}

int perm_box(struct ctx *ctx, int mask)
{
	uid_t uid;
	gid_t gid;
	mode_t mode;

	box_owner(ctx, &uid, &gid, &mode);
	return perm_mode(ctx->uid, ctx->gid, ctx->pid, uid, gid, mode, mask) ? 0 : -EACCES;
}

mode_t perm_entry_mode(mode_t box_mode, mode_t bits)
{
	return bits << 6 | (bits & (box_mode >> 3 & 7)) << 3 | (bits & box_mode & 7);
}

int perm_entry(struct ctx *ctx, mode_t bits, int mask)
{
	uid_t uid;
	gid_t gid;
	mode_t mode;

	box_owner(ctx, &uid, &gid, &mode);
	if (!perm_mode(ctx->uid, ctx->gid, ctx->pid, uid, gid, mode, PERM_X) ||
	    !perm_mode(ctx->uid, ctx->gid, ctx->pid, uid, gid, perm_entry_mode(mode, bits), mask))
		return -EACCES;
	return 0;
}

int perm_root(const struct ctx *ctx, int mask)
{
	return perm_mode(ctx->uid, ctx->gid, ctx->pid, root_uid, root_gid, root_perms, mask)
		       ? 0
		       : -EACCES;
}

bool perm_owns(struct ctx *ctx)
{
	uid_t uid;
	gid_t gid;
	mode_t mode;

	if (ctx->uid == 0)
		return true;
	box_owner(ctx, &uid, &gid, &mode);
	return ctx->uid == uid;
}
