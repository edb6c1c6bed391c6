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
};

static pthread_mutex_t alias_lock = PTHREAD_MUTEX_INITIALIZER;
static struct alias *aliases;
static uint64_t last_alias;

uint64_t alias_new(struct node node)
{
	struct alias *a = calloc(1, sizeof(*a));

	if (!a)
		return 0;
	pthread_mutex_lock(&alias_lock);
	a->id = (uint64_t)NODE_ALIAS << 57 | ++last_alias;
	a->lookups = 1;
	a->node = node;
	HASH_ADD(hh, aliases, id, sizeof(a->id), a);
	pthread_mutex_unlock(&alias_lock);
	return a->id;
}

struct node alias_resolve(uint64_t id)
{
	struct node node = node_of_id(id);
	struct alias *a;

	if (node.kind != NODE_ALIAS)
		return node;
	pthread_mutex_lock(&alias_lock);
	HASH_FIND(hh, aliases, &id, sizeof(id), a);
	node = a ? a->node : (struct node){ 0 };
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
		free(a);
	} else if (a) {
		a->lookups -= lookups;
	}
	pthread_mutex_unlock(&alias_lock);
}
