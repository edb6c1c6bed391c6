/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of nodes. It must not call the store. Lock: tree_lock, held by every caller but that of
 * nodes_init() and nodes_each_content().
 */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "listing.h"

enum { FIRST_SLOTS = 1024, GONE_SLOTS = 256, SLOTS_AT_A_TIME = 4096 };

static struct {
	struct node **slots;
	size_t n_slots, n;
	uint64_t told;
	struct node *gone[GONE_SLOTS]; /* those that somebody still holds */
	struct node *root;
	int64_t made_us; /* shown as the time of directories, which a bucket does not have */
} nodes;

static size_t slot_of(size_t n_slots, const struct node *parent, const char *name)
{
	return (hash_bytes(name, strlen(name)) ^ hash_u64((uintptr_t)parent)) & (n_slots - 1);
}

uint64_t node_ino_of(const struct node *parent, const char *name)
{
	uint64_t ino = hash_u64((parent ? parent->ino : 0) ^ hash_bytes(name, strlen(name)));

	return ino > 1 ? ino : 2;
}

int nodes_init(void)
{
	nodes.n_slots = FIRST_SLOTS;
	nodes.slots = calloc(nodes.n_slots, sizeof(*nodes.slots));
	nodes.root = calloc(1, sizeof(*nodes.root));
	nodes.made_us = realtime_us();
	if (!nodes.slots || !nodes.root)
		return -ENOMEM;
	*nodes.root = (struct node){ .is_dir = true, .ino = 1, .refs = 1 };
	return 0;
}

struct node *node_root(void)
{
	return nodes.root;
}

uint64_t nodes_count(void)
{
	return nodes.n;
}

struct node *node_find(const struct node *parent, const char *name)
{
	struct node *node = nodes.slots[slot_of(nodes.n_slots, parent, name)];

	while (node && (node->parent != parent || strcmp(node->name, name)))
		node = node->chain;
	return node;
}

static struct node **gone_slot(const struct node *node)
{
	return &nodes.gone[hash_u64((uintptr_t)node) % GONE_SLOTS];
}

static void insert(struct node *node)
{
	struct node **p = &nodes.slots[slot_of(nodes.n_slots, node->parent, node->name)];

	node->chain = *p;
	*p = node;
	nodes.n++;
}

static void take_out(struct node *node)
{
	struct node **p = node->gone
				  ? gone_slot(node)
				  : &nodes.slots[slot_of(nodes.n_slots, node->parent, node->name)];

	while (*p != node)
		p = &(*p)->chain;
	*p = node->chain;
	if (!node->gone)
		nodes.n--;
}

/* A table that cannot grow only gets slower. */
static void grow(void)
{
	size_t n_slots = nodes.n_slots * 2;
	struct node **slots = calloc(n_slots, sizeof(*slots));

	if (!slots)
		return;
	for (size_t i = 0; i < nodes.n_slots; i++) {
		for (struct node *node = nodes.slots[i], *next; node; node = next) {
			struct node **p = &slots[slot_of(n_slots, node->parent, node->name)];

			next = node->chain;
			node->chain = *p;
			*p = node;
		}
	}
	free(nodes.slots);
	nodes.slots = slots;
	nodes.n_slots = n_slots;
}

struct node *node_get(struct node *parent, const char *name, bool is_dir)
{
	struct node *node = node_find(parent, name);

	if (node && node->is_dir != is_dir) {
		node_set_gone(node);
		node = NULL;
	}
	if (node) {
		node->refs++;
		return node;
	}
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	*node = (struct node){ .parent = parent,
			       .name = strdup(name),
			       .is_dir = is_dir,
			       .ino = node_ino_of(parent, name),
			       .refs = 1 };
	if (!node->name) {
		free(node);
		return NULL;
	}
	parent->refs++;
	if (nodes.n >= nodes.n_slots)
		grow();
	insert(node);
	return node;
}

static void free_dir(struct node *node)
{
	struct dir *dir = node->dir;

	if (!dir)
		return;
	listing_remove(node);
	changes_free(&dir->changes);
	pthread_mutex_destroy(&dir->list_lock);
	free(dir);
}

static void free_node(struct node *node)
{
	free_dir(node);
	free(node->name);
	free(node->etag);
	free(node->page_etag);
	free(node);
}

void nodes_free(void)
{
	for (size_t i = 0; i < nodes.n_slots + GONE_SLOTS; i++) {
		struct node *node =
			i < nodes.n_slots ? nodes.slots[i] : nodes.gone[i - nodes.n_slots];

		while (node) {
			struct node *next = node->chain;

			free_node(node);
			node = next;
		}
	}
	free(nodes.slots);
	if (nodes.root)
		free_node(nodes.root);
}

static void free_if_unused(struct node *node)
{
	while (node && node->refs == 0 && node->lookups == 0) {
		struct node *parent = node->parent;

		if (parent)
			take_out(node);
		free_node(node);
		if (parent)
			parent->refs--;
		node = parent;
	}
}

void node_ref(struct node *node)
{
	node->refs++;
}

void node_unref(struct node *node)
{
	node->refs--;
	free_if_unused(node);
}

void node_tell(struct node *node)
{
	node->lookups++;
	node->told = ++nodes.told;
}

uint64_t nodes_told(void)
{
	return nodes.told;
}

