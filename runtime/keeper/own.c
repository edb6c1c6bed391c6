/* SPDX-License-Identifier: MIT */
/*
 * Runs of their own, from the request to the end of their program. Their processes are a group from
 * the first on; a box whose machine can make none has no such runs, as nobody could tell what
 * belongs to one. One thread, no locks.
 */
#include "keeper/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/text.h"
#include "keeper/processes.h"
#include "keeper/session_env.h"
#include "keeper/shell.h"
#include "keeper/tree.h"
#include "keeper/user.h"

enum { MODE_OUTPUT = 0622, MODE_INPUT = 0600 };

/* The program of a run, from the request on until it has ended. */
struct own {
	struct run *run;
	struct spawned spawned;
	pid_t pid;
	int pidfd;
	int input;	 /* write end of its standard input; -1: it was ended */
	int pending_sig; /* came before it had started */
	char file[32];	 /* its script's name in the control folder, "" if it has none */
};

/* What a run is started with, put together before anything of it is there. */
struct plan {
	struct keeper *k;
	struct box_user user;
	struct session_env env;
	const char *cwd, *shell;
	enum driver_kind kind;
	const char **why;
};

static struct keeper *keeper_of(const struct run *run)
{
	return container_of(run->runs, struct keeper, runs);
}

static void own_free(struct run *run)
{
	struct own *own = take_ptr(run->own);
	struct keeper *k = keeper_of(run);

	if (!own)
		return;
	spawned_forget(&k->spawns, &own->spawned);
	if (own->file[0] && k->box.control >= 0)
		unlinkat(k->box.control, own->file, 0);
	close_fd(&own->pidfd);
	close_fd(&own->input);
	free(own);
}

/* --- the plan ------------------------------------------------------------------------------ */

