/* SPDX-License-Identifier: MIT */
/*
 * Build tool: makes seccomp_filter.h on standard output from table.h with libseccomp, so that a
 * box's start neither links the library nor spends the 2 ms that it takes. For the machine's own
 * architecture. No locks.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "table.h"

enum { MAX_INSTRUCTIONS = 4096 }; /* BPF_MAXINSNS */

static _Noreturn void fail(const char *what, int error)
{
	fprintf(stderr, "seccomp table: %s: %s\n", what, strerror(error));
	exit(1);
}

static void add_row(scmp_filter_ctx filter, const struct seccomp_row *row)
{
	int number = seccomp_syscall_resolve_name(row->name);
	uint32_t action = row->error == SECCOMP_PRETEND ? SCMP_ACT_ERRNO(0)
			  : row->error			? SCMP_ACT_ERRNO((uint32_t)row->error)
							: SCMP_ACT_ALLOW;
	struct scmp_arg_cmp args[ARRAY_SIZE(row->when)];
	unsigned int n = 0;
	int r;

	if (number == __NR_SCMP_ERROR)
		number = row->number;
	if (number == 0 && strcmp(row->name, "read"))
		fail(row->name, EINVAL); /* a typing error in the table */
	if (number < 0)
		return; /* this architecture does not have it */
	for (size_t i = 0; i < ARRAY_SIZE(row->when); i++) {
		const struct seccomp_condition *c = &row->when[i];

		if (c->mask && c->differs)
			args[n++] = (struct scmp_arg_cmp)SCMP_CMP64(c->arg, SCMP_CMP_NE, c->value);
		else if (c->mask)
			args[n++] = (struct scmp_arg_cmp)SCMP_CMP64(c->arg, SCMP_CMP_MASKED_EQ,
								    c->mask, c->value);
	}
	r = seccomp_rule_add_array(filter, action, number, n, args);
	if (r < 0)
		fail(row->name, -r);
}

/* The instructions of a filter with that default; *n of them. */
static struct sock_filter *build(uint32_t otherwise, const struct seccomp_row *rows, size_t n_rows,
				 size_t *n)
{
	scmp_filter_ctx filter = seccomp_init(otherwise);
	struct sock_filter *program = calloc(MAX_INSTRUCTIONS, sizeof(*program));
	FILE *file = tmpfile();
	int r;

	if (!filter || !program || !file)
		fail("no memory", ENOMEM);
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A binary search over the numbers. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r < 0)
		fail("libseccomp is too old", -r);
	for (size_t i = 0; i < n_rows; i++)
		add_row(filter, &rows[i]);
	r = seccomp_export_bpf(filter, fileno(file));
	if (r < 0)
		fail("cannot make the program", -r);
	rewind(file);
	*n = fread(program, sizeof(*program), MAX_INSTRUCTIONS, file);
	fclose(file);
	seccomp_release(filter);
	return program;
}

static void print_instruction(const struct sock_filter *i)
{
	printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", i->code, i->jt, i->jf, i->k);
}

/*
 * Before libseccomp's own program: ENOSYS for what is newer than the table. x32 numbers have bit
 * 30 set and go on to be killed, like another architecture.
 */
static void print_newer_calls(uint32_t arch)
{
	const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SECCOMP_LAST_KNOWN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	for (size_t i = 0; i < ARRAY_SIZE(head); i++)
		print_instruction(&head[i]);
}

static void print_program(const char *name, uint32_t otherwise, const struct seccomp_row *rows,
			  size_t n_rows, bool with_newer)
{
	size_t n;
	struct sock_filter *program = build(otherwise, rows, n_rows, &n);

	printf("static const struct sock_filter %s[] = {\n", name);
	if (with_newer)
		print_newer_calls(seccomp_arch_native());
	for (size_t i = 0; i < n; i++)
		print_instruction(&program[i]);
	printf("};\n\n");
	free(program);
}

int main(void)
{
	printf("/* Made by runtime/seccomp/generate.c from runtime/seccomp/table.h. */\n"
	       "#include <linux/filter.h>\n\n");
	print_program("seccomp_filter_allowed", SCMP_ACT_ERRNO(EPERM), seccomp_allowed,
		      ARRAY_SIZE(seccomp_allowed), true);
	print_program("seccomp_filter_refused", SCMP_ACT_ALLOW, seccomp_refused,
		      ARRAY_SIZE(seccomp_refused), false);
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
