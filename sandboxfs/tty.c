/* SPDX-License-Identifier: MIT */
/*
 * Open terminals. Must not wait, and must not carry data under the box's lock: a stream is read and
 * written by whoever asks, under the terminal's own lock, and by the event thread for those who
 * wait. What a write could not get rid of waits with it, so that no byte is ever taken in vain.
 *
 * Locks: box->lock (the list of terminals, opening), then tty->lock. A tty is freed by the event
 * thread alone, which may be about to look at its watch or at one of its parks.
 */
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "daemon.h"
#include "keeper.h"
#include "perm.h"
#include "tty_ioctl.h"
#include "wake.h"

enum { MAX_READ = 64 << 10, CODE_DETACHED = -1 };

struct tty {
	struct tty *next, **link; /* of its box; link NULL: not among them. box->lock */
	bool asked;		  /* the keeper, for it. box->lock */
	uint64_t number;	  /* the keeper's, once it is open. box->lock */

	pthread_mutex_t lock; /* all below */
	struct watch watch;   /* fd: the stream, -1 none yet */
	uint32_t armed;	      /* events that it is watched for, once */
	bool hung_up;	      /* the stream is at its end */
	bool full;	      /* it takes no more for now */
	bool ended;	      /* the keeper has said so, with */
	int code;
	int lost; /* errno: nothing comes any more */
	struct park_list readers, writers;
	struct park *writing; /* whose data has been taken in part */
	struct fuse_pollhandle *poll;
};

/* --- watching; tty->lock held ------------------------------------------------------------------ */

static void arm(struct tty *tty, uint32_t events)
{
	/* A stream at its end would tell it again and again: until its reason is known, wait for
	 * that. */
	if (tty->watch.fd < 0 || (tty->hung_up && !tty->ended && !tty->lost))
		return;
	tty->armed |= events;
	daemon_watch_change(&tty->watch, tty->armed | EPOLLONESHOT);
}

/* What holds for a stream at its end: 0 end of file, errno, or EAGAIN: not known yet. */
static int end_error(const struct tty *tty)
{
	if (tty->lost)
		return tty->lost;
	return tty->ended ? 0 : EAGAIN;
}

/* Takes what one read gets. 0 and *chunk (empty at the end), -EAGAIN must wait, or -errno. */
static int take_screen(struct tty *tty, size_t size, struct chunk **chunk)
{
	char buf[MAX_READ];
	ssize_t n = recv(tty->watch.fd, buf, MIN(size, sizeof(buf)), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n <= 0) {
		tty->hung_up = true;
		n = 0;
		if (end_error(tty))
			return -end_error(tty);
	}
	*chunk = chunk_new((size_t)n);
	if (!*chunk)
		return -ENOMEM;
	memcpy((*chunk)->bytes, buf, (size_t)n);
	return 0;
}

/* Sends; how much was taken (0: it is full), or -EIO: nobody will ever read it. */
static ssize_t send_keys(struct tty *tty, const char *data, size_t size)
{
	ssize_t n;

	if (tty->lost)
		return -tty->lost;
	n = send(tty->watch.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return -EIO;
	tty->full = n < (ssize_t)size;
	return MAX(n, 0);
}

/* --- waiting reads and writes ------------------------------------------------------------------ */

static enum park_verdict read_look(struct park *park)
{
	struct tty *tty = park->handle->tty;
	int r = take_screen(tty, park->wait.size, &park->chunk);

	if (r == -EAGAIN) {
		arm(tty, EPOLLIN);
		return PARK_WAIT;
	}
	park->error = -r;
	return PARK_ANSWER;
}

static void reply_chunk(fuse_req_t req, const struct chunk *chunk)
{
	fuse_reply_buf(req, chunk->bytes, chunk->len);
}

static void read_answer(struct park *park, int error)
{
	if (error)
		fuse_reply_err(park->req, error);
	else
		reply_chunk(park->req, park->chunk);
	chunk_free(park->chunk);
}

static const struct park_type read_park = { read_look, read_answer, NULL };

static int tty_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	const struct park_wait wait = { .size = size };
	_cleanup_chunk_ struct chunk *chunk = NULL;
	struct tty *tty = h->tty;
	int r;

	(void)offset;
	pthread_mutex_lock(&tty->lock);
	r = take_screen(tty, size, &chunk);
	if (r == -EAGAIN && !(ctx->flags & O_NONBLOCK)) {
		r = park_add(&tty->readers, &tty->lock, &read_park, ctx->req, h, h->box, &wait);
		if (r == 0)
			arm(tty, EPOLLIN);
		pthread_mutex_unlock(&tty->lock);
		return r < 0 ? r : TREE_ANSWERED;
	}
	pthread_mutex_unlock(&tty->lock);
	if (r < 0)
		return r;
	reply_chunk(ctx->req, chunk);
	return TREE_ANSWERED;
}

