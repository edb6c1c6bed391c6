/* SPDX-License-Identifier: MIT */
/*
 * symlink_show() and symlink_store(): a table of what users see, and the law that no target, however
 * hostile, goes up after it went down or up more often than it may.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxfs/files_internal.h"

struct row {
	enum files_kind kind;
	unsigned int depth;
	const char *target, *shown;
};

static const struct row rows[] = {
	/* As it is. */
	{ FILES_WORKSPACE, 0, "a", "a" },
	{ FILES_WORKSPACE, 0, "a//b/./c/", "a//b/./c/" },
	{ FILES_WORKSPACE, 0, ".", "." },
	{ FILES_WORKSPACE, 1, "..", ".." },
	{ FILES_WORKSPACE, 2, "../../a", "../../a" },
	{ FILES_WORKSPACE, 2, "./../a", "./../a" },
	{ FILES_WORKSPACE, 0, "...", "..." },
	{ FILES_WORKSPACE, 0, "..a/b..", "..a/b.." },
	{ FILES_WORKSPACE, 0, "a\nb", "a\nb" },
	/* Absolute. */
	{ FILES_WORKSPACE, 0, "/workspace/a", "a" },
	{ FILES_WORKSPACE, 0, "/workspace", "." },
	{ FILES_WORKSPACE, 0, "//workspace//", "." },
	{ FILES_WORKSPACE, 2, "/workspace/a/b", "../../a/b" },
	{ FILES_WORKSPACE, 0, "/workspaces", "../root/workspaces" },
	{ FILES_WORKSPACE, 0, "/etc/passwd", "../root/etc/passwd" },
	{ FILES_WORKSPACE, 3, "/etc/passwd", "../../../../root/etc/passwd" },
	{ FILES_WORKSPACE, 0, "/", "../root" },
	{ FILES_WORKSPACE, 1, "///", "../../root" },
	{ FILES_ROOT, 0, "/etc/passwd", "etc/passwd" },
	{ FILES_ROOT, 2, "/etc/passwd", "../../etc/passwd" },
	{ FILES_ROOT, 0, "/", "." },
	{ FILES_ROOT, 2, "/", "../.." },
	{ FILES_ROOT, 1, "/workspace/a", "../workspace/a" },
	/* Too far up. */
	{ FILES_WORKSPACE, 0, "../etc/passwd", "../root/etc/passwd" },
	{ FILES_WORKSPACE, 0, "../workspace/a", "a" },
	{ FILES_WORKSPACE, 1, "../../../../../../etc/passwd", "../../root/etc/passwd" },
	{ FILES_WORKSPACE, 0, "..", "../root" },
	{ FILES_WORKSPACE, 0, "../root/x", "../root/root/x" },
	{ FILES_ROOT, 0, "../etc/passwd", "etc/passwd" },
	{ FILES_ROOT, 0, "..", "." },
	{ FILES_ROOT, 1, "../../../..", ".." },
	{ FILES_ROOT, 2, "../../../a", "../../a" },
	/* Up after down, by its letters. */
	{ FILES_WORKSPACE, 0, "a/../b", "b" },
	{ FILES_WORKSPACE, 0, "a/..", "." },
	{ FILES_WORKSPACE, 0, "a/../../etc", "../root/etc" },
	{ FILES_WORKSPACE, 1, "a/../../b", "../b" },
	{ FILES_WORKSPACE, 1, "../a/../b/./c", "../b/c" },
	{ FILES_WORKSPACE, 0, "/usr/lib/../share", "../root/usr/share" },
	{ FILES_WORKSPACE, 0, "/workspace/../etc", "../root/etc" },
	{ FILES_WORKSPACE, 0, "/usr/../workspace/a", "a" },
	{ FILES_WORKSPACE, 0, "/a/../../../../b", "../root/b" },
	{ FILES_ROOT, 1, "a/../../../../b", "../b" },
	{ FILES_ROOT, 0, "/usr/lib/../../../../share", "share" },
};

static void shows_what_users_see(void **state)
{
	char out[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];

		assert_int_equal(symlink_show(r->kind, r->depth, r->target, NULL, NULL, out), 0);
		if (strcmp(out, r->shown))
			print_error("row %zu: %s at depth %u\n", i, r->target, r->depth);
		assert_string_equal(out, r->shown);
	}
}

