/* SPDX-License-Identifier: MIT */
/*
 * sandboxfs: the command line. Mounting in the foreground or background, stopping, a terminal in a
 * box (shell.c), a look at the machine (doctor.c). Must not know anything of boxes.
 *
 * Where to read on: daemon.c (the whole), tree.h (the tree as tables), dir_box.c (a box's
 * entries), submit.c (what a command is), keeper.c (the processes behind boxes), files.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/background.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon.h"
#include "doctor.h"
#include "net.h"
#include "shell.h"
#include "store.h"
#include "version.h"

enum { STOP_EXTRA_MS = 60000 };

static void print_help(void)
{
	_cleanup_text_ struct text t = { 0 };

	text_add_str(
		&t,
		"Usage: sandboxfs [-f] [-c FILE] [-o KEY=VALUE,…] MOUNTPOINT\n"
		"       sandboxfs stop MOUNTPOINT\n"
		"       sandboxfs shell [-s SESSION] BOXDIR\n"
		"       sandboxfs doctor [--json]\n\n"
		"Mounts a tree in which every directory is a sandbox: mkdir makes one, writing to\n"
		"its cmd runs a command, rmdir destroys it. `sandboxfs shell` is a terminal in\n"
		"one; `sandboxfs doctor` says what this machine lacks. See sandboxfs(1) and\n"
		"sandboxfs(5).\n\n"
		"  -f, --foreground   stay in the foreground\n"
		"  -c, --config FILE  settings (default: " DEFAULT_CONFIG " if it is there)\n"
		"  -o KEY=VALUE,…     settings, over those of the file\n"
		"  -h, --help         this text\n"
		"  -V, --version      the version\n\n"
		"Settings [defaults]:\n");
	options_help(&t);
	if (t.data)
		fputs(t.data, stdout);
}

/* --- readiness ------------------------------------------------------------------------------------- */

/* sd_notify(3), which needs no library: one datagram. */
static void notify_systemd(void)
{
	static const char text[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = -1;
	size_t len = path ? strlen(path) : 0;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock >= 0 && sendto(sock, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&addr,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warn("cannot tell systemd: %s", strerror(errno));
}

static void on_ready(void)
{
	log_info("ready");
	if (background_is_awaited())
		background_ready();
	else
		notify_systemd();
}

/* --- background ------------------------------------------------------------------------------------ */

/* Once the mount answers, the terminal is no longer ours: the log goes on in the state directory. */
static void leave_terminal(void)
{
	char path[4200];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), file;

	snprintf(path, sizeof(path), "%s/sandboxfs.log", store_path());
	file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (file >= 0 || null >= 0)
		dup2(file >= 0 ? file : null, STDERR_FILENO);
	close_fd(&null);
	close_fd(&file);
	if (chdir("/") < 0)
		log_warn("chdir /: %s", strerror(errno));
}

static void on_ready_in_background(void)
{
	leave_terminal();
	on_ready();
}

/* --- mounting ---------------------------------------------------------------------------------------- */

struct command_line {
	bool foreground;
	const char *config;
	const char *mountpoint;
};

static int read_settings(int argc, char **argv, struct command_line *line,
			 struct options_error *err)
{
	static const struct option longs[] = {
		{ "foreground", no_argument, NULL, 'f' },
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	static const char shorts[] = "fc:o:hV";
	int c, r = 0;

	/* The file first, wherever -c stands: -o goes over it. */
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == 'c')
			line->config = optarg;
		else if (c == 'f')
			line->foreground = true;
		else if (c == 'h')
			exit((print_help(), 0));
		else if (c == 'V')
			exit((puts("sandboxfs " SANDBOXFS_VERSION), 0));
		else if (c == '?')
			exit(2);
	}
	if (line->config)
		r = options_read_file(&the_options, line->config, err);
	else if (access(DEFAULT_CONFIG, R_OK) == 0)
		r = options_read_file(&the_options, DEFAULT_CONFIG, err);
	optind = 1;
	while (r == 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == 'o')
			r = options_parse_list(&the_options, optarg, err);
	}
	if (r == 0)
		r = options_check(&the_options, err);
	if (r == 0 && optind + 1 != argc) {
		snprintf(err->text, sizeof(err->text), "give one MOUNTPOINT; see sandboxfs --help");
		r = -EINVAL;
	}
	line->mountpoint = r == 0 ? argv[optind] : NULL;
	return r;
}

