/* SPDX-License-Identifier: MIT */
/*
 * With whose rights a box's files are touched, and who may ask for it.
 *
 * Towards the backing a thread is the box's root: file system ids of id_base (setfsuid(2)) and no
 * effective capability. Where a mode refuses that (a database's 0700 directory, owned by another
 * id of the box), the call is repeated with CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER,
 * if the object is the box's own: together that is what root in the box may do. Between requests
 * the thread is the daemon again. The calls are the raw ones: glibc's would change all threads.
 *
 * Towards the caller the volume's owner and root may everything; for others the mode as shown
 * decides, asked on each request, because the kernel does not check (no default_permissions).
 *
 * Must not be left between ids_enter() and ids_leave() by a return. No locks: all per thread.
 */
#include "files_internal.h"
#include "perm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime.h"

/* What the thread is when it works for the daemon, noted when it first leaves that. */
static _Thread_local struct {
	bool known;
	uid_t fsuid;
	gid_t fsgid;
	struct __user_cap_data_struct caps[2];
} daemon_ids;

static int set_caps(uint64_t effective, const struct __user_cap_data_struct base[2])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { base[0], base[1] };

	caps[0].effective = (uint32_t)effective & base[0].permitted;
	caps[1].effective = (uint32_t)(effective >> 32) & base[1].permitted;
	return syscall(SYS_capset, &head, caps) < 0 ? -errno : 0;
}

static void note_daemon(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (daemon_ids.known)
		return;
	syscall(SYS_capget, &head, daemon_ids.caps);
	daemon_ids.fsuid = syscall(SYS_setfsuid, -1);
	daemon_ids.fsgid = syscall(SYS_setfsgid, -1);
	daemon_ids.known = true;
}

static void enter_with(uid_t id_base, uint64_t effective)
{
	note_daemon();
	syscall(SYS_setfsgid, id_base);
	syscall(SYS_setfsuid, id_base);
	set_caps(effective, daemon_ids.caps);
}

void ids_enter(uid_t id_base)
{
	enter_with(id_base, 0);
}

void ids_enter_backing(uid_t id_base)
{
	enter_with(id_base, 1ULL << CAP_SYS_ADMIN);
}

void ids_leave(void)
{
	int saved = errno;

	set_caps((uint64_t)daemon_ids.caps[1].effective << 32 | daemon_ids.caps[0].effective,
		 daemon_ids.caps);
	syscall(SYS_setfsuid, daemon_ids.fsuid);
	syscall(SYS_setfsgid, daemon_ids.fsgid);
	errno = saved;
}

bool ids_override(uid_t id_base, int object_fd)
{
	const uint64_t root_of_box =
		1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_DAC_READ_SEARCH | 1ULL << CAP_FOWNER;
	struct statx stx;

	if (statx(object_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_UID | STATX_GID, &stx) <
	    0)
		return false;
	if (stx.stx_uid - id_base >= BOX_IDS || stx.stx_gid - id_base >= BOX_IDS)
		return false;
	return set_caps(root_of_box, daemon_ids.caps) == 0;
}

/* Fails at start rather than doing a box's work as host root later. */
int ids_init(void)
{
	const uid_t probe = 65534;
	bool entered;

	ids_enter(probe);
	entered = (uid_t)syscall(SYS_setfsuid, -1) == probe &&
		  (gid_t)syscall(SYS_setfsgid, -1) == probe;
	ids_leave();
	return entered && (uid_t)syscall(SYS_setfsuid, -1) == daemon_ids.fsuid ? 0 : -EPERM;
}

int ids_check(const struct call *c, mode_t mode, int may)
{
	const struct fuse_ctx *ctx;
	gid_t gid;

	if (c->owner)
		return 0;
	/* Most often the bits of group and others agree, and no group needs to be looked for. */
	if ((mode >> 3 & mode & (unsigned int)may) == (unsigned int)may)
		return 0;
	if (((mode >> 3 | mode) & (unsigned int)may) != (unsigned int)may)
		return -EACCES;
	ctx = fuse_req_ctx(c->req);
	gid = atomic_load(&c->vol->gid);
	if (perm_in_group(ctx->gid, ctx->pid, gid))
		mode >>= 3;
	return (mode & (unsigned int)may) == (unsigned int)may ? 0 : -EACCES;
}

int ids_check_anchor(const struct call *c, const struct anchor *a, int may)
{
	struct statx stx;

	if (c->owner)
		return 0;
	if (statx(a->fd, "", AT_EMPTY_PATH, STATX_MODE, &stx) < 0)
		return -errno;
	return ids_check(c, stx.stx_mode, may);
}
