/* SPDX-License-Identifier: MIT */
/* keeper/group: what is read of a group's files, on folders that look like those of either version. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "keeper/group_inside.h"
#include "tests/lib/scratch.h"

static char path[SCRATCH_SIZE];
static struct box box;
static struct groups groups = { .box = &box };
static struct group group;

static int make_folders(void **state)
{
	(void)state;
	if (!mkdtemp(scratch_name(path)))
		return -1;
	group = (struct group){ .groups = &groups, .dirs = { -1, -1, -1 } };
	for (int i = 0; i < N_GROUP_FILES; i++)
		group.files[i] = -1;
	group.dirs[0] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return group.dirs[0] < 0 ? -1 : 0;
}

static int remove_folders(void **state)
{
	(void)state;
	group_close_files(&group);
	close(group.dirs[0]);
	remove_tree_at(AT_FDCWD, path);
	return 0;
}

static void put(const char *name, const char *text)
{
	assert_int_equal(write_file_at(group.dirs[0], name, text, strlen(text), 0), 0);
	group_close_files(&group);
}

static void second_version(void **state)
{
	struct usage u;

	(void)state;
	put("cpu.stat", "usage_usec 1580\nuser_usec 1200\nsystem_usec 380\nnr_periods 0\n");
	put("memory.peak", "4194304\n");
	put("io.stat", "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=7 dios=1\n"
		       "7:0 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n");
	put("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n");
	group_usage(&group, &u);
	assert_int_equal(u.cpu_user_us, 1200);
	assert_int_equal(u.cpu_system_us, 380);
	assert_int_equal(u.memory_peak, 4194304);
	assert_int_equal(u.read, 4097);
	assert_int_equal(u.written, 8194);
	assert_true(group_oom_killed(&group));
	assert_false(group_oom_killed(&group));
	put("memory.events", "oom 1\noom_kill 3\n");
	assert_true(group_oom_killed(&group));
}

static void first_version(void **state)
{
	struct usage u;

	(void)state;
	put("cpuacct.usage", "9000000\n");
	put("cpuacct.usage_user", "2000000\n");
	put("cpuacct.usage_sys", "1000000\n");
	put("memory.max_usage_in_bytes", "1048576\n");
	put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
	group_usage(&group, &u);
	assert_int_equal(u.cpu_user_us, 6000);
	assert_int_equal(u.cpu_system_us, 3000);
	assert_int_equal(u.memory_peak, 1048576);
	assert_int_equal(u.read, UINT64_MAX);
	assert_int_equal(u.written, UINT64_MAX);
	assert_true(group_oom_killed(&group));
	put("cpuacct.usage_user", "0\n");
	put("cpuacct.usage_sys", "0\n");
	group_usage(&group, &u);
	assert_int_equal(u.cpu_user_us, 9000);
	assert_int_equal(u.cpu_system_us, 0);
}

static void machine_that_tells_nothing(void **state)
{
	struct usage u;

	(void)state;
	/* That of the first version's cpu controller. */
	put("cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n");
	put("memory.peak", "garbage\n");
	group_usage(&group, &u);
	assert_int_equal(u.cpu_user_us, UINT64_MAX);
	assert_int_equal(u.cpu_system_us, UINT64_MAX);
	assert_int_equal(u.memory_peak, UINT64_MAX);
	assert_int_equal(u.read, UINT64_MAX);
	assert_false(group_oom_killed(&group));
	group_reset_peak(&group);
}

static void count(void **state)
{
	(void)state;
	put("cgroup.procs", "");
	assert_int_equal(group_count(&group, 0), 0);
	put("cgroup.procs", "12\n7\n4000000\n");
	assert_int_equal(group_count(&group, 0), 3);
	assert_int_equal(group_count(&group, 7), 2);
	assert_int_equal(group_count(&group, 8), 3);
	/* Of a pid namespace that we do not see. */
	put("cgroup.procs", "0\n5\n");
	assert_int_equal(group_count(&group, 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(second_version, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(first_version, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(machine_that_tells_nothing, make_folders,
						remove_folders),
		cmocka_unit_test_setup_teardown(count, make_folders, remove_folders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
