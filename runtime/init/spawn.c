/* SPDX-License-Identifier: MIT */
/*
 * The new process of a request: from the request's bytes to the program. Runs in the box with the
 * box's rights; must not hand any descriptor of init's to the program and must not wait without
 * end for the keeper. No locks, one thread.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/box.h"

#define OOM_SCORE "500" /* half of all that there is, on top of what it has; proc(5) */

enum {
	KEEPER_PATIENCE_MS = 5000,
};

int spawn_parse(struct spawn_plan *plan, char *packet, size_t len)
{
	const struct init_request *request = (const void *)packet;
	char *text = packet + sizeof(*request), *end;
	uint64_t wanted;
	size_t n = 0;

	if (len < sizeof(*request) || request->text_len != len - sizeof(*request) ||
	    !request->text_len || text[request->text_len - 1] != '\0')
		return -EPROTO;
	wanted = 1 + (uint64_t)request->argc + request->envc;
	if (request->n_groups > INIT_MAX_GROUPS || request->n_doors > INIT_MAX_DOORS ||
	    request->argc < (request->flags & INIT_SPAWN_ARGV0 ? 2u : 1u))
		return -EPROTO;
	if (wanted > request->text_len ||
	    wanted + 1 > sizeof(plan->strings) / sizeof(plan->strings[0]))
		return -EPROTO;
	end = text + request->text_len;
	plan->request = request;
	plan->cwd = text;
	plan->argv = plan->strings;
	plan->envp = plan->strings + request->argc + 1;
	text += strlen(text) + 1;
	for (; n < (size_t)request->argc + request->envc && text < end; n++) {
		if (n < request->argc)
			plan->argv[n] = text;
		else
			plan->envp[n - request->argc] = text;
		text += strlen(text) + 1;
	}
	if (n < (size_t)request->argc + request->envc || text != end)
		return -EPROTO;
	plan->argv[request->argc] = NULL;
	plan->envp[request->envc] = NULL;
	return 0;
}

/* The kernel adds this process's host pid to the packet: the keeper need not believe anybody. */
static int tell_keeper(uint64_t id)
{
	const struct init_report report = {
		.type = INIT_REPORT_FORKED,
		.id = id,
		.pid = getpid(),
	};
	struct pollfd p = { .fd = INIT_SOCK, .events = POLLOUT };

	for (;;) {
		if (send(INIT_SOCK, &report, sizeof(report), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (poll(&p, 1, KEEPER_PATIENCE_MS) == 0)
			return -ETIMEDOUT;
	}
}

static int default_signals(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &action, NULL); /* KILL, STOP and libc's own refuse, rightly */
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

/* A process of one thread that moves itself; what it forks is born where it is. */
static int pass_doors(const int *doors, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (write(doors[i], "0", 1) < 0)
			return -errno;
	}
	return 0;
}

/*
 * Where the box is out of memory everything else in it goes before init, even if what eats it is a
 * file in memory that belongs to nobody. Without /proc it is by size alone.
 */
static int go_before_init(void)
{
	static const char score[] = OOM_SCORE;
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd >= 0 && write(fd, score, sizeof(score) - 1) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r == -EACCES ? 0 : r; /* it has more already */
}

/* 0, 1 and 2 are open in init, so what came in a packet has a higher number. */
static int set_descriptors(const int fds[INIT_REQUEST_FDS])
{
	for (int i = 0; i < INIT_PROGRAM_FDS; i++) {
		if (dup2(fds[i], i) < 0)
			return -errno;
	}
	return 0;
}

static int set_session(uint32_t flags)
{
	bool leads = flags & (INIT_SPAWN_SETSID | INIT_SPAWN_TTY);

	if (leads ? setsid() < 0 : setpgid(0, 0) < 0)
		return -errno;
	return flags & INIT_SPAWN_TTY && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0 ? -errno : 0;
}

static int set_identity(const struct init_request *request)
{
	gid_t gid = request->gid;
	int r = request->n_groups ? setgroups(request->n_groups, request->groups)
				  : setgroups(1, &gid);

	if (r < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(request->uid, request->uid, request->uid) < 0)
		return -errno;
	return 0;
}

static const char *search_path(char **envp)
{
	for (; *envp; envp++) {
		if (!strncmp(*envp, "PATH=", 5))
			return *envp + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* execvpe(3), but with the PATH of envp, and a script without a first line #! stays ENOEXEC. */
static int exec_search(const char *program, char **argv, char **envp)
{
	const char *dir, *end;
	bool denied = false;

	if (!*program)
		return -ENOENT;
	if (strchr(program, '/')) {
		execve(program, argv, envp);
		return -errno;
	}
	for (dir = search_path(envp);; dir = end + 1) {
		char path[PATH_MAX];
		size_t len, name_len = strlen(program);

		end = strchrnul(dir, ':');
		len = (size_t)(end - dir);
		if (len + name_len + 2 <= sizeof(path)) {
			memcpy(path, dir, len);
			if (len)
				path[len++] = '/'; /* an empty entry is the working directory */
			memcpy(path + len, program, name_len + 1);
			execve(path, argv, envp);
			if (errno == EACCES)
				denied = true;
			else if (errno != ENOENT && errno != ENOTDIR)
				return -errno;
		}
		if (!*end)
			return denied ? -EACCES : -ENOENT;
	}
}

static int become_program(const struct spawn_plan *plan, const int fds[INIT_REQUEST_FDS])
{
	const struct init_request *request = plan->request;
	char **argv = plan->argv + (request->flags & INIT_SPAWN_ARGV0 ? 1 : 0);
	int r = pass_doors(fds + INIT_PROGRAM_FDS, request->n_doors);

	if (r == 0)
		r = tell_keeper(request->id);
	if (r == 0)
		r = go_before_init();
	if (r == 0)
		r = default_signals();
	if (r == 0)
		r = set_descriptors(fds);
	if (r == 0)
		r = set_session(request->flags);
	if (r == 0)
		r = set_identity(request);
	if (r < 0)
		return r;
	umask(022);
	if (chdir(plan->cwd) < 0)
		return -errno;
	return exec_search(plan->argv[0], argv, plan->envp);
}

_Noreturn void spawn_program(const struct spawn_plan *plan, const int fds[INIT_REQUEST_FDS],
			     int exec_pipe)
{
	int error = -become_program(plan, fds);
	ssize_t n;

	do {
		n = write(exec_pipe, &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	_exit(127);
}