/* Of a user that was asked for; the box's start has those of root. */
static int add_user_env(struct plan *plan)
{
	const struct box_user *user = &plan->user;
	const struct {
		const char *name, *value;
	} vars[] = {
		{ "HOME", user->home },
		{ "USER", user->name },
		{ "LOGNAME", user->name },
		{ "SHELL", user->shell[0] ? user->shell : plan->shell },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++) {
		if (session_env_set(&plan->env, vars[i].name, vars[i].value) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int plan_env(struct plan *plan, const char *fields, size_t len)
{
	const struct box_settings *set = &plan->k->set;
	const char *user = field_get(fields, len, "user");
	int r = session_env_add_fields(&plan->env, set->fields, set->fields_len);

	if (r == 0 && user && *user)
		r = add_user_env(plan);
	return r < 0 ? r : session_env_add_fields(&plan->env, fields, len);
}

static int plan_cwd(struct plan *plan, const char *fields, size_t len)
{
	const char *cwd = field_get(fields, len, "cwd");
	_cleanup_close_ int fd = -1;

	plan->cwd = cwd && *cwd ? cwd : "/workspace";
	if (plan->cwd[0] != '/') {
		*plan->why = "the directory must be an absolute path of the box";
		return -EINVAL;
	}
	fd = open_how_at(plan->k->box.root, plan->cwd, O_PATH | O_DIRECTORY, 0,
			 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (fd == -ENOENT || fd == -ENOTDIR)
		*plan->why = "its working directory is not there";
	return fd < 0 ? fd : 0;
}

static int make_plan(struct plan *plan, const char *fields, size_t len)
{
	const char *user = field_get(fields, len, "user");
	int r;

	if (!plan->k->box.groups) {
		*plan->why = "this machine's cgroups allow no folder for a run";
		return -EOPNOTSUPP;
	}
	plan->shell = shell_find(&plan->k->box, &plan->kind);
	if (!plan->shell) {
		*plan->why = "the image has neither bash nor sh";
		return -ENOEXEC;
	}
	r = user_find(&plan->k->box, user, &plan->user);
	if (r < 0) {
		*plan->why = "the box has no such user";
		return r;
	}
	r = plan_cwd(plan, fields, len);
	return r < 0 ? r : plan_env(plan, fields, len);
}

/* --- the start ------------------------------------------------------------------------------ */

/*
 * A pipe whose far end the box's program gets. Whoever it lets run as another user may open
 * /dev/stdout again, so all may write.
 */
static int make_pipe(const struct plan *plan, bool input, int *ours, int *theirs)
{
	uid_t uid = plan->k->set.uid_base + plan->user.uid;
	gid_t gid = plan->k->set.uid_base + plan->user.gid;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ours = ends[input];
	*theirs = ends[!input];
	if (fchown(*theirs, uid, gid) < 0 || fchmod(*theirs, input ? MODE_INPUT : MODE_OUTPUT) < 0)
		return -errno;
	return input ? 0 : set_nonblock(*ours);
}

/* ours are the keeper's ends, theirs the program's: 0, 1 and 2. */
static int make_pipes(const struct plan *plan, int ours[3], int theirs[3])
{
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++)
		r = make_pipe(plan, i == STDIN_FILENO, &ours[i], &theirs[i]);
	return r;
}

static int take_streams(struct keeper *k, int ours[3], struct fifo *streams[N_STREAMS])
{
	for (int i = 0; i < N_STREAMS; i++) {
		streams[i] = fifo_new(&k->loop, take_fd(&ours[STDOUT_FILENO + i]));
		if (!streams[i]) {
			fifo_free(take_ptr(streams[0]));
			return -ENOMEM;
		}
	}
	return 0;
}

/* What does not fit into an argument is a file that only the keeper can change. */
static int write_script_file(struct own *own, const char *script, size_t len, const char **why)
{
	int control = keeper_of(own->run)->box.control, r;
	_cleanup_close_ int fd = -1;

	snprintf(own->file, sizeof(own->file), "run-%llu", (unsigned long long)own->run->number);
	fd = openat(control, own->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		own->file[0] = '\0';
		return -errno;
	}
	r = write_full(fd, script, len);
	if (r == -ENOSPC)
		*why = "too many long scripts are running in the box";
	return r;
}

/* NAME=VALUE of each, as execve(2) wants it; freed by one free() of the strings and of the list. */
static const char **list_env(const struct session_env *env, struct text *strings)
{
	const char **list = calloc(env->n + 1, sizeof(*list));
	size_t at = 0;

	for (size_t i = 0; i < env->n; i++) {
		text_printf(strings, "%s=%s", env->vars[i].name, env->vars[i].value);
		text_add_char(strings, '\0');
	}
	for (size_t i = 0; list && !strings->failed && i < env->n; i++) {
		list[i] = strings->data + at;
		at += strlen(list[i]) + 1;
	}
	if (strings->failed)
		free(take_ptr(list));
	return list;
}

static int spawn(const struct plan *plan, struct own *own, const char *const *argv,
		 const char *const *envp, const int fds[3])
{
	struct init_spawn request = {
		.uid = plan->user.uid,
		.gid = plan->user.gid,
		.n_groups = plan->user.n_groups,
		.flags = INIT_SPAWN_SETSID | INIT_SPAWN_ARGV0,
		.cwd = plan->cwd,
		.argv = argv,
		.envp = envp,
		.fds = { fds[0], fds[1], fds[2] },
	};
	int r = group_doors(own->run->group, request.doors);

	memcpy(request.groups, plan->user.groups, sizeof(request.groups));
	if (r < 0)
		return r;
	request.n_doors = r;
	r = spawned_start(&plan->k->spawns, &own->spawned, &plan->k->box, &request);
	group_close_doors(own->run->group);
	return r;
}

/* As an argument bash executes the script's last program in its own place: pid is that one's. */
static int spawn_script(const struct plan *plan, struct own *own, const char *script, size_t len,
			const int fds[3])
{
	const char *name = plan->kind == DRIVER_BASH ? "bash" : "sh";
	const char *argument[] = { plan->shell, name, "-c", script, NULL };
	_cleanup_text_ struct text strings = { 0 };
	_cleanup_free_ const char **envp = list_env(&plan->env, &strings);
	char path[64];
	int r = -E2BIG;

	if (!envp)
		return -ENOMEM;
	if (!memchr(script, '\0', len))
		r = spawn(plan, own, argument, envp, fds);
	if (r != -E2BIG)
		return r;
	r = write_script_file(own, script, len, plan->why);
	if (r < 0)
		return r;
	/* Read in, and not as the shell's program: there bash takes no script with a NUL. */
	snprintf(path, sizeof(path), ". %s/%s", CONTROL_PATH, own->file);
	argument[3] = path;
	r = spawn(plan, own, argument, envp, fds);
	if (r == -E2BIG)
		*plan->why = "its environment is larger than 128 KiB";
	return r;
}

static void own_event(struct spawned *spawned, const struct init_event *event);

static int start(const struct plan *plan, struct run *run, const char *script, size_t len)
{
	int ours[3] = { -1, -1, -1 }, theirs[3] = { -1, -1, -1 };
	struct fifo *streams[N_STREAMS] = { 0 };
	struct own *own = calloc(1, sizeof(*own));
	int r;

	if (!own)
		return -ENOMEM;
	*own = (struct own){ .run = run, .spawned.event = own_event, .pidfd = -1, .input = -1 };
	run->own = own;
	run->forget_own = own_free;
	r = group_new(plan->k->box.groups, &run->group);
	if (r == 0)
		r = make_pipes(plan, ours, theirs);
	if (r == 0)
		r = take_streams(plan->k, ours, streams);
	if (r == 0) {
		own->input = take_fd(&ours[STDIN_FILENO]);
		run_begin(run, plan->cwd, streams);
		run->state = RUN_STARTING;
		r = spawn_script(plan, own, script, len, theirs);
	}
	for (int i = 0; i < 3; i++) {
		close_fd(&ours[i]);
		close_fd(&theirs[i]);
	}
	return r;
}

int own_submit(struct keeper *k, uint64_t number, const char *fields, size_t fields_len,
	       const struct run_options *options, const char *script, size_t len, const char **why)
{
	struct plan plan = { .k = k, .why = why };
	struct run *run;
	int r = make_plan(&plan, fields, fields_len);
	if (r == 0)
		r = run_new(&k->runs, number, "", options, script, len, &run);
	if (r == 0) {
		r = start(&plan, run, script, len);
		if (r < 0)
			run_drop(run);
		else
			run_say(run);
	}
	session_env_free(&plan.env);
	return r;
}

/* --- its life ------------------------------------------------------------------------------- */

static void own_started(struct own *own, const struct init_event *event)
{
	struct run *run = own->run;

	own->pid = event->pid;
	own->pidfd = event->pidfd;
	run->state = RUN_RUNNING;
	run_note_pid(run, event->box_pid);
	tree_begin(run, &(struct usage){ 0 });
	run_say(run);
	if (own->pending_sig)
		own_signal(run, own->pending_sig);
}

static void own_ended(struct own *own, int status)
{
	struct run *run = own->run;
	struct keeper *k = keeper_of(run);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	enum run_state state = WIFEXITED(status) ? RUN_EXITED : RUN_SIGNALLED;
	struct group *left = take_ptr(run->group);

	if (code != 0 && group_oom_killed(left))
		state = RUN_OOM;
	else if (k->ending && code > 128)
		state = RUN_SIGNALLED;
	tree_note_end(run, left, &state, &code);
	own_free(run);
	run_end(run, state, code);
	run_say_end(run);
	if (group_count(left, 0) == 0)
		group_free(take_ptr(left));
	tree_leave(run, left);
}

static void own_failed(struct own *own, int error)
{
	struct run *run = own->run;

	own_free(run);
	group_free(take_ptr(run->group));
	run_fail(run, strerror(error));
	run_settle(run);
}

static void own_event(struct spawned *spawned, const struct init_event *event)
{
	struct own *own = container_of(spawned, struct own, spawned);

	switch (event->type) {
	case INIT_STARTED:
		own_started(own, event);
		break;
	case INIT_FAILED:
		own_failed(own, event->status);
		break;
	case INIT_EXITED:
		own_ended(own, event->status);
		break;
	}
}

int own_signal(struct run *run, int sig)
{
	struct own *own = run->own;

	if (sig < 1 || sig > SIGRTMAX)
		return -EINVAL;
	if (!own)
		return run->group ? tree_signal(run, sig) : -ESRCH;
	if (run->state == RUN_STARTING) {
		own->pending_sig = sig;
		return 0;
	}
	return processes_signal_group(own->pidfd, own->pid, sig);
}

int own_say_input(struct run *run)
{
	struct msg m = { .type = MSG_INPUT_FD, .run = run->number };

	if (!run->own || run->own->input < 0)
		return -EPIPE;
	daemon_send_fds(run->runs->daemon, &m, NULL, &run->own->input, 1);
	return 0;
}

int own_end_input(struct run *run)
{
	if (!run->own || run->own->input < 0)
		return -EPIPE;
	close_fd(&run->own->input);
	return 0;
}
