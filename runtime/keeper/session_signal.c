/* SPDX-License-Identifier: MIT */
/*
 * Signals to a run. The shell is to live on, so a signal goes to what the shell waits for, and the
 * rest of the script is dropped by an INT to the shell, which its loop turns into the end of the
 * command. One thread, no locks.
 */
#include <errno.h>
#include <signal.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/processes.h"
#include "keeper/session.h"

enum {
	EARLY_MS = 3,	     /* between looks whether the script has begun; after */
	EARLY_MAX_MS = 4000, /* the watchdog deals with the shell */
	LATE_MS = 20,	     /* between looks for children that missed a signal */
	LATE_TRIES = 3,
	LATE_MAX_MS = 10000, /* the machine may be busy, but not for ever */
	SHELL_CPU_US = 5000, /* what a shell needs to mind a signal, or to fork before it does */
};

/* Only the shell itself runs (a builtin that loops). The first is a request, the second an end. */
static void signal_shell(struct session *s, int sig)
{
	if (s->command.unheard_signals++ > 0 || sig == SIGKILL)
		shell_kill(&s->shell);
	else
		shell_signal_group(&s->shell, SIGINT);
}

/* As the keys of a terminal do: to everything that the command runs in the foreground. */
static void signal_from_terminal(struct session *s, int sig)
{
	int n = processes_signal_foreground(s->shell.pid, 0, false, s->command.started_ticks);

	if (n == 0) {
		/* bash does not mind a QUIT. */
		if (sig == SIGQUIT)
			s->command.wanted_signal = sig;
		signal_shell(s, sig);
		return;
	}
	shell_signal_group(&s->shell, sig);
	processes_signal_groups(s->shell.pid, sig, s->command.started_ticks);
}

/*
 * The whole trees that the shell waits for, and then not the rest of the script. The shell is told
 * first: it minds the INT when its child has ended, and would be at the next command by then.
 */
static void signal_to_end(struct session *s, int sig)
{
	pid_t shell = s->shell.pid;
	uint64_t since = s->command.started_ticks;

	s->command.wanted_signal = sig;
	if (!processes_signal_foreground(shell, 0, false, since)) {
		signal_shell(s, sig);
		return;
	}
	shell_signal(&s->shell, SIGINT);
	processes_signal_foreground(shell, sig, true, since);
}

static void signal_command(struct session *s, int sig)
{
	switch (sig) {
	case SIGINT:
	case SIGQUIT:
		signal_from_terminal(s, sig);
		break;
	case SIGTERM:
	case SIGHUP:
	case SIGKILL:
		signal_to_end(s, sig);
		break;
	default:
		if (!processes_signal_foreground(s->shell.pid, sig, true, s->command.started_ticks))
			shell_signal(&s->shell, sig);
	}
}

/* The script is at the shell's door: the shell would throw a signal away, or die before it. */
static bool is_too_early(struct session *s)
{
	return s->shell.pid <= 0 || !session_command_has_begun(s);
}

static void late_set(struct session *s, int sig, bool sent, uint64_t from_ticks)
{
	struct command *c = &s->command;

	c->late.sig = sig;
	c->late.sent = sent;
	c->late.tries = LATE_TRIES;
	c->late.from_ticks = from_ticks;
	loop_timer_set(&s->keeper->loop, &s->watch_timer, sent ? LATE_MS : EARLY_MS);
}

/*
 * A child that the shell forks at this moment may lose a signal: it has the shell's handlers until
 * it executes its program, or is not there yet. So what has just begun is looked at again.
 */
static void signal_and_look_again(struct session *s, int sig)
{
	uint64_t since = s->command.started_ticks, from;
	bool ends = sig == SIGINT || sig == SIGQUIT || sig == SIGTERM || sig == SIGHUP ||
		    sig == SIGKILL;

	if (processes_count_foreground(s->shell.pid, since, &from) == 0)
		from = MAX(processes_now_ticks() - YOUNG_TICKS, since);
	s->command.late.sig = 0;
	s->command.late.until_ms = monotonic_ms() + LATE_MAX_MS;
	s->command.late.shell_cpu_us = processes_cpu_us(s->shell.pid);
	signal_command(s, sig);
	/* What is stopped would heed it only when it goes on, and nobody else continues it. */
	if (ends)
		processes_continue_foreground(s->shell.pid, since);
	if (ends && from != UINT64_MAX)
		late_set(s, sig, true, from);
}

