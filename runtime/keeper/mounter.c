/* SPDX-License-Identifier: MIT */
/*
 * The mounter and its workers. A worker makes the filesystem outside (its superblock belongs to the
 * machine's user namespace, so that what is outside of the box reaches it as well), enters the box's
 * mount namespace, and attaches it. The box may have made every name on the way: it goes from one
 * directory to the next and follows no link. No locks: processes of one thread.
 */
#include "keeper/mounter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/text.h"
#include "keeper/caps.h"
#include "keeper/mounts.h"
#include "keeper/stages.h"

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200 /* Linux 6.5 */
#endif

enum {
	SOCK_FD = 3, /* the mounter's descriptors */
	PROC_FD = 4,
	FUSE_MAJOR = 10,
	FUSE_MINOR = 229,
	MAX_DEPTH = 64, /* directories of a target */
};

#define ONE_STEP (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH)

/* One request being worked on. */
struct worker {
	const struct mounter_request *request;
	struct mounter_answer *answer;
	uid_t uid_base;
	struct failure why;
	int fuse, mount, fdinfo;
	/* The directory that the target's last name is in, and that name. */
	int parent;
	char path[PATH_MAX], *names[MAX_DEPTH];
	size_t n_names;
};

/* --- what is to be mounted -------------------------------------------------------------------- */

static int open_fuse(struct worker *w)
{
	struct stat st;

	w->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (w->fuse < 0)
		return failure_set(&w->why, errno, "/dev/fuse: %s", strerror(errno));
	if (fstat(w->fuse, &st) < 0 || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(FUSE_MAJOR, FUSE_MINOR))
		return failure_set(&w->why, ENODEV, "/dev/fuse is not FUSE's device");
	return 0;
}

static int make_mount(struct worker *w)
{
	const bool readonly = w->request->readonly;
	char fd[16], owner[16];
	const struct mount_option options[] = {
		{ "source", w->request->source },
		{ "subtype", "sandbox-bucket" },
		{ "fd", fd },
		{ "rootmode", "40000" },
		{ "user_id", owner },
		{ "group_id", owner },
		{ "default_permissions", NULL },
		{ "allow_other", NULL },
		{ "ro", NULL }, /* last: not always */
	};

	snprintf(fd, sizeof(fd), "%d", w->fuse);
	snprintf(owner, sizeof(owner), "%u", w->uid_base);
	w->mount =
		mount_new("fuse", options, ARRAY_SIZE(options) - !readonly,
			  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (readonly ? MOUNT_ATTR_RDONLY : 0),
			  &w->why);
	return w->mount < 0 ? w->mount : 0;
}

/* By the kernel's word on a descriptor: a stat of a FUSE filesystem would ask its server. */
static int find_mount_id(const struct worker *w, int fd, uint64_t *id)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%d", fd);
	r = read_file_at(w->fdinfo, name, 4096, &text, NULL);
	if (r < 0)
		return r;
	line = strstr(text, "mnt_id:\t");
	if (!line)
		return -ENODATA;
	*id = strtoull(line + strlen("mnt_id:\t"), NULL, 10);
	return 0;
}

/* --- where ------------------------------------------------------------------------------------- */

static int split_target(struct worker *w)
{
	char *rest = w->path, *name;

	snprintf(w->path, sizeof(w->path), "%s", w->request->target + 1);
	while ((name = strsep(&rest, "/"))) {
		if (w->n_names == MAX_DEPTH)
			return failure_set(&w->why, ENAMETOOLONG,
					   "the target is more than %d directories deep",
					   MAX_DEPTH);
		w->names[w->n_names++] = name;
	}
	return 0;
}

static int enter_box(struct worker *w)
{
	_cleanup_close_ int ns = openat(PROC_FD, "ns/mnt", O_RDONLY | O_CLOEXEC);

	w->fdinfo = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ns < 0 || w->fdinfo < 0)
		return failure_set(&w->why, errno, "the box has ended");
	return setns(ns, CLONE_NEWNS) < 0 ? -errno : 0;
}

static int step_down(int dir, const char *name)
{
	return open_how_at(dir, name, O_PATH | O_DIRECTORY, 0, ONE_STEP);
}

