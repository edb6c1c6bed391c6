/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Renaming, of a file and of a directory. Everything is copied before anything is deleted, so that a
 * failure on the way leaves the old names whole. Locks: content->lock of the file that moves, then
 * tree_lock.
 */
#include "rename.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "content.h"
#include "listing.h"
#include "names.h"
#include "removals.h"

struct names {
	struct node *dir, *new_dir;
	const char *name, *new_name;
};

/* --- a file ------------------------------------------------------------------------------------------- */

static int copy_and_delete(const char *from, const char *to, uint64_t size, bool existed,
			   char etag[OBJECT_ETAG_SIZE])
{
	struct object_copy copy = { .from = from, .to = to, .size = size };
	struct object_call call = { 0 }, undo = { 0 };
	int r = object_copy(the_store, &call, &copy, etag);

	if (r < 0)
		return bucket_failed("copy", from, r, &call);
	call = (struct object_call){ 0 };
	r = object_delete(the_store, &call, from);
	if (r == 0)
		return 0;
	if (!existed)
		(void)object_delete(the_store, &undo, to);
	return bucket_failed("delete", from, r, &call);
}

static void file_moved(const struct names *n, struct node *node, struct content *c,
		       const char *etag)
{
	pthread_mutex_lock(&tree_lock);
	names_changed(n->dir, n->name, CHANGE_GONE, false, 0, 0, NULL);
	names_keep_dir(n->dir);
	names_changed(n->new_dir, n->new_name, CHANGE_FILE, false, node->size, node->mtime_us,
		      etag);
	if (node_move(node, n->new_dir, n->new_name) < 0)
		node_set_gone(node); /* no memory: it is found anew */
	node_set_attr(node, node->size, node->mtime_us, etag, monotonic_ms() + the_options.ttl_ms);
	node->version++;
	pthread_mutex_unlock(&tree_lock);
	if (c)
		snprintf(c->base_etag, sizeof(c->base_etag), "%s", etag);
}

/* With the content locked, if there is one. */
static int move_file(const struct names *n, struct node *node, struct content *c, bool existed)
{
	char from[OBJECT_KEY_MAX + 1], to[OBJECT_KEY_MAX + 1], etag[OBJECT_ETAG_SIZE] = "";
	int r = c ? content_save(c) : 0;

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree_lock);
	r = node_child_key(n->dir, n->name, false, from);
	if (r == 0)
		r = node_child_key(n->new_dir, n->new_name, false, to);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = removals_wait(to);
	if (r == 0)
		r = copy_and_delete(from, to, c ? c->size : node->size, existed, etag);
	if (r == 0)
		file_moved(n, node, c, etag);
	return r;
}

static int rename_file(const struct names *n, const struct found *source, bool existed)
{
	struct content *c = NULL;
	struct node *node;
	int r;

	pthread_mutex_lock(&tree_lock);
	node = node_get(n->dir, n->name, false);
	if (node && !node->content)
		names_apply(node, source);
	if (node && node->content)
		c = content_get(node, false, false);
	pthread_mutex_unlock(&tree_lock);
	if (!node)
		return -ENOMEM;
	if (c)
		content_lock(c);
	r = move_file(n, node, c, existed);
	if (c) {
		content_unlock(c);
		content_put(c);
	}
	pthread_mutex_lock(&tree_lock);
	node_unref(node);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

/* --- a directory ------------------------------------------------------------------------------------ */

struct move {
	char **from, **to;
	uint64_t *sizes;
	int *errors;
	size_t n, room;
};

static void move_free(struct move *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->from[i]);
		free(m->to[i]);
	}
	free(m->from);
	free(m->to);
	free(m->sizes);
	free(m->errors);
}

static int move_add(struct move *m, const struct object_entry *e, size_t cut, const char *to)
{
	if (strlen(to) + e->key_len - cut > OBJECT_KEY_MAX)
		return -ENAMETOOLONG;
	if (memchr(e->key, '\0', e->key_len))
		return -EXDEV; /* such a key cannot be given to the server */
	m->from[m->n] = strdup(e->key);
	if (asprintf(&m->to[m->n], "%s%s", to, e->key + cut) < 0)
		m->to[m->n] = NULL;
	m->sizes[m->n] = e->size;
	m->n++;
	return m->from[m->n - 1] && m->to[m->n - 1] ? 0 : -ENOMEM;
}

static int move_list(struct move *m, const char *from, const char *to)
{
	_cleanup_free_ char *next = NULL;
	int r = 0;

	m->room = the_options.rename_max;
	m->from = calloc(m->room + 1, sizeof(*m->from));
	m->to = calloc(m->room + 1, sizeof(*m->to));
	m->sizes = calloc(m->room + 1, sizeof(*m->sizes));
	m->errors = calloc(m->room + 1, sizeof(*m->errors));
	if (!m->from || !m->to || !m->sizes || !m->errors)
		return -ENOMEM;
	do {
		_cleanup_object_page_ struct object_page page = { 0 };
		struct object_call call = { 0 };
		struct object_list list = { .prefix = from, .next = next };

		r = object_list(the_store, &call, &list, &page);
		if (r < 0)
			return bucket_list_failed(from, r, &call);
		for (size_t i = 0; i < page.n && r == 0; i++)
			r = m->n == m->room ? -EXDEV
					    : move_add(m, &page.entries[i], strlen(from), to);
		free(next);
		next = take_ptr(page.next);
	} while (r == 0 && next);
	return r;
}

