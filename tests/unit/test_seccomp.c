/* SPDX-License-Identifier: MIT */
/*
 * seccomp: the generated filter, run here by an interpreter of its BPF program instead of the
 * kernel, so that every argument can be tried. Which calls are refused and by which errno is what
 * a program in a box sees.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "gen/seccomp_filter.h"
#include "seccomp/table.h"

#ifdef __x86_64__

enum { SCRATCH = 16 };

/* What filter answers for a call: a SECCOMP_RET_… word. Classic BPF as the kernel has it. */
static uint32_t run(const struct sock_filter *filter, size_t n, const struct seccomp_data *data)
{
	uint32_t a = 0, mem[SCRATCH] = { 0 };

	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &filter[pc];
		bool jump = false;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k + 4 <= sizeof(*data));
			memcpy(&a, (const char *)data + i->k, sizeof(a));
			continue;
		case BPF_LD | BPF_MEM:
			assert_true(i->k < SCRATCH);
			a = mem[i->k];
			continue;
		case BPF_ST:
			assert_true(i->k < SCRATCH);
			mem[i->k] = a;
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			jump = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			jump = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			jump = a >= i->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			jump = (a & i->k) != 0;
			break;
		default:
			fail_msg("instruction 0x%x is not known here", i->code);
		}
		pc += jump ? i->jt : i->jf;
	}
	fail_msg("the program runs out");
	return 0;
}

enum { KILLED = -1, ALLOWED = 0 };

/* 0, the errno of a refusal, or KILLED: the stricter of both programs, the later one at a tie. */
static int ask_arch(uint32_t arch, uint32_t nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	const struct seccomp_data data = { .nr = (int)nr, .arch = arch, .args = { a0, a1, a2 } };
	uint32_t allowed = run(seccomp_filter_allowed, ARRAY_SIZE(seccomp_filter_allowed), &data);
	uint32_t refused = run(seccomp_filter_refused, ARRAY_SIZE(seccomp_filter_refused), &data);
	int32_t first = (int32_t)(refused & SECCOMP_RET_ACTION_FULL);
	int32_t second = (int32_t)(allowed & SECCOMP_RET_ACTION_FULL);
	uint32_t answer = second < first ? allowed : refused;

	switch (answer & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW:
		return ALLOWED;
	case SECCOMP_RET_ERRNO:
		return (int)(answer & SECCOMP_RET_DATA);
	default:
		assert_int_equal(answer & SECCOMP_RET_ACTION_FULL, SECCOMP_RET_KILL_PROCESS);
		return KILLED;
	}
}

static int ask(long nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	return ask_arch(AUDIT_ARCH_X86_64, (uint32_t)nr, a0, a1, a2);
}

#define HIGH UINT64_C(0xdead00000000) /* bits that the kernel does not look at */

