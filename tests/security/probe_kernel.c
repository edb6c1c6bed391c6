/* SPDX-License-Identifier: MIT */
/* The probe's attempts on the kernel itself: namespaces, mounts, privileged calls, sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

/* ---- Namespaces and mounts ------------------------------------------------------------------- */

static long clone_with(uint64_t flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long clone3_with(uint64_t flags)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}

static long join(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? fail(ENOTRECOVERABLE) : setns(fd, 0);
}

static long join_process(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getppid(), 0);

	return fd < 0 ? fail(ENOTRECOVERABLE) : setns(fd, CLONE_NEWUTS | CLONE_NEWNET);
}

void try_namespaces(void)
{
	TRY("unshare_user", unshare(CLONE_NEWUSER), EPERM);
	TRY("unshare_mount", unshare(CLONE_NEWNS), EPERM);
	TRY("unshare_pid", unshare(CLONE_NEWPID), EPERM);
	TRY("unshare_net", unshare(CLONE_NEWNET), EPERM);
	TRY("unshare_uts", unshare(CLONE_NEWUTS), EPERM);
	TRY("unshare_ipc", unshare(CLONE_NEWIPC), EPERM);
	TRY("unshare_cgroup", unshare(CLONE_NEWCGROUP), EPERM);
	TRY("unshare_time", unshare(CLONE_NEWTIME), EPERM);
	TRY("unshare_user_high_bits", syscall(SYS_unshare, HIGH | CLONE_NEWUSER), EPERM);
	TRY("clone_user", clone_with(CLONE_NEWUSER), EPERM);
	TRY("clone_mount", clone_with(CLONE_NEWNS), EPERM);
	TRY("clone_pid", clone_with(CLONE_NEWPID), EPERM);
	TRY("clone_net", clone_with(CLONE_NEWNET), EPERM);
	TRY("clone_uts", clone_with(CLONE_NEWUTS), EPERM);
	TRY("clone_ipc", clone_with(CLONE_NEWIPC), EPERM);
	TRY("clone_cgroup", clone_with(CLONE_NEWCGROUP), EPERM);
	TRY("clone_user_high_bits", clone_with(HIGH | CLONE_NEWUSER), EPERM);
	TRY("clone3_plain", clone3_with(0), ENOSYS);
	TRY("clone3_user", clone3_with(CLONE_NEWUSER), ENOSYS);
	TRY("setns_net", join("/proc/self/ns/net"), EPERM);
	TRY("setns_uts", join("/proc/self/ns/uts"), EPERM);
	TRY("setns_by_pidfd", join_process(), EPERM);
}

void try_mounts(void)
{
	TRY("mount_tmpfs", mount("probe", "/tmp", "tmpfs", 0, NULL), EPERM);
	TRY("mount_proc", mount("probe", "/tmp", "proc", 0, NULL), EPERM);
	TRY("mount_bind", mount("/proc", "/tmp", NULL, MS_BIND, NULL), EPERM);
	TRY("remount_proc_sys", mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL), EPERM);
	TRY("umount_proc", umount2("/proc", MNT_DETACH), EPERM);
	TRY("pivot_root", syscall(SYS_pivot_root, "/", "/"), EPERM);
	TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0), EPERM);
	TRY("fspick", syscall(SYS_fspick, AT_FDCWD, "/tmp", 0), EPERM);
	TRY("fsconfig", syscall(SYS_fsconfig, -1, 0, "x", NULL, 0), EPERM);
	TRY("fsmount", syscall(SYS_fsmount, -1, 0, 0), EPERM);
	TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/tmp", 0), EPERM);
	TRY("open_tree_clone", syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE), EPERM);
	TRY("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0), EPERM);
	TRY("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0), EPERM);
}

/* ---- The kernel ------------------------------------------------------------------------------ */

static long open_perf(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_DUMMY };

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static long make_ring(void)
{
	char params[256] = { 0 }; /* more than a struct io_uring_params */

	return syscall(SYS_io_uring_setup, 1, params);
}

static long make_map(void)
{
	/* BPF_MAP_CREATE of an array: type, key size, value size, entries. */
	uint32_t attr[32] = { 2, 4, 4, 1 };

	return syscall(SYS_bpf, 0, attr, sizeof(attr));
}

static long set_clock(void)
{
	struct timespec none = { .tv_nsec = -1 };

	return syscall(SYS_clock_settime, CLOCK_REALTIME, &none); /* libc looks at the time */
}

static long adjust_clock(void)
{
	struct timex nothing = { 0 };

	return adjtimex(&nothing);
}

/* The session that the daemon was started in has a key by the name of the abstract socket. */
static long find_key(void)
{
	return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user",
		       probe.abstract_name, 0);
}

