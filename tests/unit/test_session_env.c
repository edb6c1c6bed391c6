/* SPDX-License-Identifier: MIT */
/* keeper/session_env: the set, reading `export -p`, what a new shell gets, guessing at scripts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "keeper/session_env.h"

static void set_and_get(void **state)
{
	struct session_env env = { 0 }, copy = { 0 };
	char name[16];

	(void)state;
	for (int i = 99; i >= 0; i--) {
		snprintf(name, sizeof(name), "V%02d", i);
		assert_int_equal(session_env_set(&env, name, name + 1), 0);
	}
	assert_int_equal(env.n, 100);
	assert_string_equal(session_env_get(&env, "V42"), "42");
	assert_null(session_env_get(&env, "V"));
	assert_int_equal(session_env_set(&env, "V42", "new"), 0);
	assert_int_equal(env.n, 100);
	assert_int_equal(session_env_copy(&copy, &env), 0);
	assert_true(session_env_equal(&copy, &env));
	assert_int_equal(session_env_set(&env, "V42", NULL), 0);
	assert_int_equal(session_env_set(&env, "nope", NULL), 0);
	assert_null(session_env_get(&env, "V42"));
	assert_false(session_env_equal(&copy, &env));
	for (size_t i = 1; i < env.n; i++)
		assert_true(strcmp(env.vars[i - 1].name, env.vars[i].name) < 0);
	session_env_free(&env);
	session_env_free(&copy);
}

static void names(void **state)
{
	static const char *const good[] = { "A", "_", "a_1", "PATH" };
	static const char *const bad[] = { "",	     "1",   "1a",	"a-b",
					   "a=b",    "a b", "\xc3\xa9", "BASH_FUNC_f%%",
					   "__sbx_g" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(session_env_name_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(session_env_name_is_valid(bad[i]));
	assert_true(session_env_name_is_shells("PWD"));
	assert_false(session_env_name_is_shells("PATH"));
}

/* What the three shells print, taken from them. */
static const struct sample {
	const char *text, *name, *value;
} samples[] = {
	{ "declare -x A=\"x\"\n", "A", "x" },
	{ "declare -x A=\"\"\n", "A", "" },
	{ "declare -x A=\"two\nlines\"\n", "A", "two\nlines" },
	{ "declare -x A=\"\\\"\\$x\\`y\\\\z\"\n", "A", "\"$x`y\\z" },
	{ "declare -x A=$'\\001z\\E[0m\\t\\'q'\n", "A", "\001z\033[0m\t'q" },
	{ "declare -x A=$'\\xc3\\xa9 \\u00e9 \\U0001F600'\n", "A",
	  "\xc3\xa9 \xc3\xa9 \xf0\x9f\x98\x80" },
	{ "declare -rx A=\"1\"\n", "A", "1" },
	{ "declare -ix A=\"5\"\n", "A", "5" },
	{ "export A='it'\"'\"'s'\n", "A", "it's" },
	{ "export A='it'\\''s'\n", "A", "it's" },
	{ "export A='two\nlines'\n", "A", "two\nlines" },
	{ "export A=''\n", "A", "" },
	{ "export A='export B='\\''x'\\'''\n", "A", "export B='x'" },
	{ "declare -x OTHER\nexport THIRD\ndeclare -x A=\"after\"", "A", "after" },
	{ "declare -x __sbx_g=\"7\"\ndeclare -x A=\"a\"\n", "A", "a" },
};

static void exports_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct session_env env = { 0 };
		const char *rest;

		assert_int_equal(session_env_parse_exports(&env, samples[i].text, &rest), 0);
		assert_string_equal(rest, "");
		assert_int_equal(env.n, 1);
		assert_string_equal(session_env_get(&env, samples[i].name), samples[i].value);
		session_env_free(&env);
	}
}

static void functions_are_the_rest(void **state)
{
	static const char text[] =
		"declare -x A=\"1\"\nf () \n{ \n    declare -x B=\"2\"\n}\ndeclare -fx f\n";
	struct session_env env = { 0 };
	const char *rest;

	(void)state;
	assert_int_equal(session_env_parse_exports(&env, text, &rest), 0);
	assert_int_equal(env.n, 1);
	assert_ptr_equal(rest, text + strlen("declare -x A=\"1\"\n"));
	session_env_free(&env);
}

