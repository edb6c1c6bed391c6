/* SPDX-License-Identifier: MIT */
/*
 * The keeper's half of a start: box_start(), and what it undoes when a stage fails on either side.
 * Everything that needs the machine's root is here and in the files it calls; afterwards the
 * keeper has given that up. One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "caps.h"
#include "cgroup.h"
#include "devices.h"
#include "group.h"
#include "idmap.h"
#include "init_client.h"
#include "mounter.h"
#include "mounts.h"
#include "keeper/uplink.h"
#include "runtime.h"
#include "stages.h"
#include "storage.h"

enum {
	READY_PATIENCE_MS = 30000,
	REMOVE_PATIENCE_MS = 2000,
};

int stages_run(struct start *s, const struct stage *stages, size_t n, size_t *failed)
{
	for (size_t i = 0; i < n; i++) {
		int r = stages[i].run(s);

		if (r >= 0)
			continue;
		failure_set(s->why, -r, "%s", strerror(-r));
		s->why->error = -r;
		if (!s->why->step)
			s->why->step = stages[i].step;
		*failed = i;
		return r;
	}
	return 0;
}

/* --- before there is a child -------------------------------------------------------------- */

static int open_image(struct start *s)
{
	struct stat st;

	s->image = open(s->set->image_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->image < 0)
		return failure_set(s->why, errno, "%s: %s", s->set->image_dir, strerror(errno));
	if (!start_is_host(s))
		return 0;
	if (fstatat(s->image, "root/bin", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode))
		return failure_set(
			s->why, EOPNOTSUPP,
			"this machine keeps programs outside of /usr (/bin is no link to "
			"usr/bin), which image host cannot show");
	return 0;
}

/* Programs stand in one folder when built, in libexec/sandboxfs when installed. */
static int open_beside(const char *program)
{
	static const char *const folders[] = { "", "../libexec/sandboxfs/" };
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len < 0)
		return -errno;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		int fd;

		snprintf(path, sizeof(path), "%s%s%s", self, folders[i], program);
		fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT)
			return fd < 0 ? -errno : fd;
	}
	return -ENOENT;
}

/* Only a program that the box cannot read keeps its memory out of the box (init/init.c). */
static int open_init(struct start *s)
{
	struct stat st;

	s->null = devices_open("null", O_RDWR);
	if (s->null < 0)
		return failure_set(s->why, -s->null, "/dev/null is not the null device");
	s->init_program = open_beside(INIT_PROGRAM);
	if (s->init_program < 0)
		return failure_set(s->why, -s->init_program, INIT_PROGRAM ": %s",
				   strerror(-s->init_program));
	if (fstat(s->init_program, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRGRP | S_IROTH | S_IWGRP | S_IWOTH)) ||
	    !(st.st_mode & S_IXOTH) ||
	    (st.st_uid >= s->set->uid_base && st.st_uid - s->set->uid_base < BOX_IDS))
		return failure_set(s->why, EPERM,
				   INIT_PROGRAM " has mode %04o and must have 0511, so that no box "
						"can look into its own init",
				   st.st_mode & 07777);
	return 0;
}

static int make_socket(struct start *s)
{
	return init_client_pair(&s->sock, &s->child_sock);
}

/* The child sends its namespace by this connection as soon as it has made it. */
static int reach_network(struct start *s)
{
	return s->set->network ? network_connect(s->dir, &s->box->network, s->why) : 0;
}

static int make_cgroup(struct start *s)
{
	return cgroup_make(&s->box->cgroup, s->set, s->why);
}

/* --- the child ------------------------------------------------------------------------------ */

static int explain_clone(struct start *s, int error)
{
	if (error != EPERM && error != ENOSPC && error != EUSERS)
		return -error;
	return failure_set(s->why, error,
			   "%s: the machine allows no (more) user namespaces, see sysctl "
			   "user.max_user_namespaces",
			   strerror(error));
}

static int make_child(struct start *s)
{
	/*
	 * The network and cgroup namespaces are made by the child later (child.c says why). The
	 * one of clocks has no offsets and hides nothing, but costs nothing either.
	 */
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
			 CLONE_NEWTIME | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&s->pidfd,
		.exit_signal = SIGCHLD,
	};
	int error, r;
	char path[32];
	long pid;

	if (s->box->cgroup->v2 >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_cradle(s->box->cgroup);
	}
	/* Made by root, the box would use up what root may have of such things on the machine. */
	r = caps_count_as(s->set->uid_base);
	if (r < 0)
		return r;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		child_main(s);
	error = errno;
	r = caps_count_as(0);
	if (pid < 0)
		return explain_clone(s, error);
	s->pid = (pid_t)pid;
	close_fd(&s->child_sock);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d", s->pid);
	s->proc_child = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->proc_child < 0 ? -errno : 0;
}

