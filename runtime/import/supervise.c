/* SPDX-License-Identifier: MIT */
/*
 * The import's half outside the fence. It makes a folder of the storage block's root, starts the
 * reader in it, and waits: for the reader's word, and for the end of whoever asked. What the reader
 * left is looked at from above only. Must not read the archive. One thread, no locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <grp.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "import/import.h"
#include "runtime.h"

enum { FOLDER_TRIES = 100 };

struct supervisor {
	const struct import_options *options;
	struct import_why why;
	int parent;    /* where the folder stands, */
	char name[64]; /* by this name */
	int folder, tree, result, pidfd;
	pid_t pid;
	struct text word; /* of the reader */
	bool used[MAX_LAYERS * 32];
	size_t n_layers;
};

static int fail(struct supervisor *s, const char *step)
{
	return import_fail(&s->why, errno, "%s: %s", step, strerror(errno));
}

/* --- the reader ----------------------------------------------------------------------------------- */

/* The reader's life. Its ids are not mapped before the go. */
static _Noreturn void reader_main(struct supervisor *s, int go, int result)
{
	struct import im = { .budget = { .max_bytes = s->options->max_bytes,
					 .max_files = s->options->max_files } };
	struct text out = { 0 };
	char word;

	/* It is the first process of a pid namespace: nothing of it outlives it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || read_full(go, &word, 1) != 1)
		_exit(1);
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		import_fail(&im.why, errno, "become the storage block's root: %s", strerror(errno));
	else
		confine_enter(s->tree, result, s->options->max_bytes, &im.why);
	im.root = im.why.error ? -1 : open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (im.root < 0) {
		if (!im.why.error)
			import_fail(&im.why, errno, "open its folder: %s", strerror(errno));
		record_add_u64(&out, "error", (uint64_t)im.why.error);
		record_add(&out, "why", im.why.text);
	} else {
		reader_run(&im, &out);
		result = 3; /* confine_enter() put it there */
	}
	if (out.failed || write_full(result, out.data, out.len) < 0)
		_exit(1);
	_exit(0);
}

static int write_maps(pid_t pid, uid_t base)
{
	char path[32], map[64];
	_cleanup_close_ int proc = -1;
	int r;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return -errno;
	snprintf(map, sizeof(map), "0 %u %d\n", base, BOX_IDS);
	r = write_control_at(proc, "uid_map", map);
	return r < 0 ? r : write_control_at(proc, "gid_map", map);
}

static int start_reader(struct supervisor *s)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS |
			 CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&s->pidfd,
		.exit_signal = SIGCHLD,
	};
	_cleanup_close_ int go_read = -1, go_write = -1, word_write = -1;
	int ends[2];
	long pid;
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(s, "make a pipe");
	s->result = ends[0];
	word_write = ends[1];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(s, "make a pipe");
	go_read = ends[0];
	go_write = ends[1];
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return fail(s, "make the reader's namespaces");
	if (pid == 0) {
		close_fd(&go_write);
		reader_main(s, go_read, word_write);
	}
	s->pid = (pid_t)pid;
	r = write_maps(s->pid, s->options->storage_base);
	if (r < 0)
		return import_fail(&s->why, -r, "write the reader's id maps: %s", strerror(-r));
	return write_full(go_write, "g", 1) < 0 ? fail(s, "start the reader") : 0;
}

static void end_reader(struct supervisor *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGKILL); /* not reaped yet: the number is its own */
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
}

/* Reads what the reader says: 0 at its end. */
static int hear_reader(struct supervisor *s)
{
	char buf[4096];
	ssize_t n = read(s->result, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR ? 1 : fail(s, "hear the reader");
	text_add(&s->word, buf, (size_t)n);
	if (s->word.failed || s->word.len > MAX_RESULT_BYTES)
		return import_fail(&s->why, EFBIG, "the reader talks too much");
	return n > 0;
}

static int wait_for_reader(struct supervisor *s)
{
	struct pollfd p[] = { { .fd = s->result, .events = POLLIN },
			      { .fd = s->options->control, .events = POLLIN } };
	int status, r = 1;

	while (r == 1) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return fail(s, "wait for the reader");
		if (p[1].revents)
			return import_fail(&s->why, ECANCELED, "the import was given up");
		if (p[0].revents)
			r = hear_reader(s);
	}
	if (r < 0)
		return r;
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
	if (WIFSIGNALED(status))
		return import_fail(&s->why, EIO, "the reader of the archive died by signal %d",
				   WTERMSIG(status));
	return s->word.len ? 0 : import_fail(&s->why, EIO, "the reader of the archive has failed");
}

/* --- what it said ------------------------------------------------------------------------------- */

