/* SPDX-License-Identifier: MIT */
/*
 * Groups: their folders, who enters, and when they are empty. That is found the same way everywhere:
 * a pidfd of one member is watched, and when it has ended, of another one. Must not wait but in
 * group_move_in(). One thread, no locks.
 */
#include "keeper/group.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/group_inside.h"

enum {
	LOOK_FIRST_MS = 5, /* between looks while no member is known to watch */
	LOOK_MAX_MS = 500,
};

static const struct cgroup *cgroup_of(const struct group *group)
{
	return group->groups->box ? group->groups->box->cgroup : NULL;
}

/* --- folders ------------------------------------------------------------------------------- */

static void close_group(struct group *group)
{
	for (int i = 0; i < CGROUP_MAX_GROUP_DIRS; i++)
		close_fd(&group->dirs[i]);
	group_close_doors(group);
	group_close_files(group);
}

/* 0, or -EBUSY while a process is left. */
static int remove_folders(struct group *group)
{
	const struct cgroup *cg = cgroup_of(group);
	int result = 0;

	for (int i = 0; cg && i < cg->n_group_dirs; i++) {
		int above = cg->dirs[cg->group_dirs[i]].fd;

		if (unlinkat(above, group->name, AT_REMOVEDIR) < 0 && errno == EBUSY)
			result = -EBUSY;
	}
	return result;
}

