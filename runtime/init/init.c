/* SPDX-License-Identifier: MIT */
/*
 * sandbox-init: pid 1 of a box. Reaps what dies, and starts programs when the keeper asks.
 *
 * Must not trust anything in the box, must not wait for anybody but in its one poll, and must not
 * outlive the keeper: when the socket ends it exits, and the kernel ends the whole box with it.
 * Its file can be read by nobody but its owner on the host (mode 0511), so that the kernel gives
 * its memory to the host's user namespace (would_dump() in fs/exec.c) and no process of the box,
 * root or not, can trace it or look at its descriptors. All signals are blocked, and signals from
 * inside a pid namespace never reach a pid 1 that has no handler for them. One thread, no locks.
 *
 * From ready() on it may no longer end for any reason but the keeper's end.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

/* A program of a request that has not been reported as ended. */
struct child {
	uint64_t id;
	pid_t pid;
	int exec_pipe; /* -1: it has become its program */
};

enum {
	/* A child has at most two reports of init's under way, one REFUSED needs no child. */
	QUEUE_SIZE = 2 * INIT_MAX_CHILDREN + 64,
	N_FIXED = 2, /* polled before the exec pipes: the socket and the signals */
};

static struct {
	struct child children[INIT_MAX_CHILDREN];
	int n_children;
	struct init_report queue[QUEUE_SIZE]; /* a ring of reports that the socket did not take */
	unsigned int head, queued;
	struct pollfd polled[N_FIXED + INIT_MAX_CHILDREN];
	struct child *of_polled[N_FIXED + INIT_MAX_CHILDREN];
	struct spawn_plan plan;
	char packet[sizeof(struct init_request) + INIT_MAX_TEXT] __attribute__((aligned(8)));
	int signals;
} init;

