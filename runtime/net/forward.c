/* SPDX-License-Identifier: MIT */
/*
 * Forwarding. The record of this network namespace, FORWARD_DIR/forward.INODE, has a line "4 eth0"
 * or "6 eth0" for each switch that we turned on. Who needs it holds a shared lock on it, which ends
 * with the process whatever kills it; who gets the exclusive one is the last. A second file guards
 * the steps in between. Works in the machine's namespace only. One thread, no locks.
 */
#include "forward.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

enum { MAX_RECORD = 1 << 20 };

static int held = -1; /* the record, with the shared lock */

static const struct family {
	char letter;
	const char *folder;
	const char *file;
} families[] = {
	{ '4', "/proc/sys/net/ipv4/conf", "forwarding" },
	/* Since Linux 6.17: forwards without the other duties of a router. */
	{ '6', "/proc/sys/net/ipv6/conf", "force_forwarding" },
};

static bool switch_is_on(const char *folder, const char *link, const char *file)
{
	_cleanup_free_ char *value = NULL;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s/%s", folder, link, file);
	return read_file_at(AT_FDCWD, path, 16, &value, NULL) == 0 && value[0] == '1';
}

static int switch_set(const struct family *f, const char *link, const char *value)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s/%s", f->folder, link, f->file);
	return write_control_at(AT_FDCWD, path, value);
}

static bool machine_forwards(char letter)
{
	return letter == '4' ? switch_is_on(families[0].folder, "all", "forwarding")
			     : switch_is_on(families[1].folder, "all", "forwarding");
}

bool forward_has_ipv6(void)
{
	return machine_forwards('6') ||
	       access("/proc/sys/net/ipv6/conf/default/force_forwarding", W_OK) == 0;
}

static int open_record(const char *kind)
{
	struct stat st;
	char path[512];
	int fd;

	if (stat("/proc/self/ns/net", &st) < 0)
		return -errno;
	if (mkdir(FORWARD_DIR, 0755) < 0 && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), FORWARD_DIR "/%s.%ju", kind, (uintmax_t)st.st_ino);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static int lock_steps(void)
{
	int fd = open_record("lock");

	while (fd >= 0 && flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR) {
			close(fd);
			return -errno;
		}
	}
	return fd;
}

static int read_record(int fd, struct text *record)
{
	char buf[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0 && at < MAX_RECORD) {
		text_add(record, buf, (size_t)n);
		at += n;
	}
	text_add(record, "", 0);
	return n < 0 ? -errno : record->failed ? -ENOMEM : 0;
}

static bool is_recorded(const struct text *record, char letter, const char *link)
{
	char line[64];
	size_t len = (size_t)snprintf(line, sizeof(line), "%c %s\n", letter, link);

	for (const char *p = record->data; p && *p; p = strchr(p, '\n') + 1) {
		if (!strncmp(p, line, len))
			return true;
		if (!strchr(p, '\n'))
			return false;
	}
	return false;
}

/* Written down before it is done: a crash in between turns off what was off. */
static int turn_on(const struct family *f, const char *link, struct text *record)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "%c %s\n", f->letter, link);
	int r = write_full(held, line, (size_t)len);

	if (r < 0)
		return r;
	text_add(record, line, (size_t)len);
	r = switch_set(f, link, "1");
	return r == -ENOENT ? 0 : r; /* it has gone */
}

/* Turns on what is off; *others: somebody else has some on. */
static int scan(const struct family *f, struct text *record, bool *others)
{
	_cleanup_closedir_ DIR *dir = opendir(f->folder);
	struct dirent *e;
	int r = 0;

	while (dir && r == 0 && (e = readdir(dir))) {
		const char *link = e->d_name;

		if (link[0] == '.' || !strcmp(link, "all") || !strcmp(link, "default") ||
		    !strcmp(link, "lo") || strlen(link) > 15)
			continue;
		if (!switch_is_on(f->folder, link, f->file))
			r = turn_on(f, link, record);
		else if (strncmp(link, "sbx", 3) && !is_recorded(record, f->letter, link))
			*others = true;
	}
	return r;
}

int forward_hold(bool ipv6, bool *guard)
{
	_cleanup_close_ int steps = lock_steps();
	_cleanup_text_ struct text record = { 0 };
	bool others = machine_forwards('4') || machine_forwards('6');
	int r = MIN(steps, 0);

	if (r == 0 && held < 0) {
		held = open_record("forward");
		r = MIN(held, 0);
		if (r == 0 && flock(held, LOCK_SH) < 0)
			r = -errno;
	}
	if (r == 0)
		r = read_record(held, &record);
	if (r == 0 && !machine_forwards('4'))
		r = scan(&families[0], &record, &others);
	if (r == 0 && ipv6 && !machine_forwards('6'))
		r = scan(&families[1], &record, &others);
	*guard = !others;
	return r;
}

/* The exclusive lock is ours: nobody needs it any more. */
static void turn_off(int record_fd)
{
	_cleanup_text_ struct text record = { 0 };
	struct stat st;
	char path[512], *save = NULL;

	if (read_record(record_fd, &record) < 0)
		return;
	for (char *line = strtok_r(record.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
			/* Somebody has turned all of it on since: then it is his. */
			if (line[0] == families[i].letter && line[1] == ' ' && !strchr(line, '/') &&
			    !machine_forwards(line[0]))
				switch_set(&families[i], line + 2, "0");
		}
	}
	if (stat("/proc/self/ns/net", &st) < 0)
		return;
	snprintf(path, sizeof(path), FORWARD_DIR "/forward.%ju", (uintmax_t)st.st_ino);
	unlink(path);
}

void forward_release(void)
{
	close_fd(&held);
	forward_restore();
}

void forward_restore(void)
{
	_cleanup_close_ int steps = lock_steps();
	_cleanup_close_ int record = steps < 0 ? -1 : open_record("forward");

	if (record >= 0 && flock(record, LOCK_EX | LOCK_NB) == 0)
		turn_off(record);
}
