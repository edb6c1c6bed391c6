/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mounts/credentials: who gets which keys, from which files, and which files are refused. */
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

#include "base/cleanup.h"
#include "base/fd.h"
#include "mounts/credentials.h"
#include "tests/lib/scratch.h"

enum { NOBODY = 61001 };

static char folder[SCRATCH_SIZE], ini[SCRATCH_SIZE + 16], aws[SCRATCH_SIZE + 16],
	config[SCRATCH_SIZE + 16];
static struct object_error error;

static void write_text(const char *path, const char *text, mode_t mode)
{
	assert_int_equal(write_file_at(AT_FDCWD, path, text, strlen(text), 0), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(scratch_name(folder)))
		return -1;
	snprintf(ini, sizeof(ini), "%s/ini", folder);
	snprintf(aws, sizeof(aws), "%s/credentials", folder);
	snprintf(config, sizeof(config), "%s/config", folder);
	setenv("AWS_SHARED_CREDENTIALS_FILE", aws, 1);
	setenv("AWS_CONFIG_FILE", config, 1);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return remove_tree_at(AT_FDCWD, folder);
}

/* The result of reading section name for uid; what it brought is in *c. */
static int from_ini(struct credentials *c, const char *name, uid_t uid)
{
	int r;

	memset(&error, 'x', sizeof(error)); /* what was in it before does not count */
	error.text[sizeof(error.text) - 1] = '\0';
	r = credentials_from_ini(c, ini, name, uid, &error);
	if (r < 0) {
		assert_non_null(error.text);
		assert_true(error.text[0] && error.text[0] != 'x');
		assert_null(strstr(error.text, "s3cr3t"));
		assert_null(c->keys.secret_access_key);
	}
	return r;
}

static void sections(void **state)
{
	_cleanup_credentials_ struct credentials c = { 0 };
	char text[8192], token[4001];

	(void)state;
	memset(token, 't', sizeof(token));
	token[4000] = '\0';
	snprintf(text, sizeof(text),
		 "max_boxes = 4\n[limits]\nmemory = 1G\n# [credentials b]\n"
		 "[credentials a]\n; a comment\n  access_key_id = AKIA ; "
		 "mine\nsecret_access_key=s3cr3t=;#\n"
		 "session_token = %s\nendpoint = https://minio.example:9000\nregion = eu-1\n"
		 "style = path\nusers = *\n\n[credentials b]\nusers = root\n[credentials "
		 "open]\nusers = *\n",
		 token);
	write_text(ini, text, 0600);
	assert_int_equal(from_ini(&c, "a", NOBODY), 0);
	assert_string_equal(c.keys.access_key_id, "AKIA");
	assert_string_equal(c.keys.secret_access_key, "s3cr3t=;#");
	assert_string_equal(c.keys.session_token, token);
	assert_string_equal(c.endpoint, "https://minio.example:9000");
	assert_string_equal(c.region, "eu-1");
	assert_int_equal(c.style, OBJECT_STYLE_PATH);
	assert_false(c.endpoint_is_users);
	credentials_free(&c);
	assert_int_equal(from_ini(&c, "open", NOBODY), 0);
	assert_null(c.keys.access_key_id);
	assert_null(c.endpoint);
}

static void users(void **state)
{
	static const struct {
		const char *users;
		uid_t uid;
		int result;
	} rows[] = {
		{ "", 0, 0 },
		{ "", NOBODY, -EACCES },
		{ "users = root\n", 0, 0 },
		{ "users = root\n", NOBODY, -EACCES },
		{ "users = 61001\n", NOBODY, 0 },
		{ "users = 6100\n", NOBODY, -EACCES },
		{ "users = root, 5,61001\n", NOBODY, 0 },
		{ "users = daemon 61002\n", NOBODY, -EACCES },
		{ "users = *\n", NOBODY, 0 },
		{ "users = roo*\n", NOBODY, -EACCES },
		{ "users =\n", NOBODY, -EACCES },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_credentials_ struct credentials c = { 0 };
		char text[256];

		snprintf(text, sizeof(text),
			 "[credentials a]\naccess_key_id = A\nsecret_access_key = s3cr3t\n%s",
			 rows[i].users);
		write_text(ini, text, 0600);
		assert_int_equal(from_ini(&c, "a", rows[i].uid), rows[i].result);
	}
	/* Not there, or not for you: the same. */
	{
		_cleanup_credentials_ struct credentials c = { 0 };

		assert_int_equal(from_ini(&c, "none", 0), -EACCES);
		assert_int_equal(from_ini(&c, "", 0), -EACCES);
		assert_int_equal(from_ini(&c, "a]\n[credentials a", 0), -EACCES);
	}
}