static void copy_one(void *ctx, size_t i)
{
	struct move *m = ctx;
	struct object_copy copy = { .from = m->from[i], .to = m->to[i], .size = m->sizes[i] };
	struct object_call call = { 0 };
	char etag[OBJECT_ETAG_SIZE];
	int r = object_copy(the_store, &call, &copy, etag);

	m->errors[i] = r < 0 ? bucket_failed("copy", m->from[i], r, &call) : 0;
}

static int copy_all(struct move *m)
{
	struct object_call call = { 0 };
	int r = 0;

	pool_each(m->n, copy_one, m);
	for (size_t i = 0; i < m->n && r == 0; i++)
		r = m->errors[i];
	if (r < 0)
		(void)object_delete_many(the_store, &call, (const char *const *)m->to, m->n,
					 m->errors);
	return r;
}

static int make_marker(const char *key)
{
	struct object_put put = { .key = key,
				  .body.bytes = "",
				  .content_type = "application/x-directory" };
	struct object_call call = { 0 };
	char etag[OBJECT_ETAG_SIZE];
	int r = object_put(the_store, &call, &put, etag);

	return r < 0 ? bucket_failed("put", key, r, &call) : 0;
}

static int move_objects(const char *from, const char *to)
{
	struct object_call call = { 0 };
	struct move m = { 0 };
	int r = move_list(&m, from, to);

	if (r == 0 && m.n == 0)
		r = make_marker(to); /* it was empty, and known to us alone */
	else if (r == 0)
		r = copy_all(&m);
	if (r == 0 && m.n) {
		r = object_delete_many(the_store, &call, (const char *const *)m.from, m.n,
				       m.errors);
		if (r < 0)
			r = bucket_failed("delete", from, r, &call);
	}
	move_free(&m);
	return r;
}

struct save_below {
	struct node *dir;
	int error;
};

static void save_below(struct node *node, void *ctx)
{
	struct save_below *below = ctx;
	struct content *c = NULL;
	int r;

	pthread_mutex_lock(&tree_lock);
	if (node->content && node_is_below(node, below->dir))
		c = content_get(node, false, false);
	pthread_mutex_unlock(&tree_lock);
	if (!c)
		return;
	content_lock(c);
	r = content_save(c);
	content_unlock(c);
	content_put(c);
	if (r < 0)
		below->error = r;
}

static void dir_moved(const struct names *n, struct node *node)
{
	pthread_mutex_lock(&tree_lock);
	names_changed(n->dir, n->name, CHANGE_GONE, false, 0, 0, NULL);
	names_keep_dir(n->dir);
	names_changed(n->new_dir, n->new_name, CHANGE_DIR, false, 0, 0, NULL);
	listing_remove(node);
	if (node_move(node, n->new_dir, n->new_name) < 0)
		node_set_gone(node);
	pthread_mutex_unlock(&tree_lock);
}

static int rename_dir(const struct names *n)
{
	char from[OBJECT_KEY_MAX + 1], to[OBJECT_KEY_MAX + 1];
	struct save_below below = { 0 };
	int r;

	pthread_mutex_lock(&tree_lock);
	below.dir = node_get(n->dir, n->name, true);
	r = below.dir ? node_child_key(n->dir, n->name, true, from) : -ENOMEM;
	if (r == 0)
		r = node_child_key(n->new_dir, n->new_name, true, to);
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = removals_flush(below.dir);
	if (r == 0) {
		nodes_each_content(save_below, &below);
		r = below.error;
	}
	if (r == 0)
		r = move_objects(from, to);
	if (r == 0)
		dir_moved(n, below.dir);
	pthread_mutex_lock(&tree_lock);
	if (below.dir)
		node_unref(below.dir);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

/* A directory may take the place of an empty one only. */
static int replace_dir(const struct names *n)
{
	struct node *there;
	int r;

	pthread_mutex_lock(&tree_lock);
	there = node_get(n->new_dir, n->new_name, true);
	pthread_mutex_unlock(&tree_lock);
	if (!there)
		return -ENOMEM;
	r = removals_flush(there);
	if (r == 0)
		r = names_dir_is_empty(there);
	pthread_mutex_lock(&tree_lock);
	node_unref(there);
	pthread_mutex_unlock(&tree_lock);
	return r == 1 ? 0 : r == 0 ? -ENOTEMPTY : r;
}

int rename_name(struct node *dir, const char *name, struct node *new_dir, const char *new_name,
		bool noreplace)
{
	struct names n = { dir, new_dir, name, new_name };
	struct found source, target;
	int r = names_find(dir, name, &source);

	if (r == 0)
		r = names_find(new_dir, new_name, &target);
	if (r < 0)
		return r;
	if (source.kind == CHANGE_GONE)
		return -ENOENT;
	if (noreplace && target.kind != CHANGE_GONE)
		return -EEXIST;
	if (source.kind == CHANGE_FILE)
		return target.kind == CHANGE_DIR
			       ? -EISDIR
			       : rename_file(&n, &source, target.kind == CHANGE_FILE);
	if (target.kind == CHANGE_FILE)
		return -ENOTDIR;
	if (target.kind == CHANGE_DIR)
		r = replace_dir(&n);
	return r < 0 ? r : rename_dir(&n);
}