static void hostile_exports(void **state)
{
	static const char *const cut[] = { "declare -x A=\"x",	    "export A='x",
					   "declare -x A=$'x",	    "declare -x A=$'\\",
					   "declare -x A=$'\\q'\n", "declare -x A=$'\\000'\n",
					   "declare -x A=$'\\x'\n" };
	static const char *const none[] = { "",
					    "\n",
					    "garbage\n",
					    "declare -\n",
					    "declare -x\n",
					    "export\n",
					    "export 1=2\n",
					    "declare -x a-b=\"c\"\n",
					    "export =x\n" };
	const char *rest;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cut); i++) {
		struct session_env env = { 0 };

		assert_int_equal(session_env_parse_exports(&env, cut[i], &rest), -EINVAL);
		assert_int_equal(env.n, 0);
		session_env_free(&env);
	}
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct session_env env = { 0 };

		assert_int_equal(session_env_parse_exports(&env, none[i], &rest), 0);
		assert_int_equal(env.n, 0);
		session_env_free(&env);
	}
	/* Every prefix of every sample ends, somehow. */
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		_cleanup_free_ char *part = strdup(samples[i].text);

		for (size_t n = strlen(part); n > 0; n--) {
			struct session_env env = { 0 };

			part[n - 1] = '\0';
			session_env_parse_exports(&env, part, &rest);
			session_env_free(&env);
		}
	}
}

static void what_a_shell_starts_with(void **state)
{
	_cleanup_text_ struct text start = { 0 }, script = { 0 };
	struct session_env env = { 0 };
	char big[100];
	size_t n;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	session_env_set(&env, "A", "1");
	session_env_set(&env, "BASH_ENV", "/it's");
	session_env_set(&env, "BIG", big);
	session_env_set(&env, "OLDPWD", "/old");
	session_env_set(&env, "PWD", "/gone");
	session_env_set(&env, "SHELLOPTS", "noexec");
	assert_int_equal(session_env_split_for_start(&env, DRIVER_BASH, 64, &start, &n, &script),
			 0);
	assert_int_equal(n, 2);
	assert_memory_equal(start.data, "A=1\0OLDPWD=/old", 17);
	assert_non_null(strstr(script.data, "builtin export BASH_ENV='/it'\\''s' || builtin :\n"));
	assert_non_null(strstr(script.data, "builtin export BIG='xxx"));
	assert_null(strstr(script.data, "SHELLOPTS"));
	session_env_free(&env);
}

static void assignments(void **state)
{
	_cleanup_text_ struct text t = { 0 };

	(void)state;
	session_env_add_assignment(&t, DRIVER_SH, "A", "x y");
	session_env_add_assignment(&t, DRIVER_SH, "B", NULL);
	session_env_add_chdir(&t, DRIVER_BASH, "/a b");
	assert_string_equal(t.data, "command export A='x y' || :\n"
				    "command unset -v B || :\n"
				    "builtin cd -- '/a b' || builtin :\n");
}

static void scripts_that_change(void **state)
{
	static const char *const may[] = { "A=1",	 "export A",
					   "f; unset A", ". venv/bin/activate",
					   "true; . x",	 "(. x)",
					   "source x",	 "eval x",
					   "  . x",	 "a\n. x" };
	static const char *const no[] = { "",	      "true",	 "ls -la .",
					  "cp a . b", "cd /tmp", "echo hi. there" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(may); i++)
		assert_true(session_env_script_may_change(may[i], strlen(may[i])));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		assert_false(session_env_script_may_change(no[i], strlen(no[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_and_get),	    cmocka_unit_test(names),
		cmocka_unit_test(exports_are_read), cmocka_unit_test(functions_are_the_rest),
		cmocka_unit_test(hostile_exports),  cmocka_unit_test(what_a_shell_starts_with),
		cmocka_unit_test(assignments),	    cmocka_unit_test(scripts_that_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
