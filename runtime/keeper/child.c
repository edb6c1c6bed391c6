/* SPDX-License-Identifier: MIT */
/*
 * The child's half of a start: from a copy of the keeper in fresh namespaces to the box's init.
 * Nothing of the box runs yet, so its own files are the only thing here that a box may have made
 * (at an earlier start): rootfs.c and devices.c never follow a link in them. After
 * rootfs_enter() nothing of ours is opened by a path any more. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "caps.h"
#include "cgroup.h"
#include "devices.h"
#include "gen/seccomp_filter.h"
#include "init/init.h"
#include "keeper/uplink.h"
#include "rootfs.h"
#include "stages.h"

enum {
	ABOVE_ALL = 16,	     /* a descriptor number beyond those that are given away below */
	INIT_PROGRAM_FD = 4, /* closed by the exec itself */
};

/* Waits for the keeper's word; how many of room descriptors came with it, or -errno. */
static int wait_for(struct start *s, char word, int *fds, int room)
{
	char got = 0;
	ssize_t len = recv_packet(s->child_sock, &got, 1, fds, &room);

	if (len < 0)
		return (int)len;
	return len == 1 && got == word ? room : -EPIPE;
}

static int wait_for_ids(struct start *s)
{
	return wait_for(s, START_IDS_MAPPED, NULL, 0);
}

static int become_root(struct start *s)
{
	(void)s;
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -errno;
	/* A change of ids clears the parent's death signal, so only now. The keeper may have died
	 * before: the next wait_for() sees that. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setsid() < 0)
		return -errno;
	return 0;
}

/*
 * The dearest of the namespaces, and the child makes it itself while the keeper maps folders and
 * makes cgroups: it belongs to the box's user namespace all the same.
 */
static int make_network(struct start *s)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	_cleanup_close_ int sock = -1, ns = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &lo) < 0)
		return -errno;
	if (!s->set->network)
		return 0;
	ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return ns < 0 ? -errno : network_ask(s->box->network, s->set->number, ns);
}

static int set_host_name(struct start *s)
{
	return sethostname(s->set->hostname, strlen(s->set->hostname)) < 0 ? -errno : 0;
}

static int wait_for_trees(struct start *s)
{
	int n = wait_for(s, START_TREES, s->trees, N_TREES);

	return n < 0 ? n : n == start_n_trees(s) ? 0 : -EMFILE;
}

static int enter_cgroups(struct start *s)
{
	int doors[CGROUP_MAX_DIRS];
	int n = wait_for(s, START_CGROUP, doors, CGROUP_MAX_DIRS);
	int r = n;

	for (int i = 0; i < n && r >= 0; i++)
		r = cgroup_pass(doors[i]);
	while (n > 0)
		close(doors[--n]);
	return r;
}

