/* SPDX-License-Identifier: MIT */
/*
 * One build from the lock to the finished name. The image is made under a temporary name, written
 * out to disk and renamed, so that DIR/KEY is either absent or whole, also after a crash.
 * Must never change DIR/KEY once it is there: boxes are mounted on it.
 *
 * Locks: flock(2) on DIR/lock for as long as something is made in DIR; whoever holds it knows that
 * every temporary in DIR is of a builder that died.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/image.h"
#include "image/key.h"

#define LOCK_NAME "lock"
#define TEMP_PREFIX ".building-"

/* How often a build is begun anew because the machine's software changed under it. */
enum { MAX_TRIES = 3 };

int build_fail(struct build *b, int error, const char *fmt, ...)
{
	va_list ap;
	char sentence[768];

	if (b->why.len)
		return -error;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	text_printf(&b->why, "building the image: cannot %s: %s", sentence, strerror(error));
	return -error;
}

void build_note(struct build *b, const char *fmt, ...)
{
	char line[4608];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_add_escaped(&b->log, line, strlen(line));
	text_add_char(&b->log, '\n');
}

static const struct {
	const char *name;
	int (*run)(struct build *b);
} stages[] = {
	{ "look at the machine", build_check_machine },
	{ "skeleton", build_make_skeleton },
	{ "configuration as published", build_copy_conffiles },
	{ "vendor's defaults", build_copy_vendor },
	{ "listed files", build_copy_listed },
	{ "generated files", build_generate },
	{ "package state", build_copy_packages },
	{ "empty folders of packages", build_make_dirs },
	{ "added files", build_copy_added },
	{ "mask of /usr", build_mask_usr },
};

static int run_stages(struct build *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		int64_t begun = monotonic_us();
		int r = stages[i].run(b);

		if (r < 0)
			return b->why.len ? r : build_fail(b, -r, "make the %s", stages[i].name);
		build_note(b, "# %s: %lld us", stages[i].name, (long long)(monotonic_us() - begun));
	}
	return 0;
}

static int open_new_dir(struct build *b, int parent, const char *name, int *fd)
{
	if (mkdirat(parent, name, 0755) < 0)
		return build_fail(b, errno, "make the folder %s", name);
	*fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return build_fail(b, errno, "open the folder %s", name);
	return 0;
}

/* Fills the folder temp, which is there and empty, and writes it out to the disk. */
static int fill_image(const struct image_options *options, int machine, int temp, struct text *why)
{
	struct build b = { .options = options, .machine = machine, .root = -1, .usrmask = -1 };
	int r;

	r = open_new_dir(&b, temp, "root", &b.root);
	if (r == 0)
		r = open_new_dir(&b, temp, "usrmask", &b.usrmask);
	if (r == 0)
		r = run_stages(&b);
	if (r == 0 && b.log.failed)
		r = build_fail(&b, ENOMEM, "write the log");
	if (r == 0) {
		r = write_file_at(temp, "log", b.log.data ? b.log.data : "", b.log.len, 0);
		if (r < 0)
			build_fail(&b, -r, "write the log");
	}
	if (r == 0 && syncfs(temp) < 0)
		r = build_fail(&b, errno, "write the image out to the disk");
	close_fd(&b.root);
	close_fd(&b.usrmask);
	free(b.conffiles);
	free(b.conffile_text);
	text_free(&b.log);
	if (r < 0) {
		text_free(why);
		*why = b.why;
	} else {
		text_free(&b.why);
	}
	return r;
}

static int fail(struct text *why, int error, const char *what, const char *name)
{
	text_printf(why, "cannot %s %s: %s", what, name, strerror(error));
	return -error;
}

static bool key_still_holds(int machine, const char *key)
{
	char now[IMAGE_KEY_SIZE];

	return image_key_at(machine, now) == 0 && !strcmp(now, key);
}

/*
 * The image under a temporary name and then its own. -EAGAIN, and nothing is left behind, if the
 * machine's software changed meanwhile, unless any state of it will do.
 */
