/* SPDX-License-Identifier: MIT */
/*
 * What a box may ask the kernel for: the one table from which generate.c makes the filter at build
 * time, and which a test tries row by row from inside.
 *
 * The filter is two programs, and the stricter answer of both counts. `allowed` is the list of
 * what ordinary programs need; anything else that this kernel or we know by name is EPERM, and a
 * system call newer than SECCOMP_LAST_KNOWN is ENOSYS, so that libc falls back to an older one.
 * `refused` takes single arguments back out of it: conditions there need not be complements of
 * those of `allowed`, which 64-bit comparisons get wrong (the kernel looks at the low 32 bits of
 * most arguments; so do these, by their masks). Foreign architectures (i386, x32) are killed.
 *
 * Within `allowed`, several rows of one system call are alternatives; within a row, all conditions
 * must hold.
 */
#ifndef SECCOMP_TABLE_H
#define SECCOMP_TABLE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* Argument `arg`, masked, is value (or, all of it, is not). mask 0: no condition. */
struct seccomp_condition {
	unsigned int arg;
	uint64_t mask, value;
	bool differs;
};

struct seccomp_row {
	const char *name;
	int error; /* 0: let it through; SECCOMP_PRETEND */
	struct seccomp_condition when[2];
	int number; /* of calls that a libseccomp of 2022 has no name for; else 0 */
};

/* Not made, and 0 returned all the same: for callers that give up on any error. */
#define SECCOMP_PRETEND (-1)
#define SECCOMP_LOW32 UINT64_C(0xffffffff)
/* NEWNS CGROUP UTS IPC USER PID NET; clone has no TIME, whose bit is part of the exit signal. */
#define SECCOMP_NAMESPACES UINT64_C(0x7e020000)
#define SECCOMP_NAMESPACES_OR_TIME (SECCOMP_NAMESPACES | 0x80)

enum { SECCOMP_LAST_KNOWN = 466 };

#define ALLOW(call)           \
	{                     \
		.name = #call \
	}
#define ALLOW_IF(call, ...)                            \
	{                                              \
		.name = #call, .when = { __VA_ARGS__ } \
	}
#define ALLOW_NEW(call, nr)                 \
	{                                   \
		.name = #call, .number = nr \
	}
#define REFUSE(call, errno_)                   \
	{                                      \
		.name = #call, .error = errno_ \
	}
#define REFUSE_IF(call, errno_, ...)                                    \
	{                                                               \
		.name = #call, .error = errno_, .when = { __VA_ARGS__ } \
	}
#define REFUSE_NEW(call, errno_, nr)                         \
	{                                                    \
		.name = #call, .error = errno_, .number = nr \
	}

