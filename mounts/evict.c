/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The thread that has the kernel forget. It is made when it is first needed, as few mounts see so many
 * files. The kernel forgets a name under the lock of its directory, which a request of that directory
 * may hold: so nothing that answers one may wait for this thread, and it holds no lock while it asks.
 *
 * Lock: tree_lock guards all of this.
 */
#include "evict.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bucket.h"
#include "node.h"

enum { AT_A_TIME = 256 };

static struct {
	struct fuse_session *se;
	pthread_t thread;
	pthread_cond_t wanted;
	bool started, ending;
} evict = { .wanted = PTHREAD_COND_INITIALIZER };

static bool too_many(void)
{
	return nodes_count() > the_options.cache_entries / 4 * 3;
}

/* Names as the kernel knows them; what they lead to may change while it is asked. */
struct batch {
	size_t n;
	uint64_t dirs[AT_A_TIME];
	char *names[AT_A_TIME];
};

static bool note(const struct node *node, void *ctx)
{
	struct batch *batch = ctx;
	char *name = strdup(node->name);

	if (!name)
		return false;
	batch->dirs[batch->n] = node->parent->parent ? (uintptr_t)node->parent : FUSE_ROOT_ID;
	batch->names[batch->n++] = name;
	return batch->n < AT_A_TIME;
}

/* Once through the table: all but the newest, which are being looked at. tree_lock held. */
static void forget_old(void)
{
	uint64_t told = nodes_told(), keep = the_options.cache_entries / 2;
	struct batch batch;
	size_t slot = 0;
	bool more = told > keep;

	while (more && !evict.ending) {
		batch.n = 0;
		more = nodes_each_old(&slot, told - keep, note, &batch);
		pthread_mutex_unlock(&tree_lock);
		/* What the kernel has forgotten by itself, or uses, is no error. */
		for (size_t i = 0; i < batch.n; i++) {
			fuse_lowlevel_notify_inval_entry(evict.se, batch.dirs[i], batch.names[i],
							 strlen(batch.names[i]));
			free(batch.names[i]);
		}
		pthread_mutex_lock(&tree_lock);
	}
}

static void *run(void *arg)
{
	uint64_t looked_at = 0; /* nodes_told() when it last did what it could */

	pthread_mutex_lock(&tree_lock);
	while (!evict.ending) {
		/* What is open or has just been told of stays: not again and again. */
		if (!too_many() || nodes_told() < looked_at + the_options.cache_entries / 8) {
			pthread_cond_wait(&evict.wanted, &tree_lock);
			continue;
		}
		looked_at = nodes_told();
		forget_old();
	}
	pthread_mutex_unlock(&tree_lock);
	return arg;
}

void evict_init(struct fuse_session *se)
{
	evict.se = se;
}

void evict_look(void)
{
	if (!too_many() || evict.ending)
		return;
	if (!evict.started)
		evict.started = pthread_create(&evict.thread, NULL, run, NULL) == 0;
	else
		pthread_cond_signal(&evict.wanted);
}

void evict_stop(void)
{
	bool started;

	pthread_mutex_lock(&tree_lock);
	evict.ending = true;
	started = evict.started;
	pthread_cond_signal(&evict.wanted);
	pthread_mutex_unlock(&tree_lock);
	if (started)
		pthread_join(evict.thread, NULL);
}
