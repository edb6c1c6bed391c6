/* SPDX-License-Identifier: MIT */
/*
 * What a box takes over from the image it is made from. Must not know how images are kept. Called
 * with box->lock held.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "box.h"
#include "images.h"

#define USUAL_CWD "/workspace"

/* Where the default session begins, unless somebody has chosen another directory. */
static int move_cwd(struct box *box, const char *cwd)
{
	struct session *s = box->sessions;
	const char *old = box->image_cwd ? box->image_cwd : USUAL_CWD;
	char *copy;

	if (box->state != BOX_NEW || strcmp(s->cwd, old) != 0)
		return 0;
	copy = strdup(cwd ? cwd : USUAL_CWD);
	if (!copy)
		return -ENOMEM;
	free(s->cwd);
	s->cwd = copy;
	return 0;
}

const char *box_user(const struct box *box, const char *user)
{
	return *user ? user : box->image_user ? box->image_user : "root";
}

bool box_user_is_root(const struct box *box, const char *user)
{
	return !strcmp(box_user(box, user), "root");
}

void box_user_note(const struct box *box, char field[64], const char *user)
{
	snprintf(field, 64, "%s", strcmp(user, box_user(box, "")) ? user : "");
}

bool box_user_may_be(struct box *box, const char *user)
{
	bool may;

	pthread_mutex_lock(&box->lock);
	may = user_name_is_valid(user) || !strcmp(user, box_user(box, ""));
	pthread_mutex_unlock(&box->lock);
	return may;
}

int box_take_image(struct box *box)
{
	struct image_defaults d = { 0 };
	bool host = !strcmp(box->image, "host");
	int r = host ? 0 : images_defaults(box->image, &d);

	if (r == -ENOENT)
		r = 0; /* its start says so */
	if (r == 0)
		r = move_cwd(box, d.cwd);
	if (r == 0) {
		free(box->image_user);
		free(box->image_cwd);
		free(box->image_command);
		box->image_user = take_ptr(d.user);
		box->image_cwd = take_ptr(d.cwd);
		box->image_command = take_ptr(d.command);
	}
	for (struct session *s = box->sessions; s && r == 0; s = s->next) {
		r = env_set_base(&s->env, host ? NULL : d.env ? d.env : "", d.env_len);
		if (r == 0)
			r = env_init(&s->env, box_user_is_root(box, s->user));
	}
	image_defaults_free(&d);
	return r;
}

int box_set_image(struct box *box, const char *name)
{
	char old[sizeof(box->image)];

	if (strlen(name) >= sizeof(box->image))
		return -ENOENT;
	strcpy(old, box->image);
	/* First it says that it is of it: whoever removes an image looks for that. */
	snprintf(box->image, sizeof(box->image), "%s", name);
	if (strcmp(name, "host") != 0 && !images_is_ready(name)) {
		strcpy(box->image, old);
		return -ENOENT;
	}
	return box_take_image(box);
}