/* Relative paths must mean the same after chdir("/"). */
static char *absolute(const char *path)
{
	_cleanup_free_ char *here = path[0] == '/' ? NULL : get_current_dir_name();
	char *whole = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (!here || asprintf(&whole, "%s/%s", here, path) < 0)
		return NULL;
	return whole;
}

static int mount_command(int argc, char **argv)
{
	struct command_line line = { 0 };
	struct options_error err = { .text = "" };
	_cleanup_free_ char *mountpoint = NULL;
	char *state_dir;
	int r = options_init(&the_options);

	if (r == 0)
		r = read_settings(argc, argv, &line, &err);
	if (r == 0) {
		mountpoint = absolute(line.mountpoint);
		state_dir = absolute(the_options.state_dir);
		if (state_dir) {
			free(the_options.state_dir);
			the_options.state_dir = state_dir;
		}
		r = mountpoint && state_dir ? 0 : -ENOMEM;
	}
	if (r == 0 && !line.foreground)
		r = background_enter();
	if (r == 0)
		r = daemon_run(mountpoint, line.foreground ? on_ready : on_ready_in_background,
			       &err);
	if (r < 0)
		log_error("%s", err.text[0] ? err.text : strerror(-r));
	options_free(&the_options);
	return r < 0 ? 1 : 0;
}

/* --- stopping ------------------------------------------------------------------------------------------ */

/* Undoes the \ooo of /proc/self/mountinfo. */
static void unescape_mount(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* The state directory of the sandboxfs mounted there, from the mount's source. */
static char *state_of_mount(const char *mountpoint)
{
	_cleanup_free_ char *info = NULL;
	char *line, *save = NULL, *found = NULL;

	if (read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &info, NULL) < 0)
		return NULL;
	for (line = strtok_r(info, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *dash = strstr(line, " - fuse.sandboxfs sandboxfs:");
		char path[4096], source[4200];

		if (!dash || sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 ||
		    sscanf(dash, " - fuse.sandboxfs sandboxfs:%4199s", source) != 1)
			continue;
		unescape_mount(path);
		unescape_mount(source);
		if (strcmp(path, mountpoint))
			continue;
		free(found);
		found = strdup(source); /* the last one is on top */
	}
	return found;
}

static int stop_command(const char *where)
{
	_cleanup_free_ char *mountpoint = realpath(where, NULL);
	_cleanup_free_ char *state = NULL;
	_cleanup_close_ int pidfd = -1;
	struct pollfd p = { .events = POLLIN };
	int pid;

	if (!mountpoint)
		mountpoint = absolute(where); /* a stale mount cannot be resolved */
	state = mountpoint ? state_of_mount(mountpoint) : NULL;
	if (!state) {
		fprintf(stderr, "sandboxfs: no sandboxfs is mounted on %s\n", where);
		return 1;
	}
	pid = store_lock_holder(state);
	if (pid <= 0) {
		net_restore();
		fprintf(stderr,
			"sandboxfs: the daemon of %s is gone; `umount -l %s` takes the mount "
			"away\n",
			where, where);
		return 1;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 || syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0) {
		fprintf(stderr, "sandboxfs: cannot stop process %d: %s\n", pid, strerror(errno));
		return 1;
	}
	p.fd = pidfd;
	for (int64_t end = monotonic_ms() + STOP_EXTRA_MS;;) {
		int64_t left = end - monotonic_ms();

		if (left <= 0) {
			fprintf(stderr, "sandboxfs: process %d has not ended yet\n", pid);
			return 1;
		}
		if (poll(&p, 1, (int)left) > 0)
			return 0;
	}
}

int main(int argc, char **argv)
{
	log_init("sandboxfs", LOG_LEVEL_INFO);
	if (argc > 1 && !strcmp(argv[1], "stop")) {
		if (argc == 3)
			return stop_command(argv[2]);
		fprintf(stderr, "Usage: sandboxfs stop MOUNTPOINT\n");
		return 2;
	}
	if (argc > 1 && !strcmp(argv[1], "shell"))
		return shell_command(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "doctor"))
		return doctor_command(argc - 1, argv + 1);
	return mount_command(argc, argv);
}