/* wait.size was taken before it had to wait, wait.offset of the chunk since. */
static enum park_verdict write_look(struct park *park)
{
	struct tty *tty = park->handle->tty;
	size_t done = (size_t)park->wait.offset;
	ssize_t n;

	if (tty->writing && tty->writing != park)
		return PARK_WAIT;
	n = tty->full && !tty->hung_up
		    ? 0
		    : send_keys(tty, park->chunk->bytes + done, park->chunk->len - done);
	if (n < 0) {
		park->error = (int)-n;
		tty->writing = NULL;
		return PARK_ANSWER;
	}
	done += (size_t)n;
	park->wait.offset = (off_t)done;
	tty->writing = done < park->chunk->len && park->wait.size + done ? park : NULL;
	return done < park->chunk->len ? PARK_WAIT : PARK_ANSWER;
}

static void write_answer(struct park *park, int error)
{
	struct tty *tty = park->handle->tty;
	size_t written = park->wait.size + (size_t)park->wait.offset;

	pthread_mutex_lock(&tty->lock);
	if (tty->writing == park) {
		/* It was interrupted in the middle: the others go on. */
		tty->writing = NULL;
		arm(tty, EPOLLOUT);
	}
	pthread_mutex_unlock(&tty->lock);
	if (written)
		fuse_reply_write(park->req, written);
	else
		fuse_reply_err(park->req, error);
	chunk_free(park->chunk);
}

static const struct park_type write_park = { write_look, write_answer, NULL };

/* Lets a write wait of which done bytes have been taken; data is the rest. tty->lock held. */
static int park_write(struct ctx *ctx, struct handle *h, const char *data, size_t size, size_t done)
{
	const struct park_wait wait = { .size = done };
	struct chunk *chunk = chunk_copy(data, size);
	struct tty *tty = h->tty;
	int r;

	if (!chunk)
		return -ENOMEM;
	r = park_add(&tty->writers, &tty->lock, &write_park, ctx->req, h, h->box, &wait);
	if (r < 0) {
		chunk_free(chunk);
		return r;
	}
	/* The newest stands first. */
	tty->writers.first->chunk = chunk;
	if (done)
		tty->writing = tty->writers.first;
	arm(tty, EPOLLOUT);
	return 0;
}

static int tty_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	struct tty *tty = h->tty;
	ssize_t n;
	int r = 0;

	pthread_mutex_lock(&tty->lock);
	n = tty->writers.first ? 0 : send_keys(tty, data, size);
	if (n >= 0 && n < (ssize_t)size && !(ctx->flags & O_NONBLOCK))
		r = park_write(ctx, h, data + n, size - (size_t)n, (size_t)n);
	if (n >= 0 && n < (ssize_t)size && !(ctx->flags & O_NONBLOCK) && r == 0)
		r = TREE_ANSWERED;
	pthread_mutex_unlock(&tty->lock);
	if (n < 0)
		return (int)n;
	if (r == TREE_ANSWERED)
		return r;
	if (n == 0 && size)
		return r < 0 ? r : -EAGAIN;
	/* Also when the rest could not wait: so much has been written. */
	fuse_reply_write(ctx->req, (size_t)n);
	return TREE_ANSWERED;
}

/* Who can be answered now. tty->lock held. */
static struct park *collect(struct tty *tty, struct park *ready)
{
	ready = park_collect(&tty->readers, 0, ready);
	/* One after the other: as soon as one has been served, another may be. */
	do {
		ready = park_collect(&tty->writers, 0, ready);
	} while (tty->writers.first && !tty->writing && !tty->full);
	if (tty->writers.first)
		arm(tty, EPOLLOUT);
	return ready;
}

/* The event thread's handler of the stream. */
static void tty_ready(struct watch *watch, uint32_t events)
{
	struct tty *tty = container_of(watch, struct tty, watch);
	struct fuse_pollhandle *poll;
	struct park *ready;

	pthread_mutex_lock(&tty->lock);
	tty->armed = 0;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		tty->full = false;
	if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN))
		tty->hung_up = true;
	ready = collect(tty, NULL);
	poll = take_ptr(tty->poll);
	pthread_mutex_unlock(&tty->lock);
	park_answer(ready);
	if (poll) {
		fuse_lowlevel_notify_poll(poll);
		fuse_pollhandle_destroy(poll);
	}
}

/* --- poll, ioctl ------------------------------------------------------------------------------- */

