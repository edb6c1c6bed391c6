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

/* How many events there were of an owner's boxes. */
struct owner {
	UT_hash_handle hh;
	uid_t uid;
	uint64_t n;
};

/* Of an open file; under events_lock. */
struct event_reader {
	uint64_t position; /* number of the next event to look at */
	uint64_t seen;	   /* how many for this reader lie before it */
	uid_t uid;	   /* who opened it */
};

static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;
static struct event ring[RING];
static uint64_t next_event; /* number of the next one */
static struct owner *owners;
static struct park_list waiting;
static struct handle *pollers; /* by poll_next, each a reference */

/* Lets readers know how many they have missed. events_lock held. */
static void count_event(struct box *box)
{
	struct owner *owner;

	box->n_events++;
	HASH_FIND(hh, owners, &box->uid, sizeof(box->uid), owner);
	if (!owner) {
		owner = calloc(1, sizeof(*owner));
		if (!owner)
			return;
		owner->uid = box->uid;
		HASH_ADD(hh, owners, uid, sizeof(owner->uid), owner);
	}
	owner->n++;
}

void event_add(struct box *box, const char *what, const char *fields, ...)
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
	count_event(box);
	pthread_mutex_unlock(&events_lock);
	daemon_kick();
}

static bool is_for(const struct event *e, const struct handle *h)
{
	if (h->box)
		return e->box == h->box->id;
	return h->events->uid == 0 || e->uid == h->events->uid;
}

/* How many there were for this reader, since the daemon started. */
static uint64_t count_for(const struct handle *h)
{
	struct owner *owner;

	if (h->box)
		return h->box->n_events;
	if (h->events->uid == 0)
		return next_event;
	HASH_FIND(hh, owners, &h->events->uid, sizeof(h->events->uid), owner);
	return owner ? owner->n : 0;
}

static uint64_t oldest_event(void)
{
	return next_event > RING ? next_event - RING : 0;
}

/* Of those still there from `from` on, how many are for this reader? */
static uint64_t count_there(const struct handle *h, uint64_t from)
{
	uint64_t n = 0;

	for (; from < next_event; from++)
		n += is_for(&ring[from % RING], h);
	return n;
}

static void skip_missed(struct handle *h, struct text *out)
{
	struct event_reader *r = h->events;
	uint64_t now;

	if (r->position >= oldest_event())
		return;
	r->position = oldest_event();
	now = count_for(h) - count_there(h, r->position);
	if (now > r->seen)
		text_printf(out, "{\"event\":\"missed\",\"count\":%llu}\n",
			    (unsigned long long)(now - r->seen));
	r->seen = now;
}

/* Fills out with whole lines for this reader. events_lock held. */
static void events_take(struct handle *h, size_t size, struct text *out)
{
	struct event_reader *r = h->events;

	skip_missed(h, out);
	for (; r->position < next_event; r->position++) {
		const struct event *e = &ring[r->position % RING];

		if (!is_for(e, h))
			continue;
		if (out->len && out->len + strlen(e->line) > size)
			return;
		text_add_str(out, e->line);
		r->seen++;
	}
}

/* The part of a long line that did not fit the last read waits in h->text. */
static bool reader_fill(struct handle *h, size_t size)
{
	if (!h->text.len)
		events_take(h, size, &h->text);
	return h->text.len != 0;
}

/* Takes what one read gets; NULL: nothing yet, or no memory. events_lock held. */
static struct chunk *reader_take(struct handle *h, size_t size)
{
	struct chunk *chunk;

	if (!reader_fill(h, size))
		return NULL;
	size = MIN(size, h->text.len);
	chunk = chunk_new(size);
	if (!chunk)
		return NULL;
	memcpy(chunk->bytes, h->text.data, size);
	h->text.len -= size;
	memmove(h->text.data, h->text.data + size, h->text.len);
	return chunk;
}

static enum park_verdict reader_look(struct park *park)
{
	park->chunk = reader_take(park->handle, park->wait.size);
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
	chunk_free(park->chunk);
}

static const struct park_type reader_park = { reader_look, reader_answer, NULL };

