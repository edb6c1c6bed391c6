/* SPDX-License-Identifier: MIT */
/* The attempts of the probe: probe.c and what its parts share. */
#ifndef SECURITY_PROBE_H
#define SECURITY_PROBE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#define HIGH UINT64_C(0xdead00000000) /* bits that the kernel does not look at */

enum { OUTCOME_SIGNAL = 1000 };

/* As an outcome among the errnos of TRY. */
#define KILLED_BY(sig) (OUTCOME_SIGNAL + (sig))

/* An attempt: what it is called, which outcomes are the wall's, what to try (>= 0: it worked). */
#define TRY(name, expression, ...)                                  \
	do {                                                        \
		static const int held_[] = { __VA_ARGS__, 0 };      \
		pid_t pid_ = probe.only_list ? 1 : fork();          \
                                                                    \
		if (pid_ == 0) {                                    \
			probe_prepare();                            \
			errno = 0;                                  \
			_exit((long)(expression) >= 0 ? 0 : errno); \
		}                                                   \
		probe_report(name, pid_, held_);                    \
	} while (0)

struct probe {
	bool on_machine, only_list;
	int port;
	const char *abstract_name, *machine_file, *machine_word;
};

extern struct probe probe;

/* In the process of an attempt, before it. */
void probe_prepare(void);
/* Waits for that process and prints the attempt's line. */
void probe_report(const char *name, pid_t pid, const int *held);

static inline long fail(int error)
{
	errno = error;
	return -1;
}

void try_namespaces(void);
void try_mounts(void);
void try_kernel(void);
void try_sockets(void);

#endif