bool nodes_each_old(size_t *slot, uint64_t before, bool (*fn)(const struct node *node, void *ctx),
		    void *ctx)
{
	bool more = true;

	for (size_t n = 0; more && n < SLOTS_AT_A_TIME && *slot < nodes.n_slots; n++, (*slot)++) {
		for (struct node *node = nodes.slots[*slot]; node && more; node = node->chain) {
			if (!node->is_dir && !node->refs && !node->content && node->told < before)
				more = fn(node, ctx);
		}
	}
	return *slot < nodes.n_slots;
}

void node_forget(struct node *node, uint64_t count)
{
	node->lookups -= MIN(count, node->lookups);
	free_if_unused(node);
}

void node_set_gone(struct node *node)
{
	if (node->gone || !node->parent)
		return;
	take_out(node);
	node->gone = true;
	node->chain = *gone_slot(node);
	*gone_slot(node) = node;
}

int node_move(struct node *node, struct node *parent, const char *name)
{
	char *copy = strdup(name);
	struct node *old_parent = node->parent, *there;

	if (!copy)
		return -ENOMEM;
	there = node_find(parent, name);
	if (there && there != node)
		node_set_gone(there);
	take_out(node);
	free(node->name);
	node->name = copy;
	node->parent = parent;
	node->gone = false;
	parent->refs++;
	insert(node);
	node_unref(old_parent);
	return 0;
}

void nodes_each_content(void (*fn)(struct node *node, void *ctx), void *ctx)
{
	_cleanup_free_ struct node **found = NULL;
	size_t n = 0;

	pthread_mutex_lock(&tree_lock);
	for (int pass = 0; pass < 2; pass++) {
		size_t seen = 0;

		for (size_t i = 0; i < nodes.n_slots; i++) {
			for (struct node *node = nodes.slots[i]; node; node = node->chain) {
				if (!node->content)
					continue;
				if (pass && seen < n) {
					node_ref(node);
					found[seen] = node;
				}
				seen++;
			}
		}
		if (!pass) {
			n = seen;
			found = calloc(n + 1, sizeof(*found));
			if (!found)
				n = 0;
		}
	}
	pthread_mutex_unlock(&tree_lock);
	for (size_t i = 0; i < n; i++) {
		fn(found[i], ctx);
		pthread_mutex_lock(&tree_lock);
		node_unref(found[i]);
		pthread_mutex_unlock(&tree_lock);
	}
}

bool node_is_below(const struct node *node, const struct node *dir)
{
	while (node && node != dir)
		node = node->parent;
	return node != NULL;
}

/* The key is written from its end: names are found from the file upwards. */
static int build_key(const struct node *dir, const char *name, bool is_dir,
		     char key[OBJECT_KEY_MAX + 1])
{
	size_t at = OBJECT_KEY_MAX, prefix = strlen(the_options.prefix);

	key[at] = '\0';
	if (is_dir && name)
		key[--at] = '/';
	for (;;) {
		size_t len = name ? strlen(name) : 0;

		if (len + prefix + 1 > at)
			return -ENAMETOOLONG;
		at -= len;
		memcpy(key + at, name ? name : "", len);
		if (!dir || !dir->parent)
			break;
		key[--at] = '/';
		name = dir->name;
		dir = dir->parent;
	}
	at -= prefix;
	memcpy(key + at, the_options.prefix, prefix);
	memmove(key, key + at, OBJECT_KEY_MAX + 1 - at);
	return 0;
}

int node_key(const struct node *node, char key[OBJECT_KEY_MAX + 1])
{
	return build_key(node->parent, node->name, node->is_dir, key);
}

int node_child_key(const struct node *dir, const char *name, bool is_dir,
		   char key[OBJECT_KEY_MAX + 1])
{
	return build_key(dir, name, is_dir, key);
}

struct dir *node_dir(struct node *node)
{
	if (!node->dir) {
		node->dir = calloc(1, sizeof(*node->dir));
		if (node->dir)
			pthread_mutex_init(&node->dir->list_lock, NULL);
	}
	return node->dir;
}

void node_set_attr(struct node *node, uint64_t size, int64_t mtime_us, const char *etag,
		   int64_t fresh_until_ms)
{
	if (etag && (!node->etag || strcmp(node->etag, etag)))
		(void)string_replace(&node->etag, etag);
	node->size = size;
	node->mtime_us = mtime_us;
	node->fresh_until_ms = fresh_until_ms;
}

void node_stat(const struct node *node, struct stat *st)
{
	const struct meta *meta = &node->meta;
	int64_t at = node->is_dir ? nodes.made_us : node->mtime_us, ns = at % 1000000 * 1000;

	*st = (struct stat){
		.st_ino = node->ino,
		.st_mode = node->is_dir ? S_IFDIR | the_options.dir_mode
					: S_IFREG | the_options.file_mode,
		.st_nlink = node->gone ? 0 : 1,
		.st_uid = the_options.uid,
		.st_gid = the_options.gid,
		.st_size = node->is_dir ? 0 : (off_t)node->size,
		.st_blksize = 1 << 16,
		.st_blocks = node->is_dir ? 0 : (blkcnt_t)((node->size + 511) / 512),
		.st_mtim.tv_sec = at / 1000000,
	};
	if (meta->known) {
		st->st_mode = meta->mode;
		st->st_uid = meta->uid;
		st->st_gid = meta->gid;
	}
	if (meta->known && (meta->mtime_ns || !node->is_dir)) {
		/* tv_nsec is never negative. */
		ns = meta->mtime_ns % 1000000000;
		ns += ns < 0 ? 1000000000 : 0;
		st->st_mtim.tv_sec = (meta->mtime_ns - ns) / 1000000000;
	}
	st->st_mtim.tv_nsec = ns;
	st->st_ctim = st->st_atim = st->st_mtim;
}
