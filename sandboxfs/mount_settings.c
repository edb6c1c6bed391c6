/* SPDX-License-Identifier: MIT */
/*
 * The text of mounts/NAME: a bucket's URL, or lines of settings. Must not touch a box, ask a server,
 * or know a secret but to pass on the daemon's own environment. No locks.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "daemon.h"
#include "mount.h"
#include "runtime.h"

enum { VALUE_MAX = 1024, TARGET_MAX = 1000 };

#define SOURCE_BEGIN "s3://"

/* --- checks of single values: NULL or what is wrong ------------------------------------------------ */

static const char *check_source(const char *value)
{
	const char *name = value + strlen(SOURCE_BEGIN), *end;

	if (strncmp(value, SOURCE_BEGIN, strlen(SOURCE_BEGIN)) || !*name || *name == '/')
		return "source is s3://BUCKET or s3://BUCKET/PREFIX";
	end = name + strcspn(name, "/?#@:%\\ ");
	return *end && *end != '/' ? "no bucket has such a name" : NULL;
}

/* Has a component "." or ".."? */
static bool is_winding(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/")) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if ((len == 1 && *p == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return true;
	}
	return false;
}

static const char *check_target(const char *value)
{
	if (*value != '/' || is_winding(value) || strlen(value) > TARGET_MAX)
		return "target is a path of the box, from / on, without . and ..";
	if (!strcmp(value, "/"))
		return "nothing can be mounted over the whole box";
	if (!strncmp(value, "/workspace", 10) && !value[10 + strspn(value + 10, "/")])
		return "/workspace is the box's files/ itself; mount below it";
	return NULL;
}

static const char *check_endpoint(const char *value)
{
	bool http = !strncmp(value, "http://", 7) || !strncmp(value, "https://", 8);
	const char *host = strstr(value, "://");

	if (!http || !host[3] || host[3] == '/')
		return "endpoint is a URL as https://minio.example.net:9000";
	if (strpbrk(value, "@%\\?# "))
		return "an endpoint has a host and a port, and neither keys nor a query";
	return NULL;
}

static const char *check_style(const char *value)
{
	return strcmp(value, "path") && strcmp(value, "virtual") ? "style is path or virtual"
								 : NULL;
}

static const char *check_name(const char *value)
{
	return name_is_valid(value) ? NULL : "no section of the ini file is called so";
}

static const char *check_region(const char *value)
{
	return value[strcspn(value, "/ \t")] ? "a region has no blank in its name" : NULL;
}

/* --- the table --------------------------------------------------------------------------------------- */

enum kind { KIND_TEXT, KIND_BOOL, KIND_SIZE };

static const struct setting {
	const char *key;
	enum kind kind;
	size_t offset;
	const char *(*check)(const char *value); /* of a text */
	const char *field;			 /* of runtime.h; NULL: not as it stands */
} settings[] = {
	{ "source", KIND_TEXT, offsetof(struct mount_settings, source), check_source, "source" },
	{ "target", KIND_TEXT, offsetof(struct mount_settings, target), check_target, "target" },
	{ "readonly", KIND_BOOL, offsetof(struct mount_settings, readonly), NULL, NULL },
	{ "credentials", KIND_TEXT, offsetof(struct mount_settings, credentials), check_name,
	  "credentials" },
	{ "profile", KIND_TEXT, offsetof(struct mount_settings, profile), check_name, "profile" },
	{ "endpoint", KIND_TEXT, offsetof(struct mount_settings, endpoint), check_endpoint,
	  "endpoint" },
	{ "region", KIND_TEXT, offsetof(struct mount_settings, region), check_region, "region" },
	{ "style", KIND_TEXT, offsetof(struct mount_settings, style), check_style, "style" },
	{ "cache", KIND_SIZE, offsetof(struct mount_settings, cache), NULL, NULL },
	{ "spool", KIND_SIZE, offsetof(struct mount_settings, spool), NULL, NULL },
};

static char **text_of(const struct mount_settings *set, const struct setting *s)
{
	return (char **)((char *)set + s->offset);
}

static uint64_t *size_of(const struct mount_settings *set, const struct setting *s)
{
	return (uint64_t *)((char *)set + s->offset);
}

static bool *bool_of(const struct mount_settings *set, const struct setting *s)
{
	return (bool *)((char *)set + s->offset);
}

static const struct setting *setting_find(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		if (!strcmp(settings[i].key, key))
			return &settings[i];
	}
	return NULL;
}

void mount_settings_free(struct mount_settings *set)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		if (settings[i].kind == KIND_TEXT)
			free(*text_of(set, &settings[i]));
	}
	*set = (struct mount_settings){ 0 };
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool mount_settings_equal(const struct mount_settings *a, const struct mount_settings *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];

		if ((s->kind == KIND_TEXT && !same_text(*text_of(a, s), *text_of(b, s))) ||
		    (s->kind == KIND_BOOL && *bool_of(a, s) != *bool_of(b, s)) ||
		    (s->kind == KIND_SIZE && *size_of(a, s) != *size_of(b, s)))
			return false;
	}
	return true;
}

