/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The start of a served mount, in this order: the memory is hidden, the settings are read from the
 * keeper, a process is made that can read the keys, and all privileges go, before anything is said
 * to anybody else. No secret is in an argument, the environment or a sentence. No locks: there is one
 * thread until bucket_serve().
 */
#include "served.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/kv.h"
#include "base/log.h"
#include "bucket.h"
#include "control.h"
#include "guard.h"
#include "keyreader.h"
#include "keys.h"
#include "privilege.h"
#include "session.h"

enum { FIRST_ID = 65536 }; /* below are the machine's own users */

struct settings {
	char *fields; /* ours; wiped before they are freed */
	size_t len;
	const char *source;
	uint64_t uid, process_uid, owner;
};

static const char *get(const struct settings *s, const char *key)
{
	const char *value = field_get(s->fields, s->len, key);

	return value && *value ? value : NULL;
}

static int refuse(struct options_error *err, int error, const char *sentence)
{
	snprintf(err->text, sizeof(err->text), "%s", sentence);
	return error;
}

/* --- settings ------------------------------------------------------------------------------------------- */

/* As an item of -o. */
static int set(const char *key, const char *value, struct options_error *err)
{
	_cleanup_text_ struct text item = { 0 };

	text_printf(&item, "%s=", key);
	for (const char *p = value; *p; p++) {
		if (*p == ',')
			text_add_char(&item, '\\');
		text_add_char(&item, *p);
	}
	return item.failed ? -ENOMEM : options_parse_list(&the_options, item.data, err);
}

static int set_further(const struct settings *s, struct options_error *err)
{
	const char *f = NULL;
	int r = 0;

	while (r == 0 && (f = field_next(s->fields, s->len, f))) {
		const char *eq = strchr(f, '=');
		_cleanup_free_ char *key = NULL;

		if (strncmp(f, "set.", 4) || !eq)
			continue;
		key = strndup(f + 4, (size_t)(eq - f - 4));
		r = key ? set(key, eq + 1, err) : -ENOMEM;
	}
	return r;
}

static int apply(const struct settings *s, struct options_error *err)
{
	static const char *const same[] = { "config", "credentials", "profile", "endpoint",
					    "region", "style",	     "memory",	"spool_size" };
	const char *readonly = get(s, "readonly");
	char spool[32], id[24];
	int r = options_parse_source(&the_options, s->source, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(same); i++) {
		const char *value = get(s, same[i]);

		r = value ? set(same[i], value, err) : 0;
	}
	if (r == 0)
		r = set_further(s, err);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)s->owner);
	snprintf(spool, sizeof(spool), "/proc/self/fd/%d", BUCKET_SPOOL_FD);
	if (r == 0)
		r = set("uid", id, err);
	if (r == 0)
		r = set("gid", id, err);
	if (r == 0)
		r = set("id_base", id, err);
	if (r == 0)
		r = set("spool_dir", spool, err);
	the_options.ro = readonly && !strcmp(readonly, "yes");
	the_options.allow_other = true;
	return r;
}

static int receive(struct settings *s, struct options_error *err)
{
	int r = control_receive_settings(&s->fields, &s->len);

	if (r < 0)
		return refuse(err, r, "the keeper sent no settings");
	s->source = get(s, "source");
	s->uid = field_get_u64(s->fields, s->len, "uid", UINT64_MAX);
	s->owner = field_get_u64(s->fields, s->len, "owner", UINT64_MAX);
	s->process_uid = field_get_u64(s->fields, s->len, "process_uid", UINT64_MAX);
	if (!s->source || s->uid >= UINT32_MAX || s->owner >= UINT32_MAX)
		return refuse(err, -EINVAL, "source, uid and owner must be given");
	if (s->process_uid >= UINT32_MAX || s->process_uid < FIRST_ID)
		return refuse(err, -EINVAL, "process_uid must be nobody's");
	r = apply(s, err);
	return r < 0 ? r : guard_set(s->fields, s->len);
}