static long write_ldt(void)
{
#ifdef SYS_modify_ldt
	char ldt[16];

	return syscall(SYS_modify_ldt, 0, ldt, sizeof(ldt));
#else
	return fail(EPERM);
#endif
}

static long io_level(void)
{
#ifdef SYS_iopl
	return syscall(SYS_iopl, 3);
#else
	return fail(EPERM);
#endif
}

static long exceed_core_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max <= 1 ? fail(EPERM) : 1;
}

static long raise_core_limit(void)
{
	struct rlimit limit = { 4096, 4096 };

	setrlimit(RLIMIT_CORE, &limit);
	return exceed_core_limit();
}

/* From 1 byte, at which the kernel starts no core handler of the machine, to 0, at which it does. */
static long lower_core_limit(void)
{
	struct rlimit limit = { 0, 0 };

	setrlimit(RLIMIT_CORE, &limit);
	return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 1 ? fail(EPERM) : 0;
}

static long escape_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	return fd < 0 ? fail(ENOTRECOVERABLE) : write(fd, "-1000", 5);
}

void try_kernel(void)
{
	TRY("bpf", make_map(), EPERM);
	TRY("perf_event_open", open_perf(), EPERM);
	TRY("userfaultfd", syscall(SYS_userfaultfd, 1), EPERM);
	TRY("io_uring_setup", make_ring(), EPERM);
	TRY("io_uring_enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0), EPERM);
	TRY("io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0), EPERM);
	TRY("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1),
	    EPERM);
	TRY("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING),
	    EPERM);
	TRY("key_of_the_machine", find_key(), EPERM, ENOKEY);
	TRY("request_key", syscall(SYS_request_key, "user", "probe-none", NULL, 0), EPERM);
	/* More segments than there may be, a module of no bytes, a module that is not there. */
	TRY("kexec_load", syscall(SYS_kexec_load, 0, 1000, NULL, 0), EPERM);
	TRY("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0xffff0000), EPERM);
	TRY("init_module", syscall(SYS_init_module, NULL, 0, ""), EPERM);
	TRY("finit_module", syscall(SYS_finit_module, -1, "", 0), EPERM);
	TRY("delete_module", syscall(SYS_delete_module, "probe-none", O_NONBLOCK), EPERM);
	TRY("quotactl", syscall(SYS_quotactl, 0x80000500, NULL, 0, NULL), EPERM); /* Q_GETINFO */
	TRY("personality_aslr", personality(ADDR_NO_RANDOMIZE), EPERM);
	TRY("personality_exec", personality(READ_IMPLIES_EXEC), EPERM);
	TRY("personality_high_bits", syscall(SYS_personality, HIGH | ADDR_NO_RANDOMIZE), EPERM);
	/* Magic numbers of no command; names of no files; a time that is none, or no change. */
	TRY("reboot", syscall(SYS_reboot, 0, 0, 0, NULL), EPERM);
	TRY("swapon", syscall(SYS_swapon, "probe-none", 0), EPERM);
	TRY("swapoff", syscall(SYS_swapoff, "probe-none"), EPERM);
	TRY("acct", acct("probe-none"), EPERM);
	TRY("settimeofday", syscall(SYS_settimeofday, NULL, NULL), EPERM);
	TRY("clock_settime", set_clock(), EPERM);
	TRY("adjtimex", adjust_clock(), EPERM);
	TRY("sethostname", sethostname("probe", 5), EPERM);
	TRY("setdomainname", setdomainname("probe", 5), EPERM);
	TRY("syslog", syscall(SYS_syslog, 10, NULL, 0), EPERM);
	TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0), EPERM);
	TRY("vhangup", vhangup(), EPERM);
	TRY("iopl", io_level(), EPERM);
	TRY("modify_ldt", write_ldt(), EPERM);
	TRY("exceed_core_limit", exceed_core_limit(), EPERM);
	TRY("lower_core_limit", lower_core_limit(), EPERM);
	TRY("raise_core_limit", raise_core_limit(), EPERM);
	TRY("escape_oom_killer", escape_oom(), EACCES);
}

/* System calls of other ABIs: getpid by the i386 gate and by x32's bit. */
static long call_i386(void)
{
#ifdef __x86_64__
	long r = 20;

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
	return r;
#else
	return raise(SIGSYS);
#endif
}

static long call_x32(void)
{
#ifdef __x86_64__
	return syscall(0x40000000 | SYS_getpid);
#else
	return raise(SIGSYS);
#endif
}

/* ---- Terminals and sockets ------------------------------------------------------------------- */

/* On a terminal of its own, so that nobody else's gets the letter. */
static long type_into_terminal(uint64_t request)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char letter = 'x';

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return fail(ENOTRECOVERABLE);
	slave = open(ptsname(master), O_RDWR); /* in a session of its own: it is our terminal now */
	return slave < 0 ? fail(ENOTRECOVERABLE)
			 : syscall(SYS_ioctl, (long)slave, request, &letter);
}

