/* SPDX-License-Identifier: MIT */
/*
 * The fence around the reader of an archive. It stands in fresh namespaces already (supervise.c);
 * here it loses the file system but for one folder, all descriptors but two, the capabilities that
 * making files does not need, and all system calls but those of a list. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "import/import.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define OUR_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define OUR_ARCH AUDIT_ARCH_S390X
#else
#error "which AUDIT_ARCH_ is this machine?"
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { INSTRUMENTED = 1 }; /* its shadow takes terabytes of address space, and it reports to 2 */
#else
enum { INSTRUMENTED = 0 };
#endif

enum {
	MAX_MEMORY = 1 << 30, /* of address space: xz -9e wants 65 MiB, zstd --ultra 128 */
	MAX_DESCRIPTORS = 64,
	RESULT_FD = 3,
};

/* Over the storage block only; with these an owner, mode or capability of a file is set. */
static const uint64_t kept_caps =
	CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(SETFCAP);

static const int allowed[] = {
	/* descriptors and content */
	SYS_read,
	SYS_write,
	SYS_pwrite64,
	SYS_lseek,
	SYS_close,
	SYS_fcntl,
	SYS_ftruncate,
	/* names */
	SYS_openat,
	SYS_openat2,
	SYS_mkdirat,
	SYS_mknodat,
	SYS_symlinkat,
	SYS_linkat,
	SYS_unlinkat,
	/* what files are */
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_fchown,
	SYS_fchownat,
	SYS_fchmod,
	SYS_utimensat,
	SYS_fsetxattr,
	/* memory and the process itself */
	SYS_brk,
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_madvise,
	SYS_futex,
	SYS_getrandom,
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_uname,
	SYS_getpid,
	SYS_gettid,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_tgkill,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_prlimit64,
	SYS_exit,
	SYS_exit_group,
};

static int load_filter(void)
{
	enum { N = ARRAY_SIZE(allowed) };
	struct sock_filter program[N + 8];
	struct sock_fprog prog = { .filter = program };
	unsigned short n = 0;

	program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						    offsetof(struct seccomp_data, arch));
	program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						    offsetof(struct seccomp_data, nr));
	for (int i = 0; i < N; i++)
		program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							    (unsigned int)allowed[i],
							    (unsigned char)(N - i), 0);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = n;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

/* tree becomes / and the machine's own is gone (runtime/keeper/rootfs.c tells how). */
static int enter_tree(int tree)
{
	struct stat ours, root, above;

	/* A namespace of another user's begins with all shared mounts made slaves. */
	if (move_mount(tree, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	if (fstat(tree, &ours) < 0 || stat("/", &root) < 0 || stat("/..", &above) < 0)
		return -errno;
	return root.st_dev == ours.st_dev && root.st_ino == ours.st_ino &&
			       above.st_dev == ours.st_dev && above.st_ino == ours.st_ino
		       ? 0
		       : -EXDEV;
}

static int cut_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = data[i].permitted = (uint32_t)(kept_caps >> (32 * i));
		data[i].inheritable = 0;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &head, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int set_limits(uint64_t max_bytes)
{
	const struct {
		int what;
		rlim_t value;
	} limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, MAX_DESCRIPTORS },
		{ RLIMIT_FSIZE, (rlim_t)max_bytes },
		{ RLIMIT_AS, MAX_MEMORY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits) - (INSTRUMENTED ? 1 : 0); i++) {
		struct rlimit limit = { limits[i].value, limits[i].value };

		if (setrlimit(limits[i].what, &limit) < 0)
			return -errno;
	}
	return 0;
}

/* Left open are 0 the archive, 1 and 2 the null device, and result. */
static int sort_descriptors(int null, int result)
{
	if (dup2(null, STDOUT_FILENO) < 0 || (!INSTRUMENTED && dup2(null, STDERR_FILENO) < 0) ||
	    dup3(result, RESULT_FD, O_CLOEXEC) < 0)
		return -errno;
	return syscall(SYS_close_range, RESULT_FD + 1, ~0U, 0) < 0 ? -errno : 0;
}

int confine_enter(int tree, int result, uint64_t max_bytes, struct import_why *why)
{
	static const char *const steps[] = { "open the null device", "enter the folder",
					     "sort the descriptors", "set the limits",
					     "cut the capabilities", "load the filter" };
	/* Above what sort_descriptors() gives away. */
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), r = null < 0 ? -errno : 0;
	size_t step = 0;

	if (r == 0 && ++step)
		r = enter_tree(tree);
	if (r == 0 && ++step)
		r = sort_descriptors(null, result);
	if (r == 0 && ++step)
		r = set_limits(max_bytes);
	if (r == 0 && ++step)
		r = cut_capabilities();
	if (r == 0 && ++step)
		r = load_filter();
	return r < 0 ? import_fail(why, -r, "confine the reader: %s: %s", steps[step], strerror(-r))
		     : 0;
}
