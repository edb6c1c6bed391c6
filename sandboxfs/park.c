/* SPDX-License-Identifier: MIT */
/*
 * Parked requests and their interruptions. Must not know what a request waits for.
 *
 * Locks: the list's lock (a box's, the events'), then parks_lock. libfuse calls interrupt_came()
 * with its own locks held, so that takes only parks_lock and wakes the event thread, which then
 * finds the park by its serial number, if it is still there.
 */
#include "park.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box.h"
#include "tree.h"

/* REQUEST_BYTES: a struct fuse_req of libfuse's, which it does not show. */
enum {
	LOOK_AGAIN_MS = 20,
	REQUEST_BYTES = 192,
	WRITTEN_BYTES = 16 << 20, /* see chunk_copy() */
	WRITTEN_LEAST = 4096,
};

static pthread_mutex_t parks_lock = PTHREAD_MUTEX_INITIALIZER;
/* How many requests of one user wait: nobody but root may take more than half of the places. */
struct user_parks {
	UT_hash_handle hh;
	uid_t uid;
	uint64_t n;
};

static struct user_parks *users;
static struct park *parks; /* by serial */
static uint64_t last_serial, max_parks;
static uint64_t *interrupted; /* serials that the event thread has to look at */
static size_t n_interrupted, interrupted_size;
static int interrupt_event = -1;
static atomic_uint_fast64_t chunk_bytes, written_bytes; /* written_bytes: of chunk_copy()'s */

int park_init(uint64_t max_waiting)
{
	max_parks = max_waiting;
	interrupt_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return interrupt_event < 0 ? -errno : 0;
}

int park_interrupt_fd(void)
{
	return interrupt_event;
}

void park_total(struct park_totals *totals)
{
	const size_t each = sizeof(struct park) + sizeof(struct handle) + REQUEST_BYTES;

	pthread_mutex_lock(&parks_lock);
	totals->requests = HASH_COUNT(parks);
	pthread_mutex_unlock(&parks_lock);
	totals->bytes = totals->requests * each + atomic_load(&chunk_bytes);
}

struct chunk *chunk_new(size_t len)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + len);

	if (!chunk)
		return NULL;
	chunk->len = chunk->room = len;
	chunk->written = false;
	atomic_fetch_add(&chunk_bytes, sizeof(*chunk) + len);
	return chunk;
}

struct chunk *chunk_copy(const char *data, size_t size)
{
	struct chunk *chunk;

	if (atomic_load(&written_bytes) + size > WRITTEN_BYTES)
		size = MIN(size, (size_t)WRITTEN_LEAST);
	chunk = chunk_new(size);
	if (!chunk)
		return NULL;
	chunk->written = true;
	atomic_fetch_add(&written_bytes, size);
	memcpy(chunk->bytes, data, size);
	return chunk;
}

void chunk_free(struct chunk *chunk)
{
	if (!chunk)
		return;
	if (chunk->written)
		atomic_fetch_sub(&written_bytes, chunk->room);
	atomic_fetch_sub(&chunk_bytes, sizeof(*chunk) + chunk->room);
	free(chunk);
}

/* parks_lock held. */
static int interrupted_push(uint64_t serial)
{
	if (n_interrupted == interrupted_size) {
		size_t size = interrupted_size ? interrupted_size * 2 : 64;
		uint64_t *bigger = realloc(interrupted, size * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		interrupted = bigger;
		interrupted_size = size;
	}
	interrupted[n_interrupted++] = serial;
	return 0;
}

static void interrupt_came(fuse_req_t req, void *data)
{
	(void)req;
	pthread_mutex_lock(&parks_lock);
	interrupted_push((uintptr_t)data);
	pthread_mutex_unlock(&parks_lock);
	eventfd_write(interrupt_event, 1);
}

/* parks_lock held. 0, -EDQUOT or -ENOMEM. */
static int take_place(uid_t uid)
{
	struct user_parks *u;

	HASH_FIND(hh, users, &uid, sizeof(uid), u);
	if (HASH_COUNT(parks) >= max_parks || (uid != 0 && u && u->n >= max_parks / 2))
		return -EDQUOT;
	if (!u) {
		u = calloc(1, sizeof(*u));
		if (!u)
			return -ENOMEM;
		u->uid = uid;
		HASH_ADD(hh, users, uid, sizeof(u->uid), u);
	}
	u->n++;
	return 0;
}

/* parks_lock held. */
static void leave_place(uid_t uid)
{
	struct user_parks *u;

	HASH_FIND(hh, users, &uid, sizeof(uid), u);
	if (u && --u->n == 0) {
		HASH_DELETE(hh, users, u);
		free(u);
	}
}

int park_add(struct park_list *list, pthread_mutex_t *lock, const struct park_type *type,
	     fuse_req_t req, struct handle *handle, struct box *box, const struct park_wait *wait)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	struct park *park = calloc(1, sizeof(*park));
	int r;

	if (!park)
		return -ENOMEM;
	pthread_mutex_lock(&parks_lock);
	r = take_place(uid);
	if (r < 0) {
		pthread_mutex_unlock(&parks_lock);
		free(park);
		return r;
	}
	park->uid = uid;
	park->type = type;
	park->req = req;
	park->handle = handle ? handle_ref(handle) : NULL;
	park->box = box ? box_ref(box) : NULL;
	park->lock = lock;
	park->serial = ++last_serial;
	park->tid = fuse_req_ctx(req)->pid;
	if (wait)
		park->wait = *wait;
	if (park->wait.run)
		run_ref(park->wait.run);
	HASH_ADD(hh, parks, serial, sizeof(park->serial), park);
	pthread_mutex_unlock(&parks_lock);

	park->link = &list->first;
	park->next = list->first;
	if (park->next)
		park->next->link = &park->next;
	list->first = park;
	/* Last: from here on interrupt_came() may be called, also at once. */
	fuse_req_interrupt_func(req, interrupt_came, (void *)(uintptr_t)park->serial);
	return 0;
}

