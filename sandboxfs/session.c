/* SPDX-License-Identifier: MIT */
/* Sessions of a box. Must not wait for the box. Lock: box->lock, held by the callers. */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "events.h"
#include "keeper.h"
#include "keeper_private.h"
#include "store.h"

static void session_free(struct session *s)
{
	env_free(&s->env);
	free(s->cwd);
	free(s);
}

/*
 * "NAME.ID", so that what a removed session has left is never taken for that of a later one of the
 * same name. A long name is cut, at a character's beginning.
 */
static void make_key(struct session *s)
{
	char id[16];
	size_t room = sizeof(s->key) - 1 - (size_t)snprintf(id, sizeof(id), ".%u", s->id);
	size_t len = MIN(strlen(s->name), room);

	while (len < strlen(s->name) && ((unsigned char)s->name[len] & 0xc0) == 0x80)
		len--;
	memcpy(s->key, s->name, len);
	strcpy(s->key + len, id);
}

static struct session *session_new(struct box *box, uint32_t id, const char *name)
{
	struct session *s = calloc(1, sizeof(*s)), **at = &box->sessions;

	if (!s)
		return NULL;
	s->id = id;
	snprintf(s->name, sizeof(s->name), "%s", name);
	if (id)
		make_key(s);
	else
		snprintf(s->key, sizeof(s->key), DEFAULT_SESSION);
	s->cwd = strdup("/workspace");
	if (!s->cwd) {
		session_free(s);
		return NULL;
	}
	while (*at)
		at = &(*at)->next;
	*at = s;
	return s;
}

int sessions_init(struct box *box)
{
	return session_new(box, 0, DEFAULT_SESSION) ? 0 : -ENOMEM;
}

void sessions_free(struct box *box)
{
	while (box->sessions) {
		struct session *s = box->sessions;

		box->sessions = s->next;
		session_free(s);
	}
}

struct session *session_by_id(struct box *box, uint32_t id)
{
	struct session *s = box->sessions;

	while (s && s->id != id)
		s = s->next;
	return s;
}

struct session *session_by_name(struct box *box, const char *name)
{
	struct session *s = box->sessions;

	while (s && strcmp(s->name, name))
		s = s->next;
	return s;
}

struct session *session_by_key(struct box *box, const char *key)
{
	struct session *s = box->sessions;

	while (s && strcmp(s->key, key))
		s = s->next;
	return s;
}

struct session *session_of(const struct ctx *ctx)
{
	bool own = ctx->node.kind == DIR_SESSION || ctx->node.kind == DIR_ENV;

	return session_by_id(ctx->box, own ? ctx->node.item : 0);
}

void session_key_name(struct box *box, const char *key, char name[64])
{
	const struct session *s = session_by_key(box, key);
	const char *dot = strrchr(key, '.');

	if (s)
		snprintf(name, 64, "%s", s->name);
	else
		snprintf(name, 64, "%.*s", dot ? (int)(dot - key) : (int)strlen(key), key);
}

struct session *session_restore(struct box *box, uint32_t id, const char *name)
{
	if (!id || session_by_id(box, id) || session_by_name(box, name) || !name_is_valid(name))
		return NULL;
	box->last_session = MAX(box->last_session, id);
	return session_new(box, id, name);
}

int session_create(struct box *box, const char *name, struct session **out)
{
	struct session *s;
	size_t n = 0;
	int r;

	if (!name_is_valid(name))
		return -EINVAL;
	for (s = box->sessions; s; s = s->next) {
		if (!strcmp(s->name, name))
			return -EEXIST;
		n++;
	}
	if (n >= SESSIONS_MAX || box->last_session >= NODE_MAX_ITEM)
		return -EDQUOT;
	box_load_runs(box);
	s = session_new(box, box->last_session + 1, name);
	if (!s)
		return -ENOMEM;
	box->last_session++;
	r = env_copy_wanted(&s->env, &box->sessions->env);
	if (r == 0)
		r = env_init(&s->env, box_user_is_root(box, ""));
	if (r == 0)
		r = store_sessions_save(box);
	if (r < 0) {
		session_remove(box, s);
		return r;
	}
	event_add(box, "session_created", "{s:s}", "session", s->name);
	*out = s;
	return 0;
}

static void close_in_keeper(struct box *box, const char *key)
{
	_cleanup_text_ struct text fields = { 0 };

	field_add(&fields, "session", key);
	keeper_request(box, MSG_SESSION_CLOSE, 0, 0, &fields);
}

void session_remove(struct box *box, struct session *s)
{
	struct session **at = &box->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (s->opened && box->keeper) {
		if (box->state == BOX_FROZEN)
			keeper_request(box, MSG_THAW, 0, 0, NULL);
		close_in_keeper(box, s->key);
	}
	event_add(box, "session_removed", "{s:s}", "session", s->name);
	store_session_log_remove(box, s->key);
	session_free(s);
	store_sessions_save(box);
}

void session_start_fields(struct box *box, const struct session *s, struct text *fields)
{
	if (s->user[0] || box->image_user)
		field_add(fields, "user", s->user[0] ? s->user : box->image_user);
	field_add(fields, "cwd", s->cwd);
	env_start_fields(&s->env, box_user_is_root(box, s->user), fields);
}

int session_open(struct box *box, struct session *s)
{
	_cleanup_text_ struct text fields = { 0 };
	int r;

	if (s->opened || !s->id)
		return 0;
	field_add(&fields, "session", s->key);
	session_start_fields(box, s, &fields);
	r = keeper_request(box, MSG_SESSION_OPEN, KEEPER_SESSION_TAG | s->id, 0, &fields);
	s->opened = r == 0;
	return r;
}

void session_open_failed(struct box *box, uint32_t id)
{
	struct session *s = session_by_id(box, id);

	if (s)
		s->opened = false;
}

void session_told(struct box *box, const char *fields, size_t len, pid_t shell_pid)
{
	const char *key = field_get(fields, len, "session"), *cwd = field_get(fields, len, "cwd");
	struct session *s = key ? session_by_key(box, key) : NULL;

	if (!s) {
		/* Removed, and the keeper did not hear of it: the daemon of then went down. */
		if (key)
			close_in_keeper(box, key);
		return;
	}
	s->opened = true; /* also by a keeper that was found again */
	s->shell_pid = shell_pid;
	if (cwd && string_replace(&s->cwd, cwd) == 0)
		s->cwd_wanted = false;
	env_take_session(&s->env, box->last_ended_run, fields, len);
}

void sessions_keeper_gone(struct box *box)
{
	for (struct session *s = box->sessions; s; s = s->next) {
		s->shell_pid = 0;
		s->opened = false;
	}
}
