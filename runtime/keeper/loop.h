/* SPDX-License-Identifier: MIT */
/*
 * The keeper's event loop: descriptors (epoll), timers, and tasks that wait until nothing is
 * ready. One thread; everything the keeper does happens in a callback of this loop.
 */
#ifndef KEEPER_LOOP_H
#define KEEPER_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Embedded in its owner (container_of); fd is not owned. */
struct loop_source {
	int fd;
	void (*ready)(struct loop_source *source, uint32_t events);
};

struct loop_timer {
	struct loop_timer *next;
	int64_t at_us;
	bool armed;
	void (*fire)(struct loop_timer *timer);
};

/* Work off the path of answers: runs when no descriptor is ready, oldest first, and at the latest
 * TASK_PATIENCE_MS after the oldest was queued. */
struct loop_task {
	struct loop_task *next;
	bool queued;
	void (*run)(struct loop_task *task);
};

enum { LOOP_EVENTS = 32, TASK_PATIENCE_MS = 20 };

struct loop {
	int epoll;
	bool stop;
	struct epoll_event events[LOOP_EVENTS]; /* of this round; removed sources are struck out */
	int n_events;
	struct loop_timer *timers;
	struct loop_task *tasks, **task_tail;
	int64_t tasks_since_us;
};

int loop_open(struct loop *loop);
void loop_close(struct loop *loop);
/* Returns when loop->stop is set, 0, or -errno of epoll_wait(2). */
int loop_serve(struct loop *loop);

/* ready must be set; events as in epoll_ctl(2). 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_change(struct loop *loop, struct loop_source *source, uint32_t events);
/* From now on source->ready is not called, not even for what this round has found. Call it before
 * the descriptor is closed. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Arms the timer, or arms it anew. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t in_ms);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* Queues the task; nothing if it is queued already. */
void loop_task_add(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop *loop, struct loop_task *task);

#endif
