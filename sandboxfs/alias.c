/* SPDX-License-Identifier: MIT */
/* Aliases of nodes. Lock: alias_lock, a leaf. */
#include "alias.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

struct alias {
	UT_hash_handle hh;
	uint64_t id;
	uint64_t lookups;
	struct node node;
	UT_hash_handle hh_view; /* by key, if it has a view */
	struct view_key {
		uint64_t node, view;
	} key;
};

static pthread_mutex_t alias_lock = PTHREAD_MUTEX_INITIALIZER;
static struct alias *aliases, *views;
static uint64_t last_alias;

/* alias_lock held. */
static struct alias *add(struct node node)
{
	struct alias *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->id = (uint64_t)NODE_ALIAS << 57 | ++last_alias;
	a->lookups = 1;
	a->node = node;
	HASH_ADD(hh, aliases, id, sizeof(a->id), a);
	return a;
}

uint64_t alias_new(struct node node)
{
	struct alias *a;
	uint64_t id;

	pthread_mutex_lock(&alias_lock);
	a = add(node);
	id = a ? a->id : 0;
	pthread_mutex_unlock(&alias_lock);
	return id;
}

uint64_t alias_of_view(struct node node, uint64_t view)
{
	const struct view_key key = { node_id(node), view };
	struct alias *a;
	uint64_t id;

	pthread_mutex_lock(&alias_lock);
	HASH_FIND(hh_view, views, &key, sizeof(key), a);
	if (a) {
		a->lookups++;
	} else if ((a = add(node))) {
		a->key = key;
		HASH_ADD(hh_view, views, key, sizeof(a->key), a);
	}
	id = a ? a->id : 0;
	pthread_mutex_unlock(&alias_lock);
	return id;
}

struct node alias_resolve(uint64_t id, uint64_t *view)
{
	struct node node = node_of_id(id);
	struct alias *a;

	*view = 0;
	if (node.kind != NODE_ALIAS)
		return node;
	pthread_mutex_lock(&alias_lock);
	HASH_FIND(hh, aliases, &id, sizeof(id), a);
	node = a ? a->node : (struct node){ 0 };
	*view = a ? a->key.view : 0;
	pthread_mutex_unlock(&alias_lock);
	return node;
}

void alias_forget(uint64_t id, uint64_t lookups)
{
	struct alias *a;

	if (node_of_id(id).kind != NODE_ALIAS)
		return;
	pthread_mutex_lock(&alias_lock);
	HASH_FIND(hh, aliases, &id, sizeof(id), a);
	if (a && a->lookups <= lookups) {
		HASH_DELETE(hh, aliases, a);
		if (a->key.view)
			HASH_DELETE(hh_view, views, a);
		free(a);
	} else if (a) {
		a->lookups -= lookups;
	}
	pthread_mutex_unlock(&alias_lock);
}