/* Begins with the last ones that are for this reader. */
static int events_open(struct ctx *ctx, struct handle *h)
{
	struct event_reader *r = calloc(1, sizeof(*r));
	uint64_t n = 0;

	if (!r)
		return -ENOMEM;
	h->events = r;
	r->uid = ctx->uid;
	pthread_mutex_lock(&events_lock);
	r->position = next_event;
	while (r->position > oldest_event() && n < KEPT_FOR_NEW_READERS)
		n += is_for(&ring[--r->position % RING], h);
	r->seen = count_for(h) - n;
	pthread_mutex_unlock(&events_lock);
	return 0;
}

static void events_release(struct handle *h)
{
	free(take_ptr(h->events));
}

static int events_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = size };
	struct chunk *chunk;
	bool end;
	int r = 0;

	(void)offset;
	pthread_mutex_lock(&events_lock);
	chunk = reader_take(h, size);
	end = !chunk && h->box && h->box->removed;
	if (!chunk && !end && (ctx->flags & O_NONBLOCK))
		r = -EAGAIN;
	else if (!chunk && !end)
		r = park_add(&waiting, &events_lock, &reader_park, ctx->req, h, h->box, &wait);
	pthread_mutex_unlock(&events_lock);
	if (chunk || end)
		fuse_reply_buf(ctx->req, end ? NULL : chunk->bytes, end ? 0 : chunk->len);
	chunk_free(chunk);
	return r < 0 ? r : TREE_ANSWERED;
}

static unsigned int events_poll(struct ctx *ctx, struct handle *h)
{
	unsigned int mask = 0;

	(void)ctx;
	pthread_mutex_lock(&events_lock);
	if (reader_fill(h, 4096) || (h->box && h->box->removed))
		mask = POLLIN;
	pthread_mutex_unlock(&events_lock);
	return mask;
}

static void events_add_poll(struct handle *h, struct fuse_pollhandle *ph)
{
	struct fuse_pollhandle *old;

	pthread_mutex_lock(&events_lock);
	old = h->poll;
	h->poll = ph;
	if (!old) {
		h->poll_next = pollers;
		pollers = handle_ref(h);
	}
	pthread_mutex_unlock(&events_lock);
	if (old)
		fuse_pollhandle_destroy(old);
}

/* Takes off the list whoever has something to read; those of a box that goes, too. */
static struct handle *take_pollers(const struct box *gone, bool all)
{
	struct handle *ready = NULL, **at = &pollers, *h;

	pthread_mutex_lock(&events_lock);
	while ((h = *at)) {
		if (!all && h->box != gone && !reader_fill(h, 4096)) {
			at = &h->poll_next;
			continue;
		}
		*at = h->poll_next;
		h->poll_next = ready;
		ready = h;
	}
	pthread_mutex_unlock(&events_lock);
	return ready;
}

/* Without locks: the kernel asks again at once. */
static void tell_pollers(struct handle *ready)
{
	struct handle *next;

	for (; ready; ready = next) {
		struct fuse_pollhandle *ph;

		pthread_mutex_lock(&events_lock);
		next = ready->poll_next;
		ph = take_ptr(ready->poll);
		pthread_mutex_unlock(&events_lock);
		if (ph) {
			fuse_lowlevel_notify_poll(ph);
			fuse_pollhandle_destroy(ph);
		}
		handle_put(ready);
	}
}

const struct row_ops events_ops = {
	.open = events_open,
	.read = events_read,
	.poll = events_poll,
	.add_poll = events_add_poll,
	.release = events_release,
};

void events_wake(void)
{
	struct park *ready;

	pthread_mutex_lock(&events_lock);
	ready = park_collect(&waiting, 0, NULL);
	pthread_mutex_unlock(&events_lock);
	park_answer(ready);
	tell_pollers(take_pollers((const struct box *)-1, false));
}

void events_end(const struct box *box)
{
	struct park *ready, *park, *next;

	pthread_mutex_lock(&events_lock);
	/* The last events come before the end. */
	ready = park_collect(&waiting, 0, NULL);
	for (park = waiting.first; park; park = next) {
		next = park->next;
		if (box && park->box != box)
			continue;
		ready = park_collect_one(park, ESTALE, ready);
	}
	pthread_mutex_unlock(&events_lock);
	park_answer(ready);
	tell_pollers(take_pollers(box, !box));
}
