/* SPDX-License-Identifier: MIT */
/* Users of a box, from account files as a box may have them. */
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
#include "base/text.h"
#include "keeper/user.h"
#include "tests/lib/scratch.h"

static struct box box;
static struct box_user user;

static int make_root(void **state)
{
	char path[SCRATCH_SIZE];

	(void)state;
	if (!mkdtemp(scratch_name(path)))
		return -1;
	box.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*state = strdup(path);
	return mkdirat(box.root, "etc", 0755);
}

static int remove_root(void **state)
{
	int r = remove_tree_at(AT_FDCWD, *state);

	close(box.root);
	free(*state);
	return r;
}

static void put(const char *path, const char *text, size_t len)
{
	int fd;

	unlinkat(box.root, path, 0);
	fd = openat(box.root, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, len), 0);
	close(fd);
}

static void stretch(const char *path, off_t size)
{
	int fd = openat(box.root, path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

#define PASSWD(text) put("etc/passwd", text, sizeof(text) - 1)
#define GROUP(text) put("etc/group", text, sizeof(text) - 1)

static void expect(const char *name, const char *found, uint32_t uid, uint32_t gid)
{
	assert_int_equal(user_find(&box, name, &user), 0);
	assert_string_equal(user.name, found);
	assert_int_equal(user.uid, uid);
	assert_int_equal(user.gid, gid);
	assert_int_equal(user.groups[0], gid);
}

static void finds_names_and_numbers(void **state)
{
	(void)state;
	PASSWD("root:x:0:0:root:/root:/bin/bash\n"
	       "# comment:x:1:1::/:/\n"
	       "ann:x:1000:100:Ann,,,:/home/ann:/bin/sh\n"
	       "last:x:65535:65535::/l:relative");
	GROUP("");
	expect(NULL, "root", 0, 0);
	assert_string_equal(user.home, "/root");
	assert_string_equal(user.shell, "/bin/bash");
	expect("", "root", 0, 0);
	expect("root", "root", 0, 0);
	expect("ann", "ann", 1000, 100);
	assert_string_equal(user.home, "/home/ann");
	expect("1000", "ann", 1000, 100);
	expect("last", "last", 65535, 65535);
	assert_string_equal(user.shell, "");
	expect("4711", "4711", 4711, 4711);
	assert_string_equal(user.home, "/");
	assert_int_equal(user.n_groups, 1);
	expect("007", "7", 7, 7);
	assert_int_equal(user_find(&box, "bob", &user), -ENOENT);
	assert_int_equal(user_find(&box, "an", &user), -ENOENT);
}

static void refuses_what_is_no_name(void **state)
{
	static const char *const bad[] = { "65536", "99999999999999999999",
					   "-1",    "+",
					   ":b",    "a,b",
					   "a\nb",  "../x",
					   "a/b",   " a",
					   ".",	    "#x" };
	char longest[80];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(user_find(&box, bad[i], &user), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[64] = '\0';
	assert_int_equal(user_find(&box, longest, &user), -EINVAL);
	longest[63] = '\0';
	assert_int_equal(user_find(&box, longest, &user), -ENOENT);
}

static void groups_and_the_images_user(void **state)
{
	(void)state;
	PASSWD("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
	GROUP("ann:x:1000:\ncrew:x:7:ann\n");
	expect("ann", "ann", 1000, 1000);
	assert_int_equal(user.n_groups, 2);
	expect("ann:crew", "ann", 1000, 7);
	assert_int_equal(user.n_groups, 1);
	assert_string_equal(user.home, "/home/ann");
	expect("ann:9", "ann", 1000, 9);
	expect("5:6", "5", 5, 6);
	assert_int_equal(user_find(&box, "ann:none", &user), -ENOENT);
	assert_int_equal(user_find(&box, "none:7", &user), -ENOENT);
	assert_int_equal(user_find(&box, "ann:65536", &user), -EINVAL);
	assert_int_equal(user_find(&box, "ann:", &user), -EINVAL);
	box.set.user = "ann:crew";
	expect(NULL, "ann", 1000, 7);
	expect("", "ann", 1000, 7);
	expect("root", "root", 0, 0);
	box.set.user = NULL;
	expect(NULL, "root", 0, 0);
}

static void takes_rows_for_what_they_are(void **state)
{
	(void)state;
	PASSWD("twice:x:5:5::/first:\n"
	       "twice:x:6:6::/second:\n"
	       "big:x:65536:0::/:\n"
	       "biggroup:x:7:4294967296::/:\n"
	       "minus:x:-1:-1::/:\n"
	       "wide:x:18446744073709551616:0::/:\n"
	       "empty:x:::::\n"
	       "short:x:8\n"
	       "nohome:x:9:9\n"
	       ":x:10:10::/:\n"
	       "+nis:x:11:11::/:\n"
	       "nul\0:x:12:12::/:\n"
	       "extra:x:13:13:g:/h:/s:more:/and:/more\n"
	       "\n:::::::\n\xff\xfe:x:14:14::/:\n");
	expect("twice", "twice", 5, 5);
	assert_string_equal(user.home, "/first");
	expect("6", "twice", 6, 6);
	assert_int_equal(user_find(&box, "big", &user), -EINVAL);
	assert_int_equal(user_find(&box, "biggroup", &user), -EINVAL);
	assert_int_equal(user_find(&box, "minus", &user), -EINVAL);
	assert_int_equal(user_find(&box, "wide", &user), -EINVAL);
	assert_int_equal(user_find(&box, "empty", &user), -EINVAL);
	assert_int_equal(user_find(&box, "short", &user), -ENOENT);
	expect("nohome", "nohome", 9, 9);
	assert_string_equal(user.home, "/");
	expect("10", "10", 10, 10);
	expect("11", "11", 11, 11);
	assert_int_equal(user_find(&box, "nul", &user), -ENOENT);
	expect("12", "12", 12, 12);
	expect("13", "extra", 13, 13);
	assert_string_equal(user.shell, "/s");
	expect("14", "14", 14, 14);
	/* No row of root's. */
	expect("root", "root", 0, 0);
	assert_string_equal(user.home, "/");
}

static void finds_groups(void **state)
{
	struct text t = { 0 };

	(void)state;
	PASSWD("ann:x:1000:100::/:\n");
	GROUP("users:x:100:ann\n"
	      "a:x:1:ann,bob\n"
	      "b:x:2:bob,ann\n"
	      "c:x:3:bob,annabel,ban\n"
	      "d:x:4:,,ann\n"
	      "again:x:2:ann\n"
	      "big:x:65536:ann\n"
	      "minus:x:-3:ann\n"
	      "short:x:5\n"
	      "nul:x:6:\0ann\n"
	      "e:x:65535:ann:more\n");
	expect("ann", "ann", 1000, 100);
	assert_int_equal(user.n_groups, 5);
	assert_int_equal(user.groups[1], 1);
	assert_int_equal(user.groups[2], 2);
	assert_int_equal(user.groups[3], 4);
	assert_int_equal(user.groups[4], 65535);
	for (int i = 0; i < 1000; i++)
		text_printf(&t, "g%d:x:%d:ann\n", i, 2000 + i);
	put("etc/group", t.data, t.len);
	text_free(&t);
	expect("ann", "ann", 1000, 100);
	assert_int_equal(user.n_groups, INIT_MAX_GROUPS);
	assert_int_equal(user.groups[INIT_MAX_GROUPS - 1], 2000 + INIT_MAX_GROUPS - 2);
}

static void reads_a_bounded_part(void **state)
{
	struct text t = { 0 };

	(void)state;
	GROUP("");
	/* A line of a mebibyte hides what is behind it. */
	text_add_str(&t, "first:x:1:1::/:\n");
	while (t.len < 2 << 20)
		text_add_str(&t, "long:x:2:2:");
	text_add_str(&t, "\nbehind:x:3:3::/:\n");
	put("etc/passwd", t.data, t.len);
	expect("first", "first", 1, 1);
	assert_int_equal(user_find(&box, "long", &user), -ENOENT);
	assert_int_equal(user_find(&box, "behind", &user), -ENOENT);
	/* Long fields are none. */
	text_reset(&t);
	text_add_str(&t, "ann:x:4:4::/");
	while (t.len < 400)
		text_add_char(&t, 'h');
	text_add_str(&t, ":/");
	while (t.len < 800)
		text_add_char(&t, 's');
	put("etc/passwd", t.data, t.len);
	text_free(&t);
	expect("ann", "ann", 4, 4);
	assert_string_equal(user.home, "/");
	assert_string_equal(user.shell, "");
	/* A hole of a tebibyte. */
	PASSWD("ann:x:5:5::/:\n");
	stretch("etc/passwd", 1LL << 40);
	expect("ann", "ann", 5, 5);
	assert_int_equal(user_find(&box, "bob", &user), -ENOENT);
}

static void expect_none(void)
{
	expect(NULL, "root", 0, 0);
	expect("7", "7", 7, 7);
	assert_int_equal(user_find(&box, "ann", &user), -ENOENT);
}

static void does_without_a_file(void **state)
{
	(void)state;
	GROUP("");
	PASSWD("");
	expect_none();
	PASSWD("\0\0\0");
	expect_none();
	unlinkat(box.root, "etc/passwd", 0);
	expect_none();
	assert_int_equal(mkfifoat(box.root, "etc/passwd", 0666), 0);
	expect_none();
	unlinkat(box.root, "etc/passwd", 0);
	assert_int_equal(mkdirat(box.root, "etc/passwd", 0755), 0);
	expect_none();
	unlinkat(box.root, "etc/passwd", AT_REMOVEDIR);
	assert_int_equal(symlinkat("passwd", box.root, "etc/passwd"), 0);
	expect_none();
}

static void stays_in_the_root(void **state)
{
	char cwd_link[64];

	(void)state;
	GROUP("");
	PASSWD("");
	put("real", "ann:x:5:5::/:\n", 14);
	/* An absolute link, and one that climbs, are the box's. */
	unlinkat(box.root, "etc/passwd", 0);
	assert_int_equal(symlinkat("/real", box.root, "etc/passwd"), 0);
	expect("ann", "ann", 5, 5);
	unlinkat(box.root, "etc/passwd", 0);
	assert_int_equal(symlinkat("../../../../real", box.root, "etc/passwd"), 0);
	expect("ann", "ann", 5, 5);
	unlinkat(box.root, "etc/passwd", 0);
	snprintf(cwd_link, sizeof(cwd_link), "/proc/%d/root/etc/passwd", getpid());
	assert_int_equal(symlinkat(cwd_link, box.root, "etc/passwd"), 0);
	expect_none();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_names_and_numbers),
		cmocka_unit_test(refuses_what_is_no_name),
		cmocka_unit_test(groups_and_the_images_user),
		cmocka_unit_test(takes_rows_for_what_they_are),
		cmocka_unit_test(finds_groups),
		cmocka_unit_test(reads_a_bounded_part),
		cmocka_unit_test(does_without_a_file),
		cmocka_unit_test(stays_in_the_root),
	};

	return cmocka_run_group_tests_name("user", tests, make_root, remove_root);
}