static void park_unlink(struct park *park)
{
	*park->link = park->next;
	if (park->next)
		park->next->link = park->link;
	park->link = NULL;
	pthread_mutex_lock(&parks_lock);
	HASH_DELETE(hh, parks, park);
	leave_place(park->uid);
	pthread_mutex_unlock(&parks_lock);
}

struct park *park_collect_one(struct park *park, int error, struct park *ready)
{
	park->error = error;
	park_unlink(park);
	park->ready = ready;
	return park;
}

struct park *park_collect(struct park_list *list, int error, struct park *ready)
{
	struct park *park, *next;

	for (park = list->first; park; park = next) {
		next = park->next;
		if (error || park->type->look(park) == PARK_ANSWER)
			ready = park_collect_one(park, error ? error : park->error, ready);
	}
	return ready;
}

void park_answer(struct park *ready)
{
	while (ready) {
		struct park *park = ready;

		ready = park->ready;
		park->type->answer(park, park->error);
		if (park->wait.run)
			run_put(park->wait.run);
		if (park->handle)
			handle_put(park->handle);
		if (park->box)
			box_put(park->box);
		free(park);
	}
}

/* The lock of that park's list and a reference to its box, if it still waits. */
static pthread_mutex_t *park_owner(uint64_t serial, struct box **box)
{
	pthread_mutex_t *lock = NULL;
	struct park *park;

	pthread_mutex_lock(&parks_lock);
	HASH_FIND(hh, parks, &serial, sizeof(serial), park);
	if (park) {
		lock = park->lock;
		*box = park->box ? box_ref(park->box) : NULL;
	}
	pthread_mutex_unlock(&parks_lock);
	return lock;
}

/* True if it wants to be looked at again. */
static bool park_interrupt(uint64_t serial)
{
	_cleanup_box_ struct box *box = NULL;
	pthread_mutex_t *lock = park_owner(serial, &box);
	struct park *park, *ready = NULL;
	bool again = false;

	if (!lock)
		return false;
	pthread_mutex_lock(lock);
	pthread_mutex_lock(&parks_lock);
	HASH_FIND(hh, parks, &serial, sizeof(serial), park);
	pthread_mutex_unlock(&parks_lock);
	if (park) {
		park->error = EINTR;
		if (park->type->interrupted && park->type->interrupted(park) == PARK_WAIT) {
			park->error = 0;
			again = true;
		} else {
			park_unlink(park);
			park->ready = NULL;
			ready = park;
		}
	}
	pthread_mutex_unlock(lock);
	park_answer(ready);
	return again;
}

int park_run_interrupts(void)
{
	uint64_t *serials;
	size_t n;
	bool again = false;
	eventfd_t ignored;

	eventfd_read(interrupt_event, &ignored);
	pthread_mutex_lock(&parks_lock);
	serials = interrupted;
	n = n_interrupted;
	interrupted = NULL;
	n_interrupted = interrupted_size = 0;
	pthread_mutex_unlock(&parks_lock);
	for (size_t i = 0; i < n; i++) {
		if (!park_interrupt(serials[i]))
			continue;
		pthread_mutex_lock(&parks_lock);
		interrupted_push(serials[i]);
		pthread_mutex_unlock(&parks_lock);
		again = true;
	}
	free(serials);
	return again ? LOOK_AGAIN_MS : -1;
}
