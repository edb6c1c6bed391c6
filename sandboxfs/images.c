/* SPDX-License-Identifier: MIT */
/* The register of imported images. What the importer says is checked again here. Lock: images_lock. */
#include "images.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "box.h"
#include "images_disk.h"
#include "store.h"

enum { MAX_IMAGES = 10000, MAX_USERS_NAMED = 400 };

static pthread_mutex_t images_lock = PTHREAD_MUTEX_INITIALIZER;
static struct image *images;
static uint32_t last_id;

/* images_lock held, from here to the next line of this kind. */

static struct image *by_id(uint32_t id)
{
	struct image *i = images;

	while (i && i->id != id)
		i = i->next;
	return i;
}

static struct image *by_name(const char *name)
{
	struct image *i = images;

	while (i && strcmp(i->name, name))
		i = i->next;
	return i;
}

/* In the order of names, which is the order they are listed in. */
static struct image *add(const char *name)
{
	struct image *i = calloc(1, sizeof(*i)), **at = &images;

	if (!i)
		return NULL;
	i->id = ++last_id;
	i->state = IMAGE_EMPTY;
	i->time_us = realtime_us();
	snprintf(i->name, sizeof(i->name), "%s", name);
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	i->next = *at;
	*at = i;
	return i;
}

static void drop(struct image *image)
{
	struct image **at = &images;

	while (*at != image)
		at = &(*at)->next;
	*at = image->next;
	image_free_content(image);
	free(image);
}

static bool has_layer(const struct image *image, uint64_t number)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		if (image->layers[i].number == number)
			return true;
	}
	return false;
}

static bool is_layer_used(uint64_t number)
{
	for (struct image *i = images; i; i = i->next) {
		if (has_layer(i, number))
			return true;
	}
	return false;
}

/* The folder that already holds that layer, 0: none does. */
static uint64_t find_layer(const char *digest)
{
	for (struct image *i = images; i; i = i->next) {
		for (size_t n = 0; i->state == IMAGE_READY && n < i->n_layers; n++) {
			if (!strcmp(i->layers[n].digest, digest))
				return i->layers[n].number;
		}
	}
	return 0;
}

static void let_layers_go(const struct image *image)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		bool used = false;

		for (struct image *other = images; other; other = other->next)
			used |= other != image && has_layer(other, image->layers[i].number);
		if (!used)
			images_disk_discard(image->layers[i].number);
	}
}

/* --- loading -------------------------------------------------------------------------------- */

static void load_one(const char *name)
{
	struct image *i = name_is_valid(name) ? add(name) : NULL;
	int r = i ? images_disk_load(i) : -EINVAL;

	if (r == 0) {
		i->state = IMAGE_READY;
		return;
	}
	log_error("image %s: %s; it is taken away", name,
		  r == -ESTALE ? "the machine went down before it was on the disk" : strerror(-r));
	if (i)
		drop(i);
	images_disk_forget(name);
}

int images_open(void)
{
	int r = images_disk_open();

	if (r == 0)
		r = images_disk_names(load_one);
	if (r == 0)
		r = images_disk_each_layer(is_layer_used);
	return r;
}

void images_close(void)
{
	while (images)
		drop(images);
	images_disk_close();
}

/* --- looking -------------------------------------------------------------------------------- */

uint32_t images_find(const char *name)
{
	struct image *i;
	uint32_t id;

	pthread_mutex_lock(&images_lock);
	i = by_name(name);
	id = i ? i->id : 0;
	pthread_mutex_unlock(&images_lock);
	return id;
}

enum image_state images_state(uint32_t id)
{
	enum image_state state;
	struct image *i;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	state = i ? i->state : IMAGE_NONE;
	pthread_mutex_unlock(&images_lock);
	return state;
}

bool images_name(uint32_t id, char name[64])
{
	struct image *i;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	snprintf(name, 64, "%s", i ? i->name : "");
	pthread_mutex_unlock(&images_lock);
	return i != NULL;
}

bool images_is_ready(const char *name)
{
	struct image *i;
	bool ready;

	pthread_mutex_lock(&images_lock);
	i = by_name(name);
	ready = i && i->state == IMAGE_READY && !i->going;
	pthread_mutex_unlock(&images_lock);
	return ready;
}