static void flush_reports(void)
{
	while (init.queued) {
		const struct init_report *report = &init.queue[init.head];

		if (send(INIT_SOCK, report, sizeof(*report), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
				return;
			_exit(0); /* the keeper has gone */
		}
		init.head = (init.head + 1) % QUEUE_SIZE;
		init.queued--;
	}
}

static void report(enum init_report_type type, uint64_t id, int status)
{
	if (init.queued == QUEUE_SIZE)
		_exit(1); /* the keeper asked for more than it reads: it is not ours */
	init.queue[(init.head + init.queued++) % QUEUE_SIZE] = (struct init_report){
		.type = type,
		.id = id,
		.status = status,
	};
	flush_reports();
}

static void forget_child(struct child *child)
{
	if (child->exec_pipe >= 0)
		close(child->exec_pipe);
	*child = init.children[--init.n_children];
}

/* Has it become its program? Its pipe then ends; otherwise it holds the reason. */
static bool settle_exec(struct child *child)
{
	int error;
	ssize_t n;

	if (child->exec_pipe < 0)
		return true;
	do {
		n = read(child->exec_pipe, &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return true; /* not settled yet */
	if (n == sizeof(error)) {
		report(INIT_REPORT_REFUSED, child->id, error);
		forget_child(child);
		return false;
	}
	close(child->exec_pipe);
	child->exec_pipe = -1;
	report(INIT_REPORT_STARTED, child->id, 0);
	return true;
}

static void reap(void)
{
	struct signalfd_siginfo pending;
	int status;
	pid_t pid;

	while (read(init.signals, &pending, sizeof(pending)) > 0)
		; /* one stands for many; waitpid tells all */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < init.n_children; i++) {
			struct child *child = &init.children[i];

			if (child->pid != pid)
				continue;
			if (settle_exec(child)) {
				report(INIT_REPORT_EXITED, child->id, status);
				forget_child(child);
			}
			break;
		}
	}
}

/* Starts the program of init.plan; 0 or the errno for the keeper. */
static int start_child(const int fds[INIT_REQUEST_FDS])
{
	int pipe_ends[2];
	pid_t pid;

	if (init.n_children == INIT_MAX_CHILDREN)
		return EAGAIN;
	if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return errno;
	pid = fork();
	if (pid == 0) {
		close(pipe_ends[0]);
		spawn_program(&init.plan, fds, pipe_ends[1]);
	}
	if (pid < 0) {
		int error = errno;

		close(pipe_ends[0]);
		close(pipe_ends[1]);
		return error;
	}
	close(pipe_ends[1]);
	init.children[init.n_children++] = (struct child){
		.id = init.plan.request->id,
		.pid = pid,
		.exec_pipe = pipe_ends[0],
	};
	return 0;
}

/* The descriptors of a packet in fds, -1 where there is none; its length, 0 at the end, -errno. */
static ssize_t receive(int fds[INIT_REQUEST_FDS])
{
	struct iovec io = { .iov_base = init.packet, .iov_len = sizeof(init.packet) };
	union {
		char bytes[CMSG_SPACE(INIT_REQUEST_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;
	ssize_t n;

	for (int i = 0; i < INIT_REQUEST_FDS; i++)
		fds[i] = -1;
	n = recvmsg(INIT_SOCK, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return n;
}

/* One request; false when none is waiting. */
static bool serve_request(void)
{
	int fds[INIT_REQUEST_FDS], error = 0;
	ssize_t n = receive(fds);

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n == -EMFILE || n == -ENFILE || n == -ENOMEM)
		return false;
	if (n <= 0 || spawn_parse(&init.plan, init.packet, (size_t)n) < 0)
		_exit(n < 0); /* the keeper has gone, or is none of ours */
	for (uint32_t i = 0; i < INIT_PROGRAM_FDS + init.plan.request->n_doors; i++) {
		if (fds[i] < 0)
			error = EMFILE; /* lost on the way */
	}
	if (!error)
		error = start_child(fds);
	for (int i = 0; i < INIT_REQUEST_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	if (error)
		report(INIT_REPORT_REFUSED, init.plan.request->id, error);
	return true;
}

static int fill_polled(void)
{
	int n = N_FIXED;

	init.polled[0] = (struct pollfd){ .fd = INIT_SOCK, .events = POLLIN };
	if (init.queued)
		init.polled[0].events |= POLLOUT;
	init.polled[1] = (struct pollfd){ .fd = init.signals, .events = POLLIN };
	for (int i = 0; i < init.n_children; i++) {
		if (init.children[i].exec_pipe < 0)
			continue;
		init.of_polled[n] = &init.children[i];
		init.polled[n++] = (struct pollfd){
			.fd = init.children[i].exec_pipe,
			.events = POLLIN,
		};
	}
	return n;
}

static _Noreturn void serve(void)
{
	for (;;) {
		int n = fill_polled();

		if (poll(init.polled, (nfds_t)n, -1) < 0)
			continue;
		/* Downwards, as a forgotten child's place is taken by the last one. */
		for (int i = n - 1; i >= N_FIXED; i--) {
			if (init.polled[i].revents)
				settle_exec(init.of_polled[i]);
		}
		if (init.polled[1].revents)
			reap();
		flush_reports();
		if (init.polled[0].revents & (POLLIN | POLLHUP | POLLERR)) {
			while (serve_request())
				;
		}
	}
}

static int ready(void)
{
	sigset_t all;

	if (getpid() != 1)
		return -EPERM; /* started by hand: nothing to do, and nothing to harm */
	/* The process that made us set these two; they must hold whatever it was. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	prctl(PR_SET_NAME, "sandbox-init");
	if (fcntl(INIT_SOCK, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	sigfillset(&all);
	/* Were SIGCHLD ignored by inheritance, the dead would vanish without their status. */
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0 || signal(SIGCHLD, SIG_DFL) == SIG_ERR)
		return -errno;
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	init.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (init.signals < 0)
		return -errno;
	report(INIT_REPORT_READY, 0, 0);
	return 0;
}

int main(void)
{
	if (ready() < 0)
		return 1;
	serve();
}
