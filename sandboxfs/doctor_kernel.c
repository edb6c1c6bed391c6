/* SPDX-License-Identifier: MIT */
/*
 * What the kernel itself has: version, system calls, filters, namespaces. A call that might do
 * something is made with arguments that only tell whether it is there. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "doctor_check.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

unsigned int doctor_kernel_version(void)
{
	struct utsname u;
	unsigned long major, minor = 0;
	char *end;

	if (uname(&u) < 0)
		return 0;
	major = strtoul(u.release, &end, 10);
	if (*end == '.')
		minor = strtoul(end + 1, NULL, 10);
	return KERNEL(major, minor);
}

void look_kernel(const struct doctor *d, struct finding *f)
{
	unsigned int version = doctor_kernel_version();
	struct utsname u = { .release = "?" };

	(void)d;
	uname(&u);
	finding_set(f, version < KERNEL(5, 19) ? DOCTOR_MISSING : DOCTOR_OK, "Linux %s, %s",
		    u.release, u.machine);
	if (version < KERNEL(5, 19))
		return;
	if (strcmp(u.machine, "x86_64")) {
		finding_set(f, DOCTOR_WARN, "%s", "");
		finding_cost(f, "sandboxfs is tested on x86_64 only");
		finding_remedy(f, "`make test` shows what works here");
	}
}

/* A call that is there says r; ENOSYS: the kernel has it not; EPERM: a filter around us. */
static bool is_there(struct finding *f, const char *call, bool worked)
{
	if (worked) {
		finding_set(f, DOCTOR_OK, "%s", call);
		return true;
	}
	finding_set(f, DOCTOR_MISSING, "%s: %s", call, strerror(errno));
	if (errno == EPERM || errno == EACCES)
		finding_remedy(f, "something forbids the call, as the system call filter of a "
				  "container does: run on the machine itself");
	return false;
}

void look_clone3(const struct doctor *d, struct finding *f)
{
	(void)d;
	is_there(f, "clone3", syscall(SYS_clone3, NULL, 0) < 0 && errno == EINVAL);
}

void look_openat2(const struct doctor *d, struct finding *f)
{
	const struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	_cleanup_close_ int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

	(void)d;
	is_there(f, "openat2 with RESOLVE_IN_ROOT", fd >= 0);
}

void look_pidfd(const struct doctor *d, struct finding *f)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	(void)d;
	if (is_there(f, "pidfd_open", fd >= 0))
		is_there(f, ", pidfd_send_signal",
			 syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0);
}

void look_close_range(const struct doctor *d, struct finding *f)
{
	(void)d;
	is_there(f, "close_range", syscall(SYS_close_range, ~0U, ~0U, 0) == 0);
}

void look_memfd(const struct doctor *d, struct finding *f)
{
	_cleanup_close_ int fd = memfd_create("doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)d;
	is_there(f, "memfd_create with seals",
		 fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	if (f->state == DOCTOR_MISSING)
		f->state = DOCTOR_WARN;
}

void look_mount_api(const struct doctor *d, struct finding *f)
{
	(void)d;
	/* Each refuses the descriptor, or the missing right, before it does anything. */
	if (!is_there(f, "open_tree",
		      syscall(SYS_open_tree, -1, "", 0) < 0 && errno != ENOSYS && errno != EPERM))
		return;
	if (!is_there(f, ", mount_setattr",
		      syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno == EINVAL))
		return;
	if (!is_there(f, ", move_mount",
		      syscall(SYS_move_mount, -1, "", -1, "", ~0U) < 0 &&
			      (errno == EINVAL || (errno == EPERM && !d->root))))
		return;
	is_there(f, ", fsopen",
		 syscall(SYS_fsopen, NULL, ~0U) < 0 &&
			 (errno == EINVAL || (errno == EPERM && !d->root)));
}

static int load_filter(struct probe_result *result, void *arg)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	const struct sock_fprog program = { .len = ARRAY_SIZE(allow), .filter = allow };

	(void)result;
	(void)arg;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}

void look_seccomp(const struct doctor *d, struct finding *f)
{
	struct probe_result result;
	int r = doctor_probe(d, 0, load_filter, NULL, &result);

	if (r < 0)
		finding_set(f, DOCTOR_MISSING, "no filter can be loaded: %s", strerror(-r));
	else
		finding_set(f, DOCTOR_OK, "filters can be loaded%s",
			    prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0 ? "; one is loaded already" : "");
}

/* --- namespaces --------------------------------------------------------------------------------- */

static const struct {
	int flag;
	const char *name, *sysctl;
} kinds[] = {
	{ CLONE_NEWUSER, "user", "user" },	 { CLONE_NEWPID, "pid", "pid" },
	{ CLONE_NEWNS, "mount", "mnt" },	 { CLONE_NEWNET, "network", "net" },
	{ CLONE_NEWUTS, "uts", "uts" },		 { CLONE_NEWIPC, "ipc", "ipc" },
	{ CLONE_NEWCGROUP, "cgroup", "cgroup" }, { CLONE_NEWTIME, "time", "time" },
};

static int unshare_all(struct probe_result *result, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].flag == CLONE_NEWUSER)
			continue;
		if (unshare(kinds[i].flag) < 0) {
			snprintf(result->text, sizeof(result->text), "%s", kinds[i].name);
			return -errno;
		}
	}
	return 0;
}

