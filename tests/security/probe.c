/* SPDX-License-Identifier: MIT */
/*
 * Tries to leave a box, one attempt after another, each in a process of its own. tests/security/
 * inside runs it in a box, where each must end in one of the errors given with it, and as root on
 * the machine, where it must end in something else: an attempt that the kernel refuses everywhere
 * would say nothing about the box. So arguments are such that the call works without the wall, or,
 * where that would do harm (reboot, clocks, modules), fails behind the check of the privilege with
 * another error.
 *
 *     probe list
 *     probe box|machine PORT ABSTRACT-SOCKET FILE-OF-THE-MACHINE WORD-IN-A-COMMAND-LINE
 *
 * prints lines "NAME held|open OUTCOME": held is an outcome that was asked for. Below `machine`
 * each attempt has mount, uts and ipc namespaces of its own; files are made in the working folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

struct probe probe;

enum { SECONDS_EACH = 10, CLIMB = 64 };

void probe_prepare(void)
{
	alarm(SECONDS_EACH);
	setsid();
	if (probe.on_machine && (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0 ||
				 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		_exit(ENOTRECOVERABLE);
}

void probe_report(const char *name, pid_t pid, const int *held)
{
	int status = 0, outcome;
	const int *wanted = held;

	if (probe.only_list) {
		puts(name);
		return;
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("%s open (no process)\n", name);
		return;
	}
	outcome = WIFSIGNALED(status) ? KILLED_BY(WTERMSIG(status)) : WEXITSTATUS(status);
	while (*wanted && *wanted != outcome)
		wanted++;
	printf("%s %s ", name, *wanted ? "held" : "open");
	if (outcome >= OUTCOME_SIGNAL)
		printf("signal %d\n", outcome - OUTCOME_SIGNAL);
	else
		printf("%s\n", outcome == 0 ? "it works" : strerrorname_np(outcome));
	fflush(stdout);
}

/* ---- Files ---------------------------------------------------------------------------------- */

/* Something can be read there. ENODATA: nothing is in it. */
static long read_some(const char *path)
{
	char buf[64];
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	return n == 0 ? fail(ENODATA) : n;
}

static long list_some(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			return 1;
	}
	return fail(ENODATA);
}

/* A regular file below path that opens for writing (and is not written to). */
static long find_writable(int parent, const char *path, int depth)
{
	int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	long found = -1;

	while (dir && depth > 0 && found < 0 && (entry = readdir(dir))) {
		struct stat st;

		if (entry->d_name[0] == '.' || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (S_ISDIR(st.st_mode))
			found = find_writable(fd, entry->d_name, depth - 1);
		else if (S_ISREG(st.st_mode))
			found = openat(fd, entry->d_name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
	}
	if (dir)
		closedir(dir);
	return found >= 0 ? found : fail(EROFS);
}

static long make_device(const char *folder, mode_t type, unsigned int major, unsigned int minor)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/probe-device-%d", folder, getpid());
	if (mknod(path, type | 0600, makedev(major, minor)) < 0)
		return -1;
	return unlink(path);
}

/* Up and out of a working folder outside the root; what remains is /. */
static long climb_out(void)
{
	int here = open(".", O_RDONLY | O_DIRECTORY);

	if (here < 0 || (mkdir("jail", 0700) < 0 && errno != EEXIST) || chroot("jail") < 0 ||
	    fchdir(here) < 0)
		return fail(ENOTRECOVERABLE);
	for (int i = 0; i < CLIMB; i++) {
		if (chdir("..") < 0)
			return fail(ENOTRECOVERABLE);
	}
	if (chroot(".") < 0)
		return fail(ENOTRECOVERABLE);
	return access(probe.machine_file, F_OK);
}

/* The machine's file by root, cwd or fd of any process seen, or by going up from there. */
static long through_processes(const char *name)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[PATH_MAX];

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/%s", entry->d_name, name);
		if (chdir(path) < 0)
			continue;
		for (int i = 0; i < CLIMB; i++) {
			snprintf(path, sizeof(path), ".%s", probe.machine_file);
			if (access(path, F_OK) == 0)
				return 0;
			if (chdir("..") < 0)
				break;
		}
	}
	return fail(ENOENT);
}

/* The first inode of the disk under /workspace, by a handle made up: the way out of old Docker. */
static long open_root_of_disk(void)
{
	struct {
		struct file_handle head;
		uint32_t inode, generation;
	} handle = { .head = { .handle_bytes = 8, .handle_type = 1 }, .inode = 2 };
	int here = open(".", O_RDONLY | O_DIRECTORY);

	return here < 0 ? fail(ENOTRECOVERABLE)
			: open_by_handle_at(here, &handle.head, O_RDONLY | O_DIRECTORY);
}

