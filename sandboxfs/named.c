/* SPDX-License-Identifier: MIT */
/* Names of runs. Must not wait. Lock: box->lock, held by the callers. */
#include "named.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "store.h"

static bool is_number(const char *name)
{
	return name[strspn(name, "0123456789")] == '\0';
}

static struct named *named_new(struct box *box, uint32_t id, const char *name)
{
	struct named *named = calloc(1, sizeof(*named));

	if (!named)
		return NULL;
	named->id = id;
	named->timeout_ms = -1;
	snprintf(named->name, sizeof(named->name), "%s", name);
	HASH_ADD(hh_id, box->named_by_id, id, sizeof(named->id), named);
	HASH_ADD(hh_name, box->named_by_name, name[0], strlen(named->name), named);
	box->last_named = MAX(box->last_named, id);
	return named;
}

static void named_drop(struct box *box, struct named *named)
{
	HASH_DELETE(hh_id, box->named_by_id, named);
	HASH_DELETE(hh_name, box->named_by_name, named);
	env_free(&named->env);
	free(named->cwd);
	free(named);
}

void named_load(struct box *box)
{
	if (box->named_loaded)
		return;
	box->named_loaded = true;
	store_names_load(box);
}

void named_free_all(struct box *box)
{
	struct named *named, *next;

	HASH_ITER (hh_id, box->named_by_id, named, next)
		named_drop(box, named);
}

struct named *named_by_id(struct box *box, uint32_t id)
{
	struct named *named;

	named_load(box);
	HASH_FIND(hh_id, box->named_by_id, &id, sizeof(id), named);
	return named;
}

struct named *named_by_name(struct box *box, const char *name)
{
	struct named *named;

	named_load(box);
	HASH_FIND(hh_name, box->named_by_name, name, strlen(name), named);
	if (named && named->run && !box_run_exists(box, named->run)) {
		named_remove(box, named);
		named = NULL;
	}
	return named;
}

struct named *named_of_run(struct box *box, uint64_t run)
{
	struct named *named, *next;

	named_load(box);
	HASH_ITER (hh_id, box->named_by_id, named, next) {
		if (named->run == run)
			return named;
	}
	return NULL;
}

int named_create(struct box *box, const char *name, struct named **out)
{
	struct named *named;
	int r;

	if (!name_is_valid(name) || is_number(name))
		return -EINVAL;
	if (named_by_name(box, name))
		return -EEXIST;
	if (HASH_CNT(hh_id, box->named_by_id) >= NAMES_MAX)
		named_drop_stale(box);
	if (HASH_CNT(hh_id, box->named_by_id) >= NAMES_MAX || box->last_named >= NODE_MAX_ITEM)
		return -EDQUOT;
	named = named_new(box, box->last_named + 1, name);
	if (!named)
		return -ENOMEM;
	r = store_name_save(box, named);
	if (r < 0)
		named_drop(box, named);
	else
		*out = named;
	return r;
}

void named_remove(struct box *box, struct named *named)
{
	store_name_remove(box, named->id);
	named_drop(box, named);
}

struct named *named_restore(struct box *box, uint32_t id, const char *name)
{
	struct named *named;

	if (!name_is_valid(name) || is_number(name))
		return NULL;
	HASH_FIND(hh_name, box->named_by_name, name, strlen(name), named);
	return named ? NULL : named_new(box, id, name);
}

void named_fields(const struct named *named, struct text *fields)
{
	field_add(fields, "name", named->name);
	if (named->user[0])
		field_add(fields, "user", named->user);
	if (named->cwd)
		field_add(fields, "cwd", named->cwd);
	if (named->timeout_ms >= 0)
		field_add_u64(fields, "timeout", (uint64_t)named->timeout_ms);
	env_wanted_fields(&named->env, fields);
}

size_t named_env_bytes(struct box *box)
{
	struct named *named, *next;
	size_t sum = 0;

	named_load(box);
	HASH_ITER (hh_id, box->named_by_id, named, next)
		sum += env_wanted_bytes(&named->env);
	return sum;
}

void named_drop_stale(struct box *box)
{
	struct named *named, *next;

	named_load(box);
	HASH_ITER (hh_id, box->named_by_id, named, next) {
		if (named->run && !box_run_exists(box, named->run))
			named_remove(box, named);
	}
}
