/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state of the mount as text. It must not wait for the server nor for an upload: a file that is
 * just being saved or written to counts as waiting without a look into it. Lock: status.lock, a leaf;
 * content->lock is only tried for under tree_lock.
 */
#include "status.h"

#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "bucket.h"
#include "chunk.h"
#include "content.h"
#include "listing.h"
#include "node.h"
#include "spool.h"

static struct {
	pthread_mutex_t lock;
	char error[600]; /* "" none yet */
	time_t error_at;
} status = { .lock = PTHREAD_MUTEX_INITIALIZER };

void status_note_error(const char *sentence)
{
	pthread_mutex_lock(&status.lock);
	text_escape(status.error, sizeof(status.error), sentence);
	status.error_at = time(NULL);
	pthread_mutex_unlock(&status.lock);
}

struct writers {
	size_t n, unsaved;
};

static void count_one(struct node *node, void *ctx)
{
	struct writers *writers = ctx;
	struct content *c;

	pthread_mutex_lock(&tree_lock);
	c = node->content;
	if (c) {
		bool free_now = pthread_mutex_trylock(&c->lock) == 0;

		writers->n++;
		writers->unsaved += !free_now || c->dirty || c->saving;
		if (free_now)
			pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&tree_lock);
}

size_t status_count_writers(size_t *unsaved)
{
	struct writers writers = { 0 };

	nodes_each_content(count_one, &writers);
	*unsaved = writers.unsaved;
	return writers.n;
}

static void add_number(struct text *out, const char *key, uint64_t value)
{
	text_printf(out, "%s: %llu\n", key, (unsigned long long)value);
}

static void add_error(struct text *out)
{
	char when[40];
	struct tm at;

	pthread_mutex_lock(&status.lock);
	if (status.error[0] && gmtime_r(&status.error_at, &at) &&
	    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &at))
		text_printf(out, "last error: %s %s\n", when, status.error);
	pthread_mutex_unlock(&status.lock);
}

/* A line for each; as many as there is room for. */
static void add_hidden(struct text *out, size_t max)
{
	_cleanup_text_ struct text keys = { 0 };
	char *line, *next;

	add_number(out, "keys not shown", hidden_keys_count());
	hidden_keys_list(&keys);
	for (line = keys.len ? keys.data : NULL; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (out->len + strlen(line) + 16 > max)
			return;
		text_printf(out, "not shown: %s\n", line);
	}
}

void status_show(struct text *out, size_t max)
{
	struct object_stats stats;
	uint64_t nodes;
	size_t writers, unsaved;

	object_store_stats(the_store, &stats);
	writers = status_count_writers(&unsaved);
	pthread_mutex_lock(&tree_lock);
	nodes = nodes_count();
	pthread_mutex_unlock(&tree_lock);
	text_printf(out, "url: %s\n", object_store_url(the_store));
	add_number(out, "requests", stats.requests);
	add_number(out, "tried again", stats.retries);
	add_number(out, "bytes read", stats.bytes_in);
	add_number(out, "bytes written", stats.bytes_out);
	add_number(out, "files open for writing", writers);
	add_number(out, "waiting uploads", unsaved);
	add_number(out, "waiting bytes", spool_used());
	add_number(out, "read ahead", chunks_memory());
	add_number(out, "files known", nodes);
	add_error(out);
	add_hidden(out, max);
}