static int check_layer(struct supervisor *s, const char *value)
{
	char *rest;
	unsigned long number = strtoul(value, &rest, 10);
	char name[32];
	struct stat st;

	if (*value < '0' || *value > '9' || *rest != ' ' || number >= ARRAY_SIZE(s->used) ||
	    strspn(rest + 1, "0123456789abcdef") != SHA256_HEX_SIZE - 1 || s->used[number])
		return import_fail(&s->why, EPROTO, "the reader speaks another language");
	snprintf(name, sizeof(name), "%lu", number);
	if (fstatat(s->folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return import_fail(&s->why, EPROTO, "the reader made no folder %s", name);
	s->used[number] = true;
	s->n_layers++;
	return 0;
}

static int check_line(void *ctx, const char *key, const char *value)
{
	struct supervisor *s = ctx;
	uint64_t error;

	if (!strcmp(key, "error") && parse_u64(value, 1, 4095, &error) == 0)
		s->why.error = (int)error;
	else if (!strcmp(key, "why"))
		text_escape(s->why.text, sizeof(s->why.text), value);
	else if (!strcmp(key, "layer"))
		return check_layer(s, value);
	return 0;
}

static int check_word(struct supervisor *s)
{
	_cleanup_free_ char *copy = strndup(s->word.data, s->word.len);
	int line;

	if (!copy)
		return import_fail(&s->why, ENOMEM, "out of memory");
	if (strlen(copy) != s->word.len || record_parse(copy, check_line, s, &line) < 0 ||
	    (!s->why.error && !s->n_layers))
		import_fail(&s->why, EPROTO, "the reader speaks another language");
	return -s->why.error;
}

/* Folders that no layer of the image came of. */
static int remove_unused(struct supervisor *s)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int fd = openat(s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return fail(s, "list what the reader made");
	}
	while ((e = readdir(dir))) {
		uint64_t number;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (parse_u64(e->d_name, 0, ARRAY_SIZE(s->used) - 1, &number) < 0 ||
		    !s->used[number])
			remove_tree_at(s->folder, e->d_name);
	}
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------------ */

/* Whoever cleans up knows by the lock that somebody still works here; it may come before the lock
 * does. 0; -EAGAIN: the folder was taken for a remainder; or -errno. */
static int try_folder(struct supervisor *s)
{
	struct stat st;

	snprintf(s->name, sizeof(s->name), "%lld-%d", (long long)realtime_us(), getpid());
	if (mkdirat(s->parent, s->name, 0700) < 0)
		return -errno;
	s->folder = openat(s->parent, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->folder < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (flock(s->folder, LOCK_EX | LOCK_NB) < 0 || fstat(s->folder, &st) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return st.st_nlink ? 0 : -EAGAIN;
}

static int make_folder(struct supervisor *s)
{
	const uid_t base = s->options->storage_base;
	int r = -EAGAIN;

	s->parent = open(s->options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->parent < 0)
		return fail(s, s->options->dir);
	for (int i = 0; i < FOLDER_TRIES && r == -EAGAIN; i++) {
		close_fd(&s->folder);
		r = try_folder(s);
	}
	errno = -r;
	if (r < 0)
		return fail(s, "make the import's folder");
	if (fchown(s->folder, base, base) < 0)
		return fail(s, "prepare the import's folder");
	return 0;
}

static int clone_folder(struct supervisor *s)
{
	struct mount_attr attr = { .attr_set =
					   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID,
				   .propagation = MS_PRIVATE };

	s->tree = open_tree(s->folder, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (s->tree < 0 || mount_setattr(s->tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return fail(s, "mount the import's folder");
	return 0;
}

static int import(struct supervisor *s)
{
	int r = make_folder(s);

	if (r == 0)
		r = clone_folder(s);
	if (r == 0)
		r = start_reader(s);
	close_fd(&s->tree);
	/* The reader alone is to see the end of the archive, and to be missed by its writer. */
	close(STDIN_FILENO);
	if (r == 0)
		r = wait_for_reader(s);
	end_reader(s);
	if (r == 0)
		r = check_word(s);
	return r < 0 ? r : remove_unused(s);
}

int import_run(const struct import_options *options)
{
	static struct supervisor s;
	_cleanup_text_ struct text out = { 0 };
	int r;

	s = (struct supervisor){ .options = options,
				 .parent = -1,
				 .folder = -1,
				 .tree = -1,
				 .result = -1,
				 .pidfd = -1 };
	umask(0);
	/* Names in an archive are bytes; in the C locale libarchive refuses those beyond ASCII. */
	setlocale(LC_CTYPE, "C.UTF-8");
	r = import(&s);
	if (r == 0) {
		record_add(&out, "folder", s.name);
		text_add(&out, s.word.data, s.word.len);
	} else {
		if (s.parent >= 0 && s.folder >= 0)
			remove_tree_at(s.parent, s.name);
		record_add_u64(&out, "error", (uint64_t)-r);
		record_add(&out, "why", s.why.text);
	}
	text_free(&s.word);
	if (out.failed || write_full(STDOUT_FILENO, out.data, out.len) < 0)
		r = -EIO;
	return r < 0;
}