static void tty_add_poll(struct handle *h, struct fuse_pollhandle *ph)
{
	struct fuse_pollhandle *old;

	pthread_mutex_lock(&h->tty->lock);
	old = h->tty->poll;
	h->tty->poll = ph;
	pthread_mutex_unlock(&h->tty->lock);
	if (old)
		fuse_pollhandle_destroy(old);
}

static unsigned int tty_poll(struct ctx *ctx, struct handle *h)
{
	struct tty *tty = h->tty;
	struct pollfd p = { .fd = tty->watch.fd, .events = POLLIN | POLLOUT };
	unsigned int mask = 0;

	(void)ctx;
	pthread_mutex_lock(&tty->lock);
	if (poll(&p, 1, 0) > 0)
		mask = (unsigned int)p.revents & (POLLIN | POLLOUT);
	if (p.revents & (POLLHUP | POLLERR)) {
		char byte;

		/* At the end, or with the last bytes before it? */
		if (recv(p.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) {
			tty->hung_up = true;
			mask = end_error(tty) == EAGAIN ? 0 : POLLIN | POLLOUT | POLLHUP;
		}
	} else if (tty->writers.first) {
		mask &= ~(unsigned int)POLLOUT;
	}
	if (!(mask & POLLIN))
		arm(tty, EPOLLIN);
	if (!(mask & POLLOUT))
		arm(tty, EPOLLOUT);
	pthread_mutex_unlock(&tty->lock);
	return mask;
}

static int set_size(struct ctx *ctx, struct handle *h, const struct tty_size *size)
{
	int r;

	if (perm_entry(ctx, h->row->mode >> 6 & 7, PERM_W) < 0)
		return -EACCES;
	if (!size->rows || !size->columns)
		return -EINVAL;
	pthread_mutex_lock(&h->box->lock);
	if (h->box->removed)
		r = -ESTALE;
	else
		r = keeper_terminal_size(h->box, h->tty->number, size->rows, size->columns);
	pthread_mutex_unlock(&h->box->lock);
	return r;
}

static int tty_ioctl(struct ctx *ctx, struct handle *h, unsigned int cmd, const void *in,
		     struct text *out)
{
	struct tty_size size;
	int32_t code;
	int r = 0;

	switch (cmd) {
	case TTY_SET_SIZE:
		memcpy(&size, in, sizeof(size));
		return set_size(ctx, h, &size);
	case TTY_EXIT_CODE:
		pthread_mutex_lock(&h->tty->lock);
		code = h->tty->code;
		if (!h->tty->ended)
			r = h->tty->lost ? -h->tty->lost : -EAGAIN;
		pthread_mutex_unlock(&h->tty->lock);
		if (r == 0)
			text_add(out, &code, sizeof(code));
		return r;
	default:
		return -ENOTTY;
	}
}

/* --- opening ------------------------------------------------------------------------------------ */

/* Asks the keeper for the terminal; its answer ends the park. The session's key waits in h->text;
 * without one it is a terminal of its own. box->lock held. */
static int ask(struct box *box, struct handle *h, uint64_t tag)
{
	_cleanup_text_ struct text fields = { 0 };
	int r = 0;

	if (h->text.len) {
		struct session *s = session_by_key(box, h->text.data);

		r = s ? session_open(box, s) : -ESTALE;
		field_add(&fields, "session", h->text.data);
	}
	if (r == 0)
		r = keeper_request(box, MSG_TERMINAL, tag, 0, &fields);
	h->tty->asked = r == 0;
	return r;
}

static enum park_verdict open_look(struct park *park)
{
	struct handle *h = park->handle;

	if (h->tty->asked) {
		if (park->done && !park->error && h->tty->watch.fd < 0)
			park->error = EIO; /* the box died meanwhile */
		return park->done ? PARK_ANSWER : PARK_WAIT;
	}
	if (start_look(park) == PARK_WAIT)
		return PARK_WAIT;
	park->done = false; /* an earlier keeper's end is none of ours */
	if (!park->error)
		park->error = -ask(h->box, h, park->wait.tag);
	return park->error ? PARK_ANSWER : PARK_WAIT;
}

static void open_answer(struct park *park, int error)
{
	if (error)
		handle_abandon(park->req, park->handle, error);
	else
		handle_reply_open(park->req, park->handle);
}

static const struct park_type open_park = { open_look, open_answer, NULL };

static struct tty *tty_new(struct box *box)
{
	struct tty *tty = calloc(1, sizeof(*tty));

	if (!tty)
		return NULL;
	pthread_mutex_init(&tty->lock, NULL);
	tty->watch = (struct watch){ .fd = -1, .ready = tty_ready };
	tty->next = box->ttys;
	tty->link = &box->ttys;
	if (tty->next)
		tty->next->link = &tty->next;
	box->ttys = tty;
	return tty;
}

static int tty_open(struct ctx *ctx, struct handle *h)
{
	const struct park_wait wait = { .tag = keeper_new_tag() };
	struct box *box = ctx->box;
	const struct session *s;
	int r;

	if ((h->flags & O_ACCMODE) != O_RDWR) {
		tree_refuse(ctx, "tty is a terminal: it is opened for reading and writing at once; "
				 "`sandboxfs shell` does that");
		return -EACCES;
	}
	pthread_mutex_lock(&box->lock);
	if (ctx->node.kind == DIR_SESSION) {
		s = session_of(ctx);
		text_add_str(&h->text, s ? s->key : "?");
	}
	h->tty = tty_new(box);
	r = h->tty ? box_need_running(ctx, h, &open_park, &wait) : -ENOMEM;
	if (r == 0)
		r = ask(box, h, wait.tag);
	if (r == 0)
		r = park_add(&box->parks, &box->lock, &open_park, ctx->req, h, box, &wait);
	pthread_mutex_unlock(&box->lock);
	return r < 0 ? r : TREE_ANSWERED;
}

void tty_take_stream(struct box *box, uint64_t tag, uint64_t number, int *fd)
{
	struct park *park = box->parks.first;
	struct tty *tty;

	while (park && (park->wait.tag != tag || park->type != &open_park))
		park = park->next;
	if (!park || park->handle->tty->watch.fd >= 0)
		return;
	tty = park->handle->tty;
	pthread_mutex_lock(&tty->lock);
	tty->number = number;
	tty->watch.fd = *fd;
	if (daemon_watch_add(&tty->watch, EPOLLONESHOT) == 0)
		take_fd(fd);
	else
		tty->watch.fd = -1;
	pthread_mutex_unlock(&tty->lock);
}

/* --- ends --------------------------------------------------------------------------------------- */

struct park *tty_note_end(struct box *box, uint64_t number, int code, struct park *ready)
{
	struct tty *tty = box->ttys;

	while (tty && (tty->number != number || !number))
		tty = tty->next;
	if (!tty)
		return ready;
	pthread_mutex_lock(&tty->lock);
	tty->ended = true;
	tty->code = code == CODE_DETACHED ? 0 : code;
	ready = collect(tty, ready);
	arm(tty, EPOLLIN); /* who polls is told */
	pthread_mutex_unlock(&tty->lock);
	return ready;
}

struct park *ttys_lost(struct box *box, int error, struct park *ready)
{
	for (struct tty *tty = box->ttys; tty; tty = tty->next) {
		if (error != ESTALE && !tty->asked)
			continue; /* it waits for the next keeper */
		pthread_mutex_lock(&tty->lock);
		if (error == ESTALE || (!tty->ended && !tty->lost))
			tty->lost = error;
		if (error == ESTALE) {
			ready = park_collect(&tty->readers, error, ready);
			ready = park_collect(&tty->writers, error, ready);
			if (tty->watch.fd >= 0)
				shutdown(tty->watch.fd, SHUT_RDWR);
		} else {
			ready = collect(tty, ready);
		}
		arm(tty, EPOLLIN);
		pthread_mutex_unlock(&tty->lock);
	}
	return ready;
}

static void tty_gone(struct watch *watch)
{
	struct tty *tty = container_of(watch, struct tty, watch);

	close_fd(&tty->watch.fd);
	if (tty->poll)
		fuse_pollhandle_destroy(tty->poll);
	pthread_mutex_destroy(&tty->lock);
	free(tty);
}

/* The handle was closed: the terminal is hung up, or left to its session. */
static void tty_release(struct handle *h)
{
	struct tty *tty = h->tty;

	if (!tty)
		return;
	pthread_mutex_lock(&h->box->lock);
	*tty->link = tty->next;
	if (tty->next)
		tty->next->link = tty->link;
	pthread_mutex_unlock(&h->box->lock);
	pthread_mutex_lock(&tty->lock);
	if (tty->watch.fd >= 0)
		shutdown(tty->watch.fd, SHUT_RDWR);
	pthread_mutex_unlock(&tty->lock);
	if (tty->watch.fd >= 0)
		daemon_watch_remove(&tty->watch);
	daemon_watch_drop(&tty->watch, tty_gone);
}

const struct row_ops tty_ops = {
	.open = tty_open,
	.read = tty_read,
	.write = tty_write,
	.release = tty_release,
	.poll = tty_poll,
	.add_poll = tty_add_poll,
	.ioctl = tty_ioctl,
	.stream = true,
};
