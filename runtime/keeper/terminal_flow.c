/* SPDX-License-Identifier: MIT */
/*
 * What flows through a terminal. Output goes through a ring that all attachments read, each at its
 * own place; the box is not read while one of them is too far behind (so a program waits for who
 * looks at it, as on any terminal), but nobody holds up the others for longer than SLOW_MS. Keys
 * wait, one piece for each attachment, until the terminal takes them. Must not block, and nothing
 * here frees: that is terminal_settle()'s. One thread, no locks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/terminal.h"

enum {
	SLOW_MS = 250,
	READS_AT_ONCE = 8, /* then others have their turn */
	HISTORY_SCREENS = 3,
	REPLAY_MAX = 128 << 10,
};

/* --- output ----------------------------------------------------------------------------------- */

bool attachment_is_done(const struct attachment *a)
{
	return a->intro_at == a->intro.len && a->at == a->terminal->end;
}

/* How many bytes may be taken from the box now. */
static size_t room(const struct terminal *t)
{
	uint64_t lag = 0;

	for (const struct attachment *a = t->attachments; a; a = a->next) {
		if (!a->slow && !a->gone)
			lag = MAX(lag, t->end - a->at + (a->intro.len - a->intro_at));
	}
	return lag < TERMINAL_LAG ? TERMINAL_LAG - (size_t)lag : 0;
}

/* One who was left behind goes on at the start of a line. */
static void skip(struct attachment *a)
{
	const struct terminal *t = a->terminal;

	if (t->end - a->at <= t->ring_size)
		return;
	a->at = t->end - t->ring_size / 2;
	while (a->at < t->end && t->ring[(a->at - 1) % t->ring_size] != '\n')
		a->at++;
}

/* Sends; true if all was taken. */
static bool give(struct attachment *a, const char *bytes, size_t len, size_t *sent)
{
	ssize_t n = send(a->stream.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	*sent = n > 0 ? (size_t)n : 0;
	if (*sent)
		a->taken_ms = monotonic_ms();
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		a->gone = true;
	return *sent == len;
}

static void push(struct attachment *a)
{
	const struct terminal *t = a->terminal;
	size_t sent;

	/* Before its request is answered nobody reads: see terminal.c. */
	if (a->gone || a->theirs >= 0 || attachment_is_done(a))
		return;
	if (a->intro_at < a->intro.len) {
		bool all = give(a, a->intro.data + a->intro_at, a->intro.len - a->intro_at, &sent);

		a->intro_at += sent;
		if (!all)
			return;
		text_free(&a->intro);
		a->intro_at = 0;
	}
	skip(a);
	while (a->at < t->end) {
		size_t from = a->at % t->ring_size;
		size_t len = MIN(t->end - a->at, t->ring_size - from);
		bool all = give(a, t->ring + from, len, &sent);

		a->at += sent;
		if (!all)
			return;
	}
	a->slow = false;
}

/* One read; false when there is nothing to be had. */
static bool take_output(struct terminal *t)
{
	size_t from = t->end % t->ring_size;
	size_t len = MIN(room(t), t->ring_size - from);
	ssize_t n;

	if (t->state == TERMINAL_ENDED)
		len = MIN(len, t->drain_until - t->end);
	if (!len || t->master.fd < 0)
		return false;
	n = read(t->master.fd, t->ring + from, len);
	if (n <= 0)
		return false;
	term_modes_feed(&t->modes, t->ring + from, (size_t)n);
	t->end += (uint64_t)n;
	return true;
}

void terminal_pump(struct terminal *t)
{
	bool more = true;

	for (int i = 0; i < READS_AT_ONCE && more; i++) {
		more = take_output(t);
		for (struct attachment *a = t->attachments; a; a = a->next)
			push(a);
	}
	/* A background job that goes on writing is not waited for. */
	if (t->state == TERMINAL_ENDED && !more && (room(t) || t->end == t->drain_until))
		terminal_drop_line(t);
}

/* Who has not taken anything for a while no longer holds up the others. */
void terminal_slow_fire(struct loop_timer *timer)
{
	struct terminal *t = container_of(timer, struct terminal, slow_timer);
	int64_t now = monotonic_ms();

	for (struct attachment *a = t->attachments; a; a = a->next) {
		if (!attachment_is_done(a) && now - a->taken_ms >= SLOW_MS)
			a->slow = true;
	}
	terminal_pump(t);
	terminal_settle(t);
}

int attachment_add_history(struct attachment *a)
{
	struct terminal *t = a->terminal;
	size_t len = (size_t)MIN(t->end, (uint64_t)t->ring_size);
	_cleanup_free_ char *bytes = malloc(len + 1);

	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		bytes[i] = t->ring[(t->end - len + i) % t->ring_size];
	term_modes_add_normal(bytes, len, (size_t)t->rows * HISTORY_SCREENS, REPLAY_MAX, &a->intro);
	term_modes_add_set(&t->modes, &a->intro);
	a->at = t->end;
	return a->intro.failed ? -ENOMEM : 0;
}

/* --- keys ------------------------------------------------------------------------------------- */

/* False while the terminal takes no more. */
static bool type_keys(struct attachment *a)
{
	struct terminal *t = a->terminal;

	while (a->keys_at < a->keys_len && t->master.fd >= 0) {
		ssize_t n = write(t->master.fd, a->keys + a->keys_at, a->keys_len - a->keys_at);

		if (n <= 0 && errno == EAGAIN)
			return false;
		if (n <= 0)
			break; /* nobody will read them */
		a->keys_at += (size_t)n;
	}
	a->keys_at = a->keys_len = 0;
	return true;
}

/* False at the end of the stream. */
static bool take_keys(struct attachment *a)
{
	for (int i = 0; i < READS_AT_ONCE && type_keys(a); i++) {
		ssize_t n = recv(a->stream.fd, a->keys, sizeof(a->keys), MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n < 0)
			return true;
		a->keys_len = (size_t)n;
	}
	type_keys(a);
	return true;
}

void terminal_stream_ready(struct loop_source *source, uint32_t events)
{
	struct attachment *a = container_of(source, struct attachment, stream);
	struct terminal *t = a->terminal;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		if (!take_keys(a) || (events & (EPOLLHUP | EPOLLERR) && a->keys_len))
			a->gone = true;
	}
	if (events & EPOLLOUT)
		push(a);
	/* What was typed is often answered at once, and there may be room again. */
	terminal_pump(t);
	terminal_settle(t);
}