static void ordinary_calls_pass(void **state)
{
	static const long calls[] = {
		SYS_read,   SYS_openat,	     SYS_execve, SYS_mmap,  SYS_futex,	SYS_ptrace,
		SYS_setuid, SYS_epoll_pwait, SYS_statx,	 SYS_vfork, SYS_chroot, SYS_exit_group,
		SYS_mknod,  SYS_fchmodat,    SYS_rseq,	 451,	    452,	466,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		assert_int_equal(ask(calls[i], 0, 0, 0), ALLOWED);
}

static void the_machine_is_out_of_reach(void **state)
{
	static const long calls[] = {
		SYS_mount,	   SYS_umount2,	       SYS_pivot_root,	    SYS_fsopen,
		SYS_fsconfig,	   SYS_fsmount,	       SYS_fspick,	    SYS_move_mount,
		SYS_open_tree,	   SYS_mount_setattr,  SYS_setns,	    SYS_bpf,
		SYS_userfaultfd,   SYS_keyctl,	       SYS_add_key,	    SYS_request_key,
		SYS_kexec_load,	   SYS_init_module,    SYS_finit_module,    SYS_delete_module,
		SYS_quotactl,	   SYS_io_uring_setup, SYS_io_uring_enter,  SYS_io_uring_register,
		SYS_sethostname,   SYS_reboot,	       SYS_swapon,	    SYS_perf_event_open,
		SYS_settimeofday,  SYS_acct,	       SYS_syslog,	    SYS_open_by_handle_at,
		SYS_clock_settime, SYS_iopl,	       SYS_ioperm,	    SYS_name_to_handle_at,
		SYS_modify_ldt,	   SYS_vhangup,	       SYS_fanotify_init,   SYS_quotactl_fd,
		SYS_adjtimex,	   SYS_setdomainname,  SYS_kexec_file_load, SYS_swapoff,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (ask(calls[i], 0, 0, 0) != EPERM)
			fail_msg("system call %ld is not refused", calls[i]);
	}
}

static void no_new_namespaces(void **state)
{
	static const uint64_t flags[] = {
		CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,    CLONE_NEWUSER,
		CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		assert_int_equal(ask(SYS_clone, flags[i], 0, 0), EPERM);
		assert_int_equal(ask(SYS_clone, flags[i] | 17 | HIGH, 0, 0), EPERM);
		assert_int_equal(ask(SYS_unshare, flags[i] | CLONE_FILES, 0, 0), EPERM);
	}
	assert_int_equal(ask(SYS_unshare, 0x80, 0, 0), EPERM); /* CLONE_NEWTIME */
	assert_int_equal(ask(SYS_unshare, CLONE_FILES | CLONE_FS, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_clone, CLONE_VM | CLONE_VFORK | 17, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_clone3, 0, 0, 0), ENOSYS);
}

static void sockets(void **state)
{
	(void)state;
	assert_int_equal(ask(SYS_socket, 1, 1, 0), ALLOWED);
	assert_int_equal(ask(SYS_socket, 2, 3, 1), ALLOWED);
	assert_int_equal(ask(SYS_socket, 10, 1, 6), ALLOWED);
	for (uint64_t family = 0; family < 64; family++) {
		int expected = family == 1 || family == 2 || family == 10 || family == 16 ? ALLOWED
											  : EPERM;

		assert_int_equal(ask(SYS_socket, family, 1, 0), expected);
		assert_int_equal(ask(SYS_socket, family | HIGH, 1, 0), expected);
	}
	assert_int_equal(ask(SYS_socket, 16, 3, 9), EINVAL);
	assert_int_equal(ask(SYS_socket, 16 | HIGH, 3, 9 | HIGH), EINVAL);
	assert_int_equal(ask(SYS_socket, 16, 3, 4), ALLOWED);
	assert_int_equal(ask(SYS_socket, 16, 3, 12), EPERM);
	assert_int_equal(ask(SYS_socketpair, 1, 1, 0), ALLOWED);
	assert_int_equal(ask(SYS_socketpair, 40, 1, 0), EPERM);
}

static void arguments_by_their_low_half(void **state)
{
	(void)state;
	assert_int_equal(ask(SYS_ioctl, 0, 0x5412, 0), EPERM);
	assert_int_equal(ask(SYS_ioctl, 0, 0x5412 | HIGH, 0), EPERM);
	assert_int_equal(ask(SYS_ioctl, 0, 0x541c, 0), EPERM);
	assert_int_equal(ask(SYS_ioctl, 0, 0x541c | HIGH, 0), EPERM);
	assert_int_equal(ask(SYS_ioctl, 0x5412, 0x5413, 0x5412), ALLOWED);
	assert_int_equal(ask(SYS_personality, 0, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_personality, 8, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_personality, 0xffffffff, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_personality, UINT64_MAX, 0, 0), ALLOWED);
	assert_int_equal(ask(SYS_personality, 0x0040000, 0, 0), EPERM);
	assert_int_equal(ask(SYS_personality, 0x0040000 | HIGH, 0, 0), EPERM);
}

static void newer_calls_do_not_exist(void **state)
{
	(void)state;
	for (long nr = SECCOMP_LAST_KNOWN + 1; nr < 1024; nr++)
		assert_int_equal(ask(nr, 0, 0, 0), ENOSYS);
	assert_int_equal(ask(457, 0, 0, 0), ENOSYS);
	assert_int_equal(ask(0x3fffffff, 0, 0, 0), ENOSYS);
}

static void foreign_calls_kill(void **state)
{
	(void)state;
	assert_int_equal(ask_arch(AUDIT_ARCH_I386, 20, 0, 0, 0), KILLED);
	assert_int_equal(ask_arch(AUDIT_ARCH_AARCH64, 172, 0, 0, 0), KILLED);
	assert_int_equal(ask(0x40000000 | SYS_getpid, 0, 0, 0), KILLED); /* x32 */
	/* -1 is what a tracer writes to have a call skipped: no number of x32. */
	assert_int_equal(ask(0xffffffff, 0, 0, 0), EPERM);
}

static bool same_conditions(const struct seccomp_row *a, const struct seccomp_row *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(a->when); i++) {
		if (a->when[i].arg != b->when[i].arg || a->when[i].mask != b->when[i].mask ||
		    a->when[i].value != b->when[i].value)
			return false;
	}
	return true;
}

/* No row may be there twice: the second would be a typing error for another one. */
static void every_row_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(seccomp_allowed); i++) {
		for (size_t j = 0; j < i; j++) {
			const struct seccomp_row *a = &seccomp_allowed[i], *b = &seccomp_allowed[j];

			if (!strcmp(a->name, b->name) && same_conditions(a, b))
				fail_msg("%s is there twice", a->name);
		}
		assert_int_equal(seccomp_allowed[i].error, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(seccomp_refused); i++)
		assert_int_not_equal(seccomp_refused[i].error, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_calls_pass),
		cmocka_unit_test(the_machine_is_out_of_reach),
		cmocka_unit_test(no_new_namespaces),
		cmocka_unit_test(sockets),
		cmocka_unit_test(arguments_by_their_low_half),
		cmocka_unit_test(newer_calls_do_not_exist),
		cmocka_unit_test(foreign_calls_kill),
		cmocka_unit_test(every_row_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else /* the numbers above are x86-64's */

int main(void)
{
	puts("ok # skip: written for x86-64");
	return 0;
}

#endif