static int make_image(const struct image_options *options, int machine, int dir, const char *key,
		      bool any_state, struct text *why)
{
	_cleanup_close_ int temp = -1;
	char name[64];
	int r;

	snprintf(name, sizeof(name), TEMP_PREFIX "%s", key);
	if (mkdirat(dir, name, 0755) < 0)
		return fail(why, errno, "make the folder", name);
	temp = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = temp < 0 ? fail(why, errno, "open", name) : fill_image(options, machine, temp, why);
	if (r == 0 && !any_state && !key_still_holds(machine, key))
		r = -EAGAIN;
	if (r == 0 && renameat(dir, name, dir, key) < 0)
		r = fail(why, errno, "rename", name);
	if (r == 0 && fsync(dir) < 0)
		r = fail(why, errno, "write out the name of", key);
	if (r < 0)
		remove_tree_at(dir, name);
	return r;
}

/* Temporaries of builders that died. We hold the lock, so nobody is using them. */
static void remove_stale(int dir)
{
	_cleanup_closedir_ DIR *list = NULL;
	struct dirent *e;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		close_fd(&fd);
		return;
	}
	while ((e = readdir(list)))
		if (!strncmp(e->d_name, TEMP_PREFIX, strlen(TEMP_PREFIX)))
			remove_tree_at(dir, e->d_name);
}

static bool image_is_there(int dir, const char *key)
{
	struct stat st;

	return fstatat(dir, key, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int lock_dir(int dir, struct text *why)
{
	int fd = openat(dir, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return fail(why, errno, "open", LOCK_NAME);
	while (flock(fd, LOCK_EX) < 0) {
		int error = errno;

		if (error == EINTR)
			continue;
		close(fd);
		return fail(why, error, "lock", LOCK_NAME);
	}
	return fd;
}

/*
 * A package manager at work while we copy would leave an image half of the old and half of the
 * new software. The key tells; after a few tries the image is kept under the key that it was
 * begun with, which the machine will not have again, so its boxes are stale from the start.
 */
static int make_settled_image(const struct image_options *options, int machine, int dir, char *key,
			      struct text *why)
{
	int r = -EAGAIN;

	for (int tries = 1; r == -EAGAIN && tries <= MAX_TRIES; tries++) {
		r = image_key_at(machine, key);
		if (r < 0)
			return fail(why, -r, "compute", "the key");
		if (image_is_there(dir, key))
			return 0;
		r = make_image(options, machine, dir, key, tries == MAX_TRIES, why);
	}
	return r;
}

/* An overlay whose upper or lower folders lie in one another does not mount (ELOOP). */
static int check_outside_usr(const struct image_options *options, const char *dir, struct text *why)
{
	_cleanup_free_ char *real = realpath(dir, NULL);

	if (!real)
		return fail(why, errno, "find", dir);
	if (strcmp(options->machine, "/") != 0 ||
	    (strcmp(real, "/usr") != 0 && strncmp(real, "/usr/", 5) != 0))
		return 0;
	text_printf(why,
		    "the folder %s lies below /usr, which the image is laid over: "
		    "choose a state_dir elsewhere",
		    real);
	return -ELOOP;
}

int image_build(const struct image_options *options, const char *path, char *key, struct text *why)
{
	_cleanup_close_ int machine = -1, dir = -1, lock = -1;
	bool made;
	int r;

	machine = open(options->machine, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (machine < 0)
		return fail(why, errno, "open", options->machine);
	made = mkdir(path, 0700) == 0;
	if (!made && errno != EEXIST)
		return fail(why, errno, "make the folder", path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail(why, errno, "open", path);
	r = check_outside_usr(options, path, why);
	if (r < 0) {
		if (made)
			rmdir(path);
		return r;
	}
	r = image_key_at(machine, key);
	if (r < 0)
		return fail(why, -r, "compute", "the key");
	if (image_is_there(dir, key))
		return 0;
	lock = lock_dir(dir, why);
	if (lock < 0)
		return lock;
	remove_stale(dir);
	return make_settled_image(options, machine, dir, key, why);
}