void terminal_master_ready(struct loop_source *source, uint32_t events)
{
	struct terminal *t = container_of(source, struct terminal, master);

	if (events & EPOLLOUT) {
		for (struct attachment *a = t->attachments; a; a = a->next)
			type_keys(a);
	}
	terminal_pump(t);
	terminal_settle(t);
}

/* --- what is waited for ----------------------------------------------------------------------- */

static void watch_attachment(struct attachment *a, bool *held_up)
{
	const struct terminal *t = a->terminal;
	uint32_t events = a->keys_len ? 0 : EPOLLIN;

	if (!attachment_is_done(a)) {
		events |= EPOLLOUT;
		*held_up |= !a->slow && t->end - a->at >= TERMINAL_LAG / 2;
	}
	if (a->theirs < 0 && events != a->watched) {
		loop_change(&t->keeper->loop, &a->stream, events);
		a->watched = events;
	}
}

void terminal_watch(struct terminal *t)
{
	struct loop *loop = &t->keeper->loop;
	bool held_up = false, keys = false;
	uint32_t events;

	/* Who is alone is waited for. */
	if (t->attachments && !t->attachments->next)
		t->attachments->slow = false;
	events = room(t) ? EPOLLIN : 0;
	for (struct attachment *a = t->attachments; a; a = a->next) {
		watch_attachment(a, &held_up);
		keys |= a->keys_len != 0;
	}
	if (keys)
		events |= EPOLLOUT;
	if (t->master.fd >= 0 && events != t->watched) {
		loop_change(loop, &t->master, events);
		t->watched = events;
	}
	if (!held_up || !t->attachments || !t->attachments->next)
		loop_timer_clear(loop, &t->slow_timer);
	else if (!t->slow_timer.armed)
		loop_timer_set(loop, &t->slow_timer, SLOW_MS);
}

void terminal_drop_line(struct terminal *t)
{
	if (t->master.fd >= 0)
		loop_remove(&t->keeper->loop, &t->master);
	close_fd(&t->master.fd);
	close_fd(&t->slave);
}