static void wrong_sections(void **state)
{
	static const char *const rows[] = {
		"access_key_id = A\n",
		"secret_access_key = s3cr3t\n",
		"session_token = s3cr3t\n",
		"access_key = A\n",
		"access_key_id\n",
		"style = both\n",
		"access_key_id = A\nsecret_access_key = s3cr3t\nfile = /x\n",
		"access_key_id = A\nsecret_access_key = s3cr3t\nprofile = x\n",
		"file = relative\n",
		"[unclosed\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_credentials_ struct credentials c = { 0 };
		char text[256];

		snprintf(text, sizeof(text), "[credentials a]\nusers = *\n%s", rows[i]);
		write_text(ini, text, 0600);
		assert_int_equal(from_ini(&c, "a", NOBODY), -EINVAL);
		assert_non_null(strstr(error.text, ini));
	}
}

static void unsafe_files(void **state)
{
	static const char text[] = "[credentials a]\nusers = *\naccess_key_id = A\n"
				   "secret_access_key = s3cr3t\n[credentials open]\nusers = *\n";
	_cleanup_credentials_ struct credentials c = { 0 };

	(void)state;
	write_text(ini, text, 0644);
	assert_int_equal(from_ini(&c, "a", NOBODY), -EPERM);
	assert_non_null(strstr(error.text, "chmod 600"));
	assert_int_equal(from_ini(&c, "open", NOBODY), 0);
	credentials_free(&c);
	write_text(ini, text, 0640);
	assert_int_equal(from_ini(&c, "a", NOBODY), -EPERM);
	write_text(ini, text, 0602);
	assert_int_equal(from_ini(&c, "open", NOBODY), -EPERM);
	assert_int_equal(unlink(ini), 0);
	assert_int_equal(from_ini(&c, "a", NOBODY), -ENOENT);
	assert_int_equal(mkfifo(ini, 0600), 0);
	assert_int_equal(from_ini(&c, "a", NOBODY), -EPERM);
	assert_int_equal(unlink(ini), 0);
	assert_int_equal(symlink("/dev/zero", ini), 0);
	assert_int_equal(from_ini(&c, "a", NOBODY), -EPERM);
	assert_int_equal(unlink(ini), 0);
	assert_int_equal(write_file_at(AT_FDCWD, ini, "[a]\n\0x", 6, 0), 0);
	assert_int_equal(from_ini(&c, "a", NOBODY), -EINVAL);
}

static void other_files(void **state)
{
	_cleanup_credentials_ struct credentials c = { 0 };
	char text[1600];

	(void)state;
	write_text(
		aws,
		"[default]\naws_access_key_id = D\naws_secret_access_key = s3cr3t-d\nunknown = 1\n"
		"[work]\naws_access_key_id=W\naws_secret_access_key=s3cr3t-w\nregion = file-1\n"
		"[half]\naws_access_key_id=W\n",
		0600);
	snprintf(text, sizeof(text),
		 "[credentials f]\nusers = *\nfile = %s\nendpoint = http://ours\n"
		 "[credentials w]\nusers = *\nfile = %s\nprofile = work\n"
		 "[credentials n]\nusers = *\nfile = %s\nprofile = none\n"
		 "[credentials h]\nusers = *\nfile = %s\nprofile = half\n"
		 "[credentials own]\nusers = *\nprofile = work\n",
		 aws, aws, aws, aws);
	write_text(ini, text, 0644);
	assert_int_equal(from_ini(&c, "f", NOBODY), 0);
	assert_string_equal(c.keys.secret_access_key, "s3cr3t-d");
	assert_string_equal(c.endpoint, "http://ours");
	assert_false(c.endpoint_is_users);
	credentials_free(&c);
	assert_int_equal(from_ini(&c, "w", NOBODY), 0);
	assert_string_equal(c.keys.access_key_id, "W");
	assert_string_equal(c.region, "file-1");
	credentials_free(&c);
	assert_int_equal(from_ini(&c, "n", NOBODY), -ENOENT);
	assert_int_equal(from_ini(&c, "h", NOBODY), -EINVAL);
	/* A profile is each user's own: nobody has none, whatever our environment says. */
	assert_int_equal(from_ini(&c, "own", NOBODY), -ENOENT);
	if (getuid() == geteuid()) {
		assert_int_equal(from_ini(&c, "own", getuid()), 0);
		assert_string_equal(c.keys.access_key_id, "W");
		credentials_free(&c);
	}
	assert_int_equal(chmod(aws, 0644), 0);
	assert_int_equal(from_ini(&c, "w", NOBODY), -EPERM);
}

