/* SPDX-License-Identifier: MIT */
/*
 * The daemon's main thread is the event thread: keepers' sockets, interruptions of waiting
 * requests, signals, children, the mount's own end, the trash. Another thread runs loop.c, a third
 * is the janitor (janitor.c). No locks of its own.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "box.h"
#include "events.h"
#include "fuse_ops.h"
#include "fuse_wire.h"
#include "image.h"
#include "images.h"
#include "import.h"
#include "janitor.h"
#include "keeper.h"
#include "net.h"
#include "network.h"
#include "perm.h"
#include "privileges.h"
#include "remote.h"
#include "store.h"
#include "why.h"

enum { TRASH_LOOK_MS = 5000, STOP_GRACE_MS = 3000 };

struct options the_options;

static int poller = -1, kick_event = -1, signals = -1;
static struct watch kick_watch, signal_watch, interrupt_watch, mounts_watch;
static atomic_bool kicked;
static bool stop_wanted;
static bool hung; /* threads of ours that nothing can end */
static atomic_bool mount_gone;
static struct fuse_session *session;
static void (*tell_ready)(void);

/* --- watching ----------------------------------------------------------------------------------------- */

int daemon_watch_add(struct watch *watch, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = watch };

	return epoll_ctl(poller, EPOLL_CTL_ADD, watch->fd, &e) < 0 ? -errno : 0;
}

int daemon_watch_change(struct watch *watch, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = watch };

	return epoll_ctl(poller, EPOLL_CTL_MOD, watch->fd, &e) < 0 ? -errno : 0;
}

void daemon_watch_remove(struct watch *watch)
{
	epoll_ctl(poller, EPOLL_CTL_DEL, watch->fd, NULL);
}

static pthread_mutex_t dropped_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct watch *dropped;

void daemon_watch_drop(struct watch *watch, void (*gone)(struct watch *watch))
{
	watch->gone = gone;
	pthread_mutex_lock(&dropped_lock);
	watch->next_dropped = dropped;
	dropped = watch;
	pthread_mutex_unlock(&dropped_lock);
	daemon_kick();
}

static void let_dropped_go(void)
{
	struct watch *watch, *next;

	pthread_mutex_lock(&dropped_lock);
	watch = dropped;
	dropped = NULL;
	pthread_mutex_unlock(&dropped_lock);
	for (; watch; watch = next) {
		next = watch->next_dropped;
		watch->gone(watch);
	}
}

void daemon_kick(void)
{
	if (!atomic_exchange(&kicked, true))
		eventfd_write(kick_event, 1);
}

/* --- what the event thread hears -------------------------------------------------------------------- */

static void on_kick(struct watch *watch, uint32_t events)
{
	eventfd_t ignored;

	(void)events;
	eventfd_read(watch->fd, &ignored);
	atomic_store(&kicked, false);
	events_wake();
	janitor_look_at_trash();
}

static void on_interrupt(struct watch *watch, uint32_t events)
{
	(void)watch;
	(void)events; /* park_run_interrupts() is called after each round */
}

static void reap_children(void)
{
	bool image = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		image |= image_builder_ended(pid, status);
	if (image) {
		keeper_image_ready();
		janitor_look_at_images();
	}
}

static void on_signal(struct watch *watch, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap_children();
		else
			stop_wanted = true;
	}
}

/* Is our mount still there? umount -l tells the daemon nothing. */
static void on_mounts(struct watch *watch, uint32_t events)
{
	_cleanup_free_ char *info = NULL;
	char line[32];

	(void)watch;
	(void)events;
	if (read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &info, NULL) < 0)
		return;
	snprintf(line, sizeof(line), "%llu ", (unsigned long long)fuse_wire_mount_id());
	for (const char *p = info; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, line, strlen(line)))
			return;
	}
	mount_gone = true;
}

static int watch_fd(struct watch *watch, int fd, uint32_t events,
		    void (*ready)(struct watch *, uint32_t))
{
	*watch = (struct watch){ .fd = fd, .ready = ready };
	return fd < 0 ? -errno : daemon_watch_add(watch, events);
}