/* Why ordinary users may not; boxes are made by root, whom these do not stop. */
static bool users_may_not(struct finding *f)
{
	static const struct {
		const char *path, *name;
		int forbids;
	} switches[] = {
		{ "/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone",
		  0 },
		{ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
		  "kernel.apparmor_restrict_unprivileged_userns", 1 },
	};
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		if (doctor_read_number(switches[i].path) != switches[i].forbids)
			continue;
		finding_set(f, f->state, "; %s = %d, for ordinary users only", switches[i].name,
			    switches[i].forbids);
		any = true;
	}
	return any;
}

void look_namespaces(const struct doctor *d, struct finding *f)
{
	struct probe_result result;
	int r = doctor_probe(d, CLONE_NEWUSER, unshare_all, NULL, &result);

	if (r == 0) {
		finding_set(f, DOCTOR_OK, "user, pid, mount, network, uts, ipc, cgroup, time");
	} else if (doctor_is_denied(d, &result)) {
		finding_set(f, DOCTOR_UNSEEN, "this user may make no user namespace");
	} else if (!strcmp(result.step, "run")) {
		finding_set(f, DOCTOR_MISSING, "no %s namespace: %s", result.text, strerror(-r));
	} else {
		finding_set(f, DOCTOR_MISSING, "no user namespace: %s%s", strerror(-r),
			    !strcmp(result.step, "map") ? " (mapping its ids)" : "");
		if (r == -EPERM)
			finding_remedy(f, "something forbids it, as the system call filter of a "
					  "container or a chroot does: run on the machine itself");
	}
	users_may_not(f);
}

void look_namespace_limits(const struct doctor *d, struct finding *f)
{
	long long least = -1;
	const char *which = "";
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		long long n;

		snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", kinds[i].sysctl);
		n = doctor_read_number(path);
		if (n >= 0 && (least < 0 || n < least)) {
			least = n;
			which = kinds[i].sysctl;
		}
	}
	if (least < 0) {
		finding_set(f, DOCTOR_UNSEEN, "no limits in /proc/sys/user");
		return;
	}
	/* A box has one of each, and another user namespace for a moment while it starts. */
	if (least < 2)
		finding_set(f, DOCTOR_MISSING, "user.max_%s_namespaces = %lld", which, least);
	else if ((unsigned long long)least < d->options->max_boxes + 1)
		finding_set(f, DOCTOR_WARN,
			    "user.max_%s_namespaces = %lld, fewer than max_boxes = %llu", which,
			    least, (unsigned long long)d->options->max_boxes);
	else
		finding_set(f, DOCTOR_OK, "at least %lld of each kind", least);
	finding_remedy(
		f, "sysctl -w user.max_%s_namespaces=%llu, and a line in /etc/sysctl.d/ to keep it",
		which, (unsigned long long)d->options->max_boxes * 2);
}