static void profiles(void **state)
{
	_cleanup_credentials_ struct credentials c = { 0 };

	(void)state;
	write_text(aws, "[work]\naws_access_key_id=W\naws_secret_access_key=s3cr3t\n", 0600);
	write_text(config, "[profile work]\nregion = eu-2\nendpoint_url = http://169.254.169.254\n",
		   0644);
	assert_int_equal(credentials_from_profile(&c, "work", getuid(), &error), 0);
	assert_string_equal(c.keys.access_key_id, "W");
	assert_string_equal(c.region, "eu-2");
	assert_true(c.endpoint_is_users);
	credentials_free(&c);
	assert_int_equal(unlink(config), 0);
	assert_int_equal(credentials_from_profile(&c, "work", getuid(), &error), 0);
	assert_null(c.region);
	credentials_free(&c);
	assert_int_equal(credentials_from_profile(&c, NULL, getuid(), &error), -ENOENT);
	assert_int_equal(credentials_from_profile(&c, "work", NOBODY, &error), -ENOENT);
	if (getuid() == 0) { /* another's file, in my own variable */
		assert_int_equal(chown(aws, NOBODY, NOBODY), 0);
		assert_int_equal(credentials_from_profile(&c, "work", 0, &error), -EPERM);
	}
}

static void environment(void **state)
{
	_cleanup_credentials_ struct credentials c = { 0 };

	(void)state;
	unsetenv("AWS_ACCESS_KEY_ID");
	assert_int_equal(credentials_from_environment(&c, getuid(), &error), -ENOENT);
	setenv("AWS_ACCESS_KEY_ID", "E", 1);
	unsetenv("AWS_SECRET_ACCESS_KEY");
	assert_int_equal(credentials_from_environment(&c, getuid(), &error), -EINVAL);
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t", 1);
	setenv("AWS_REGION", "", 1);
	setenv("AWS_DEFAULT_REGION", "eu-3", 1);
	setenv("AWS_ENDPOINT_URL", "http://there", 1);
	assert_int_equal(credentials_from_environment(&c, getuid(), &error), 0);
	assert_string_equal(c.keys.secret_access_key, "s3cr3t");
	assert_string_equal(c.region, "eu-3");
	assert_true(c.endpoint_is_users);
	credentials_free(&c);
	assert_int_equal(credentials_from_environment(&c, getuid() + 1, &error), -EACCES);
	assert_null(c.keys.access_key_id);
}

static void endpoints(void **state)
{
	static const struct {
		const char *patterns, *endpoint;
		bool allowed;
	} rows[] = {
		{ NULL, "https://s3.example", false },
		{ "", "https://s3.example", false },
		{ "https://s3.example", "https://s3.example", true },
		{ "https://s3.example", "http://s3.example", false },
		{ "https://s3.example", "https://s3.example:8080", false },
		{ "http://a, https://*.r2.cloudflarestorage.com",
		  "https://x.r2.cloudflarestorage.com", true },
		{ "https://*.r2.cloudflarestorage.com", "https://evil/x.r2.cloudflarestorage.com",
		  false },
		{ "https://*.example", "https://127.0.0.1#.example", false },
		{ "https://*.example", "https://user@127.0.0.1:80.example", false },
		{ "https://*.example", "https://127.0.0.1\\.example", false },
		{ "https://*.example", "https://127.0.0.1?.example", false },
		{ "*", "http://127.0.0.1", false },
		{ "*://*", "http://127.0.0.1", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(credentials_endpoint_allowed(rows[i].patterns, rows[i].endpoint),
				 rows[i].allowed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections),	  cmocka_unit_test(users),
		cmocka_unit_test(wrong_sections), cmocka_unit_test(unsafe_files),
		cmocka_unit_test(other_files),	  cmocka_unit_test(profiles),
		cmocka_unit_test(environment),	  cmocka_unit_test(endpoints),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
