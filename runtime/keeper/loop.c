/* SPDX-License-Identifier: MIT */
/*
 * The event loop. Must not know what it carries; must not allocate. One thread, no locks.
 */
#include "keeper/loop.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

int loop_open(struct loop *loop)
{
	*loop = (struct loop){ .epoll = epoll_create1(EPOLL_CLOEXEC) };
	loop->task_tail = &loop->tasks;
	return loop->epoll < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
	close_fd(&loop->epoll);
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	epoll_ctl(loop->epoll, EPOLL_CTL_MOD, source->fd, &event);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (source->fd >= 0)
		epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = 0; i < loop->n_events; i++) {
		if (loop->events[i].data.ptr == source)
			loop->events[i].data.ptr = NULL;
	}
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer **at = &loop->timers;

	if (!timer->armed)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->armed = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t in_ms)
{
	struct loop_timer **at = &loop->timers;

	loop_timer_clear(loop, timer);
	timer->at_us = monotonic_us() + in_ms * 1000;
	while (*at && (*at)->at_us <= timer->at_us)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
	timer->armed = true;
}

void loop_task_add(struct loop *loop, struct loop_task *task)
{
	if (task->queued)
		return;
	if (!loop->tasks)
		loop->tasks_since_us = monotonic_us();
	task->queued = true;
	task->next = NULL;
	*loop->task_tail = task;
	loop->task_tail = &task->next;
}

void loop_task_cancel(struct loop *loop, struct loop_task *task)
{
	struct loop_task **at = &loop->tasks;

	if (!task->queued)
		return;
	while (*at != task)
		at = &(*at)->next;
	*at = task->next;
	if (loop->task_tail == &task->next)
		loop->task_tail = at;
	task->queued = false;
}

static void run_first_task(struct loop *loop)
{
	struct loop_task *task = loop->tasks;

	loop_task_cancel(loop, task);
	task->run(task);
	if (loop->tasks)
		loop->tasks_since_us = monotonic_us();
}

static void fire_timers(struct loop *loop)
{
	int64_t now = loop->timers ? monotonic_us() : 0;

	while (loop->timers && loop->timers->at_us <= now && !loop->stop) {
		struct loop_timer *timer = loop->timers;

		loop_timer_clear(loop, timer);
		timer->fire(timer);
	}
}

static int wait_ms(const struct loop *loop)
{
	int64_t us;

	if (loop->tasks)
		return 0;
	if (!loop->timers)
		return -1;
	us = loop->timers->at_us - monotonic_us();
	return us <= 0 ? 0 : (int)MIN((us + 999) / 1000, (int64_t)60000);
}

int loop_serve(struct loop *loop)
{
	while (!loop->stop) {
		int n = epoll_wait(loop->epoll, loop->events, LOOP_EVENTS, wait_ms(loop));

		if (n < 0 && errno != EINTR)
			return -errno;
		loop->n_events = MAX(n, 0);
		for (int i = 0; i < loop->n_events && !loop->stop; i++) {
			struct loop_source *source = loop->events[i].data.ptr;

			if (source)
				source->ready(source, loop->events[i].events);
		}
		loop->n_events = 0;
		fire_timers(loop);
		if (loop->tasks && !loop->stop &&
		    (n <= 0 || monotonic_us() - loop->tasks_since_us > TASK_PATIENCE_MS * 1000))
			run_first_task(loop);
	}
	return 0;
}