static int start_events(uint64_t max_waiting)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	poller = epoll_create1(EPOLL_CLOEXEC);
	kick_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (poller < 0 || kick_event < 0 || signals < 0)
		return -errno;
	r = park_init(max_waiting);
	if (r == 0)
		r = watch_fd(&kick_watch, kick_event, EPOLLIN, on_kick);
	if (r == 0)
		r = watch_fd(&signal_watch, signals, EPOLLIN, on_signal);
	if (r == 0)
		r = watch_fd(&interrupt_watch, park_interrupt_fd(), EPOLLIN, on_interrupt);
	return r;
}

/* One round of the event thread. */
static void turn(int timeout_ms)
{
	struct epoll_event events[64];
	static int again_ms = -1;
	int n, remote_ms;

	if (again_ms >= 0)
		timeout_ms = MIN(timeout_ms, again_ms);
	n = epoll_wait(poller, events, ARRAY_SIZE(events), timeout_ms);
	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;

		watch->ready(watch, events[i].events);
	}
	again_ms = park_run_interrupts();
	remote_ms = remote_run_interrupts();
	if (again_ms < 0 || (remote_ms >= 0 && remote_ms < again_ms))
		again_ms = remote_ms;
	let_dropped_go();
}

/* --- mounting ------------------------------------------------------------------------------------------- */

/* What a killed daemon left: any access says ENOTCONN. Only our own kind is taken away. */
static int clear_stale_mount(const char *mountpoint, struct options_error *err)
{
	struct stat st;

	for (int i = 0; i < 8; i++) {
		if (stat(mountpoint, &st) == 0)
			break;
		/* ECONNABORTED: its connection is just being taken down. */
		if (errno != ENOTCONN && errno != ECONNABORTED) {
			snprintf(err->text, sizeof(err->text), "%s: %s", mountpoint,
				 strerror(errno));
			return -errno;
		}
		log_info("%s: a mount whose daemon is gone; taking it away", mountpoint);
		if (umount2(mountpoint, MNT_DETACH) < 0) {
			snprintf(err->text, sizeof(err->text),
				 "%s: cannot unmount the stale mount: %s", mountpoint,
				 strerror(errno));
			return -errno;
		}
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(err->text, sizeof(err->text), "%s is not a directory", mountpoint);
		return -ENOTDIR;
	}
	return 0;
}

static int mount_tree(const char *mountpoint, struct options_error *err)
{
	char *argv[] = { "sandboxfs", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	char source[4200];
	int r;

	session = fuse_session_new(&args, &sandboxfs_ops, sizeof(sandboxfs_ops), NULL);
	fuse_opt_free_args(&args);
	if (!session) {
		snprintf(err->text, sizeof(err->text), "libfuse refuses to make a session");
		return -EINVAL;
	}
	snprintf(source, sizeof(source), "sandboxfs:%s", store_path());
	r = fuse_wire_mount(session, mountpoint, source, the_options.allow_other,
			    the_options.passthrough);
	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		snprintf(err->text, sizeof(err->text),
			 "no FUSE here (/dev/fuse): load it with `modprobe fuse`, or give this "
			 "container the device /dev/fuse");
	else if (r == -EPERM || r == -EACCES)
		snprintf(err->text, sizeof(err->text),
			 "%s: not permitted to mount: run it as root, with CAP_SYS_ADMIN",
			 mountpoint);
	else if (r < 0)
		snprintf(err->text, sizeof(err->text), "mount on %s: %s", mountpoint, strerror(-r));
	return r;
}

static void *serve(void *arg)
{
	(void)arg;
	loop_run(session);
	mount_gone = true;
	daemon_kick();
	return NULL;
}

/* --- stopping --------------------------------------------------------------------------------------------- */

static int stop_box(struct box *box, void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&box->lock);
	box->after_stop_start = box->after_stop_reset = false;
	if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	keeper_stop(box, the_options.stop_timeout_ms, 0, NULL);
	pthread_mutex_unlock(&box->lock);
	return 0;
}

static int count_running(struct box *box, void *n)
{
	pthread_mutex_lock(&box->lock);
	*(unsigned int *)n += box->keeper != NULL;
	pthread_mutex_unlock(&box->lock);
	return 0;
}

static unsigned int running(void)
{
	unsigned int n = 0;

	boxes_each(false, count_running, &n);
	boxes_each(true, count_running, &n);
	return n;
}