/* What is made belongs to the box's root, which reaches all that is there as the machine's does. */
static int make_dir(const struct worker *w, int dir, const char *name)
{
	int r = caps_count_as(w->uid_base), undo;

	if (r < 0)
		return r;
	setfsgid(w->uid_base);
	r = mkdirat(dir, name, 0755) < 0 ? -errno : 0;
	setfsgid(0);
	undo = caps_count_as(0);
	return r < 0 ? r : undo;
}

static int refuse_step(struct worker *w, int error, size_t i)
{
	_cleanup_text_ struct text upto = { 0 };

	for (size_t n = 0; n <= i; n++)
		text_printf(&upto, "/%s", w->names[n]);
	if (error == -ELOOP)
		return failure_set(&w->why, ELOOP, "%.150s is a symbolic link", upto.data);
	if (error == -ENOTDIR)
		return failure_set(&w->why, ENOTDIR, "%.150s is not a directory", upto.data);
	return failure_set(&w->why, -error, "%.150s: %s", upto.data, strerror(-error));
}

/* Opens the directory of name i in dir, made if need be (make). -errno with a sentence. */
static int walk_one(struct worker *w, int dir, size_t i, bool make)
{
	int next = step_down(dir, w->names[i]), r;

	if (next == -ENOENT && make) {
		r = make_dir(w, dir, w->names[i]);
		if (r < 0 && r != -EEXIST)
			return refuse_step(w, r, i);
		w->answer->n_made += r == 0;
		next = step_down(dir, w->names[i]);
	}
	return next < 0 ? refuse_step(w, next, i) : next;
}

/* w->parent is set, and the target, if it is there, returned; the caller's. */
static int walk(struct worker *w, bool make)
{
	int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; dir >= 0; i++) {
		int next = walk_one(w, dir, i, make);

		if (next >= 0 && i + 1 < w->n_names) {
			close(dir);
			dir = next;
			continue;
		}
		w->parent = dir;
		return next;
	}
	return -errno;
}

static const char *last_name(const struct worker *w)
{
	return w->names[w->n_names - 1];
}

/* Directories that were made for it, from the last one up, as far as they are empty. */
static void remove_made(struct worker *w, uint32_t n)
{
	if (n > w->n_names || caps_count_as(w->uid_base) < 0)
		return;
	while (n-- > 0) {
		int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

		w->n_names--;
		for (size_t i = 0; dir >= 0 && i < w->n_names; i++) {
			int next = step_down(dir, w->names[i]);

			close(dir);
			dir = next;
		}
		if (dir < 0 || unlinkat(dir, w->names[w->n_names], AT_REMOVEDIR) < 0)
			n = 0;
		close_fd(&dir);
	}
	caps_count_as(0);
}

/* --- the requests ------------------------------------------------------------------------------ */

