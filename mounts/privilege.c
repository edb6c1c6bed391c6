/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Giving up privileges. A server of a mount holds keys and speaks with a server that may be anybody's,
 * so what it can do to this machine is cut to files of its own and connections. No locks: one thread.
 */
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

int privilege_hide(void)
{
	/* 1 byte: a core handler that the machine runs (core(5), pipes) is not started either. */
	const struct rlimit no_core = { 1, 1 };

	if (setrlimit(RLIMIT_CORE, &no_core) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int keep_caps(uint64_t caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capget, &head, data) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(caps >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* --- system calls --------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
/* The next statement is for that call only. */
#define IF_CALL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1)
#define NEVER(name) IF_CALL(name), REFUSE(EPERM)

#ifdef ARCH
enum {
	NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
		     CLONE_NEWUTS | CLONE_NEWCGROUP
};

static const struct sock_filter filter[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
#ifdef __x86_64__
	/* The other numbering of the same calls. */
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
	REFUSE(ENOSYS),
#endif
	NEVER(execve),
	NEVER(execveat),
	NEVER(ptrace),
	NEVER(process_vm_readv),
	NEVER(process_vm_writev),
	NEVER(pidfd_open),
	NEVER(pidfd_getfd),
	NEVER(kcmp),
	NEVER(unshare),
	NEVER(setns),
	NEVER(mount),
	NEVER(umount2),
	NEVER(move_mount),
	NEVER(open_tree),
	NEVER(fsopen),
	NEVER(fspick),
	NEVER(fsmount),
	NEVER(fsconfig),
	NEVER(mount_setattr),
	NEVER(pivot_root),
	NEVER(chroot),
	NEVER(bpf),
	NEVER(perf_event_open),
	NEVER(userfaultfd),
	NEVER(keyctl),
	NEVER(add_key),
	NEVER(request_key),
	NEVER(io_uring_setup),
	NEVER(open_by_handle_at),
	NEVER(fanotify_init),
	NEVER(init_module),
	NEVER(finit_module),
	NEVER(kexec_load),
	NEVER(personality),
	/* libc then makes threads with the older call, whose flags can be looked at. */
	IF_CALL(clone3),
	REFUSE(ENOSYS),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 3),
	LOAD(args[0]),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
	REFUSE(EPERM),
	RETURN(SECCOMP_RET_ALLOW),
};

static int filter_calls(void)
{
	const struct sock_fprog program = { .len = ARRAY_SIZE(filter),
					    .filter = (struct sock_filter *)filter };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
#else
static int filter_calls(void)
{
	return 0; /* no table for this processor: what is above holds without it */
}
#endif

int privilege_confine(uint64_t caps)
{
	int r = keep_caps(caps);

	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = filter_calls();
	return r < 0 ? r : privilege_hide();
}

int privilege_drop(uid_t uid)
{
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return privilege_confine(0);
}