static void stop_boxes(void)
{
	int64_t deadline = monotonic_ms() + the_options.stop_timeout_ms + STOP_GRACE_MS;

	boxes_each(false, stop_box, NULL);
	while (running() && monotonic_ms() < deadline)
		turn(100);
	if (running())
		log_warn("%u boxes could not be stopped in time; their keepers go on", running());
}

static void end_service(pthread_t server)
{
	fuse_session_exit(session);
	fuse_wire_unmount();
	/* The leader sits in read(); a signal shows it that the session has ended. */
	for (;;) {
		struct timespec until;

		loop_interrupt();
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_timedjoin_np(server, NULL, &until) == 0)
			break;
	}
}

static void nothing(int sig)
{
	(void)sig;
}

static int serve_until_end(struct options_error *err)
{
	struct sigaction wake = { .sa_handler = nothing };
	pthread_t server;
	int mounts;

	sigaction(SIGUSR1, &wake, NULL);
	if (janitor_start() < 0 || pthread_create(&server, NULL, serve, NULL) != 0) {
		snprintf(err->text, sizeof(err->text), "cannot start threads");
		return -EAGAIN;
	}
	mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (mounts >= 0)
		watch_fd(&mounts_watch, mounts, EPOLLPRI | EPOLLERR, on_mounts);
	tell_ready();
	net_start(); /* behind it: sandbox-net shall not hold a terminal that is not ours any more */
	janitor_look_at_images();
	daemon_run_later(images_tidy);
	while (!stop_wanted && !mount_gone) {
		turn(TRASH_LOOK_MS);
		janitor_look_at_trash();
	}
	log_info("%s", stop_wanted ? "told to stop" : "unmounted");
	/* First nobody waits any more, so that the mount can go; boxes are stopped behind it. */
	keeper_end_spare();
	if (!the_options.keep_on_unmount)
		stop_boxes();
	imports_leave();
	boxes_leave();
	end_service(server);
	hung = !remote_end();
	if (the_options.keep_on_unmount)
		net_leave();
	else
		net_end();
	close_fd(&mounts);
	return 0;
}

int daemon_helper(const char *name, char *path, size_t size)
{
	static const char *const places[] = { "", "../libexec/sandboxfs/" };
	char self[4096], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (snprintf(path, size, "%s%s%s", self, places[i], name) < (int)size &&
		    access(path, F_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

static int check_machine(struct options_error *err)
{
	static const char *const helpers[] = { KEEPER_PROGRAM, INIT_PROGRAM, IMAGE_PROGRAM,
					       NET_PROGRAM };
	struct rlimit files;
	char path[4096];

	if (geteuid() != 0) {
		snprintf(err->text, sizeof(err->text),
			 "sandboxfs makes containers and mounts, and needs root for it: try sudo");
		return -EPERM;
	}
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
		if (daemon_helper(helpers[i], path, sizeof(path)) < 0) {
			snprintf(err->text, sizeof(err->text),
				 "%s is not beside this program; build it (make) or install all of "
				 "it",
				 helpers[i]);
			return -ENOENT;
		}
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return 0;
}

int daemon_run(const char *mountpoint, void (*ready)(void), struct options_error *err)
{
	int r = check_machine(err);

	tell_ready = ready;
	if (r == 0)
		r = clear_stale_mount(mountpoint, err);
	if (r == 0)
		r = store_open(the_options.state_dir, the_options.stop_timeout_ms, err);
	if (r == 0)
		r = keeper_init(the_options.uid_base, the_options.uid_count, err);
	if (r < 0)
		return r;
	tree_init();
	perm_init(the_options.root_owner, the_options.root_group, the_options.root_mode);
	r = start_events(the_options.max_waiting);
	if (r == 0)
		r = privileges_drop();
	if (r == 0)
		r = files_init(the_options.passthrough);
	if (r == 0)
		r = images_open();
	if (r == 0)
		r = boxes_load();
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "cannot start: %s", strerror(-r));
		return r;
	}
	image_check();
	r = mount_tree(mountpoint, err);
	if (r == 0)
		r = serve_until_end(err);
	else {
		boxes_leave();
		net_leave();
	}
	image_stop();
	if (hung) { /* what they use stays */
		janitor_stop();
		store_close();
		return r;
	}
	if (session) {
		fuse_session_destroy(session);
		files_end();
	}
	if (r == 0)
		janitor_stop();
	let_dropped_go();
	boxes_free();
	imports_free();
	images_close();
	store_close();
	return r;
}
