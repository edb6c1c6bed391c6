/* SPDX-License-Identifier: MIT */
/*
 * The folders of images and their records. A record is written to another name and renamed; what
 * goes is renamed into incoming/ and deleted by the janitor. Must not follow anything below a
 * layer's folder: that is of the archive. Lock: images_lock, held by the callers.
 */
#include "images_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "env.h"
#include "store.h"

/* Of a record's file: what else lies there is a temporary of a daemon that was killed. */
#define RECORD_SUFFIX ".image"

enum { MAX_RECORD = 2 << 20, MAX_LAYERS = 128, SWEEP_TRIES = 20, SWEEP_WAIT_US = 20000 };

static int names_dir = -1, layers_dir = -1, incoming_dir = -1;
static uint64_t last_layer;

/* --- text ------------------------------------------------------------------------------------ */

void image_free_content(struct image *image)
{
	free(image->folder);
	free(image->layers);
	text_free(&image->env);
	text_free(&image->commands);
	text_free(&image->command);
	free(image->user);
	free(image->cwd);
	image->folder = image->user = image->cwd = NULL;
	image->layers = NULL;
	image->n_layers = 0;
}

static int boot_id(char id[40])
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL);

	if (r == 0)
		snprintf(id, 40, "%s", text_strip(text));
	return r;
}

