/* SPDX-License-Identifier: MIT */
/*
 * The least that a box's start can cost on this machine, for tests/bench: namespaces, cgroups, an
 * overlay, the filter, bash, and nothing of ours. Compiled by the bench, run outside of boxes.
 *
 *	floor ROOTFS SCRATCH CGROUP-FOLDER…
 *
 * For each line on its standard input it makes one such life and waits for the first byte of what
 * `bash -c 'echo x'` says; then it prints the microseconds that took, and cleans up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "seccomp_filter.h"

enum { IDS = 1879048192, MAX_FOLDERS = 16, PATH = 4096 };

static const char *rootfs, *scratch;
static char **folders;
static int n_folders;

static void must(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static const char *path_of(char path[PATH], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(path, PATH, fmt, args);
	va_end(args);
	return path;
}

/* False: there is no such file. */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = write(fd, text, strlen(text));
	close(fd);
	must(n, path);
	return 1;
}

static void own_folder(const char *path)
{
	must(mkdir(path, 0755), path);
	must(chown(path, IDS, IDS), path);
}

static void make_folders(int life)
{
	char path[PATH];

	for (int i = 0; i < n_folders; i++) {
		must(mkdir(path_of(path, "%s/floor-%d", folders[i], life), 0755), path);
		put(path_of(path, "%s/floor-%d/pids.max", folders[i], life), "4096");
		put(path_of(path, "%s/floor-%d/memory.limit_in_bytes", folders[i], life),
		    "536870912");
		put(path_of(path, "%s/floor-%d/memory.max", folders[i], life), "536870912");
	}
	must(mkdir(path_of(path, "%s/%d", scratch, life), 0755), path);
	own_folder(path_of(path, "%s/%d/upper", scratch, life));
	own_folder(path_of(path, "%s/%d/work", scratch, life));
	own_folder(path_of(path, "%s/%d/root", scratch, life));
}

static void admit(int life, pid_t pid)
{
	char path[PATH], text[64];

	snprintf(text, sizeof(text), "0 %d 65536\n", IDS);
	if (!put(path_of(path, "/proc/%d/uid_map", pid), text) ||
	    !put(path_of(path, "/proc/%d/gid_map", pid), text))
		must(-1, path);
	snprintf(text, sizeof(text), "%d", pid);
	for (int i = 0; i < n_folders; i++)
		put(path_of(path, "%s/floor-%d/cgroup.procs", folders[i], life), text);
}

static void enter_root(int life)
{
	char root[PATH], options[3 * PATH];

	path_of(root, "%s/%d/root", scratch, life);
	snprintf(options, sizeof(options),
		 "lowerdir=%s,upperdir=%s/%d/upper,workdir=%s/%d/work,"
		 "userxattr",
		 rootfs, scratch, life, scratch, life);
	must(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	must(mount("overlay", root, "overlay", 0, options), "overlay");
	must(chdir(root), root);
	must(mount("proc", "proc", "proc", 0, NULL), "proc");
	must(mount("tmpfs", "dev", "tmpfs", 0, "mode=755,size=64k"), "dev");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "the old root");
	must(chdir("/"), "/");
}

static void bring_up_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	must(fd, "socket");
	must(ioctl(fd, SIOCSIFFLAGS, &lo), "lo");
	close(fd);
}

static void load_filter(const struct sock_filter *filter, size_t n)
{
	struct sock_fprog program = { (unsigned short)n, (struct sock_filter *)filter };

	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

#define FILTER(f) load_filter(f, sizeof(f) / sizeof((f)[0]))

static void be_the_box(int life, int go, int out)
{
	static char *const argv[] = { "bash", "-c", "echo x", NULL };
	static char *const envp[] = { "PATH=/usr/bin:/bin", NULL };
	char byte;

	must(read(go, &byte, 1), "read");
	must(setresgid(0, 0, 0), "setresgid");
	must(setresuid(0, 0, 0), "setresuid");
	enter_root(life);
	bring_up_loopback();
	must(sethostname("floor", 5), "sethostname");
	must(dup2(out, STDOUT_FILENO), "dup2");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	FILTER(seccomp_filter_allowed);
	FILTER(seccomp_filter_refused);
	must(execve("/bin/bash", argv, envp), "bash");
}

static void clean_up(int life)
{
	char path[PATH];

	for (int i = 0; i < n_folders; i++) {
		path_of(path, "%s/floor-%d", folders[i], life);
		/* The kernel forgets the last process a moment after its end. */
		for (int k = 0; k < 1000 && rmdir(path) < 0; k++)
			usleep(1000);
	}
	for (const char *const *name =
		     (const char *const[]){ "work/work", "work", "upper", "root", "", NULL };
	     *name; name++)
		rmdir(path_of(path, "%s/%d/%s", scratch, life, *name));
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void live(int life)
{
	const int namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET |
			       CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
	int go[2], out[2], status;
	int64_t begin = now_us();
	char byte = 0;
	pid_t pid;

	must(pipe2(go, O_CLOEXEC), "pipe");
	must(pipe2(out, O_CLOEXEC), "pipe");
	make_folders(life);
	pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
	must(pid, "clone");
	if (pid == 0)
		be_the_box(life, go[0], out[1]);
	admit(life, pid);
	must(write(go[1], "", 1), "write");
	close(out[1]);
	if (read(out[0], &byte, 1) == 1 && byte == 'x')
		printf("%lld\n", (long long)(now_us() - begin));
	else
		printf("failed\n");
	fflush(stdout);
	must(waitpid(pid, &status, 0), "wait");
	close(go[0]);
	close(go[1]);
	close(out[0]);
	clean_up(life);
}

int main(int argc, char **argv)
{
	char line[64];
	int life = 0;

	if (argc < 3 || argc > 3 + MAX_FOLDERS)
		return 2;
	rootfs = argv[1];
	scratch = argv[2];
	folders = argv + 3;
	n_folders = argc - 3;
	while (fgets(line, sizeof(line), stdin))
		live(++life);
	return 0;
}