/* A family of sockets beyond unix, inet, inet6 and netlink with another answer than EPERM. */
static long find_family(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };

	for (int family = 0; family < 64; family++) {
		if (family == AF_UNIX || family == AF_INET || family == AF_INET6 ||
		    family == AF_NETLINK)
			continue;
		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
			if (socket(family, types[i], 0) >= 0 || errno != EPERM)
				return family;
		}
	}
	return fail(EPERM);
}

/* A netlink protocol but ROUTE, SOCK_DIAG, KOBJECT_UEVENT; AUDIT's answer is another one. */
static long find_netlink(void)
{
	for (int protocol = 1; protocol < 32; protocol++) {
		if (protocol == 4 || protocol == 15 || protocol == 9)
			continue;
		if (socket(AF_NETLINK, SOCK_RAW, protocol) >= 0 || errno != EPERM)
			return protocol;
	}
	return fail(EPERM);
}

static long connect_tcp(const char *address)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)probe.port) };
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &to.sin_addr);
	return sock < 0 ? fail(ENOTRECOVERABLE) : connect(sock, (struct sockaddr *)&to, sizeof(to));
}

static long connect_abstract(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(probe.abstract_name);

	if (len + 1 > sizeof(to.sun_path))
		return fail(ENOTRECOVERABLE);
	memcpy(to.sun_path + 1, probe.abstract_name, len);
	return sock < 0 ? fail(ENOTRECOVERABLE)
			: connect(sock, (struct sockaddr *)&to,
				  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len));
}

static long pair_of(int family)
{
	int pair[2];

	return socketpair(family, SOCK_STREAM, 0, pair);
}

void try_sockets(void)
{
	TRY("tiocsti", type_into_terminal(0x5412), EPERM);
	TRY("tiocsti_high_bits", type_into_terminal(HIGH | 0x5412), EPERM);
	TRY("tioclinux", type_into_terminal(0x541c), EPERM);
	TRY("tioclinux_high_bits", type_into_terminal(HIGH | 0x541c), EPERM);
	TRY("socket_vsock", socket(AF_VSOCK, SOCK_STREAM, 0), EPERM);
	TRY("socket_vsock_high_bits", syscall(SYS_socket, HIGH | AF_VSOCK, 1, 0), EPERM);
	TRY("socket_packet", socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	TRY("socket_alg", socket(AF_ALG, SOCK_SEQPACKET, 0), EPERM);
	TRY("socket_key", socket(AF_KEY, SOCK_RAW, 2), EPERM);
	TRY("socket_bluetooth", socket(AF_BLUETOOTH, SOCK_RAW, 1), EPERM);
	TRY("socket_netlink_audit", socket(AF_NETLINK, SOCK_RAW, 9), EINVAL);
	TRY("socket_netlink_audit_high_bits",
	    syscall(SYS_socket, HIGH | AF_NETLINK, SOCK_RAW, HIGH | 9), EINVAL);
	TRY("socket_netlink_netfilter", socket(AF_NETLINK, SOCK_RAW, 12), EPERM);
	TRY("socket_of_another_family", find_family(), EPERM);
	TRY("socket_of_another_netlink", find_netlink(), EPERM);
	TRY("socketpair_tipc", pair_of(AF_TIPC), EPERM);
	TRY("connect_to_the_machine", connect_tcp("127.0.0.1"), ECONNREFUSED);
	TRY("connect_to_abstract_socket", connect_abstract(), ECONNREFUSED);
	TRY("syscall_of_i386", call_i386(), KILLED_BY(SIGSYS));
	TRY("syscall_of_x32", call_x32(), KILLED_BY(SIGSYS));
}