static long name_handle(void)
{
	struct {
		struct file_handle head;
		char room[MAX_HANDLE_SZ];
	} handle = { .head = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount_id;

	return name_to_handle_at(AT_FDCWD, ".", &handle.head, &mount_id, 0);
}

/* Descriptors beyond 0, 1, 2 that came from outside; the probe has opened none yet. */
static long count_descriptors(void)
{
	for (int fd = 3; fd < 20000; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			return fd;
	}
	return fail(EBADF);
}

/* Gives a file away to an id that the box has not. */
static long chown_beyond(void)
{
	int fd = open("given-away", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? fail(ENOTRECOVERABLE) : fchown(fd, 70000, 70000);
}

static void try_files(void)
{
	TRY("file_of_the_machine", access(probe.machine_file, F_OK), ENOENT);
	TRY("climb_out_of_chroot", climb_out(), ENOENT);
	TRY("file_by_root_of_processes", through_processes("root"), ENOENT);
	TRY("file_by_cwd_of_processes", through_processes("cwd"), ENOENT);
	TRY("open_by_handle_at", open_root_of_disk(), EPERM);
	TRY("name_to_handle_at", name_handle(), EPERM);
	TRY("mknod_null", make_device(".", S_IFCHR, 1, 3), EPERM);
	TRY("mknod_mem_in_tmp", make_device("/tmp", S_IFCHR, 1, 1), EPERM);
	TRY("mknod_kmsg_in_run", make_device("/run", S_IFCHR, 1, 11), EPERM);
	TRY("mknod_fuse_in_dev", make_device("/dev", S_IFCHR, 10, 229), EPERM);
	TRY("mknod_loop", make_device(".", S_IFBLK, 7, 0), EPERM);
	TRY("mknod_disk_in_shm", make_device("/dev/shm", S_IFBLK, 254, 0), EPERM);
	TRY("chown_to_foreign_id", chown_beyond(), EINVAL);
	TRY("setuid_to_foreign_id", setuid(70000), EINVAL);
	TRY("setgid_to_foreign_id", setgid(70000), EINVAL);
	TRY("inherited_descriptor", count_descriptors(), EBADF);
}

static long find_address(void)
{
	char line[256];
	FILE *f = fopen("/proc/kallsyms", "re");

	if (!f)
		return -1;
	for (int i = 0; i < 1000 && fgets(line, sizeof(line), f); i++) {
		if (strtoull(line, NULL, 16))
			return 1;
	}
	return fail(ENODATA);
}

/* Reading what tells of the machine; ENODATA: masked. */
static void try_proc(void)
{
	TRY("read_kcore", read_some("/proc/kcore"), ENODATA, ENOENT);
	TRY("read_kmsg", read_some("/proc/kmsg"), ENODATA, ENOENT);
	TRY("read_keys", read_some("/proc/keys"), ENODATA, ENOENT);
	TRY("read_key_users", read_some("/proc/key-users"), ENODATA, ENOENT);
	TRY("read_timer_list", read_some("/proc/timer_list"), ENODATA, ENOENT);
	TRY("read_interrupts", read_some("/proc/interrupts"), ENODATA, ENOENT);
	TRY("read_latency_stats", read_some("/proc/latency_stats"), ENODATA, ENOENT);
	TRY("read_sched_debug", read_some("/proc/sched_debug"), ENODATA, ENOENT);
	TRY("list_acpi", list_some("/proc/acpi"), ENODATA, ENOENT);
	TRY("list_asound", list_some("/proc/asound"), ENODATA, ENOENT);
	TRY("list_scsi", list_some("/proc/scsi"), ENODATA, ENOENT);
	TRY("list_sys", list_some("/sys"), ENODATA, ENOENT);
	TRY("list_cgroups", list_some("/sys/fs/cgroup"), ENODATA, ENOENT);
	TRY("read_kpagecount", read_some("/proc/kpagecount"), EACCES, ENOENT);
	TRY("read_slabinfo", read_some("/proc/slabinfo"), EACCES, ENOENT);
	TRY("read_vmallocinfo", read_some("/proc/vmallocinfo"), EACCES, ENOENT);
	TRY("read_kernel_addresses", find_address(), ENODATA, EACCES, ENOENT);
	TRY("write_core_pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY), EROFS, EACCES);
	TRY("write_modprobe", open("/proc/sys/kernel/modprobe", O_WRONLY), EROFS, EACCES, ENOENT);
	TRY("write_ip_forward", open("/proc/sys/net/ipv4/ip_forward", O_WRONLY), EROFS, EACCES);
	TRY("write_hostname", open("/proc/sys/kernel/hostname", O_WRONLY), EROFS, EACCES);
	TRY("write_sysrq_trigger", open("/proc/sysrq-trigger", O_WRONLY), EROFS, EACCES, ENOENT);
	TRY("write_anything_in_proc_sys", find_writable(AT_FDCWD, "/proc/sys", 8), EROFS);
	TRY("write_anything_in_proc_irq", find_writable(AT_FDCWD, "/proc/irq", 4), EROFS);
	TRY("write_anything_in_proc_bus", find_writable(AT_FDCWD, "/proc/bus", 4), EROFS);
	TRY("write_anything_in_proc_fs", find_writable(AT_FDCWD, "/proc/fs", 4), EROFS);
	TRY("write_mtrr", open("/proc/mtrr", O_WRONLY), EACCES, EROFS, ENOENT);
}

/* ---- Pid 1 and other processes --------------------------------------------------------------- */

static long attach(pid_t pid)
{
	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0)
		return -1;
	waitpid(pid, NULL, __WALL);
	return ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

/* No page is at 8: EFAULT comes only after the right to look has been given. */
static long read_memory(long call, pid_t pid)
{
	char buf[8];
	struct iovec here = { buf, sizeof(buf) }, there = { (void *)8, sizeof(buf) };

	return syscall(call, (long)pid, &here, 1L, &there, 1L, 0L);
}

static long take_descriptor(pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	return pidfd < 0 ? fail(ENOTRECOVERABLE) : syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

/* Is a process with that word in its command line to be seen? */
static long find_process(const char *word)
{
	char path[64], line[4096];
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int pid = (int)strtol(entry->d_name, NULL, 10), fd;
		ssize_t n;

		if (pid <= 0 || pid == getpid() || pid == getppid())
			continue;
		snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, line, sizeof(line));
		if (fd >= 0)
			close(fd);
		/* Not one of a client or shell that names this program as well. */
		if (n > 0 && memmem(line, (size_t)n, word, strlen(word)) &&
		    !memmem(line, (size_t)n, "probe", strlen("probe")))
			return pid;
	}
	return fail(ESRCH);
}

static void try_processes(void)
{
	TRY("ptrace_attach_init", attach(1), EPERM);
	TRY("ptrace_seize_init", ptrace(PTRACE_SEIZE, 1, NULL, NULL), EPERM);
	TRY("process_vm_readv_init", read_memory(SYS_process_vm_readv, 1), EPERM);
	TRY("process_vm_writev_init", read_memory(SYS_process_vm_writev, 1), EPERM);
	TRY("pidfd_getfd_init", take_descriptor(1, 0), EPERM);
	TRY("kcmp_init", syscall(SYS_kcmp, 1, getpid(), 2, 0, 0), EPERM);
	TRY("read_init_mem", open("/proc/1/mem", O_RDONLY), EACCES);
	TRY("write_init_mem", open("/proc/1/mem", O_RDWR), EACCES);
	TRY("read_init_environ", open("/proc/1/environ", O_RDONLY), EACCES);
	TRY("read_init_maps", open("/proc/1/maps", O_RDONLY), EACCES);
	TRY("read_init_auxv", open("/proc/1/auxv", O_RDONLY), EACCES);
	TRY("open_init_exe", open("/proc/1/exe", O_RDONLY), EACCES);
	TRY("exec_init_exe", access("/proc/1/exe", X_OK), EACCES);
	TRY("list_init_fd", list_some("/proc/1/fd"), EACCES);
	TRY("open_init_fd", open("/proc/1/fd/0", O_RDONLY), EACCES);
	TRY("list_init_map_files", list_some("/proc/1/map_files"), EACCES, ENOENT);
	TRY("enter_init_root", chdir("/proc/1/root"), EACCES);
	TRY("enter_init_cwd", chdir("/proc/1/cwd"), EACCES);
	TRY("open_init_namespace", open("/proc/1/ns/mnt", O_RDONLY), EACCES);
	TRY("see_a_process_of_the_machine", find_process(probe.machine_word), ESRCH);
}

int main(int argc, char **argv)
{
	probe.only_list = argc == 2 && !strcmp(argv[1], "list");
	probe.on_machine = argc == 6 && !strcmp(argv[1], "machine");
	if (!probe.only_list && !probe.on_machine && !(argc == 6 && !strcmp(argv[1], "box"))) {
		fprintf(stderr, "usage: probe list | box|machine PORT ABSTRACT FILE WORD\n");
		return 2;
	}
	if (!probe.only_list) {
		probe.port = (int)strtol(argv[2], NULL, 10);
		probe.abstract_name = argv[3];
		probe.machine_file = argv[4];
		probe.machine_word = argv[5];
	}
	try_files();
	try_proc();
	try_processes();
	try_namespaces();
	try_mounts();
	try_kernel();
	try_sockets();
	return 0;
}