/* NUMBER DIGEST BYTES FILES */
static int parse_layer(struct image *image, const char *value)
{
	char words[4][72], extra;
	struct image_layer *more, layer = { 0 };

	if (image->n_layers >= MAX_LAYERS ||
	    sscanf(value, "%71s %71s %71s %71s %c", words[0], words[1], words[2], words[3],
		   &extra) != 4 ||
	    parse_u64(words[0], 0, UINT32_MAX, &layer.number) < 0 || strlen(words[1]) != 64 ||
	    strspn(words[1], "0123456789abcdef") != 64 ||
	    parse_u64(words[2], 0, INT64_MAX, &layer.bytes) < 0 ||
	    parse_u64(words[3], 0, INT64_MAX, &layer.files) < 0)
		return -EINVAL;
	strcpy(layer.digest, words[1]);
	more = realloc(image->layers, (image->n_layers + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	image->layers = more;
	image->layers[image->n_layers++] = layer;
	return 0;
}

static int take(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

static int parse_line(void *ctx, const char *key, const char *value)
{
	struct image *image = ctx;
	char now[40];

	if (!strcmp(key, "layer"))
		return parse_layer(image, value);
	if (!strncmp(key, "env.", 4)) {
		if (env_name_is_valid(key + 4))
			field_add(&image->env, key + 4, value);
	} else if (!strcmp(key, "entrypoint") || !strcmp(key, "cmd") ||
		   !strcmp(key, "architecture")) {
		record_add(&image->commands, key, value);
		if (*key == 'a')
			return 0;
		if (image->command.len)
			text_add_char(&image->command, ' ');
		text_add_shell_quoted(&image->command, value);
	} else if (!strcmp(key, "user")) {
		return take(&image->user, value);
	} else if (!strcmp(key, "cwd")) {
		return *value == '/' ? take(&image->cwd, value) : 0;
	} else if (!strcmp(key, "folder")) {
		return name_is_valid(value) ? take(&image->folder, value) : -EINVAL;
	} else if (!strcmp(key, "kind")) {
		snprintf(image->kind, sizeof(image->kind), "%s", value);
	} else if (!strcmp(key, "devices")) {
		return parse_u64(value, 0, INT64_MAX, &image->devices);
	} else if (!strcmp(key, "attributes")) {
		return parse_u64(value, 0, INT64_MAX, &image->attributes);
	} else if (!strcmp(key, "imported")) {
		return parse_u64(value, 0, INT64_MAX, (uint64_t *)&image->time_us);
	} else if (!strcmp(key, "boot")) {
		image->unsynced = true;
		if (boot_id(now) == 0 && strcmp(now, value) != 0)
			return -ESTALE;
	}
	return 0;
}

int image_parse(struct image *image, char *record)
{
	int line, r = record_parse(record, parse_line, image, &line);

	if (r == 0 && (image->env.failed || image->commands.failed || image->command.failed))
		r = -ENOMEM;
	return r;
}

/* numbers: with what only matters here. */
static void write_record(const struct image *image, bool numbers, struct text *out)
{
	uint64_t bytes = 0, files = 0;
	const char *f = NULL;

	record_add(out, "kind", image->kind);
	for (size_t i = 0; i < image->n_layers; i++) {
		bytes += image->layers[i].bytes;
		files += image->layers[i].files;
	}
	if (!numbers) {
		record_add_u64(out, "size", bytes);
		record_add_u64(out, "files", files);
	}
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layers[i];

		text_add_str(out, "layer = ");
		if (numbers)
			text_printf(out, "%llu ", (unsigned long long)l->number);
		text_printf(out, "%s%s %llu %llu\n", numbers ? "" : "sha256:", l->digest,
			    (unsigned long long)l->bytes, (unsigned long long)l->files);
	}
	while ((f = field_next(image->env.data, image->env.len, f))) {
		char key[300];

		snprintf(key, sizeof(key), "env.%.*s", (int)strcspn(f, "="), f);
		record_add(out, key, strchr(f, '=') + 1);
	}
	if (image->user)
		record_add(out, "user", image->user);
	if (image->cwd)
		record_add(out, "cwd", image->cwd);
	text_add(out, image->commands.data, image->commands.len);
	if (image->devices)
		record_add_u64(out, "devices", image->devices);
	if (image->attributes)
		record_add_u64(out, "attributes", image->attributes);
}

void image_describe(const struct image *image, struct text *out)
{
	write_record(image, false, out);
}

/* --- folders ------------------------------------------------------------------------------------ */

static int make_dir(int parent, const char *name, mode_t mode)
{
	int fd;

	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

int images_disk_open(void)
{
	_cleanup_close_ int state = open(store_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int top = state < 0 ? -errno : make_dir(state, "images", 0700);

	if (top < 0)
		return top;
	names_dir = make_dir(top, "names", 0700);
	/* A box's keeper finds its layers below it with the box's ids. */
	layers_dir = make_dir(top, "layers", 0711);
	incoming_dir = make_dir(top, "incoming", 0700);
	return MIN(MIN(names_dir, layers_dir), MIN(incoming_dir, 0));
}

void images_disk_close(void)
{
	close_fd(&names_dir);
	close_fd(&layers_dir);
	close_fd(&incoming_dir);
}

static DIR *list(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		close_fd(&fd);
	return dir;
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

int images_disk_names(void (*fn)(const char *name))
{
	_cleanup_closedir_ DIR *dir = list(names_dir);
	struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name), suffix = strlen(RECORD_SUFFIX);

		if (is_dot(e->d_name))
			continue;
		if (len <= suffix || strcmp(e->d_name + len - suffix, RECORD_SUFFIX) != 0) {
			unlinkat(names_dir, e->d_name, 0);
			continue;
		}
		e->d_name[len - suffix] = '\0';
		fn(e->d_name);
	}
	return 0;
}

static const char *record_name(char file[NAME_MAX + 1], const char *name)
{
	snprintf(file, NAME_MAX + 1, "%s" RECORD_SUFFIX, name);
	return file;
}

int images_disk_each_layer(bool (*is_used)(uint64_t number))
{
	_cleanup_closedir_ DIR *dir = list(layers_dir);
	struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		uint64_t number;

		if (parse_u64(e->d_name, 1, UINT32_MAX, &number) < 0)
			continue;
		last_layer = MAX(last_layer, number);
		if (!is_used(number))
			images_disk_discard(number);
	}
	return 0;
}

static const char *layer_name(char name[24], uint64_t number)
{
	snprintf(name, 24, "%llu", (unsigned long long)number);
	return name;
}

int images_disk_load(struct image *image)
{
	_cleanup_free_ char *record = NULL;
	char name[24], file[NAME_MAX + 1];
	struct stat st;
	int r = read_file_at(names_dir, record_name(file, image->name), MAX_RECORD, &record, NULL);

	if (r == 0)
		r = image_parse(image, record);
	if (r == 0 && !image->n_layers)
		r = -EINVAL;
	for (size_t i = 0; r == 0 && i < image->n_layers; i++) {
		if (fstatat(layers_dir, layer_name(name, image->layers[i].number), &st,
			    AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	}
	return r;
}

int images_disk_save(const struct image *image)
{
	_cleanup_text_ struct text record = { 0 };
	char boot[40], file[NAME_MAX + 1];

	write_record(image, true, &record);
	record_add_u64(&record, "imported", (uint64_t)image->time_us);
	if (image->unsynced && boot_id(boot) == 0)
		record_add(&record, "boot", boot);
	if (record.failed)
		return -ENOMEM;
	return write_file_at(names_dir, record_name(file, image->name), record.data, record.len,
			     !image->unsynced);
}

int images_disk_forget(const char *name)
{
	char file[NAME_MAX + 1];

	return unlinkat(names_dir, record_name(file, name), 0) < 0 && errno != ENOENT ? -errno : 0;
}

int images_disk_place(const char *folder, struct image_layer *layer)
{
	char from[128], to[24];

	snprintf(from, sizeof(from), "%s/%llu", folder, (unsigned long long)layer->number);
	if (renameat2(incoming_dir, from, layers_dir, layer_name(to, last_layer + 1),
		      RENAME_NOREPLACE) < 0)
		return -errno;
	layer->number = ++last_layer;
	return 0;
}

void images_disk_discard(uint64_t number)
{
	char from[24], to[64];

	snprintf(to, sizeof(to), "layer-%llu", (unsigned long long)number);
	if (renameat(layers_dir, layer_name(from, number), incoming_dir, to) < 0)
		log_warn("layer %s: cannot be taken away: %s", from, strerror(errno));
}

/* True if it is gone, or somebody works on it. */
static bool sweep_one(const char *name)
{
	_cleanup_close_ int fd =
		openat(incoming_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	return remove_tree_at(incoming_dir, name) == 0;
}

void images_disk_sweep(void)
{
	/* A reader whose supervisor was killed may write for another moment. */
	for (int tries = 0; tries < SWEEP_TRIES; tries++) {
		_cleanup_closedir_ DIR *dir = list(incoming_dir);
		bool clean = true;
		struct dirent *e;

		while (dir && (e = readdir(dir))) {
			if (!is_dot(e->d_name))
				clean &= sweep_one(e->d_name);
		}
		if (clean)
			return;
		usleep(SWEEP_WAIT_US);
	}
	log_warn("images/incoming cannot be emptied");
}

int images_disk_sync(void)
{
	return syncfs(layers_dir) < 0 ? -errno : 0;
}
