/* SPDX-License-Identifier: MIT */
/* Keeps the `host` image fresh. Must not build it itself. Lock: image_lock, a leaf. */
#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon.h"
#include "store.h"

static pthread_mutex_t image_lock = PTHREAD_MUTEX_INITIALIZER;
static char finished[IMAGE_KEY_SIZE]; /* newest whole one, empty: none */
static char wanted[IMAGE_KEY_SIZE];   /* of the present machine */
static pid_t builder;
static bool build_failed;

static void key_dir(const char *key, char *dir, size_t size)
{
	snprintf(dir, size, "%s/images/host/%s", store_path(), key);
}

static bool is_built(const char *key)
{
	char dir[4096];
	struct stat st;

	key_dir(key, dir, sizeof(dir));
	return stat(dir, &st) == 0;
}

static int start_builder(void)
{
	char program[4096], dir[4096], *argv[] = { IMAGE_PROGRAM, "host", dir, NULL };
	char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	int r = daemon_helper(IMAGE_PROGRAM, program, sizeof(program));

	if (r < 0)
		return r;
	snprintf(dir, sizeof(dir), "%s/images", store_path());
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	snprintf(dir, sizeof(dir), "%s/images/host", store_path());
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = -posix_spawn(&builder, program, &actions, NULL, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* image_lock held. */
static void check_locked(void)
{
	char key[IMAGE_KEY_SIZE];
	int r;

	if (image_host_key(key) < 0)
		return;
	if (!strcmp(key, finished))
		return;
	if (is_built(key)) {
		strcpy(finished, key);
		return;
	}
	if (builder > 0 || (build_failed && !strcmp(key, wanted)))
		return;
	strcpy(wanted, key);
	build_failed = false;
	r = start_builder();
	if (r < 0) {
		log_error("cannot run %s: %s", IMAGE_PROGRAM, strerror(-r));
		build_failed = true;
		builder = 0;
	}
}

void image_check(void)
{
	pthread_mutex_lock(&image_lock);
	check_locked();
	pthread_mutex_unlock(&image_lock);
}

int image_current(char key[IMAGE_KEY_SIZE], char *dir, size_t dir_size, char *why, size_t why_size)
{
	int r = 0;

	pthread_mutex_lock(&image_lock);
	check_locked();
	if (finished[0]) {
		strcpy(key, finished);
		key_dir(key, dir, dir_size);
	} else if (builder > 0) {
		r = -EAGAIN;
	} else {
		r = -ENOENT;
		snprintf(why, why_size,
			 "the host image could not be built; the daemon's log says why");
		build_failed = false; /* the next start tries again */
	}
	pthread_mutex_unlock(&image_lock);
	return r;
}

bool image_is_stale(const char *key)
{
	char now[IMAGE_KEY_SIZE];

	return key[0] && image_host_key(now) == 0 && strcmp(now, key) != 0;
}

void image_stop(void)
{
	pthread_mutex_lock(&image_lock);
	if (builder > 0) {
		kill(builder, SIGKILL); /* its temporary goes with the next build */
		waitpid(builder, NULL, 0);
	}
	builder = 0;
	pthread_mutex_unlock(&image_lock);
}

static int note_key(struct box *box, void *used)
{
	pthread_mutex_lock(&box->lock);
	if (box->keeper || box->state == BOX_STARTING)
		text_printf(used, "%s\n", box->image_key);
	pthread_mutex_unlock(&box->lock);
	return 0;
}

void image_sweep(void)
{
	_cleanup_text_ struct text used = { 0 };
	_cleanup_closedir_ DIR *dir = NULL;
	char path[4096], key[IMAGE_KEY_SIZE];
	struct dirent *e;

	/* The present one first: a box that starts from now on takes that. */
	pthread_mutex_lock(&image_lock);
	text_printf(&used, "%s\n%s\n", finished, wanted);
	snprintf(key, sizeof(key), "%s", finished);
	pthread_mutex_unlock(&image_lock);
	boxes_each(false, note_key, &used);
	boxes_each(true, note_key, &used);
	key_dir("", path, sizeof(path));
	dir = opendir(path);
	if (!dir || used.failed || !key[0])
		return;
	while ((e = readdir(dir))) {
		if (strlen(e->d_name) != IMAGE_KEY_SIZE - 1 || strstr(used.data, e->d_name))
			continue;
		log_info("image host/%s: its machine is of the past; deleting it", e->d_name);
		remove_tree_at(dirfd(dir), e->d_name);
	}
}

bool image_builder_ended(pid_t pid, int status)
{
	bool ours;

	pthread_mutex_lock(&image_lock);
	ours = builder == pid;
	if (ours) {
		builder = 0;
		build_failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
		if (!build_failed && is_built(wanted))
			strcpy(finished, wanted);
		else if (!build_failed)
			check_locked(); /* the machine changed while it was built */
	}
	pthread_mutex_unlock(&image_lock);
	return ours;
}
