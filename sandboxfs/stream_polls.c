/* SPDX-License-Identifier: MIT */
/*
 * Who polls a stream or an exit code. The kernel is told without any lock, and from no request. Lock:
 * box->lock.
 */
#include "base/cleanup.h"
#include "box.h"
#include "stream.h"

static void polls_link(struct handle **list, struct handle *h)
{
	h->poll_next = *list;
	if (h->poll_next)
		h->poll_next->poll_link = &h->poll_next;
	h->poll_link = list;
	*list = h;
}

static void polls_unlink(struct handle *h)
{
	*h->poll_link = h->poll_next;
	if (h->poll_next)
		h->poll_next->poll_link = h->poll_link;
	h->poll_link = NULL;
}

void stream_add_poll(struct handle *h, struct fuse_pollhandle *ph)
{
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	if (!h->poll_link)
		polls_link(&h->box->polls, handle_ref(h));
	h->poll = ph;
}

void stream_drop_poll(struct handle *h)
{
	bool linked;

	pthread_mutex_lock(&h->box->lock);
	linked = h->poll_link != NULL;
	if (linked)
		polls_unlink(h);
	pthread_mutex_unlock(&h->box->lock);
	if (linked)
		handle_put(h);
}

void stream_notify_polls(struct box *box)
{
	struct handle *list, *h;

	pthread_mutex_lock(&box->lock);
	/* Off the box, since who is told polls again at once; and still a list, for stream_drop_poll(). */
	list = take_ptr(box->polls);
	if (list)
		list->poll_link = &list;
	while ((h = list)) {
		struct fuse_pollhandle *ph = take_ptr(h->poll);

		polls_unlink(h);
		pthread_mutex_unlock(&box->lock);
		if (ph) {
			fuse_lowlevel_notify_poll(ph);
			fuse_pollhandle_destroy(ph);
		}
		handle_put(h);
		pthread_mutex_lock(&box->lock);
	}
	pthread_mutex_unlock(&box->lock);
}