static const struct seccomp_row seccomp_allowed[] = {
	/* Files. */
	ALLOW(access),
	ALLOW(chdir),
	ALLOW(chmod),
	ALLOW(chown),
	ALLOW(chroot),
	ALLOW(close),
	ALLOW(close_range),
	ALLOW(copy_file_range),
	ALLOW(creat),
	ALLOW(dup),
	ALLOW(dup2),
	ALLOW(dup3),
	ALLOW(faccessat),
	ALLOW(faccessat2),
	ALLOW(fadvise64),
	ALLOW(fallocate),
	ALLOW(fchdir),
	ALLOW(fchmod),
	ALLOW(fchmodat),
	ALLOW(fchown),
	ALLOW(fchownat),
	ALLOW(fcntl),
	ALLOW(fdatasync),
	ALLOW(fgetxattr),
	ALLOW(flistxattr),
	ALLOW(flock),
	ALLOW(fremovexattr),
	ALLOW(fsetxattr),
	ALLOW(fstat),
	ALLOW(fstatfs),
	ALLOW(fsync),
	ALLOW(ftruncate),
	ALLOW(futimesat),
	ALLOW(getcwd),
	ALLOW(getdents),
	ALLOW(getdents64),
	ALLOW(getxattr),
	ALLOW(inotify_add_watch),
	ALLOW(inotify_init),
	ALLOW(inotify_init1),
	ALLOW(inotify_rm_watch),
	ALLOW(ioctl),
	ALLOW(ioprio_get),
	ALLOW(ioprio_set),
	ALLOW(lchown),
	ALLOW(lgetxattr),
	ALLOW(link),
	ALLOW(linkat),
	ALLOW(listxattr),
	ALLOW(llistxattr),
	ALLOW(lremovexattr),
	ALLOW(lseek),
	ALLOW(lsetxattr),
	ALLOW(lstat),
	ALLOW(mkdir),
	ALLOW(mkdirat),
	ALLOW(mknod),
	ALLOW(mknodat),
	ALLOW(newfstatat),
	ALLOW(open),
	ALLOW(openat),
	ALLOW(openat2),
	ALLOW(pipe),
	ALLOW(pipe2),
	ALLOW(pread64),
	ALLOW(preadv),
	ALLOW(preadv2),
	ALLOW(pwrite64),
	ALLOW(pwritev),
	ALLOW(pwritev2),
	ALLOW(read),
	ALLOW(readahead),
	ALLOW(readlink),
	ALLOW(readlinkat),
	ALLOW(readv),
	ALLOW(removexattr),
	ALLOW(rename),
	ALLOW(renameat),
	ALLOW(renameat2),
	ALLOW(rmdir),
	ALLOW(sendfile),
	ALLOW(setxattr),
	ALLOW(splice),
	ALLOW(stat),
	ALLOW(statfs),
	ALLOW(statx),
	ALLOW(symlink),
	ALLOW(symlinkat),
	ALLOW(sync),
	ALLOW(sync_file_range),
	ALLOW(syncfs),
	ALLOW(tee),
	ALLOW(truncate),
	ALLOW(umask),
	ALLOW(unlink),
	ALLOW(unlinkat),
	ALLOW(ustat),
	ALLOW(utime),
	ALLOW(utimensat),
	ALLOW(utimes),
	ALLOW(vmsplice),
	ALLOW(write),
	ALLOW(writev),
	ALLOW_NEW(cachestat, 451),
	ALLOW_NEW(fchmodat2, 452),
	ALLOW_NEW(setxattrat, 463),
	ALLOW_NEW(getxattrat, 464),
	ALLOW_NEW(listxattrat, 465),
	ALLOW_NEW(removexattrat, 466),
	/* Waiting, events. */
	ALLOW(epoll_create),
	ALLOW(epoll_create1),
	ALLOW(epoll_ctl),
	ALLOW(epoll_ctl_old),
	ALLOW(epoll_pwait),
	ALLOW(epoll_pwait2),
	ALLOW(epoll_wait),
	ALLOW(epoll_wait_old),
	ALLOW(eventfd),
	ALLOW(eventfd2),
	ALLOW(pause),
	ALLOW(poll),
	ALLOW(ppoll),
	ALLOW(pselect6),
	ALLOW(select),
	ALLOW(signalfd),
	ALLOW(signalfd4),
	/* Memory. */
	ALLOW(brk),
	ALLOW(get_mempolicy),
	ALLOW(madvise),
	ALLOW(mbind),
	ALLOW(membarrier),
	ALLOW(memfd_create),
	ALLOW(memfd_secret),
	ALLOW(mincore),
	ALLOW(mlock),
	ALLOW(mlock2),
	ALLOW(mlockall),
	ALLOW(mmap),
	ALLOW(mprotect),
	ALLOW(mremap),
	ALLOW(msync),
	ALLOW(munlock),
	ALLOW(munlockall),
	ALLOW(munmap),
	ALLOW(pkey_alloc),
	ALLOW(pkey_free),
	ALLOW(pkey_mprotect),
	ALLOW(process_madvise),
	ALLOW(process_mrelease),
	ALLOW(remap_file_pages),
	ALLOW(set_mempolicy),
	ALLOW(set_mempolicy_home_node),
	ALLOW_NEW(map_shadow_stack, 453),
	ALLOW_NEW(mseal, 462),
	/* Processes, threads, signals. */
	ALLOW(alarm),
	ALLOW(arch_prctl),
	ALLOW(capget),
	ALLOW(capset),
	ALLOW_IF(clone, { 0, SECCOMP_NAMESPACES, 0 }),
	ALLOW(execve),
	ALLOW(execveat),
	ALLOW(exit),
	ALLOW(exit_group),
	ALLOW(fork),
	ALLOW(futex),
	ALLOW(futex_waitv),
	ALLOW_NEW(futex_wake, 454),
	ALLOW_NEW(futex_wait, 455),
	ALLOW_NEW(futex_requeue, 456),
	ALLOW(get_robust_list),
	ALLOW(get_thread_area),
	ALLOW(getcpu),
	ALLOW(getegid),
	ALLOW(geteuid),
	ALLOW(getgid),
	ALLOW(getgroups),
	ALLOW(getpgid),
	ALLOW(getpgrp),
	ALLOW(getpid),
	ALLOW(getppid),
	ALLOW(getpriority),
	ALLOW(getrandom),
	ALLOW(getresgid),
	ALLOW(getresuid),
	ALLOW(getrlimit),
	ALLOW(getrusage),
	ALLOW(getsid),
	ALLOW(gettid),
	ALLOW(getuid),
	ALLOW(kcmp),
	ALLOW(kill),
	ALLOW(landlock_add_rule),
	ALLOW(landlock_create_ruleset),
	ALLOW(landlock_restrict_self),
	ALLOW_IF(personality, { 0, SECCOMP_LOW32, 0 }),		 /* PER_LINUX */
	ALLOW_IF(personality, { 0, SECCOMP_LOW32, 8 }),		 /* PER_LINUX32 */
	ALLOW_IF(personality, { 0, SECCOMP_LOW32, 0xffffffff }), /* which one is it? */
	ALLOW(pidfd_getfd),
	ALLOW(pidfd_open),
	ALLOW(pidfd_send_signal),
	ALLOW(prctl),
	ALLOW(prlimit64),
	ALLOW(process_vm_readv),
	ALLOW(process_vm_writev),
	ALLOW(ptrace),
	ALLOW(restart_syscall),
	ALLOW(rseq),
	ALLOW(rt_sigaction),
	ALLOW(rt_sigpending),
	ALLOW(rt_sigprocmask),
	ALLOW(rt_sigqueueinfo),
	ALLOW(rt_sigreturn),
	ALLOW(rt_sigsuspend),
	ALLOW(rt_sigtimedwait),
	ALLOW(rt_tgsigqueueinfo),
	ALLOW(sched_get_priority_max),
	ALLOW(sched_get_priority_min),
	ALLOW(sched_getaffinity),
	ALLOW(sched_getattr),
	ALLOW(sched_getparam),
	ALLOW(sched_getscheduler),
	ALLOW(sched_rr_get_interval),
	ALLOW(sched_setaffinity),
	ALLOW(sched_setattr),
	ALLOW(sched_setparam),
	ALLOW(sched_setscheduler),
	ALLOW(sched_yield),
	ALLOW(seccomp),
	ALLOW(set_robust_list),
	ALLOW(set_thread_area),
	ALLOW(set_tid_address),
	ALLOW(setfsgid),
	ALLOW(setfsuid),
	ALLOW(setgid),
	ALLOW(setgroups),
	ALLOW(setpgid),
	ALLOW(setpriority),
	ALLOW(setregid),
	ALLOW(setresgid),
	ALLOW(setresuid),
	ALLOW(setreuid),
	ALLOW(setrlimit),
	ALLOW(setsid),
	ALLOW(setuid),
	ALLOW(sigaltstack),
	ALLOW(sysinfo),
	ALLOW(tgkill),
	ALLOW(time),
	ALLOW(times),
	ALLOW(tkill),
	ALLOW(uname),
	ALLOW_IF(unshare, { 0, SECCOMP_NAMESPACES_OR_TIME, 0 }),
	ALLOW(vfork),
	ALLOW(wait4),
	ALLOW(waitid),
	/* The kernel's own trampolines; it asks no filter about them. */
	ALLOW_NEW(uretprobe, 335),
	ALLOW_NEW(uprobe, 336),
	/* Clocks and timers. */
	ALLOW(clock_getres),
	ALLOW(clock_gettime),
	ALLOW(clock_nanosleep),
	ALLOW(getitimer),
	ALLOW(gettimeofday),
	ALLOW(nanosleep),
	ALLOW(setitimer),
	ALLOW(timer_create),
	ALLOW(timer_delete),
	ALLOW(timer_getoverrun),
	ALLOW(timer_gettime),
	ALLOW(timer_settime),
	ALLOW(timerfd_create),
	ALLOW(timerfd_gettime),
	ALLOW(timerfd_settime),
	/* Talking: System V and POSIX objects are the box's own, by its ipc namespace. */
	ALLOW(mq_getsetattr),
	ALLOW(mq_notify),
	ALLOW(mq_open),
	ALLOW(mq_timedreceive),
	ALLOW(mq_timedsend),
	ALLOW(mq_unlink),
	ALLOW(msgctl),
	ALLOW(msgget),
	ALLOW(msgrcv),
	ALLOW(msgsnd),
	ALLOW(semctl),
	ALLOW(semget),
	ALLOW(semop),
	ALLOW(semtimedop),
	ALLOW(shmat),
	ALLOW(shmctl),
	ALLOW(shmdt),
	ALLOW(shmget),
	ALLOW(accept),
	ALLOW(accept4),
	ALLOW(bind),
	ALLOW(connect),
	ALLOW(getpeername),
	ALLOW(getsockname),
	ALLOW(getsockopt),
	ALLOW(listen),
	ALLOW(recvfrom),
	ALLOW(recvmmsg),
	ALLOW(recvmsg),
	ALLOW(sendmmsg),
	ALLOW(sendmsg),
	ALLOW(sendto),
	ALLOW(setsockopt),
	ALLOW(shutdown),
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 1 }),  /* AF_UNIX */
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 2 }),  /* AF_INET */
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 10 }), /* AF_INET6 */
	/* AF_NETLINK: ROUTE (getaddrinfo, ip), SOCK_DIAG (ss), KOBJECT_UEVENT (libudev). */
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 16 }, { 2, SECCOMP_LOW32, 0 }),
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 16 }, { 2, SECCOMP_LOW32, 4 }),
	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 16 }, { 2, SECCOMP_LOW32, 15 }),
	ALLOW_IF(socketpair, { 0, SECCOMP_LOW32, 1 }),
};

