/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mount, the threads that answer it, and the thread that takes signals and tidies up every few
 * seconds. Lock: none of its own.
 */
#include "session.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "chunk.h"
#include "evict.h"
#include "fs.h"
#include "guard.h"
#include "journal.h"
#include "listing.h"

/*
 * 512 KiB at a time: what is written then fits into the largest pipe that anybody may make, and goes to the
 * spool file by splice(), without a copy of its own on the way.
 */
enum { TICK_SECONDS = 2, LEAVE_MS = 3000, MAX_WRITE = 512 << 10 };

static struct {
	struct fuse_session *se;
	const char *mountpoint;
	void (*ready)(void);
	atomic_bool ended;
} session;

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = MAX_WRITE;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	session.ready();
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = fs_init,
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.statfs = fs_statfs,
	.mkdir = fs_mkdir,
	.rmdir = fs_rmdir,
	.unlink = fs_unlink,
	.rename = fs_rename,
	.symlink = fs_symlink,
	.readlink = fs_readlink,
	.link = fs_link,
	.mknod = fs_mknod,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.releasedir = fs_releasedir,
	.fsyncdir = fs_fsyncdir,
	.create = fs_create,
	.open = fs_open,
	.read = fs_read,
	.write_buf = fs_write_buf,
	.flush = fs_flush,
	.fsync = fs_fsync,
	.release = fs_release,
};

/* --- leaving ------------------------------------------------------------------------------------------ */

/* Takes the mount away also while somebody works in it. */
static void detach(void)
{
	static char *const environment[] = { "PATH=/usr/bin:/bin", NULL };
	char *argv[] = { "fusermount3", "-u", "-z", "-q", (char *)session.mountpoint, NULL };
	pid_t pid;

	if (umount2(session.mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno != EPERM)
		return;
	/* Not root: only the set-user-id helper of libfuse may. */
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environment) == 0)
		waitpid(pid, NULL, 0);
}

/* TERM: everything is saved, the mount taken away; whoever still has a file open gets an error. */
static void leave(void)
{
	int r = fs_sync();

	detach();
	for (int ms = 0; ms < LEAVE_MS && !atomic_load(&session.ended); ms += 10)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	if (atomic_load(&session.ended))
		return; /* nobody held it: the loop has come to its end */
	if (r == 0)
		r = fs_sync(); /* what was written meanwhile */
	if (r < 0)
		log_error("not all that was written is in the bucket: %s", strerror(-r));
	journal_close();
	_exit(r < 0 ? 1 : 0);
}

void session_tidy(void)
{
	waiting_look();
	chunks_trim();
	pthread_mutex_lock(&tree_lock);
	listings_expire();
	pthread_mutex_unlock(&tree_lock);
	malloc_trim(1 << 18);
}

bool session_has_ended(void)
{
	return atomic_load(&session.ended);
}

static void show_status(void)
{
	_cleanup_text_ struct text hidden = { 0 };
	struct object_stats stats;
	char empty[1] = "";
	uint64_t nodes;

	object_store_stats(the_store, &stats);
	pthread_mutex_lock(&tree_lock);
	nodes = nodes_count();
	pthread_mutex_unlock(&tree_lock);
	log_info("%s: %llu requests, %llu tried again, %llu bytes in, %llu out; %llu files known, "
		 "%llu keys that cannot be shown, %llu bytes read ahead",
		 object_store_url(the_store), (unsigned long long)stats.requests,
		 (unsigned long long)stats.retries, (unsigned long long)stats.bytes_in,
		 (unsigned long long)stats.bytes_out, (unsigned long long)nodes,
		 (unsigned long long)hidden_keys_count(), (unsigned long long)chunks_memory());
	hidden_keys_list(&hidden);
	for (char *save = NULL, *key = strtok_r(hidden.len ? hidden.data : empty, "\n", &save); key;
	     key = strtok_r(NULL, "\n", &save))
		log_info("not shown: %s", key);
}

static void *watch(void *arg)
{
	const sigset_t *signals = arg;

	while (!atomic_load(&session.ended)) {
		struct timespec tick = { .tv_sec = TICK_SECONDS };
		int number = sigtimedwait(signals, NULL, &tick);

		if (number == SIGUSR1)
			show_status();
		else if (number > 0 && number != SIGUSR2)
			leave();
		else
			session_tidy();
	}
	return NULL;
}

/* --- mounting ------------------------------------------------------------------------------------------ */

static char *mount_options(const char *source)
{
	struct text o = { 0 };

	text_add_str(&o, "default_permissions,subtype=sandbox-bucket,fsname=");
	for (const char *p = source; *p; p++) {
		if (*p == ',' || *p == '\\')
			text_add_char(&o, '\\');
		text_add_char(&o, *p);
	}
	if (the_options.ro)
		text_add_str(&o, ",ro");
	if (the_options.allow_other)
		text_add_str(&o, ",allow_other");
	if (the_options.fuse.len)
		text_add_str(&o, the_options.fuse.data);
	return text_take(&o);
}

static int serve(void)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, (unsigned)the_options.threads);
	fuse_loop_cfg_set_idle_threads(config, 8);
	r = fuse_session_loop_mt(session.se, config);
	fuse_loop_cfg_destroy(config);
	return r < 0 ? r : 0;
}

static int serve_with_signals(void *(*watcher_main)(void *signals))
{
	sigset_t signals;
	pthread_t watcher;
	int r, saved;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	r = -pthread_create(&watcher, NULL, watcher_main, &signals);
	if (r < 0)
		return r;
	r = serve();
	saved = fs_sync();
	atomic_store(&session.ended, true);
	pthread_kill(watcher, SIGUSR2);
	pthread_join(watcher, NULL);
	return r < 0 ? r : saved;
}

void session_attr_changed(uint64_t ino)
{
	fuse_lowlevel_notify_inval_inode(session.se, ino, -1, 0);
}

/* mountpoint may also be /dev/fd/N, a mount that somebody else has made (fuse_session_mount()). */
static int run_at(const char *source, const char *mountpoint, const struct fuse_lowlevel_ops *ops,
		  void *(*watcher)(void *signals))
{
	_cleanup_free_ char *options = mount_options(source);
	char *argv[] = { "sandbox-bucket", "-o", options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int r = -EIO;

	if (!options)
		return -ENOMEM;
	session.se = fuse_session_new(&args, ops, sizeof(*ops), NULL);
	if (!session.se)
		return -EINVAL;
	evict_init(session.se);
	if (fuse_session_mount(session.se, mountpoint) == 0) {
		r = serve_with_signals(watcher);
		evict_stop();
		fuse_session_unmount(session.se);
	}
	fuse_session_destroy(session.se);
	fuse_opt_free_args(&args);
	return r;
}

int session_run(const char *source, const char *mountpoint, void (*ready)(void))
{
	session.mountpoint = mountpoint;
	session.ready = ready;
	return run_at(source, mountpoint, &fs_ops, watch);
}

int session_serve(const char *source, int fuse_fd, void (*ready)(void),
		  void *(*watcher)(void *signals))
{
	char mountpoint[32];

	snprintf(mountpoint, sizeof(mountpoint), "/dev/fd/%d", fuse_fd);
	session.ready = ready;
	return run_at(source, mountpoint, guard_ops(), watcher);
}
