/* SPDX-License-Identifier: MIT */
/*
 * A shell process. Must not know commands or runs. Its pid is only used for /proc, where a wrong
 * answer does no harm; signals go by pidfd. One thread, no locks.
 */
#include "keeper/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/processes.h"

enum {
	START_ENV_BYTES = 96 << 10, /* init takes 128 KiB with the driver's text */
	CWD_BYTES_MAX = 4096,
	BASE_PIPE_BYTES = 4096, /* little comes there, and all pipes of a user are counted */
};

static void shell_clear(struct shell *shell)
{
	*shell = (struct shell){
		.spawned = { .event = shell->spawned.event },
		.spawns = shell->spawns,
		.pidfd = -1,
	};
	for (int i = 0; i < N_STREAMS; i++)
		shell->base[i].source.fd = -1;
}

void shell_init(struct shell *shell, struct spawns *spawns,
		void (*event)(struct spawned *spawned, const struct init_event *event))
{
	shell->spawns = spawns;
	shell->spawned.event = event;
	shell_clear(shell);
}

static bool is_program(const struct box *box, const char *path)
{
	_cleanup_close_ int fd =
		open_how_at(box->root, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 0111;
}

const char *shell_find(const struct box *box, enum driver_kind *kind)
{
	static const struct {
		const char *path;
		enum driver_kind kind;
	} known[] = {
		{ "/usr/bin/bash", DRIVER_BASH },
		{ "/bin/bash", DRIVER_BASH },
		{ "/bin/sh", DRIVER_SH },
		{ "/usr/bin/sh", DRIVER_SH },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (is_program(box, known[i].path)) {
			*kind = known[i].kind;
			return known[i].path;
		}
	}
	return NULL;
}

static void base_close(struct base_log *base)
{
	if (base->source.fd >= 0)
		loop_remove(base->loop, &base->source);
	close_fd(&base->source.fd);
	text_free(&base->text);
}

/* Reads what is there; false at the end of file. */
static bool base_read(struct base_log *base)
{
	char buf[4096];
	ssize_t n = read(base->source.fd, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (base->text.len + n > BASE_LOG_BYTES)
		text_reset(&base->text);
	text_add(&base->text, buf, n);
	return true;
}

static void base_ready(struct loop_source *source, uint32_t events)
{
	struct base_log *base = container_of(source, struct base_log, source);

	(void)events;
	if (!base_read(base)) {
		loop_remove(base->loop, source);
		close_fd(&source->fd);
	}
}

/* A pipe for one base log: the write end, or -errno. */
static int base_open(struct base_log *base, struct loop *loop)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	fcntl(ends[0], F_SETPIPE_SZ, BASE_PIPE_BYTES);
	*base = (struct base_log){ .loop = loop, .source = { ends[0], base_ready } };
	r = set_nonblock(ends[0]);
	if (r == 0)
		r = loop_add(loop, &base->source, EPOLLIN);
	if (r < 0) {
		close(ends[0]);
		close(ends[1]);
		base->source.fd = -1;
		return r;
	}
	return ends[1];
}

void shell_drain_base(struct shell *shell)
{
	for (int i = 0; i < N_STREAMS; i++) {
		/* At most what a pipe holds: others may go on writing. */
		for (int n = 0; n < 16 && shell->base[i].source.fd >= 0; n++) {
			size_t before = shell->base[i].text.len;

			if (!base_read(&shell->base[i]) || shell->base[i].text.len == before)
				break;
		}
	}
}

void shell_clear_base(struct shell *shell)
{
	for (int i = 0; i < N_STREAMS; i++)
		text_reset(&shell->base[i].text);
}

/* The pointers that execve(2) wants, to n strings that stand one behind the other. */
static const char **list_strings(const char *strings, size_t n)
{
	const char **list = calloc(n + 1, sizeof(*list));

	for (size_t i = 0; list && i < n; i++) {
		list[i] = strings;
		strings += strlen(strings) + 1;
	}
	return list;
}

static bool is_directory(const struct box *box, const char *path)
{
	_cleanup_close_ int fd = open_how_at(box->root, path, O_PATH | O_DIRECTORY, 0,
					     RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

	return fd >= 0;
}

static int spawn(struct shell *shell, struct box *box, const char *path,
		 const struct shell_start *start, const char *const *envp, const int fds[3])
{
	bool bash = shell->kind == DRIVER_BASH;
	const char *const bash_argv[] = { path,		  "--norc", "--noprofile", "-c",
					  driver_command, "bash",   NULL };
	const char *const sh_argv[] = { path, "-c", driver_command, "sh", NULL };
	struct init_spawn request = {
		.uid = start->user->uid,
		.gid = start->user->gid,
		.n_groups = start->user->n_groups,
		.flags = INIT_SPAWN_SETSID,
		.cwd = is_directory(box, start->cwd) ? start->cwd : "/",
		.argv = bash ? bash_argv : sh_argv,
		.envp = envp,
		.fds = { fds[0], fds[1], fds[2] },
	};
	int r = start->group ? group_doors(start->group, request.doors) : 0;

	if (r < 0)
		return r;
	request.n_doors = r;
	memcpy(request.groups, start->user->groups, sizeof(request.groups));
	r = spawned_start(shell->spawns, &shell->spawned, box, &request);
	if (start->group)
		group_close_doors(start->group);
	return r;
}

int shell_start(struct shell *shell, struct box *box, struct loop *loop,
		const struct shell_start *start, struct text *script)
{
	_cleanup_text_ struct text strings = { 0 };
	_cleanup_free_ const char **envp = NULL;
	_cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = -1, err = -1;
	const char *path;
	size_t n_env;
	int r;

	shell_clear(shell);
	path = shell_find(box, &shell->kind);
	if (!path)
		return -ENOEXEC;
	if (null < 0)
		return -errno;
	text_add_str(&strings, DRIVER_VARIABLE "=");
	driver_add(&strings, shell->kind, start->dir);
	text_add_char(&strings, '\0');
	r = session_env_split_for_start(start->env, shell->kind, START_ENV_BYTES, &strings, &n_env,
					script);
	if (r < 0)
		return r;
	envp = list_strings(strings.data, n_env + 1);
	if (!envp)
		return -ENOMEM;
	out = base_open(&shell->base[STREAM_OUT], loop);
	err = base_open(&shell->base[STREAM_ERR], loop);
	r = MIN(out, err);
	if (r >= 0)
		r = spawn(shell, box, path, start, envp, (int[]){ null, out, err });
	if (r < 0)
		shell_close(shell);
	shell->alive = r >= 0;
	return r;
}

void shell_note_started(struct shell *shell, const struct init_event *event)
{
	shell->pid = event->pid;
	shell->box_pid = event->box_pid;
	shell->pidfd = event->pidfd;
	if (shell->killed)
		shell_signal(shell, SIGKILL);
}

void shell_close(struct shell *shell)
{
	close_fd(&shell->pidfd);
	for (int i = 0; i < N_STREAMS; i++)
		base_close(&shell->base[i]);
	spawned_forget(shell->spawns, &shell->spawned);
	shell_clear(shell);
}

int shell_signal(const struct shell *shell, int sig)
{
	if (shell->pidfd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, shell->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int shell_signal_group(const struct shell *shell, int sig)
{
	return processes_signal_group(shell->pidfd, shell->pid, sig);
}

void shell_kill(struct shell *shell)
{
	shell->killed = true;
	shell_signal(shell, SIGKILL);
}

char *shell_read_cwd(const struct shell *shell)
{
	char path[64], buf[CWD_BYTES_MAX];
	ssize_t n;

	if (shell->pid <= 0)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/cwd", shell->pid);
	n = readlink(path, buf, sizeof(buf));
	if (n <= 0 || n == sizeof(buf) || buf[0] != '/')
		return NULL;
	return strndup(buf, n);
}

bool shell_is_stopped(const struct shell *shell)
{
	_cleanup_free_ char *stat = NULL;
	const char *end;
	char path[64];

	if (shell->pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", shell->pid);
	if (read_file_at(AT_FDCWD, path, 4096, &stat, NULL) < 0)
		return false;
	/* The name stands in parentheses, and may hold some. */
	end = strrchr(stat, ')');
	return end && end[1] == ' ' && (end[2] == 'T' || end[2] == 't');
}
