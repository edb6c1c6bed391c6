/* SPDX-License-Identifier: MIT */
/*
 * Which processes belong to which command of a session. The shell lives in a group; all others in it
 * were started by the present command. What is left when that has ended keeps the group, and the
 * shell goes on in a new one. One thread, no locks.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "keeper/session.h"

struct group *session_new_group(struct session *s)
{
	int r;

	group_free(s->group);
	s->group = NULL;
	r = group_new(s->keeper->box.groups, &s->group);
	if (r < 0 && r != -EOPNOTSUPP)
		log_warn("session %s: its shell has no cgroup of its own: %s", s->name,
			 strerror(-r));
	return s->group;
}