static const struct seccomp_row seccomp_refused[] = {
	/* Its flags lie in memory where no filter sees them; libc then uses clone. */
	REFUSE(clone3, ENOSYS),
	/*
	 * The machine has one count of asynchronous I/O of this kind (fs.aio-max-nr) for all, which
	 * one box could take whole. Its users fall back, as on a kernel that is built without it.
	 */
	REFUSE(io_setup, ENOSYS),
	/* Typing into a terminal that is not one's own. */
	REFUSE_IF(ioctl, EPERM, { 1, SECCOMP_LOW32, 0x5412 }), /* TIOCSTI */
	REFUSE_IF(ioctl, EPERM, { 1, SECCOMP_LOW32, 0x541c }), /* TIOCLINUX */
	/* NETLINK_AUDIT: the answer by which libaudit knows that there is none. */
	REFUSE_IF(socket, EINVAL, { 0, SECCOMP_LOW32, 16 }, { 2, SECCOMP_LOW32, 9 }),
	/*
	 * RLIMIT_CORE stays at 1 byte (keeper/child.c): at 0, which a box could ask for, the kernel
	 * starts the machine's core handler again. Pretended, since gpg, for one, ends on EPERM.
	 */
	REFUSE_IF(setrlimit, SECCOMP_PRETEND, { 0, SECCOMP_LOW32, 4 }),
	REFUSE_IF(prlimit64, SECCOMP_PRETEND, { 1, SECCOMP_LOW32, 4 },
		  { 2, UINT64_MAX, 0, .differs = true }),
	/* No fallback exists for these, and EPERM is no answer that their callers expect. */
	REFUSE_NEW(statmount, ENOSYS, 457),
	REFUSE_NEW(listmount, ENOSYS, 458),
	REFUSE_NEW(lsm_get_self_attr, ENOSYS, 459),
	REFUSE_NEW(lsm_set_self_attr, ENOSYS, 460),
	REFUSE_NEW(lsm_list_modules, ENOSYS, 461),
};

#undef ALLOW
#undef ALLOW_IF
#undef ALLOW_NEW
#undef REFUSE
#undef REFUSE_IF
#undef REFUSE_NEW

#endif
