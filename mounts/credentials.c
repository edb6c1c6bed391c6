/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose keys are whose: the ini file's sections and their users, a user's own profile, the
 * environment. Files are read by credentials_file.c. It logs nothing. No locks.
 */
#include "credentials.h"

#include <errno.h>
#include <fnmatch.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "credentials_file.h"

enum { PASSWD_MAX = 1 << 14 };

void credentials_free(struct credentials *credentials)
{
	object_credentials_wipe(&credentials->keys);
	free(credentials->endpoint);
	free(credentials->region);
	*credentials = (struct credentials){ 0 };
}

/* --- users ----------------------------------------------------------------------------------- */

/* The user of that number; its strings are in buf. NULL if there is none. */
static const struct passwd *find_user(uid_t uid, struct passwd *pw, char *buf, size_t size)
{
	struct passwd *found = NULL;

	return getpwuid_r(uid, pw, buf, size, &found) == 0 ? found : NULL;
}

static bool user_matches(const char *word, uid_t uid)
{
	char buf[PASSWD_MAX];
	const struct passwd *found;
	struct passwd pw;
	uint64_t number;

	if (!strcmp(word, "*"))
		return true;
	if (parse_u64(word, 0, UINT32_MAX - 1, &number) == 0)
		return number == uid;
	found = find_user(uid, &pw, buf, sizeof(buf));
	return found && !strcmp(found->pw_name, word);
}

static bool user_may(const char *users, uid_t uid)
{
	_cleanup_free_ char *list = strdup(users ? users : "root");
	char *rest = list, *word;

	if (uid == 0) /* may read the file as well */
		return true;
	while (rest && (word = strsep(&rest, ", \t")))
		if (*word && user_matches(word, uid))
			return true;
	return false;
}

/* --- the three sources ----------------------------------------------------------------------- */

static int check_pair(const struct credentials *credentials, const char *where,
		      struct object_error *error)
{
	const struct object_credentials *keys = &credentials->keys;

	if (!keys->access_key_id == !keys->secret_access_key &&
	    (keys->access_key_id || !keys->session_token))
		return 0;
	return credentials_refuse(error, -EINVAL,
				  "%s: an access key id and its secret belong together", where);
}

/* An endpoint or region given before stays. */
static void merge_place(struct credentials *out, struct credentials *from, bool users)
{
	if (!out->endpoint && from->endpoint) {
		out->endpoint = take_ptr(from->endpoint);
		out->endpoint_is_users = users;
	}
	if (!out->region)
		out->region = take_ptr(from->region);
}

/* Keys are all of one source. */
static void merge(struct credentials *out, struct credentials *from, bool users)
{
	object_credentials_wipe(&out->keys);
	out->keys = from->keys;
	from->keys = (struct object_credentials){ 0 };
	merge_place(out, from, users);
}

static int read_aws_file(struct credentials *out, const char *path, const char *profile,
			 uid_t owner, bool users, struct object_error *error)
{
	_cleanup_credentials_section_ struct credentials_section section = { 0 };
	struct credentials_file reading = {
		.path = path, .rows = credentials_aws_rows, .section = &section, .error = error
	};
	int r = credentials_read_section(&reading, profile, owner, !users);

	if (r < 0)
		return r;
	if (!section.found)
		return credentials_refuse(error, -ENOENT, "%s has no profile %.60s", path, profile);
	r = check_pair(&section.credentials, path, error);
	if (r == 0)
		merge(out, &section.credentials, users);
	return r;
}

/* A file of the user's: named in the environment by the user itself, or in the home directory. */
static char *user_file(uid_t uid, const char *variable, const char *below_home)
{
	const char *named = getuid() == uid && geteuid() == uid ? getenv(variable) : NULL;
	_cleanup_text_ struct text path = { 0 };
	char buf[PASSWD_MAX];
	const struct passwd *found;
	struct passwd pw;

	if (named && *named)
		return strdup(named);
	found = find_user(uid, &pw, buf, sizeof(buf));
	if (!found || found->pw_dir[0] != '/')
		return NULL;
	text_printf(&path, "%s/%s", found->pw_dir, below_home);
	return text_take(&path);
}

/* Region and endpoint, which are in another file by custom; not there is fine. */
static int add_config(struct credentials *out, const char *profile, uid_t uid,
		      struct object_error *error)
{
	_cleanup_free_ char *path = user_file(uid, "AWS_CONFIG_FILE", ".aws/config");
	_cleanup_credentials_section_ struct credentials_section section = { 0 };
	struct credentials_file reading = {
		.path = path, .rows = credentials_aws_rows, .section = &section, .error = error
	};
	_cleanup_text_ struct text name = { 0 };
	int r;

	if (!path || access(path, F_OK) < 0)
		return 0;
	text_printf(&name, "%s%s", strcmp(profile, "default") ? "profile " : "", profile);
	if (name.failed)
		return credentials_refuse(error, -ENOMEM, "out of memory");
	r = credentials_read_section(&reading, name.data, uid, false);
	if (r < 0)
		return r;
	merge_place(out, &section.credentials, true);
	return 0;
}