/* Up first, at most `depth` times, or once more if `root` comes next; then down only. */
static void assert_safe(enum files_kind kind, unsigned int depth, const char *target,
			const char *shown)
{
	unsigned int ups = 0;
	bool down = false, via_root = false;
	const char *s = shown;

	while (*s) {
		size_t len;

		s += strspn(s, "/");
		len = strcspn(s, "/");
		if (len == 2 && !memcmp(s, "..", 2)) {
			if (down)
				fail_msg("%s at %u became %s", target, depth, shown);
			ups++;
		} else if (len && !(len == 1 && *s == '.')) {
			if (!down && ups == depth + 1)
				via_root = len == 4 && !memcmp(s, "root", 4);
			down = true;
		}
		s += len;
	}
	if (shown[0] == '/' || !shown[0] || ups > depth + 1 ||
	    (ups == depth + 1 && (kind != FILES_WORKSPACE || !via_root)))
		fail_msg("%s at %u became %s", target, depth, shown);
}

static const char *const pieces[] = {
	"..",	     "..",   "..",    ".",   "",    "a",   "b",
	"workspace", "root", "files", "etc", "...", "..a", "proc",
};

/* A resolver that answers anything a hostile box could make the true one answer. */
static int any_resolve(void *ctx, bool absolute, const char *path, char canonical[PATH_MAX])
{
	static const char *const answers[] = { "", "a", "a/b", "root", "workspace/x" };
	unsigned int n = rand_r(ctx) % (ARRAY_SIZE(answers) + 1);

	(void)absolute;
	(void)path;
	if (n == ARRAY_SIZE(answers))
		return -2;
	strcpy(canonical, answers[n]);
	return 0;
}

static void never_leads_out(void **state)
{
	unsigned int seed = 1;

	(void)state;
	for (int i = 0; i < 300000; i++) {
		char target[256] = "", out[PATH_MAX], again[PATH_MAX];
		enum files_kind kind = rand_r(&seed) % 2 ? FILES_ROOT : FILES_WORKSPACE;
		unsigned int depth = rand_r(&seed) % 5, n = 1 + rand_r(&seed) % 9;

		if (rand_r(&seed) % 3 == 0)
			strcat(target, "/");
		for (unsigned int k = 0; k < n; k++) {
			strcat(target, pieces[rand_r(&seed) % ARRAY_SIZE(pieces)]);
			if (k + 1 < n || rand_r(&seed) % 4 == 0)
				strcat(target, "/");
		}
		if (!target[0])
			continue;
		assert_int_equal(symlink_show(kind, depth, target,
					      rand_r(&seed) % 2 ? any_resolve : NULL, &seed, out),
				 0);
		assert_safe(kind, depth, target, out);
		/* What is stored of a text from outside is safe as well. */
		assert_int_equal(symlink_store(kind, depth, target, again), 0);
		assert_int_equal(symlink_show(kind, depth, again, NULL, NULL, out), 0);
		assert_safe(kind, depth, again, out);
	}
}

static void reads_back_as_written(void **state)
{
	static const char *const texts[] = {
		"a", "a/b", "../x", "../../x", "../../../root/etc/hosts", "../../../root", "."
	};
	char stored[PATH_MAX], shown[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(symlink_store(FILES_WORKSPACE, 2, texts[i], stored), 0);
		assert_int_equal(symlink_show(FILES_WORKSPACE, 2, stored, NULL, NULL, shown), 0);
		assert_string_equal(shown, texts[i]);
	}
	symlink_store(FILES_WORKSPACE, 0, "../root/etc/hosts", stored);
	assert_string_equal(stored, "/etc/hosts");
	symlink_store(FILES_WORKSPACE, 0, "/etc/hosts", stored);
	assert_string_equal(stored, "/etc/hosts");
}

static void refuses_what_is_too_long(void **state)
{
	char target[PATH_MAX], out[PATH_MAX];

	(void)state;
	memset(target, 'a', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	assert_int_equal(symlink_show(FILES_WORKSPACE, 0, target, NULL, NULL, out), 0);
	assert_string_equal(out, target);
	target[0] = '/';
	assert_int_equal(symlink_show(FILES_WORKSPACE, 0, target, NULL, NULL, out), -ENAMETOOLONG);
	assert_int_equal(symlink_show(FILES_ROOT, 0, target, NULL, NULL, out), 0);
	assert_int_equal(symlink_show(FILES_ROOT, 2, target, NULL, NULL, out), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_what_users_see),
		cmocka_unit_test(never_leads_out),
		cmocka_unit_test(reads_back_as_written),
		cmocka_unit_test(refuses_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
