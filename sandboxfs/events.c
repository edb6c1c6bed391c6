/* SPDX-License-Identifier: MIT */
/*
 * The ring of events and its readers. Must not wait for anything. Lock: events_lock, taken after a
 * box's lock by event_add(), and never held while taking one: what a reader may see is decided by
 * the owner's ids that each event carries.
 */
#include "events.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "daemon.h"

enum { RING = 4096, KEPT_FOR_NEW_READERS = 64 };

struct event {
	char *line;
	uint32_t box;
	uid_t uid;
};

static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;
static struct event ring[RING];
static uint64_t next_event; /* number of the next one */
static struct park_list waiting;

void event_add(const struct box *box, const char *what, const char *fields, ...)
{
	json_t *event = json_pack("{s:f,s:s,s:s}", "time", (double)realtime_us() / 1e6, "box",
				  box->name, "event", what);
	_cleanup_free_ char *text = NULL;
	struct event *slot;
	char *line;

	if (event && fields) {
		va_list ap;
		json_t *more;

		va_start(ap, fields);
		more = json_vpack_ex(NULL, 0, fields, ap);
		va_end(ap);
		if (more)
			json_object_update(event, more);
		json_decref(more);
	}
	if (event)
		text = json_dumps(event,
				  JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(17));
	json_decref(event);
	if (!text)
		return;
	line = malloc(strlen(text) + 2);
	if (!line)
		return;
	strcat(strcpy(line, text), "\n");
	pthread_mutex_lock(&events_lock);
	slot = &ring[next_event++ % RING];
	free(slot->line);
	*slot = (struct event){ .line = line, .box = box->id, .uid = box->uid };
	pthread_mutex_unlock(&events_lock);
	daemon_kick();
}

static bool is_for(const struct event *e, const struct handle *h, uid_t uid)
{
	if (h->box)
		return e->box == h->box->id;
	return uid == 0 || e->uid == uid;
}

/* Fills out with whole lines for this reader from h->position on. events_lock held. */
static void events_take(struct handle *h, uid_t uid, size_t size, struct text *out)
{
	uint64_t oldest = next_event > RING ? next_event - RING : 0;

	if (h->position < oldest) {
		text_printf(out, "{\"event\":\"missed\",\"count\":%llu}\n",
			    (unsigned long long)(oldest - h->position));
		h->position = oldest;
	}
	for (; h->position < next_event; h->position++) {
		const struct event *e = &ring[h->position % RING];

		if (!is_for(e, h, uid))
			continue;
		if (out->len && out->len + strlen(e->line) > size)
			return;
		text_add_str(out, e->line);
	}
}

/* The part of a long line that did not fit the last read waits in h->text. */
static bool reader_fill(struct handle *h, uid_t uid, size_t size)
{
	if (!h->text.len)
		events_take(h, uid, size, &h->text);
	return h->text.len != 0;
}

/* Takes what one read gets; NULL: nothing yet, or no memory. events_lock held. */
static struct chunk *reader_take(struct handle *h, uid_t uid, size_t size)
{
	struct chunk *chunk;

	if (!reader_fill(h, uid, size))
		return NULL;
	size = MIN(size, h->text.len);
	chunk = malloc(sizeof(*chunk) + size);
	if (!chunk)
		return NULL;
	chunk->len = size;
	memcpy(chunk->bytes, h->text.data, size);
	h->text.len -= size;
	memmove(h->text.data, h->text.data + size, h->text.len);
	return chunk;
}

static enum park_verdict reader_look(struct park *park)
{
	park->chunk = reader_take(park->handle, park->uid, park->wait.size);
	return park->chunk ? PARK_ANSWER : PARK_WAIT;
}

static void reader_answer(struct park *park, int error)
{
	if (error == ESTALE)
		fuse_reply_buf(park->req, NULL, 0); /* its box was destroyed: end of file */
	else if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_buf(park->req, park->chunk->bytes, park->chunk->len);
	free(park->chunk);
}

static const struct park_type reader_park = { reader_look, reader_answer, NULL };

static int events_open(struct ctx *ctx, struct handle *h)
{
	(void)ctx;
	pthread_mutex_lock(&events_lock);
	h->position = next_event > KEPT_FOR_NEW_READERS ? next_event - KEPT_FOR_NEW_READERS : 0;
	pthread_mutex_unlock(&events_lock);
	return 0;
}

static int events_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = size };
	struct chunk *chunk;
	int r = 0;

	(void)offset;
	if (h->box && h->box->removed)
		return fuse_reply_buf(ctx->req, NULL, 0), TREE_ANSWERED;
	pthread_mutex_lock(&events_lock);
	chunk = reader_take(h, ctx->uid, size);
	if (!chunk && (ctx->flags & O_NONBLOCK))
		r = -EAGAIN;
	else if (!chunk)
		r = park_add(&waiting, &events_lock, &reader_park, ctx->req, h, h->box, &wait);
	pthread_mutex_unlock(&events_lock);
	if (chunk)
		fuse_reply_buf(ctx->req, chunk->bytes, chunk->len);
	free(chunk);
	return r < 0 ? r : TREE_ANSWERED;
}

static unsigned int events_poll(struct ctx *ctx, struct handle *h)
{
	unsigned int mask = 0;

	pthread_mutex_lock(&events_lock);
	if (reader_fill(h, ctx->uid, 4096))
		mask = POLLIN;
	pthread_mutex_unlock(&events_lock);
	return mask;
}

const struct row_ops events_ops = {
	.open = events_open,
	.read = events_read,
	.poll = events_poll,
	.stream = true,
};

void events_wake(void)
{
	struct park *ready;

	pthread_mutex_lock(&events_lock);
	ready = park_collect(&waiting, 0, NULL);
	pthread_mutex_unlock(&events_lock);
	park_answer(ready);
}

void events_end(const struct box *box)
{
	struct park *ready = NULL, *park, *next;

	pthread_mutex_lock(&events_lock);
	for (park = waiting.first; park; park = next) {
		next = park->next;
		if (box && park->box != box)
			continue;
		ready = park_collect_one(park, ESTALE, ready);
	}
	pthread_mutex_unlock(&events_lock);
	park_answer(ready);
}