static int say(struct start *s, char word, const int *fds, int n_fds)
{
	int r = send_packet(s->sock, &word, 1, fds, n_fds);

	return r == -EPIPE ? 0 : r; /* the child tells why it went */
}

static int map_ids(struct start *s)
{
	int r = idmap_write(s->proc_child, 0, s->set->uid_base);

	return r < 0 ? r : say(s, START_IDS_MAPPED, NULL, 0);
}

static int clone_tree(struct start *s, enum tree tree, int dirfd, const char *path, int userns,
		      uint64_t attrs)
{
	int r = s->trees[tree] = idmap_clone_tree(dirfd, path, userns, attrs);

	if (r == -EINVAL)
		return failure_set(s->why, EINVAL, "the file system of %s%s cannot be id-mapped",
				   dirfd == s->dir ? "the box's " : "", path);
	if (r < 0)
		return failure_set(s->why, -r, "%s: %s", path, strerror(-r));
	return 0;
}

/* Older kernels make no clone below a mount that is nowhere attached, so the child does that. */
static int map_disk(struct start *s, int userns)
{
	int r = idmap_set(s->disk, userns, MOUNT_ATTR_NODEV);

	if (r < 0)
		return failure_set(s->why, -r, "the box's disk: %s", strerror(-r));
	s->trees[TREE_SYSTEM] = take_fd(&s->disk);
	s->trees[TREE_WORKSPACE] = fcntl(s->trees[TREE_SYSTEM], F_DUPFD_CLOEXEC, 0);
	return s->trees[TREE_WORKSPACE] < 0 ? -errno : 0;
}

