/* SPDX-License-Identifier: MIT */
/*
 * A session's control folder. Must not know what commands are. Never blocks: FIFOs are opened for
 * reading and writing, or before their writers are told of them. One thread, no locks.
 */
#include "keeper/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "keeper/driver.h"

enum {
	GARBAGE_MAX = 64 << 10,
	FIFO_PAGE = 4096,
};

static const char *const stream_names[N_STREAMS] = { "out", "err" };
static const char *const file_names[] = { "go",	 "st",	 "cmd", "in", "out",
					  "err", "prev", "env", "cwd" };

void control_init(struct control *control, struct loop *loop, int root, const char *name, uid_t uid,
		  gid_t gid)
{
	*control = (struct control){
		.loop = loop,
		.root = root,
		.uid = uid,
		.gid = gid,
		.dir = -1,
		.go = -1,
		.script = -1,
		.env = -1,
		.cwd = -1,
		.status = { .fd = -1 },
	};
	snprintf(control->name, sizeof(control->name), "%s", name);
}

/* A regular file of the shell's group, and with mode 0600 also its user's. A descriptor or -errno. */
static int make_file(struct control *control, const char *name, const char *text, mode_t mode)
{
	_cleanup_close_ int fd = openat(control->dir, name,
					O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return -errno;
	if (fchown(fd, mode == 0600 ? control->uid : 0, control->gid) < 0)
		return -errno;
	if (*text && write_full(fd, text, strlen(text)) < 0)
		return -ENOSPC;
	return take_fd(&fd);
}

static int make_all(struct control *control)
{
	_cleanup_close_ int in = -1, prev = -1;

	control->dir = openat(control->root, control->name,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (control->dir < 0)
		return -errno;
	in = make_file(control, "in", "", 0640);
	prev = make_file(control, "prev", driver_prev_text, 0640);
	control->script = make_file(control, "cmd", "", 0640);
	control->env = make_file(control, "env", "", 0600);
	control->cwd = make_file(control, "cwd", "", 0600);
	return MIN(MIN(in, prev), MIN(control->script, MIN(control->env, control->cwd)));
}

int control_open(struct control *control)
{
	int r;

	if (mkdirat(control->root, control->name, 0755) < 0)
		return -errno;
	r = make_all(control);
	if (r < 0)
		control_remove(control);
	return MIN(r, 0);
}

static void drop_next(struct control *control)
{
	for (int i = 0; i < N_STREAMS; i++)
		fifo_free(take_ptr(control->next[i]));
}

void control_retire(struct control *control)
{
	if (control->status.fd >= 0)
		loop_remove(control->loop, &control->status);
	close_fd(&control->status.fd);
	close_fd(&control->go);
	drop_next(control);
}

void control_close(struct control *control)
{
	control_retire(control);
	close_fd(&control->script);
	close_fd(&control->env);
	close_fd(&control->cwd);
	close_fd(&control->dir);
}

void control_remove(struct control *control)
{
	/* Nothing is there but what we have made. */
	for (size_t i = 0; control->dir >= 0 && i < ARRAY_SIZE(file_names); i++)
		unlinkat(control->dir, file_names[i], 0);
	control_close(control);
	unlinkat(control->root, control->name, AT_REMOVEDIR);
}

/* A new FIFO under that name. A descriptor or -errno. */
static int make_fifo(struct control *control, const char *name, mode_t mode, int flags)
{
	int fd;

	if (unlinkat(control->dir, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (mkfifoat(control->dir, name, mode) < 0)
		return -errno;
	fd = openat(control->dir, name, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* go and st: the shell's own. A page each is enough, and pipes are counted per user. */
static int make_pair_fifo(struct control *control, const char *name)
{
	_cleanup_close_ int fd = make_fifo(control, name, 0600, O_RDWR);

	if (fd < 0)
		return fd;
	if (fchown(fd, control->uid, control->gid) < 0)
		return -errno;
	fcntl(fd, F_SETPIPE_SZ, FIFO_PAGE);
	return take_fd(&fd);
}

int control_renew(struct control *control, void (*ready)(struct loop_source *, uint32_t))
{
	control_retire(control);
	control->line_len = control->garbage = 0;
	control->token = 0;
	control->go = make_pair_fifo(control, "go");
	if (control->go < 0)
		return control->go;
	control->status =
		(struct loop_source){ .fd = make_pair_fifo(control, "st"), .ready = ready };
	if (control->status.fd < 0)
		return control->status.fd;
	if (ftruncate(control->env, 0) < 0 || ftruncate(control->cwd, 0) < 0)
		return -errno;
	return loop_add(control->loop, &control->status, EPOLLIN);
}

int control_prepare(struct control *control)
{
	for (int i = 0; i < N_STREAMS; i++) {
		int fd;

		if (control->next[i])
			continue;
		/* Any user of the box may open /dev/stdout again, so all may write. */
		fd = make_fifo(control, stream_names[i], 0622, O_RDONLY);
		if (fd < 0)
			return fd;
		control->next[i] = fifo_new(control->loop, fd);
		if (!control->next[i])
			return -ENOMEM;
	}
	return 0;
}

static int write_script(struct control *control, const char *script, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(control->script, script + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += n;
	}
	return 0;
}

int control_write_script(struct control *control, const char *script, size_t len)
{
	int r = write_script(control, script, len);

	if (r == -ENOSPC) {
		/* Only env and cwd are the box's to fill. */
		if (ftruncate(control->env, 0) == 0 && ftruncate(control->cwd, 0) == 0)
			r = write_script(control, script, len);
	}
	if (r < 0) {
		control->script_len = SIZE_MAX; /* whatever it is now, the next one cuts it */
		return r;
	}
	if (len < control->script_len && ftruncate(control->script, (off_t)len) < 0)
		return -errno;
	control->script_len = len;
	return 0;
}

int control_go(struct control *control)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%llu\n", (unsigned long long)++control->token);

	control->garbage = 0;
	return write(control->go, line, len) == len ? 0 : -EAGAIN;
}

bool control_go_was_read(const struct control *control)
{
	int waiting;

	return ioctl(control->go, FIONREAD, &waiting) == 0 && waiting == 0;
}

/* "NUMBER STATUS": the number, or -1 for anything else. */
static int64_t parse_status(char *line, int *status)
{
	char *blank = strchr(line, ' ');
	uint64_t token, code;

	if (!blank)
		return -1;
	*blank = '\0';
	if (parse_u64(line, 0, INT64_MAX, &token) < 0 || parse_u64(blank + 1, 0, 255, &code) < 0)
		return -1;
	*status = (int)code;
	return (int64_t)token;
}

int control_read_status(struct control *control, int *status)
{
	char buf[FIFO_PAGE];
	ssize_t n = read(control->status.fd, buf, sizeof(buf));
	int found = 0;

	for (ssize_t i = 0; i < n; i++) {
		int64_t token;
		int code;

		if (buf[i] != '\n') {
			if (control->line_len < sizeof(control->line) - 1)
				control->line[control->line_len++] = buf[i];
			control->garbage++;
			continue;
		}
		control->line[control->line_len] = '\0';
		control->line_len = 0;
		token = parse_status(control->line, &code);
		if (token == 0 && !found) {
			found = 2;
		} else if (token > 0 && (uint64_t)token == control->token) {
			*status = code;
			found = 1;
		}
	}
	return !found && control->garbage > GARBAGE_MAX ? -EPROTO : found;
}

char *control_read_left(int fd, size_t max, size_t *len)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || (size_t)st.st_size > max)
		return NULL;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return NULL;
	n = pread(fd, data, st.st_size, 0);
	if (n <= 0)
		return NULL;
	data[n] = '\0';
	*len = n;
	return take_ptr(data);
}