void images_each(void (*fn)(uint32_t id, const char *name, void *arg), void *arg)
{
	pthread_mutex_lock(&images_lock);
	for (struct image *i = images; i; i = i->next)
		fn(i->id, i->name, arg);
	pthread_mutex_unlock(&images_lock);
}

int images_describe(uint32_t id, struct text *out)
{
	struct image *i;
	int r = 0;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	if (!i)
		r = -ESTALE;
	else if (i->state != IMAGE_READY)
		r = -EAGAIN;
	else
		image_describe(i, out);
	pthread_mutex_unlock(&images_lock);
	return r;
}

int64_t images_time_us(uint32_t id)
{
	struct image *i;
	int64_t us;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	us = i ? i->time_us : 0;
	pthread_mutex_unlock(&images_lock);
	return us;
}

/* --- coming ----------------------------------------------------------------------------------- */

int images_reserve(const char *name, uint32_t *id)
{
	struct image *i;
	size_t n = 0;
	int r = 0;

	if (!name_is_valid(name))
		return -EINVAL;
	pthread_mutex_lock(&images_lock);
	for (i = images; i; i = i->next)
		n++;
	if (!strcmp(name, "host") || by_name(name))
		r = -EEXIST;
	else if (n >= MAX_IMAGES || last_id >= NODE_MAX_ITEM)
		r = -EDQUOT;
	else if (!(i = add(name)))
		r = -ENOMEM;
	else
		*id = i->id;
	pthread_mutex_unlock(&images_lock);
	return r;
}

int images_begin(uint32_t id)
{
	struct image *i;
	int r = 0;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	if (!i)
		r = -ESTALE;
	else if (i->state == IMAGE_EMPTY && !i->going)
		i->state = IMAGE_IMPORTING;
	else
		r = i->state == IMAGE_READY ? -EEXIST : -EBUSY;
	pthread_mutex_unlock(&images_lock);
	return r;
}

void images_drop(uint32_t id)
{
	struct image *i;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	if (i && i->state != IMAGE_READY)
		drop(i);
	pthread_mutex_unlock(&images_lock);
}

/* Puts its layers where they belong: those that are there already are not needed twice. */
static int place_layers(struct image *i)
{
	for (size_t n = 0; n < i->n_layers; n++) {
		struct image_layer *layer = &i->layers[n];
		uint64_t there = find_layer(layer->digest);
		int r;

		if (there) {
			layer->number = there;
			continue;
		}
		r = images_disk_place(i->folder, layer);
		if (r < 0) {
			/* The rest has no number yet. */
			i->n_layers = n;
			return r;
		}
	}
	return 0;
}

int images_commit(uint32_t id, char *result)
{
	struct image *i;
	int r;

	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	r = i ? image_parse(i, result) : -ESTALE;
	if (r == 0 && (!i->folder || !i->n_layers))
		r = -EPROTO;
	if (r < 0 && i)
		i->n_layers = 0; /* what they are called there means nothing here */
	if (r == 0)
		r = place_layers(i);
	if (r == 0) {
		i->time_us = realtime_us();
		i->unsynced = true;
		r = images_disk_save(i);
	}
	if (r == 0) {
		i->state = IMAGE_READY;
	} else if (i) {
		let_layers_go(i);
		drop(i);
	}
	pthread_mutex_unlock(&images_lock);
	return r;
}

/* --- going --------------------------------------------------------------------------------------- */

struct user_list {
	const char *image;
	struct text *users;
	size_t n;
};

static int note_user(struct box *box, void *arg)
{
	struct user_list *list = arg;
	char shown[96];
	bool uses;

	pthread_mutex_lock(&box->lock);
	uses = !box->gone && !strcmp(box->image, list->image);
	snprintf(shown, sizeof(shown), "%s", box->name);
	pthread_mutex_unlock(&box->lock);
	if (!uses)
		return 0;
	if (box->removed)
		box_trash_name(box, shown);
	if (list->users->len < MAX_USERS_NAMED)
		text_printf(list->users, "%s%s%s", list->n ? ", " : "",
			    box->removed ? ".sandboxfs/trash/" : "", shown);
	list->n++;
	return 0;
}