/* Takes what is mounted at the target away, if it is that one. */
static int detach(struct worker *w, int target, uint64_t mount_id)
{
	uint64_t id;
	int r = find_mount_id(w, target, &id);

	if (r < 0 || id != mount_id)
		return r; /* gone already */
	/* By its name in a directory that we hold: umount2(2) knows paths only. */
	if (fchdir(w->parent) < 0 || umount2(last_name(w), MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int attach(struct worker *w, int target, unsigned flags)
{
	return move_mount(w->mount, "", target, "",
			  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | flags) < 0
		       ? -errno
		       : 0;
}

static int do_mount(struct worker *w)
{
	_cleanup_close_ int target = walk(w, true);
	int r;

	if (target < 0)
		return target;
	r = attach(w, target, 0);
	return r < 0 ? failure_set(&w->why, -r, "%s: %s", w->request->target, strerror(-r)) : 0;
}

/* The dead mount stays on top until the new one is there: nobody sees what is below. */
static int do_replace(struct worker *w)
{
	_cleanup_close_ int target = walk(w, false);
	uint64_t id;
	int r;

	if (target < 0)
		return target;
	r = find_mount_id(w, target, &id);
	if (r < 0)
		return r;
	if (id != w->request->mount_id)
		return attach(w, target, 0); /* it has gone with what it was mounted in */
	r = attach(w, target, MOVE_MOUNT_BENEATH);
	if (r == -EINVAL)
		return attach(w, target, 0); /* an older kernel: the dead one stays below */
	return r < 0 ? r : detach(w, target, id);
}

static int do_unmount(struct worker *w)
{
	_cleanup_close_ int target = walk(w, false);
	int r = target < 0 ? 0 : detach(w, target, w->request->mount_id);

	if (r == 0)
		remove_made(w, w->request->n_made);
	return r;
}

static int work(struct worker *w)
{
	enum mounter_op op = w->request->op;
	int r = split_target(w);

	if (r == 0 && op != MOUNTER_UNMOUNT) {
		r = open_fuse(w);
		if (r == 0)
			r = make_mount(w);
	}
	if (r == 0)
		r = enter_box(w);
	if (r == 0 && op != MOUNTER_UNMOUNT)
		r = find_mount_id(w, w->mount, &w->answer->mount_id);
	if (r < 0)
		return r;
	if (op == MOUNTER_UNMOUNT)
		return do_unmount(w);
	r = op == MOUNTER_REPLACE ? do_replace(w) : do_mount(w);
	if (r < 0)
		remove_made(w, w->answer->n_made);
	return r;
}

static _Noreturn void worker_main(const struct mounter_request *request, uid_t uid_base, int sock)
{
	struct mounter_answer answer = { 0 };
	struct worker w = {
		.request = request,
		.answer = &answer,
		.uid_base = uid_base,
		.fuse = -1,
		.mount = -1,
		.fdinfo = -1,
		.parent = -1,
	};
	int r;

	/* Its default action ends even who waits for a file system's server. */
	signal(SIGALRM, SIG_DFL);
	alarm(MOUNTER_PATIENCE_MS / 1000);
	r = work(&w);
	answer.error = -r;
	if (r < 0) {
		answer.n_made = 0;
		snprintf(answer.why, sizeof(answer.why), "%s", w.why.text);
	}
	send_packet(sock, &answer, sizeof(answer), &w.fuse, r == 0 && w.fuse >= 0);
	_exit(0);
}

/* --- the mounter ------------------------------------------------------------------------------- */

static _Noreturn void mounter_main(uid_t uid_base)
{
	static struct mounter_request request;

	prctl(PR_SET_NAME, "sandbox-mounter");
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(SIGCHLD, SIG_IGN); /* nobody asks how they ended */
	if (caps_cut_mounter() < 0)
		_exit(1);
	for (;;) {
		int sock = -1, n_fds = 1;
		ssize_t n = recv_packet(SOCK_FD, &request, sizeof(request), &sock, &n_fds);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		if (n == sizeof(request) && n_fds == 1 && fork() == 0)
			worker_main(&request, uid_base, sock);
		if (n_fds == 1)
			close(sock);
	}
}

int mounter_start(int proc_child, uid_t uid_base, int *sock, pid_t *pid)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*pid = fork();
	if (*pid == 0) {
		/* Of all that the keeper has open only this is the mounter's business. */
		int end = fcntl(pair[1], F_DUPFD_CLOEXEC, PROC_FD + 1);
		int proc = fcntl(proc_child, F_DUPFD_CLOEXEC, PROC_FD + 1);

		if (end < 0 || proc < 0 || dup2(end, SOCK_FD) < 0 || dup2(proc, PROC_FD) < 0 ||
		    syscall(SYS_close_range, PROC_FD + 1, ~0U, 0) < 0)
			_exit(1);
		mounter_main(uid_base);
	}
	r = *pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0)
		close(pair[0]);
	else
		*sock = pair[0];
	return r;
}

void mounter_end(int *sock, pid_t pid)
{
	siginfo_t info;

	if (*sock < 0)
		return;
	close_fd(sock);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
		;
}

int mounter_ask(int sock, const struct mounter_request *request, int *answer)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = set_nonblock(pair[0]);
	if (r == 0)
		r = send_packet(sock, request, sizeof(*request), &pair[1], 1);
	close(pair[1]);
	if (r < 0)
		close(pair[0]);
	else
		*answer = pair[0];
	return r;
}

int mounter_receive(int answer, struct mounter_answer *out, int *fuse)
{
	int n_fds = 1;
	ssize_t n;

	*fuse = -1;
	n = recv_packet(answer, out, sizeof(*out), fuse, &n_fds);
	if (n == -EAGAIN || n == -EINTR)
		return -EAGAIN;
	if (n != sizeof(*out))
		return -EIO;
	return -out->error;
}
