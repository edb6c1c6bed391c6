/* SPDX-License-Identifier: MIT */
/*
 * Tries every row of the system call table (runtime/seccomp/table.h), and every number that is in no
 * row, from inside a box: tests/security/filter. Each call is made in a process of its own, with
 * arguments that no call can do anything with (-1 nearly everywhere), so that what is let through
 * ends in the kernel's own error, and what is refused in the table's. The numbers in conditions are
 * tried as they are, with each bit of their mask turned over, and with upper halves that the
 * kernel does not look at.
 *
 *     rows        prints "NAME NUMBER WANTED GOT" for each call, WANTED "through" or an errno
 *
 * What the table says is worked out here a third time, beside libseccomp and the filter's own code.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seccomp/table.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define HIGH UINT64_C(0xdead00000000)

enum {
	THROUGH = -1,
	SECONDS_EACH = 1,
	N_ARGS = 6,
	BEYOND = 600, /* numbers up to here are tried */
	SIGNALLED = 1000,
};

static int number_of(const struct seccomp_row *row)
{
	int nr = seccomp_syscall_resolve_name(row->name);

	return nr == __NR_SCMP_ERROR ? row->number : nr;
}

static bool holds(const struct seccomp_condition *c, const uint64_t args[N_ARGS])
{
	if (!c->mask)
		return true;
	return ((args[c->arg] & c->mask) == c->value) != c->differs;
}

static const struct seccomp_row *find(const struct seccomp_row *rows, size_t n, int nr,
				      const uint64_t args[N_ARGS])
{
	for (size_t i = 0; i < n; i++) {
		if (number_of(&rows[i]) == nr && holds(&rows[i].when[0], args) &&
		    holds(&rows[i].when[1], args))
			return &rows[i];
	}
	return NULL;
}

/* What the table says: THROUGH, 0 (pretended), or the errno. */
static int wanted(int nr, const uint64_t args[N_ARGS])
{
	const struct seccomp_row *refused = find(seccomp_refused, N(seccomp_refused), nr, args);

	if (refused)
		return refused->error == SECCOMP_PRETEND ? 0 : refused->error;
	if (nr > SECCOMP_LAST_KNOWN)
		return ENOSYS;
	return find(seccomp_allowed, N(seccomp_allowed), nr, args) ? THROUGH : EPERM;
}

/* The call's errno (0: it worked), or SIGNALLED and the signal that ended it. */
static int outcome(int nr, const uint64_t a[N_ARGS])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		/* So that nothing is EPERM for the want of it. */
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		alarm(SECONDS_EACH);
		errno = 0;
		_exit(syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) == -1 ? errno : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool looks_refused(int got)
{
	return got == EPERM || got == ENOSYS;
}

static void try(const char *name, int nr, const uint64_t args[N_ARGS])
{
	static const uint64_t nothing[N_ARGS];
	int want = wanted(nr, args), got = outcome(nr, args);

	/* Some say ENOSYS to a command that they do not know: another one, then. */
	if (want == THROUGH && looks_refused(got) && wanted(nr, nothing) == THROUGH)
		got = outcome(nr, nothing);
	printf("%s %d ", name, nr);
	if (want == THROUGH)
		printf("through");
	else
		printf("%s", want ? strerrorname_np(want) : "0");
	if (got > SIGNALLED)
		printf(" signal%d", got - SIGNALLED);
	else
		printf(" %s", got ? strerrorname_np(got) : "0");
	printf(" %llx %llx %llx\n", (unsigned long long)args[0], (unsigned long long)args[1],
	       (unsigned long long)args[2]);
	fflush(stdout);
}

/* A row as it is, and with each bit that its conditions look at turned over. */
static void try_row(const struct seccomp_row *row)
{
	uint64_t args[N_ARGS];
	int nr = number_of(row);

	if (nr < 0)
		return; /* not of this architecture */
	for (int high = 0; high < 2; high++) {
		bool any = false;

		for (int i = 0; i < N_ARGS; i++)
			args[i] = UINT64_MAX;
		for (size_t i = 0; i < N(row->when); i++) {
			const struct seccomp_condition *c = &row->when[i];

			if (!c->mask || c->differs)
				continue;
			any = true;
			args[c->arg] = c->value | (high && !(c->mask >> 32) ? HIGH : 0);
		}
		if (high && !any)
			return;
		try(row->name, nr, args);
		for (size_t i = 0; i < N(row->when); i++) {
			const struct seccomp_condition *c = &row->when[i];

			for (int bit = 0; bit < 32 && c->mask && !c->differs; bit++) {
				if (!(c->mask >> bit & 1))
					continue;
				args[c->arg] ^= UINT64_C(1) << bit;
				try(row->name, nr, args);
				args[c->arg] ^= UINT64_C(1) << bit;
			}
		}
	}
}

static bool has_row(int nr)
{
	for (size_t i = 0; i < N(seccomp_allowed); i++) {
		if (number_of(&seccomp_allowed[i]) == nr)
			return true;
	}
	for (size_t i = 0; i < N(seccomp_refused); i++) {
		if (number_of(&seccomp_refused[i]) == nr)
			return true;
	}
	return false;
}

int main(void)
{
	static const uint64_t none[N_ARGS] = { UINT64_MAX, UINT64_MAX, UINT64_MAX,
					       UINT64_MAX, UINT64_MAX, UINT64_MAX };

	setsid(); /* vhangup, where nothing refuses it, is for this session alone */
	for (size_t i = 0; i < N(seccomp_allowed); i++)
		try_row(&seccomp_allowed[i]);
	for (size_t i = 0; i < N(seccomp_refused); i++)
		try_row(&seccomp_refused[i]);
	for (int nr = 0; nr < BEYOND; nr++) {
		if (!has_row(nr))
			try("no_row", nr, none);
	}
	return 0;
}