/* A cgroup namespace begins where its maker is, so it cannot come with clone3. */
static int hide_cgroups(struct start *s)
{
	(void)s;
	return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

static int join_keyring(struct start *s)
{
	(void)s;
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return -errno; /* ENOSYS: a kernel without keys has none to leak */
	return 0;
}

/* Descriptors: the null device as 0 to 2, the socket, init's program; no other. */
static int sort_descriptors(struct start *s)
{
	int sock = fcntl(s->child_sock, F_DUPFD_CLOEXEC, ABOVE_ALL);
	int program = fcntl(s->init_program, F_DUPFD_CLOEXEC, ABOVE_ALL);
	int null = fcntl(s->null, F_DUPFD_CLOEXEC, ABOVE_ALL);

	if (sock < 0 || program < 0 || null < 0)
		return -errno;
	s->child_sock = sock; /* a failure from here on is told there */
	for (int fd = 0; fd < INIT_SOCK; fd++) {
		if (dup2(null, fd) < 0)
			return -errno;
	}
	if (dup2(sock, INIT_SOCK) < 0 || dup3(program, INIT_PROGRAM_FD, O_CLOEXEC) < 0)
		return -errno;
	s->child_sock = INIT_SOCK;
	s->init_program = INIT_PROGRAM_FD;
	return syscall(SYS_close_range, INIT_PROGRAM_FD + 1, ~0U, 0) < 0 ? -errno : 0;
}

static int cut_capabilities(struct start *s)
{
	(void)s;
	return caps_cut_box();
}

/*
 * Not 0: that stops files, but a core handler that the machine runs (core(5), pipes) would still
 * be started outside. 1 byte is the kernel's word for neither. The filter keeps it so.
 */
static int forbid_core_dumps(struct start *s)
{
	const struct rlimit no_core = { 1, 1 };

	(void)s;
	return setrlimit(RLIMIT_CORE, &no_core) < 0 ? -errno : 0;
}

/* init's own, which whatever it starts has from it; limits/files changes it from outside. */
static int set_open_files(struct start *s)
{
	struct rlimit files;

	(void)s;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	files.rlim_cur = MIN(files.rlim_max, (rlim_t)BOX_OPEN_FILES);
	return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

static int load_filter(const struct sock_filter *filter, size_t n)
{
	const struct sock_fprog program = {
		.len = (unsigned short)n,
		.filter = (struct sock_filter *)filter,
	};

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

/*
 * Without no_new_privs, for which CAP_SYS_ADMIN over the box stands in: with it sudo, su and file
 * capabilities would be dead inside. A set-user-id program gains at most the ids and the bounding
 * set of the box, which the box's root has anyway; nothing of the machine is in reach.
 */
static int load_filters(struct start *s)
{
	int r = load_filter(seccomp_filter_allowed, ARRAY_SIZE(seccomp_filter_allowed));

	(void)s;
	/* The one loaded last gives the errno where both refuse. */
	return r < 0 ? r : load_filter(seccomp_filter_refused, ARRAY_SIZE(seccomp_filter_refused));
}

static int start_init(struct start *s)
{
	char *const argv[] = { (char *)"sandbox-init", NULL }, *const envp[] = { NULL };

	syscall(SYS_execveat, s->init_program, "", argv, envp, AT_EMPTY_PATH);
	return -errno;
}

static const struct stage stages[] = {
	{ "wait for the id maps", wait_for_ids },
	{ "become the box's root", become_root },
	{ "make the network namespace", make_network },
	{ "set the host name", set_host_name },
	{ "make the staging mount", rootfs_make_stage },
	{ "wait for the box's folders", wait_for_trees },
	{ "attach the box's folders", rootfs_attach_trees },
	{ "mount the root overlay", rootfs_mount_root },
	{ "mount the overlay of /usr", rootfs_mount_usr },
	{ "mount /workspace", rootfs_mount_workspace },
	{ "mount /run", rootfs_mount_run },
	{ "mount /proc", devices_mount_proc },
	{ "mask /proc", devices_mask_proc },
	{ "make /dev", devices_mount_dev },
	{ "enter the box's root", rootfs_enter },
	{ "enter the cgroups", enter_cgroups },
	{ "make the cgroup namespace", hide_cgroups },
	{ "join a session keyring", join_keyring },
	{ "sort the descriptors", sort_descriptors },
	{ "cut the capabilities", cut_capabilities },
	{ "forbid core dumps", forbid_core_dumps },
	{ "limit the open files", set_open_files },
	{ "load the system call filter", load_filters },
	{ "start init", start_init },
};

const char *child_stage_step(uint64_t i)
{
	return i < ARRAY_SIZE(stages) ? stages[i].step : NULL;
}

_Noreturn void child_main(struct start *s)
{
	struct {
		struct init_report head;
		char text[sizeof(s->why->text)];
	} report = { .head.type = INIT_REPORT_STAGE };
	size_t failed = 0;
	int r;

	close_fd(&s->sock); /* or its end would never be seen */
	umask(022);
	r = stages_run(s, stages, ARRAY_SIZE(stages), &failed);
	report.head.id = failed;
	report.head.status = -r;
	memcpy(report.text, s->why->text, sizeof(report.text));
	send_packet(s->child_sock, &report, sizeof(report), NULL, 0);
	_exit(1);
}