void mount_settings_each(const struct mount_settings *set, struct text *out,
			 void (*add)(struct text *t, const char *key, const char *value))
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];
		char buf[32];

		if (s->kind == KIND_TEXT && *text_of(set, s))
			add(out, s->key, *text_of(set, s));
		else if (s->kind == KIND_BOOL)
			add(out, s->key, *bool_of(set, s) ? "yes" : "no");
		else if (s->kind == KIND_SIZE && *size_of(set, s))
			add(out, s->key, format_size(buf, *size_of(set, s)));
	}
}

static void add_line(struct text *t, const char *key, const char *value)
{
	text_printf(t, "%s = %s\n", key, value);
}

void mount_settings_show(const struct mount_settings *set, struct text *out)
{
	if (set->source)
		mount_settings_each(set, out, add_line);
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* Slashes at the end and in a row say nothing. */
static void tidy_path(char *path)
{
	char *to = path;

	for (const char *p = path; *p; p++) {
		if (*p == '/' && (p[1] == '/' || (!p[1] && to > path)))
			continue;
		*to++ = *p;
	}
	*to = '\0';
}

/* 0, or -EINVAL, -ENOMEM; *why: what is wrong with it. */
static int set_value(struct mount_settings *set, const struct setting *s, const char *value,
		     const char **why)
{
	int r;

	*why = NULL;
	if (s->kind == KIND_BOOL) {
		*why = "readonly is yes or no";
		return parse_bool(value, bool_of(set, s));
	}
	if (s->kind == KIND_SIZE) {
		*why = "a size is written as 512M or 2G";
		return parse_size(value, size_of(set, s)) < 0 || !*size_of(set, s) ? -EINVAL : 0;
	}
	*why = s->check(value);
	if (*why)
		return -EINVAL;
	r = string_replace(text_of(set, s), value);
	if (r == 0 && s->check == check_target)
		tidy_path(set->target);
	return r;
}

int mount_settings_line(struct mount_settings *set, const char *key, const char *value)
{
	const struct setting *s = setting_find(key);
	const char *why;

	if (!strcmp(key, "by_root")) {
		set->by_root = !strcmp(value, "yes");
		return 0;
	}
	return s ? set_value(set, s, value, &why) : 0;
}

static int refuse(char why[MOUNT_WHY_SIZE], int r, const char *what)
{
	snprintf(why, MOUNT_WHY_SIZE, "%s", what);
	return r;
}

static int take_setting(struct mount_settings *set, char *line, char why[MOUNT_WHY_SIZE])
{
	const struct setting *s;
	const char *wrong;
	char *value = strchr(line, '=');
	int r;

	if (!value)
		return refuse(why, -EINVAL,
			      "write s3://BUCKET/PREFIX, or lines of key = value; or flush");
	*value++ = '\0';
	line = text_strip(line);
	value = text_strip(value);
	s = setting_find(line);
	if (strstr(line, "access_key") || strstr(line, "secret") || strstr(line, "token"))
		return refuse(why, -EINVAL,
			      "keys do not belong here; they stand in the ini file's section "
			      "[credentials NAME], or in your ~/.aws/credentials");
	if (!s) {
		snprintf(why, MOUNT_WHY_SIZE,
			 "%.60s is none of source, target, readonly, credentials, profile, "
			 "endpoint, region, style, cache, spool",
			 line);
		return -EINVAL;
	}
	if (!*value) {
		snprintf(why, MOUNT_WHY_SIZE, "%s: nothing behind the =", line);
		return -EINVAL;
	}
	r = set_value(set, s, value, &wrong);
	return r == -ENOMEM ? refuse(why, r, "out of memory")
	       : r < 0	    ? refuse(why, -EINVAL, wrong)
			    : 0;
}

static int take_line(struct mount_settings *set, char *line, char why[MOUNT_WHY_SIZE])
{
	line = text_strip(line);
	if (!*line || *line == '#')
		return 0;
	for (const char *p = line; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return refuse(why, -EINVAL, "a control character in a setting");
	}
	if (strlen(line) > VALUE_MAX + 64)
		return refuse(why, -EINVAL, "a setting is longer than 1,024 bytes");
	if (!strncmp(line, SOURCE_BEGIN, strlen(SOURCE_BEGIN))) {
		const char *wrong = set->source ? "two sources" : check_source(line);

		if (wrong)
			return refuse(why, -EINVAL, wrong);
		return string_replace(&set->source, line);
	}
	return take_setting(set, line, why);
}

/* What only root may have more of. */
static int check_sizes(struct mount_settings *set, uid_t uid, char why[MOUNT_WHY_SIZE])
{
	if ((set->cache && set->cache < 8 << 20) || (set->spool && set->spool < 16 << 20))
		return refuse(why, -EINVAL, "cache is 8M at the least, spool 16M");
	if (set->cache > 1ull << 40 || set->spool > 1ull << 50)
		return refuse(why, -EINVAL, "that much no machine has");
	if (uid != 0 &&
	    (set->cache > the_options.bucket_cache || set->spool > the_options.bucket_spool))
		return refuse(why, -EPERM,
			      "more cache or spool than the ini file's buckets.cache and "
			      "buckets.spool only root may give");
	return 0;
}

int mount_settings_parse(struct mount_settings *set, const char *name, const char *text, uid_t uid,
			 char why[MOUNT_WHY_SIZE])
{
	_cleanup_free_ char *copy = strdup(text);
	char *line, *save = NULL, target[80];
	int r = copy ? 0 : refuse(why, -ENOMEM, "out of memory");

	*set = (struct mount_settings){ .by_root = uid == 0 };
	for (line = copy ? strtok_r(copy, "\n", &save) : NULL; line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = take_line(set, line, why);
	if (r == 0 && !set->source)
		r = refuse(why, -EINVAL, "no source: write s3://BUCKET or s3://BUCKET/PREFIX");
	if (r == 0 && set->credentials && set->profile)
		r = refuse(why, -EINVAL, "either credentials or a profile");
	if (r == 0 && !set->target) {
		snprintf(target, sizeof(target), "/mnt/%s", name);
		r = string_replace(&set->target, target);
	}
	if (r == 0)
		r = check_sizes(set, uid, why);
	if (r < 0)
		mount_settings_free(set);
	return r;
}

/* --- for the keeper ------------------------------------------------------------------------------------ */

/* Root may name any endpoint: it is a pattern that it fits itself. */
static void add_endpoints(const struct mount_settings *set, const char *endpoint, struct text *out,
			  void (*add)(struct text *t, const char *key, const char *value))
{
	_cleanup_text_ struct text patterns = { 0 };

	text_add_str(&patterns, the_options.bucket_endpoints);
	if (set->by_root && endpoint) {
		text_add_char(&patterns, ' ');
		for (const char *p = endpoint; *p; p++)
			text_add_char(&patterns, strchr("[],", *p) ? '?' : *p);
	}
	if (patterns.failed)
		out->failed = true;
	else if (patterns.len)
		add(out, "endpoints", patterns.data);
}

/* The keys of the daemon's environment, for boxes of its own user; *endpoint is theirs if none was
 * given. */
static void add_environment(const struct mount_settings *set, struct text *out,
			    const char **endpoint,
			    void (*add)(struct text *t, const char *key, const char *value))
{
	static const char *const names[][2] = {
		{ "AWS_ACCESS_KEY_ID", "access_key_id" },
		{ "AWS_SECRET_ACCESS_KEY", "secret_access_key" },
		{ "AWS_SESSION_TOKEN", "session_token" },
	};
	const char *region = getenv("AWS_REGION"), *url = getenv("AWS_ENDPOINT_URL_S3");

	if (!getenv("AWS_ACCESS_KEY_ID") || !getenv("AWS_SECRET_ACCESS_KEY"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i][0]);

		if (value && *value)
			add(out, names[i][1], value);
	}
	region = region ? region : getenv("AWS_DEFAULT_REGION");
	url = url ? url : getenv("AWS_ENDPOINT_URL");
	if (!set->region && region && *region)
		add(out, "region", region);
	if (!*endpoint && url && *url)
		*endpoint = url;
}

void mount_settings_fields(const struct mount_settings *set, uid_t box_uid, struct text *out,
			   void (*add)(struct text *t, const char *key, const char *value))
{
	bool own = !set->credentials && !set->profile && box_uid == getuid();
	const char *endpoint = set->endpoint;
	char number[32];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];

		if (s->field && strcmp(s->field, "endpoint") && *text_of(set, s))
			add(out, s->field, *text_of(set, s));
	}
	if (set->readonly)
		add(out, "readonly", "yes");
	/* Any credentials are root's to use; a profile is that of whom the box belongs to. */
	snprintf(number, sizeof(number), "%u", set->by_root && set->credentials ? 0 : box_uid);
	add(out, "uid", number);
	if (the_options.config)
		add(out, "config", the_options.config);
	if (own)
		add_environment(set, out, &endpoint, add);
	if (endpoint)
		add(out, "endpoint", endpoint);
	add_endpoints(set, endpoint, out, add);
	snprintf(number, sizeof(number), "%llu",
		 (unsigned long long)(set->cache ? set->cache : the_options.bucket_cache));
	add(out, "memory", number);
	snprintf(number, sizeof(number), "%llu",
		 (unsigned long long)(set->spool ? set->spool : the_options.bucket_spool));
	add(out, "spool_size", number);
	add(out, "set.retry_for",
	    format_duration(number, MAX(the_options.bucket_retry_ms, (int64_t)1)));
}