/* It is `going` meanwhile, so that no box takes it. */
static int begin_removal(const char *name, uint32_t *id)
{
	struct image *i;
	int r = 0;

	pthread_mutex_lock(&images_lock);
	i = by_name(name);
	if (!i)
		r = -ENOENT;
	else if (i->state == IMAGE_IMPORTING || i->going)
		r = -EBUSY;
	else
		i->going = true;
	*id = i ? i->id : 0;
	pthread_mutex_unlock(&images_lock);
	return r;
}

int images_remove(const char *name, struct text *users)
{
	struct user_list list = { .image = name, .users = users };
	struct image *i;
	uint32_t id;
	int r = begin_removal(name, &id);

	if (r < 0)
		return r;
	boxes_each(false, note_user, &list);
	boxes_each(true, note_user, &list);
	pthread_mutex_lock(&images_lock);
	i = by_id(id);
	if (!i) {
		r = -ENOENT;
	} else if (list.n) {
		i->going = false;
		r = -EBUSY;
	} else {
		r = i->state == IMAGE_READY ? images_disk_forget(i->name) : 0;
		if (r == 0) {
			let_layers_go(i);
			drop(i);
		} else {
			i->going = false;
		}
	}
	pthread_mutex_unlock(&images_lock);
	return r;
}

/* --- the janitor's ------------------------------------------------------------------------------- */

static bool any_unsynced(void)
{
	bool any = false;

	pthread_mutex_lock(&images_lock);
	for (struct image *i = images; i; i = i->next) {
		if (i->state == IMAGE_READY && i->unsynced)
			any = i->syncing = true;
	}
	pthread_mutex_unlock(&images_lock);
	return any;
}

void images_tidy(void)
{
	images_disk_sweep();
	if (!any_unsynced() || images_disk_sync() < 0)
		return;
	pthread_mutex_lock(&images_lock);
	for (struct image *i = images; i; i = i->next) {
		if (!i->syncing)
			continue;
		i->syncing = i->unsynced = false;
		if (images_disk_save(i) < 0)
			i->unsynced = true;
	}
	pthread_mutex_unlock(&images_lock);
}

void images_incoming_path(char *path, size_t size)
{
	snprintf(path, size, "%s/images/incoming", store_path());
}

/* --- for boxes ----------------------------------------------------------------------------------- */

static int copy_string(const char *from, char **to)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int images_defaults(const char *name, struct image_defaults *out)
{
	struct image *i;
	int r = 0;

	*out = (struct image_defaults){ 0 };
	pthread_mutex_lock(&images_lock);
	i = by_name(name);
	if (!i || i->state != IMAGE_READY)
		r = -ENOENT;
	if (r == 0 && i->env.len) {
		out->env = malloc(i->env.len);
		out->env_len = out->env ? i->env.len : 0;
		if (out->env)
			memcpy(out->env, i->env.data, i->env.len);
		else
			r = -ENOMEM;
	}
	if (r == 0)
		r = copy_string(i->user, &out->user);
	if (r == 0)
		r = copy_string(i->cwd, &out->cwd);
	if (r == 0)
		r = copy_string(i->command.data, &out->command);
	pthread_mutex_unlock(&images_lock);
	if (r < 0)
		image_defaults_free(out);
	return r;
}

void image_defaults_free(struct image_defaults *d)
{
	free(d->env);
	free(d->user);
	free(d->cwd);
	free(d->command);
	*d = (struct image_defaults){ 0 };
}

int images_start_fields(const char *name, struct text *fields)
{
	_cleanup_text_ struct text layers = { 0 };
	struct image *i;
	char path[4096];
	int r = 0;

	pthread_mutex_lock(&images_lock);
	i = by_name(name);
	if (!i || i->state != IMAGE_READY || i->going)
		r = -ENOENT;
	/* The keeper wants the highest first, as overlayfs does. */
	for (size_t n = i && r == 0 ? i->n_layers : 0; n-- > 0;)
		text_printf(&layers, "%llu%s", (unsigned long long)i->layers[n].number,
			    n ? ":" : "");
	pthread_mutex_unlock(&images_lock);
	if (r < 0)
		return r;
	if (layers.failed)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/images/layers", store_path());
	field_add(fields, "image_dir", path);
	field_add(fields, "layers", layers.data);
	return 0;
}