/* --- keys ----------------------------------------------------------------------------------------------- */

/* The daemon's own, out of its environment; its user may use them. */
static int take_given(const struct settings *s, struct credentials *keys)
{
	static const char *const names[] = { "access_key_id", "secret_access_key",
					     "session_token" };
	const char **to[] = { &keys->keys.access_key_id, &keys->keys.secret_access_key,
			      &keys->keys.session_token };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = get(s, names[i]);

		if (value && !(*to[i] = strdup(value)))
			return -ENOMEM;
	}
	return 0;
}

static bool differs(const char *wish, const char *fixed)
{
	return wish && fixed && strcmp(wish, fixed) != 0;
}

/* A server that the user names himself must be one that he may name: requests go out from the machine,
 * and not from the box. */
static int check_endpoint(const struct settings *s, const struct credentials *keys,
			  struct options_error *err)
{
	const char *endpoint = get(s, "endpoint"), *region = get(s, "region");
	const char *patterns = get(s, "endpoints");
	bool fixed = keys->endpoint && !keys->endpoint_is_users;

	if (get(s, "credentials") &&
	    ((fixed && differs(endpoint, keys->endpoint)) || differs(region, keys->region)))
		return refuse(err, -EINVAL, "the credentials fix endpoint and region");
	if (fixed)
		return 0;
	if (!endpoint)
		endpoint = keys->endpoint;
	if (endpoint && !credentials_endpoint_allowed(patterns, endpoint))
		return refuse(err, -EACCES,
			      "the setting endpoints of the ini file does not allow this endpoint");
	return 0;
}

static int find_keys(const struct settings *s, struct credentials *keys, struct options_error *err)
{
	struct object_error error = { 0 };
	int r;

	if (get(s, "access_key_id") && !get(s, "credentials") && !get(s, "profile"))
		r = take_given(s, keys);
	else
		r = keys_load(keys, &the_options, &error);
	if (r < 0)
		return refuse(err, r, error.text[0] ? error.text : strerror(-r));
	return check_endpoint(s, keys, err);
}

/* The reader is there before the privileges go, and is asked afterwards. */
static int prepare(struct settings *s, struct credentials *keys, struct options_error *err)
{
	bool given = get(s, "access_key_id") && !get(s, "credentials") && !get(s, "profile");
	int r = 0;

	if (!given)
		r = key_reader_start(&the_options, (uid_t)s->uid);
	if (r == 0)
		r = privilege_drop((uid_t)s->process_uid);
	if (r < 0)
		return refuse(err, r, "give up privileges");
	r = find_keys(s, keys, err);
	return r < 0 ? r : options_check(&the_options, err);
}

static int serve(void *arg)
{
	const struct settings *s = arg;

	return session_serve(s->source, BUCKET_FUSE_FD, control_say_ready, control_watch);
}

_Noreturn void served_main(void)
{
	_cleanup_credentials_ struct credentials keys = { 0 };
	struct options_error err = { .text = "" };
	struct settings s = { 0 };
	_cleanup_free_ char *source = NULL;
	int r = privilege_hide();

	if (r == 0)
		r = options_init(&the_options);
	if (r == 0)
		r = receive(&s, &err);
	if (r == 0)
		r = prepare(&s, &keys, &err);
	source = r == 0 ? strdup(s.source) : NULL;
	if (s.fields)
		explicit_bzero(s.fields, s.len);
	free(take_ptr(s.fields));
	s.source = source;
	if (r == 0)
		r = source ? bucket_serve(&keys, serve, &s, &err) : -ENOMEM;
	if (r < 0) {
		log_error("%s", err.text[0] ? err.text : strerror(-r));
		control_say_failed(r, err.text);
	}
	credentials_free(&keys);
	key_reader_stop();
	/* Not by exit(): nothing is left to be done, and nobody may look into this process for it. */
	_exit(r < 0 ? 1 : 0);
}
