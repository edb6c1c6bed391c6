/* SPDX-License-Identifier: MIT */
/* keeper/cgroup: reading the kernel's lists, and the folders of paths. Needs no cgroup. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "keeper/cgroup.h"
#include "tests/lib/scratch.h"

static char path[SCRATCH_SIZE];
static int dir = -1;

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(scratch_name(path)))
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	(void)state;
	close(dir);
	return remove_tree_at(AT_FDCWD, path);
}

static void words(void **state)
{
	(void)state;
	assert_true(cgroup_has_word("cpuset cpu io memory pids\n", "cpu"));
	assert_true(cgroup_has_word("cpuset cpu io memory pids\n", "pids"));
	assert_true(cgroup_has_word("memory", "memory"));
	assert_false(cgroup_has_word("cpuset io\n", "cpu"));
	assert_false(cgroup_has_word("hugetlb2 xmemory\n", "memory"));
	assert_false(cgroup_has_word("", "memory"));
}

static void keys(void **state)
{
	static const char text[] = "low 1\nhigh 2\noom 3\noom_kill 44\noom_group_kill 5\n";

	(void)state;
	assert_int_equal(write_file_at(dir, "memory.events", text, strlen(text), 0), 0);
	assert_int_equal(cgroup_read_key(dir, "memory.events", "low"), 1);
	assert_int_equal(cgroup_read_key(dir, "memory.events", "oom"), 3);
	assert_int_equal(cgroup_read_key(dir, "memory.events", "oom_kill"), 44);
	assert_int_equal(cgroup_read_key(dir, "memory.events", "kill"), 0);
	assert_int_equal(cgroup_read_key(dir, "nosuch", "kill"), 0);
}

static void folders(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(cgroup_mkdir_path(dir, "a/b/c"), 0);
	assert_int_equal(cgroup_mkdir_path(dir, "a/b/c"), 0);
	assert_int_equal(cgroup_mkdir_path(dir, "a/d"), 0);
	assert_int_equal(fstatat(dir, "a/b/c", &st, 0), 0);
	assert_int_equal(write_file_at(dir, "file", "", 0, 0), 0);
	assert_int_equal(cgroup_mkdir_path(dir, "file/x"), -ENOTDIR);
}

static int count_pids(int folder, void *ctx)
{
	return cgroup_read_procs(folder, ctx);
}

/* A box with groups, as on a machine of either version. */
static void folders_below(void **state)
{
	static const char *const names[] = { "box/1", "box/1/init", "box/1/g1", "box/1/g2" };
	struct pids list = { 0 };
	struct stat st;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[64], text[32];

		assert_int_equal(cgroup_mkdir_path(dir, names[i]), 0);
		snprintf(name, sizeof(name), "%s/cgroup.procs", names[i]);
		snprintf(text, sizeof(text), i == 0 ? "" : "%zu\n1%zu\n", i, i);
		assert_int_equal(write_file_at(dir, name, text, strlen(text), 0), 0);
	}
	{
		int box = openat(dir, "box/1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_int_equal(cgroup_each_folder(box, count_pids, &list), 0);
		close(box);
	}
	assert_int_equal(list.n, 6);
	free(list.pids);
	/* Not while one is in use, which a file stands for here. */
	assert_true(cgroup_rmdir_path(dir, "box/1") < 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s/cgroup.procs", names[i]);
		assert_int_equal(unlinkat(dir, name, 0), 0);
	}
	assert_int_equal(cgroup_rmdir_path(dir, "box/1"), 0);
	assert_int_equal(fstatat(dir, "box", &st, 0), -1);
}

static void limits_say_what_was_refused(void **state)
{
	struct failure why = { 0 };

	(void)state;
	assert_int_equal(cgroup_write_limit(dir, "nosuch.max", "5", &why), -ENOENT);
	assert_non_null(strstr(why.text, "nosuch.max = 5"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(keys),
		cmocka_unit_test(folders),
		cmocka_unit_test(folders_below),
		cmocka_unit_test(limits_say_what_was_refused),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