static int make_folders(struct group *group, const struct cgroup *cg)
{
	for (int i = 0; i < cg->n_group_dirs; i++) {
		int above = cg->dirs[cg->group_dirs[i]].fd;

		if (mkdirat(above, group->name, 0755) < 0)
			return -errno;
		group->dirs[i] =
			openat(above, group->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (group->dirs[i] < 0)
			return -errno;
	}
	return 0;
}

static void look_timer_fire(struct loop_timer *timer);
static void member_ended(struct loop_source *source, uint32_t events);

/* A group with its folders, in no list. */
static int make_group(struct groups *groups, struct group **out)
{
	struct group *group = calloc(1, sizeof(*group));
	int r;

	if (!group)
		return -ENOMEM;
	group->groups = groups;
	group->member = (struct loop_source){ -1, member_ended };
	group->look.fire = look_timer_fire;
	group->kill_timer.fire = group_kill_timer_fire;
	for (int i = 0; i < CGROUP_MAX_GROUP_DIRS; i++)
		group->dirs[i] = group->doors[i] = -1;
	for (int i = 0; i < N_GROUP_FILES; i++)
		group->files[i] = -1;
	snprintf(group->name, sizeof(group->name), "g%llu", (unsigned long long)++groups->last);
	r = make_folders(group, groups->box->cgroup);
	if (r < 0) {
		remove_folders(group);
		close_group(group);
		free(group);
		return r;
	}
	*out = group;
	return 0;
}

static void spare_task_run(struct loop_task *task)
{
	struct groups *groups = container_of(task, struct groups, spare_task);

	/* What stands in the way is met again, and reported, by who needs one. */
	if (groups->box && !groups->spare)
		make_group(groups, &groups->spare);
}

int groups_new(struct box *box, struct groups **out)
{
	struct groups *groups;
	int r = box->cgroup->ops->make_group_dirs(box->cgroup);

	if (r < 0)
		return r;
	groups = calloc(1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	groups->box = box;
	groups->spare_task.run = spare_task_run;
	r = make_group(groups, &groups->spare);
	if (r < 0) {
		free(groups);
		return r;
	}
	*out = groups;
	return 0;
}

void groups_serve(struct groups *groups, struct loop *loop)
{
	if (groups)
		groups->loop = loop;
}

static void stop_watching(struct group *group)
{
	struct loop *loop = group->groups->loop;

	if (loop) {
		loop_timer_clear(loop, &group->look);
		if (group->member.fd >= 0)
			loop_remove(loop, &group->member);
	}
	close_fd(&group->member.fd);
}

/* Its folders are gone, or the box is. */
static void free_now(struct group *group)
{
	struct groups *groups = group->groups;

	stop_watching(group);
	if (groups->loop)
		loop_timer_clear(groups->loop, &group->kill_timer);
	close_group(group);
	*group->prev = group->next;
	if (group->next)
		group->next->prev = group->prev;
	free(group);
	if (!groups->box && !groups->first)
		free(groups);
}

void groups_close(struct groups *groups)
{
	struct group *group, *next;

	if (!groups)
		return;
	if (groups->loop)
		loop_task_cancel(groups->loop, &groups->spare_task);
	if (groups->spare) {
		remove_folders(groups->spare);
		close_group(groups->spare);
		free(groups->spare);
	}
	for (group = groups->first; group; group = group->next) {
		stop_watching(group);
		if (groups->loop)
			loop_timer_clear(groups->loop, &group->kill_timer);
		remove_folders(group);
		close_group(group);
	}
	groups->box = NULL;
	groups->spare = NULL;
	if (!groups->first) {
		free(groups);
		return;
	}
	/* The last one to go takes groups along. */
	for (group = groups->first; group; group = next) {
		next = group->next;
		if (group->freed)
			free_now(group);
	}
}

int group_new(struct groups *groups, struct group **out)
{
	struct group *group;
	int r = 0;

	if (!groups || !groups->box)
		return -EOPNOTSUPP;
	group = take_ptr(groups->spare);
	if (!group)
		r = make_group(groups, &group);
	if (r < 0)
		return r;
	group->next = groups->first;
	group->prev = &groups->first;
	if (group->next)
		group->next->prev = &group->next;
	groups->first = group;
	if (groups->loop)
		loop_task_add(groups->loop, &groups->spare_task);
	*out = group;
	return 0;
}

void group_free(struct group *group)
{
	if (!group)
		return;
	group->empty = NULL;
	if (!group->groups->box || remove_folders(group) == 0) {
		free_now(group);
		return;
	}
	group_close_doors(group);
	group_close_files(group);
	group->freed = true;
	group_watch(group);
}

/* --- entering ------------------------------------------------------------------------------ */

int group_doors(struct group *group, int doors[INIT_MAX_DOORS])
{
	int n = 0;

	for (; n < CGROUP_MAX_GROUP_DIRS && group->dirs[n] >= 0; n++) {
		if (group->doors[n] < 0)
			group->doors[n] = cgroup_open_door(group->dirs[n]);
		if (group->doors[n] < 0) {
			int r = group->doors[n];

			group->doors[n] = -1;
			return r;
		}
		doors[n] = group->doors[n];
	}
	return n ? n : -ESRCH;
}

void group_close_doors(struct group *group)
{
	for (int i = 0; i < CGROUP_MAX_GROUP_DIRS; i++)
		close_fd(&group->doors[i]);
}

int group_move_in(struct group *group, pid_t pid)
{
	int doors[INIT_MAX_DOORS], n = group_doors(group, doors), r = n;
	char number[16];
	int len = snprintf(number, sizeof(number), "%d", pid);

	for (int i = 0; i < n && r >= 0; i++)
		r = write(doors[i], number, len) < 0 ? -errno : 0;
	group_close_doors(group);
	return r < 0 ? r : 0;
}

/* --- empty --------------------------------------------------------------------------------- */

/* Holds one of the listed that still is a member once it is held. */
static bool watch_member(struct group *group, const struct pids *list)
{
	for (size_t i = list->n; i-- > 0;) {
		_cleanup_close_ int fd = pidfd_open(list->pids[i], 0);
		struct pids again = { 0 };
		bool member = false;

		if (fd < 0 || cgroup_read_procs(group->dirs[0], &again) < 0)
			continue;
		for (size_t j = 0; j < again.n; j++)
			member |= again.pids[j] == list->pids[i];
		free(again.pids);
		if (!member)
			continue;
		group->member.fd = fd;
		if (loop_add(group->groups->loop, &group->member, EPOLLIN) < 0) {
			group->member.fd = -1;
			return false;
		}
		take_fd(&fd);
		return true;
	}
	return false;
}

/* Nobody is left; the owner may free it. */
static void now_empty(struct group *group)
{
	stop_watching(group);
	group->killing = false;
	loop_timer_clear(group->groups->loop, &group->kill_timer);
	if (!group->freed) {
		if (group->empty)
			group->empty(group->owner);
		return;
	}
	if (remove_folders(group) == 0) {
		free_now(group);
		return;
	}
	/* The kernel forgets the last one a moment after its end. */
	loop_timer_set(group->groups->loop, &group->look, 1);
}

static void look(struct group *group)
{
	struct pids list = { 0 };
	int r = cgroup_read_procs(group->dirs[0], &list);

	if (r == 0 && list.n == 0) {
		now_empty(group);
		return;
	}
	if (r < 0 || !watch_member(group, &list)) {
		group->look_ms = MIN(group->look_ms * 2, LOOK_MAX_MS);
		loop_timer_set(group->groups->loop, &group->look, group->look_ms);
	}
	free(list.pids);
}

static void look_timer_fire(struct loop_timer *timer)
{
	struct group *group = container_of(timer, struct group, look);

	if (group->groups->box && group->member.fd < 0)
		look(group);
}

static void member_ended(struct loop_source *source, uint32_t events)
{
	struct group *group = container_of(source, struct group, member);

	(void)events;
	stop_watching(group);
	group->look_ms = LOOK_FIRST_MS;
	look(group);
}

void group_watch(struct group *group)
{
	struct groups *groups = group->groups;

	if (!groups->box || !groups->loop || group->member.fd >= 0)
		return;
	group->look_ms = LOOK_FIRST_MS;
	loop_timer_set(groups->loop, &group->look, 0);
}

void group_on_empty(struct group *group, void (*empty)(void *owner), void *owner)
{
	group->empty = empty;
	group->owner = owner;
	group_watch(group);
}
