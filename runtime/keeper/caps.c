/* SPDX-License-Identifier: MIT */
/*
 * Capabilities. The sets are capset(2)'s and prctl(2)'s own; no library, because the lists below
 * are all there is to it. No locks.
 */
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP(name) (UINT64_C(1) << CAP_##name)

/*
 * About what Docker gives, and each one only over the box's own ids and namespaces. NET_RAW is for
 * ping (AF_PACKET is shut by the seccomp filter). Docker's MKNOD and AUDIT_WRITE are not there:
 * they have no effect in a user namespace.
 */
static const uint64_t box_caps = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) |
				 CAP(KILL) | CAP(SETGID) | CAP(SETUID) | CAP(SETPCAP) |
				 CAP(NET_BIND_SERVICE) | CAP(NET_RAW) | CAP(SYS_CHROOT) |
				 CAP(SETFCAP);

/*
 * The keeper's: files of the box's ids in the control folder, signals to the box's processes, and
 * SYS_PTRACE for their /proc entries (cwd, fd), SYS_RESOURCE to raise what they may have open. Not
 * SYS_ADMIN: it mounts nothing any more.
 */
static const uint64_t keeper_caps = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) |
				    CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | CAP(SETGID) |
				    CAP(SETUID) | CAP(SYS_PTRACE) | CAP(SYS_RESOURCE);

/*
 * The mounter's: making and attaching a mount, entering the box's mount namespace (SYS_CHROOT;
 * SYS_PTRACE to open it), making directories there as the box's root (SETPCAP for caps_count_as()).
 */
static const uint64_t mounter_caps = CAP(SYS_ADMIN) | CAP(SYS_CHROOT) | CAP(SYS_PTRACE) |
				     CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(SETUID) |
				     CAP(SETGID) | CAP(SETPCAP);

/*
 * sandbox-net's: links and rules, entering the boxes' network namespaces, its name server's ids and
 * end, and the logs in the boxes' folders.
 */
static const uint64_t net_caps =
	CAP(NET_ADMIN) | CAP(SYS_ADMIN) | CAP(SETUID) | CAP(SETGID) | CAP(KILL) | CAP(DAC_OVERRIDE);

/* Every other capability of this kernel leaves the bounding set. */
static int cut_bounding_set(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (has < 0)
			return 0; /* the kernel's last one was the one before */
		if (has && !(keep & (UINT64_C(1) << cap)) &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

static int set_caps(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static int get_permitted(uint64_t *permitted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static int clear_ambient(void)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? -errno : 0;
}

int caps_count_as(uid_t uid)
{
	const unsigned long keep = uid ? SECBIT_NO_SETUID_FIXUP : 0;

	/* Only before the change to, and after the change from: else it takes or gives all. */
	if (uid && prctl(PR_SET_SECUREBITS, keep, 0, 0, 0) < 0)
		return -errno;
	if (setresuid(-1, uid, -1) < 0)
		return -errno;
	return !uid && prctl(PR_SET_SECUREBITS, keep, 0, 0, 0) < 0 ? -errno : 0;
}

int caps_cut_box(void)
{
	uint64_t permitted;
	int r = cut_bounding_set(box_caps);

	if (r == 0)
		r = clear_ambient();
	if (r == 0)
		r = get_permitted(&permitted);
	/* What is permitted now still loads the filter; the bounding set takes it away at exec. */
	return r < 0 ? r : set_caps(permitted, permitted, 0);
}

static int cut_to(uint64_t caps)
{
	uint64_t permitted;
	int r = cut_bounding_set(caps);

	if (r == 0)
		r = clear_ambient();
	if (r == 0)
		r = get_permitted(&permitted);
	if (r == 0)
		r = set_caps(permitted & caps, permitted & caps, 0);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r;
}

int caps_cut_keeper(void)
{
	return cut_to(keeper_caps);
}

int caps_cut_mounter(void)
{
	return cut_to(mounter_caps);
}

int caps_cut_net(void)
{
	return cut_to(net_caps);
}