/* Has the shell, or what it has just forked, not had its turn on the CPU since the signal? */
static bool is_held_up(struct session *s)
{
	struct command *c = &s->command;
	uint64_t unsettled;
	int64_t cpu_us;

	if (monotonic_ms() >= c->late.until_ms)
		return false;
	if (processes_count_foreground(s->shell.pid, c->late.from_ticks, &unsettled) > 0)
		return unsettled != UINT64_MAX;
	cpu_us = processes_cpu_us(s->shell.pid);
	return c->late.shell_cpu_us >= 0 && cpu_us >= 0 &&
	       cpu_us - c->late.shell_cpu_us < SHELL_CPU_US && processes_is_running(s->shell.pid);
}

bool session_signal_late(struct session *s)
{
	struct command *c = &s->command;
	bool held_up;

	if (!c->late.sent) {
		if (!is_too_early(s)) {
			signal_and_look_again(s, c->late.sig);
			return c->late.sig;
		}
		if (monotonic_ms() - c->started_ms >= EARLY_MAX_MS)
			return false;
		late_set(s, c->late.sig, false, 0);
		return true;
	}
	held_up = is_held_up(s);
	processes_signal_foreground(s->shell.pid, c->late.sig, true, c->late.from_ticks);
	if (!held_up && --c->late.tries == 0) {
		c->late.sig = 0;
		return false;
	}
	loop_timer_set(&s->keeper->loop, &s->watch_timer, LATE_MS);
	return true;
}

int session_signal_tree(struct session *s, int sig)
{
	bool ends = sig == SIGINT || sig == SIGQUIT || sig == SIGTERM || sig == SIGHUP ||
		    sig == SIGKILL;
	int n;

	if (is_too_early(s)) {
		late_set(s, sig, false, 0);
		return 0;
	}
	/* The shell first, see signal_to_end(). */
	if (ends) {
		s->command.wanted_signal = sig;
		if (processes_signal_foreground(s->shell.pid, 0, false, s->command.started_ticks))
			shell_signal(&s->shell, SIGINT);
		else
			/* Who waits for jobs in the background has others to be killed first. */
			signal_shell(s, sig == SIGKILL && group_count(s->group, s->shell.pid) > 0
						? SIGTERM
						: sig);
	}
	if (sig == SIGKILL)
		return group_kill_but(s->group, s->shell.pid);
	n = group_signal(s->group, sig, s->shell.pid);
	return n < 0 ? n : n > 0 || ends ? 0 : -ESRCH;
}

int session_signal(struct session *s, struct run *run, int sig)
{
	int fifos[N_STREAMS];

	if (sig < 1 || sig > SIGRTMAX)
		return -EINVAL;
	if (run == s->command.run && s->command.kind == COMMAND_RUN) {
		if (is_too_early(s))
			late_set(s, sig, false, 0);
		else
			signal_and_look_again(s, sig);
		return 0;
	}
	if (run->state == RUN_QUEUED) {
		if (sig != SIGINT && sig != SIGQUIT && sig != SIGTERM && sig != SIGHUP &&
		    sig != SIGKILL)
			return -ESRCH;
		return session_cancel(s, run, "it was taken off the queue by a signal");
	}
	if (run->group)
		return group_signal(run->group, sig, 0) > 0 ? 0 : -ESRCH;
	/* Its command has ended: who can still write to it is what is left of it. */
	for (int i = 0; i < N_STREAMS; i++)
		fifos[i] = run->streams[i] ? run->streams[i]->source.fd : -1;
	return processes_signal_holders(s->keeper->box.init_pid, sig, fifos, s->shell.pid) ? 0
											   : -ESRCH;
}