static int add_profile(struct credentials *out, const char *profile, uid_t uid,
		       struct object_error *error)
{
	_cleanup_free_ char *path =
		user_file(uid, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
	int r;

	if (!path)
		return credentials_refuse(error, -ENOENT,
					  "user %u has no home directory for a profile", uid);
	profile = profile && *profile ? profile : "default";
	r = read_aws_file(out, path, profile, uid, true, error);
	return r < 0 ? r : add_config(out, profile, uid, error);
}

int credentials_from_profile(struct credentials *out, const char *profile, uid_t uid,
			     struct object_error *error)
{
	int r;

	*out = (struct credentials){ 0 };
	r = add_profile(out, profile, uid, error);
	if (r < 0)
		credentials_free(out);
	return r;
}

/* What a section that may be used refers to. */
static int follow(struct credentials_section *section, const char *where, uid_t uid,
		  struct object_error *error)
{
	struct credentials *c = &section->credentials;

	if ((section->file || section->profile) && (c->keys.access_key_id || c->keys.session_token))
		return credentials_refuse(error, -EINVAL, "%s: either keys, or file or profile",
					  where);
	if (section->file && *section->file != '/')
		return credentials_refuse(error, -EINVAL, "%s: file is a path from / on", where);
	if (section->file)
		return read_aws_file(c, section->file,
				     section->profile ? section->profile : "default", geteuid(),
				     false, error);
	return section->profile ? add_profile(c, section->profile, uid, error) : 0;
}

int credentials_from_ini(struct credentials *out, const char *path, const char *name, uid_t uid,
			 struct object_error *error)
{
	_cleanup_credentials_section_ struct credentials_section section = { 0 };
	struct credentials_file reading = { .path = path,
					    .rows = credentials_ini_rows,
					    .strict = true,
					    .section = &section,
					    .error = error };
	_cleanup_text_ struct text wanted = { 0 };
	int r;

	*out = (struct credentials){ 0 };
	text_printf(&wanted, "credentials %s", name);
	if (wanted.failed)
		return credentials_refuse(error, -ENOMEM, "out of memory");
	r = credentials_read_section(&reading, wanted.data, geteuid(), true);
	if (r < 0)
		return r;
	/* Whether there is such a section is not for everybody to know. */
	if (!section.found || !user_may(section.users, uid))
		return credentials_refuse(error, -EACCES, "no credentials %.60s for user %u in %s",
					  name, uid, path);
	r = check_pair(&section.credentials, path, error);
	if (r == 0)
		r = follow(&section, path, uid, error);
	if (r == 0) {
		*out = section.credentials;
		section.credentials = (struct credentials){ 0 };
	}
	return r;
}

static int copy_variable(const char **to, const char *name, const char *other)
{
	const char *value = getenv(name);

	if ((!value || !*value) && other)
		value = getenv(other);
	if (!value || !*value)
		return 0;
	*to = strdup(value);
	return *to ? 0 : -ENOMEM;
}

int credentials_from_environment(struct credentials *out, uid_t uid, struct object_error *error)
{
	struct object_credentials *keys = &out->keys;
	int r;

	*out = (struct credentials){ 0 };
	if (getuid() != uid || geteuid() != uid)
		return credentials_refuse(error, -EACCES,
					  "the environment's keys are not for user %u", uid);
	if (copy_variable(&keys->access_key_id, "AWS_ACCESS_KEY_ID", NULL) < 0 ||
	    copy_variable(&keys->secret_access_key, "AWS_SECRET_ACCESS_KEY", NULL) < 0 ||
	    copy_variable(&keys->session_token, "AWS_SESSION_TOKEN", NULL) < 0 ||
	    copy_variable((const char **)&out->region, "AWS_REGION", "AWS_DEFAULT_REGION") < 0 ||
	    copy_variable((const char **)&out->endpoint, "AWS_ENDPOINT_URL_S3",
			  "AWS_ENDPOINT_URL") < 0)
		r = credentials_refuse(error, -ENOMEM, "out of memory");
	else if (!keys->access_key_id)
		r = credentials_refuse(error, -ENOENT, "no AWS_ACCESS_KEY_ID in the environment");
	else
		r = check_pair(out, "the environment", error);
	out->endpoint_is_users = out->endpoint != NULL;
	if (r < 0)
		credentials_free(out);
	return r;
}

bool credentials_endpoint_allowed(const char *patterns, const char *endpoint)
{
	_cleanup_free_ char *list = patterns ? strdup(patterns) : NULL;
	char *rest = list, *word;

	/* Nothing that a pattern of host names could be talked into matching. */
	if (!list || endpoint[strcspn(endpoint, "@%\\?# \t\r\n")])
		return false;
	while ((word = strsep(&rest, ", \t")))
		if (*word && fnmatch(word, endpoint, FNM_PATHNAME | FNM_NOESCAPE) == 0)
			return true;
	return false;
}
