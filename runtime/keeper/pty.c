/* SPDX-License-Identifier: MIT */
/*
 * Making pseudo-terminals. The box's root can mount over /dev and replace what is there, so the
 * multiplexer counts only when the kernel says that it is one, and the slave is got from the master
 * and not by its name. Must not block: whatever stands at the path is opened without waiting.
 * One thread, no locks.
 */
#include "keeper/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/shell.h"

enum {
	PTMX_MAJOR = 5,
	PTMX_MINOR = 2,
	TTY_GROUP = 5, /* Debian's, as in devices.c */
	LOGIN_ENV_BYTES = 96 << 10,
	DEFAULT_ROWS = 24,
	DEFAULT_COLUMNS = 80,
};

static bool is_ptmx(int fd)
{
	struct statfs fs;
	struct stat st;

	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC && fstat(fd, &st) == 0 &&
	       S_ISCHR(st.st_mode) && st.st_rdev == makedev(PTMX_MAJOR, PTMX_MINOR);
}

static int open_master(const struct box *box)
{
	const uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
	_cleanup_close_ int fd = open_how_at(
		box->root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0, resolve);

	if (fd < 0)
		return fd;
	return is_ptmx(fd) ? take_fd(&fd) : -EXDEV;
}

/* Input is UTF-8: erasing takes a whole character. */
static void set_modes(int master)
{
	struct termios modes;

	if (tcgetattr(master, &modes) < 0)
		return;
	modes.c_iflag |= IUTF8;
	tcsetattr(master, TCSANOW, &modes);
}

int pty_open(const struct box *box, const struct box_user *user, struct pty *pty)
{
	_cleanup_close_ int master = open_master(box);
	_cleanup_close_ int slave = -1;
	uid_t base = box->set.uid_base;
	int unlocked = 0;

	if (master < 0)
		return master;
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	if (fchown(slave, base + user->uid, base + TTY_GROUP) < 0 || fchmod(slave, 0620) < 0)
		return -errno;
	set_modes(master);
	pty_set_size(master, 0, 0);
	*pty = (struct pty){ take_fd(&master), take_fd(&slave) };
	return 0;
}

void pty_set_size(int master, unsigned int rows, unsigned int columns)
{
	struct winsize size = {
		.ws_row = (unsigned short)MIN(rows ? rows : DEFAULT_ROWS, 65535u),
		.ws_col = (unsigned short)MIN(columns ? columns : DEFAULT_COLUMNS, 65535u),
	};

	ioctl(master, TIOCSWINSZ, &size);
}

/* --- the shell -------------------------------------------------------------------------------- */

static int open_in_box(const struct box *box, const char *path, uint64_t flags)
{
	return open_how_at(box->root, path, O_PATH | flags, 0,
			   RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* The user's own, where it is a program; else bash or sh. NULL: there is none. */
static const char *login_shell(const struct box *box, const struct box_user *user)
{
	_cleanup_close_ int fd = user->shell[0] ? open_in_box(box, user->shell, 0) : -1;
	enum driver_kind kind;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 0111)
		return user->shell;
	return shell_find(box, &kind);
}

static int login_env(const struct session_env *env, const struct box_user *user, const char *shell,
		     struct session_env *out)
{
	/* What a login sets; what the session's shell counts for itself begins anew. */
	const char *const over[][2] = {
		{ "HOME", user->home }, { "USER", user->name },	      { "LOGNAME", user->name },
		{ "SHELL", shell },	{ "TERM", "xterm-256color" }, { "LINES", NULL },
		{ "COLUMNS", NULL },
	};
	int r = session_env_copy(out, env);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(over); i++)
		r = session_env_set(out, over[i][0], over[i][1]);
	return r;
}

static int spawn(struct box *box, struct spawns *spawns, struct spawned *spawned,
		 struct init_spawn *request, const char *shell, const struct session_env *env)
{
	_cleanup_text_ struct text strings = { 0 }, left_out = { 0 };
	_cleanup_free_ const char **envp = NULL;
	const char *slash = strrchr(shell, '/'), *at;
	char argv0[300];
	const char *const argv[] = { shell, argv0, NULL };
	size_t n;
	int r;

	snprintf(argv0, sizeof(argv0), "-%s", slash ? slash + 1 : shell);
	/* What is too much for one start is left out: better a shell than none. */
	r = session_env_split_for_start(env, DRIVER_BASH, LOGIN_ENV_BYTES, &strings, &n, &left_out);
	if (r < 0)
		return r;
	envp = calloc(n + 1, sizeof(*envp));
	if (!envp || strings.failed)
		return -ENOMEM;
	at = strings.data;
	for (size_t i = 0; i < n; i++, at += strlen(at) + 1)
		envp[i] = at;
	request->argv = argv;
	request->envp = envp;
	return spawned_start(spawns, spawned, box, request);
}

int pty_start_shell(struct box *box, struct spawns *spawns, struct spawned *spawned,
		    const struct pty *pty, const struct box_user *user, const char *cwd,
		    const struct session_env *env, const int *doors, int n_doors)
{
	struct init_spawn request = {
		.uid = user->uid,
		.gid = user->gid,
		.n_groups = user->n_groups,
		.flags = INIT_SPAWN_TTY | INIT_SPAWN_ARGV0,
		.cwd = cwd,
		.fds = { pty->slave, pty->slave, pty->slave },
		.n_doors = n_doors,
	};
	struct session_env login = { 0 };
	_cleanup_close_ int dir = open_in_box(box, cwd, O_DIRECTORY);
	const char *shell = login_shell(box, user);
	int r;

	if (!shell)
		return -ENOEXEC;
	if (dir < 0)
		request.cwd = "/";
	memcpy(request.groups, user->groups, sizeof(request.groups));
	for (int i = 0; i < n_doors; i++)
		request.doors[i] = doors[i];
	r = login_env(env, user, shell, &login);
	if (r == 0)
		r = spawn(box, spawns, spawned, &request, shell, &login);
	session_env_free(&login);
	return r;
}