/* What belongs to the storage block on disk: also the layers of an imported image. */
static int clone_storage(struct start *s)
{
	_cleanup_close_ int userns = idmap_open_userns(s->set->storage_base, s->set->uid_base);
	int r = userns;

	if (r >= 0 && !start_is_host(s))
		r = clone_tree(s, TREE_ROOT, s->image, "", userns,
			       MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
	if (r >= 0 && s->has_disk)
		return map_disk(s, userns);
	if (r >= 0)
		r = clone_tree(s, TREE_SYSTEM, s->dir, "system", userns, MOUNT_ATTR_NODEV);
	if (r >= 0)
		r = clone_tree(s, TREE_WORKSPACE, s->dir, "workspace", userns, MOUNT_ATTR_NODEV);
	return r < 0 ? r : 0;
}

/* What belongs to the machine's own ids on disk: root's there is root's in the box. */
static int clone_layers(struct start *s)
{
	const uint64_t attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
	_cleanup_close_ int userns = -1;
	int r;

	if (!start_is_host(s))
		return 0;
	userns = openat(s->proc_child, "ns/user", O_RDONLY | O_CLOEXEC);
	r = userns < 0 ? -errno : 0;
	if (r == 0)
		r = clone_tree(s, TREE_ROOT, s->image, "root", userns, attrs);
	if (r == 0)
		r = clone_tree(s, TREE_USRMASK, s->image, "usrmask", userns, attrs);
	if (r == 0)
		r = clone_tree(s, TREE_USR, AT_FDCWD, "/usr", userns, attrs);
	return r;
}

/*
 * Belongs to the machine's root: what the keeper puts there no process of the box can change. A
 * session that has had a command takes ten inodes and some pages, and a long script is 1 MiB.
 */
static int make_control(struct start *s)
{
	static const struct mount_option options[] = { { "mode", "0755" },
						       { "size", "64m" },
						       { "nr_inodes", "16k" },
						       { "source", "control" } };

	s->trees[TREE_CONTROL] =
		mount_new("tmpfs", options, ARRAY_SIZE(options),
			  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, s->why);
	return s->trees[TREE_CONTROL] < 0 ? s->trees[TREE_CONTROL] : 0;
}

static int hand_over_trees(struct start *s)
{
	int r = say(s, START_TREES, s->trees, start_n_trees(s));

	for (int i = 0; i < N_TREES; i++) {
		if (i != TREE_CONTROL)
			close_fd(&s->trees[i]);
	}
	return r;
}

/* A daemon that the machine shall spare in need of memory does not spare the boxes as well. */
static int reset_oom_score(struct start *s)
{
	_cleanup_free_ char *score = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", 16, &score, NULL);

	if (r < 0 || score[0] != '-')
		return r;
	return write_control_at(s->proc_child, "oom_score_adj", "0");
}

static int open_cgroup(struct start *s)
{
	int doors[CGROUP_MAX_DIRS];
	int n = cgroup_make_rest(s->box->cgroup, s->set, doors, s->why);
	int r = n < 0 ? n : say(s, START_CGROUP, doors, n);

	while (n > 0)
		close(doors[--n]);
	return r < 0 ? r : reset_oom_score(s);
}

/* The child is at its own work meanwhile. A box without groups is one all the same. */
static int make_groups(struct start *s)
{
	int r = groups_new(s->box, &s->box->groups);

	if (r < 0)
		log_warn("the box's runs cannot have cgroups of their own: %s", strerror(-r));
	return 0;
}

/* What the child said instead of READY. */
static int take_failure(struct start *s, const struct init_packet *packet)
{
	const char *step = child_stage_step(packet->head.id);

	if (packet->head.type != INIT_REPORT_STAGE || packet->head.status <= 0 || !step)
		return failure_set(s->why, EPROTO, "init speaks another language");
	s->why->step = step;
	return failure_set(s->why, packet->head.status, "%s", packet->text);
}

static int wait_for_init(struct start *s)
{
	struct pollfd p[] = {
		{ .fd = s->sock, .events = POLLIN },
		{ .fd = s->pidfd, .events = POLLIN },
	};
	int64_t until = monotonic_ms() + READY_PATIENCE_MS;

	for (;;) {
		int64_t left = until - monotonic_ms();
		struct init_packet packet;
		int r;

		if (left <= 0 || poll(p, ARRAY_SIZE(p), (int)left) == 0)
			return failure_set(s->why, ETIMEDOUT, "init was not ready within %d s",
					   READY_PATIENCE_MS / 1000);
		r = init_client_receive(s->sock, &packet);
		if (r == 1) {
			close_fd(&packet.pidfd);
			if (packet.pid == s->pid && packet.head.type == INIT_REPORT_READY)
				return 0;
			return take_failure(s, &packet);
		}
		if (r < 0 || p[1].revents)
			return failure_set(s->why, EIO, "init ended before it was ready");
	}
}

/* While init is on its way, there is time. */
static int start_mounter(struct start *s)
{
	return mounter_start(s->proc_child, s->set->uid_base, &s->box->mounter,
			     &s->box->mounter_pid);
}

static int wait_for_network(struct start *s)
{
	int r = s->set->network ? network_wait(s->box->network, s->why) : 0;

	if (r == 0 || !s->set->network_if_any || s->why->error != EOPNOTSUPP)
		return r;
	/* Nobody asked for it: loopback alone holds what private would. */
	close_fd(&s->box->network);
	snprintf(s->box->network_why, sizeof(s->box->network_why), "%s", s->why->text);
	*s->why = (struct failure){ 0 };
	return 0;
}

static int look_into_box(struct start *s)
{
	s->box->network_ns = openat(s->proc_child, "ns/net", O_RDONLY | O_CLOEXEC);
	if (s->box->network_ns < 0)
		return -errno;
	s->box->root = openat(s->proc_child, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->box->root < 0)
		return -errno;
	s->box->workspace =
		openat(s->box->root, "workspace", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->box->workspace < 0)
		return -errno;
	s->box->usr = !start_is_host(s) ? -1
					: openat(s->box->root, "usr",
						 O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->box->usr < 0 && start_is_host(s))
		return -errno;
	s->box->init = init_client_new();
	return s->box->init ? 0 : -ENOMEM;
}

static int give_up_privileges(struct start *s)
{
	(void)s;
	return caps_cut_keeper();
}

static const struct stage stages[] = {
	{ "open the image", open_image },
	{ "open init", open_init },
	{ "open the box's disk", storage_open },
	{ "make the box's folders", storage_prepare },
	{ "make init's socket", make_socket },
	{ "reach the network", reach_network },
	{ "make the cgroup", make_cgroup },
	{ "make the namespaces", make_child },
	{ "write the id maps", map_ids },
	{ "id-map the box's folders", clone_storage },
	{ "id-map the image", clone_layers },
	{ "make the control folder", make_control },
	{ "hand the folders over", hand_over_trees },
	{ "set the limits", open_cgroup },
	{ "make the first group", make_groups },
	{ "start the mounter", start_mounter },
	{ "wait for the network", wait_for_network },
	{ "wait for init", wait_for_init },
	{ "look into the box", look_into_box },
	{ "give up privileges", give_up_privileges },
};

/* An older kernel refuses something somewhere, rarely with an errno that says so. */
static void add_kernel_hint(struct failure *why)
{
	size_t len = strlen(why->text);
	struct utsname kernel;
	char *end;
	long major, minor;

	if ((why->error != EINVAL && why->error != ENOSYS && why->error != EOPNOTSUPP) ||
	    uname(&kernel) < 0)
		return;
	major = strtol(kernel.release, &end, 10);
	minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
	if (major > 5 || (major == 5 && minor >= 19))
		return;
	snprintf(why->text + len, sizeof(why->text) - len,
		 " (this is Linux %ld.%ld; boxes need 5.19 or newer)", major, minor);
}

/* The child said why it went, and the keeper only noticed that it had gone. */
static void prefer_childs_word(struct start *s)
{
	struct init_packet packet;

	if (s->sock < 0 || init_client_receive(s->sock, &packet) != 1)
		return;
	close_fd(&packet.pidfd);
	if (packet.head.type != INIT_REPORT_STAGE)
		return;
	s->why->text[0] = '\0';
	take_failure(s, &packet);
	s->why->error = packet.head.status;
}

static void undo(struct start *s)
{
	siginfo_t info;

	if (s->pid > 0) {
		kill(s->pid, SIGKILL); /* not reaped yet, so the number is still its own */
		while (waitid(P_PID, (id_t)s->pid, &info, WEXITED) < 0 && errno == EINTR)
			;
	}
	groups_close(take_ptr(s->box->groups));
	mounter_end(&s->box->mounter, s->box->mounter_pid);
	cgroup_remove(take_ptr(s->box->cgroup), REMOVE_PATIENCE_MS);
	cgroup_leave_keepers(s->set->cgroup);
	close_fd(&s->box->network);
	close_fd(&s->box->network_ns);
	close_fd(&s->box->workspace);
	box_close(s->box);
	init_client_free(take_ptr(s->box->init));
}

static void close_all(struct start *s)
{
	int *const fds[] = { &s->image,	     &s->init_program, &s->null,  &s->sock, &s->child_sock,
			     &s->proc_child, &s->pidfd,	       &s->store, &s->disk };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(fds[i]);
	for (int i = 0; i < N_TREES; i++)
		close_fd(&s->trees[i]);
}

int box_start(struct box *box, const struct box_settings *set, int dir, struct failure *why)
{
	struct start s = {
		.set = set,
		.box = box,
		.why = why,
		.dir = dir,
		.store = -1,
		.disk = -1,
		.image = -1,
		.init_program = -1,
		.null = -1,
		.sock = -1,
		.child_sock = -1,
		.pidfd = -1,
		.proc_child = -1,
		.stage_dir = -1,
		.root = -1,
	};
	size_t failed;
	int r;

	for (int i = 0; i < N_TREES; i++)
		s.trees[i] = -1;
	*box = (struct box){
		.set = *set,
		.dir = -1,
		.init_pidfd = -1,
		.init_sock = -1,
		.control = -1,
		.workspace = -1,
		.root = -1,
		.usr = -1,
		.network = -1,
		.network_ns = -1,
		.mounter = -1,
	};
	*why = (struct failure){ 0 };
	umask(022);
	r = stages_run(&s, stages, ARRAY_SIZE(stages), &failed);
	if (r < 0) {
		prefer_childs_word(&s);
		add_kernel_hint(why);
		r = -why->error;
		close_all(&s); /* undoing takes descriptors, and may be for the want of them */
		undo(&s);
		return r;
	}
	box->dir = dir;
	box->init_pid = s.pid;
	box->init_pidfd = take_fd(&s.pidfd);
	box->init_sock = take_fd(&s.sock);
	box->control = take_fd(&s.trees[TREE_CONTROL]);
	close_all(&s);
	return 0;
}
