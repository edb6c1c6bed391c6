/* SPDX-License-Identifier: MIT */
/*
 * Archives of images. Nothing in them comes in a useful order, so every entry that is a tar is
 * unpacked as a layer at once, and every small JSON text is kept; at the end the texts say which
 * layers make the image. What a text says of a layer counts only if the digests are those of what
 * came. One thread, no locks.
 */
#include "import/saved.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "import/names.h"

enum {
	MAX_TEXT = 4 << 20,
	MAX_TEXTS_BYTES = 32 << 20, /* of all together */
	MAX_PARTS = 2048,	    /* of each kind */
	MAX_INDEX_DEPTH = 4,
	MAX_LINKS = 8,
	USTAR_AT = 257,
};

enum part_kind { PART_TEXT, PART_LAYER, PART_LINK };

struct part {
	enum part_kind kind;
	char *name; /* of the entry */
	char *text; /* the JSON, or the name a link leads to */
	size_t len;
	char digest[SHA256_HEX_SIZE]; /* of a text */
	bool too_large;
	struct layer layer;
};

struct saved {
	struct import *im;
	struct part *parts;
	size_t n, size, text_bytes, n_of[3];
	const struct layer *layers[MAX_LAYERS];
};

bool saved_begins_with(const char *name)
{
	static const char *const known[] = { "oci-layout", "index.json", "manifest.json",
					     "repositories", "blobs" };
	size_t hex = strspn(name, "0123456789abcdef");

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strcmp(name, known[i]))
			return true;
	}
	if (!strncmp(name, "blobs/", 6))
		return true;
	return hex == SHA256_HEX_SIZE - 1 && (!name[hex] || name[hex] == '/' || name[hex] == '.');
}

/* --- reading ------------------------------------------------------------------------------------ */

static int out_of_memory(struct saved *s)
{
	return import_fail(&s->im->why, ENOMEM, "out of memory");
}

static struct part *add_part(struct saved *s, enum part_kind kind, const char *name)
{
	struct part *part;

	if (++s->n_of[kind] > MAX_PARTS) {
		import_fail(&s->im->why, EFBIG, "the archive has more than %d parts", MAX_PARTS);
		return NULL;
	}
	if (s->n == s->size) {
		size_t size = s->size ? s->size * 2 : 64;
		struct part *more = realloc(s->parts, size * sizeof(*more));

		if (!more) {
			out_of_memory(s);
			return NULL;
		}
		s->parts = more;
		s->size = size;
	}
	part = &s->parts[s->n];
	*part = (struct part){ .kind = kind, .name = strdup(name) };
	if (!part->name) {
		out_of_memory(s);
		return NULL;
	}
	s->n++;
	return part;
}

/* A stream whose first block has been looked at. */
struct peeked {
	struct stream stream;
	struct stream *from;
	const void *first;
	ssize_t len;
	bool given;
};

static ssize_t peeked_read(struct stream *stream, const void **block)
{
	struct peeked *p = container_of(stream, struct peeked, stream);

	if (p->given)
		return p->from->read(p->from, block);
	p->given = true;
	*block = p->first;
	return p->len;
}

static bool is_json(const char *data, size_t len)
{
	size_t at = 0;

	if (len > USTAR_AT + 5 && !memcmp(data + USTAR_AT, "ustar", 5))
		return false; /* a file may be called "{" */
	while (at < len && strchr(" \t\r\n", data[at]) && data[at])
		at++;
	return at < len && (data[at] == '{' || data[at] == '[');
}

static int keep_text(struct saved *s, struct peeked *content, const char *name, uint64_t size)
{
	struct part *part = add_part(s, PART_TEXT, name);
	const void *block;
	ssize_t n;

	if (!part)
		return -s->im->why.error;
	if (size > MAX_TEXT || s->text_bytes + size > MAX_TEXTS_BYTES) {
		part->too_large = true;
		return 0;
	}
	part->text = malloc((size_t)size + 1);
	if (!part->text)
		return out_of_memory(s);
	while ((n = content->stream.read(&content->stream, &block)) > 0) {
		if ((size_t)n > size - part->len)
			return import_fail(&s->im->why, EINVAL, "%.200s: holds more than its size",
					   name);
		memcpy(part->text + part->len, block, (size_t)n);
		part->len += (size_t)n;
	}
	s->text_bytes += part->len;
	if (n == 0 && digest_sha256(part->text, part->len, part->digest) < 0)
		return out_of_memory(s);
	return (int)n;
}

static int keep_layer(struct saved *s, struct peeked *content, const char *name)
{
	struct part *part = add_part(s, PART_LAYER, name);
	struct import *im = s->im;
	int r;

	if (!part)
		return -im->why.error;
	r = layer_unpack(im, &content->stream, true, false, &part->layer);
	if (r < 0 && part->layer.no_tar && im->why.error == EINVAL) {
		im->why = (struct import_why){ 0 };
		return 0; /* perhaps nobody asks for it */
	}
	if (r < 0) {
		const struct import_why inner = im->why;

		im->why = (struct import_why){ 0 };
		import_fail(&im->why, inner.error, "%.200s: %s", name, inner.text);
	}
	return r;
}

static int keep_file(struct saved *s, struct tar *tar, const char *name, uint64_t size)
{
	struct peeked content = { .stream.read = peeked_read, .from = tar_content(tar) };

	content.len = content.from->read(content.from, &content.first);
	if (content.len <= 0)
		return (int)content.len;
	if (is_json(content.first, (size_t)content.len))
		return keep_text(s, &content, name, size);
	return keep_layer(s, &content, name);
}

/* `docker save` writes a layer that occurs twice as a link. The name is only compared with others. */
static int keep_link(struct saved *s, const struct entry *e, const char *name)
{
	struct part *part;
	char target[PATH_MAX];
	const char *link = e->link, *slash = strrchr(name, '/');
	size_t n = 0;

	if (e->type == ENTRY_SYMLINK) {
		size_t folder = slash ? (size_t)(slash - name) : 0;

		while (!strncmp(link, "../", 3)) {
			link += 3;
			while (folder && name[--folder] != '/')
				;
		}
		n = (size_t)snprintf(target, sizeof(target), "%.*s%s%s", (int)folder, name,
				     folder ? "/" : "", link);
	} else if (entry_name(link, target, sizeof(target)) < 0) {
		n = sizeof(target);
	}
	if (n >= sizeof(target))
		return import_fail(&s->im->why, EINVAL, "%.200s: a link that leads nowhere", name);
	part = add_part(s, PART_LINK, name);
	if (!part)
		return -s->im->why.error;
	part->text = strdup(target);
	return part->text ? 0 : out_of_memory(s);
}

static int keep_entry(struct saved *s, struct tar *tar, const struct entry *e)
{
	char name[PATH_MAX];

	if (entry_name(e->path, name, sizeof(name)) < 0)
		return import_fail(&s->im->why, EINVAL, "%.200s: the name leads out of the archive",
				   e->path);
	switch (e->type) {
	case ENTRY_FILE:
		return keep_file(s, tar, name, e->size);
	case ENTRY_SYMLINK:
	case ENTRY_HARDLINK:
		return keep_link(s, e, name);
	case ENTRY_DIR:
		return 0;
	default:
		return import_fail(&s->im->why, EINVAL,
				   "%.200s: has no place in an archive of images", name);
	}
}

/* --- finding --------------------------------------------------------------------------------- */

static const struct part *find_name(const struct saved *s, const char *name)
{
	const struct part *found = NULL;

	for (int links = 0; name && links <= MAX_LINKS; links++) {
		found = NULL;
		/* As when it is unpacked: the last one of a name counts. */
		for (size_t i = 0; i < s->n; i++) {
			if (!strcmp(s->parts[i].name, name))
				found = &s->parts[i];
		}
		if (!found || found->kind != PART_LINK)
			return found;
		name = found->text;
	}
	return NULL;
}

static const struct part *find_digest(const struct saved *s, enum part_kind kind,
				      const char *digest)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct part *p = &s->parts[i];

		if (p->kind == kind &&
		    !strcmp(kind == PART_TEXT ? p->digest : p->layer.blob_digest, digest))
			return p;
	}
	return NULL;
}

static int missing(struct saved *s, const char *what, const char *name)
{
	return import_fail(&s->im->why, EINVAL,
			   "the archive lacks %s %.200s, or what it has there is something else",
			   what, name);
}

/* The text of that digest and size. */
static const struct part *need_text(struct saved *s, const struct descriptor *d, const char *what)
{
	const struct part *p = find_digest(s, PART_TEXT, d->digest);

	if (!p || p->len != d->size) {
		missing(s, what, d->digest);
		return NULL;
	}
	return p;
}

static int take_layer(struct saved *s, struct saved_image *out, const struct part *part,
		      const char *name)
{
	size_t i = out->n_layers;

	if (!part || part->kind != PART_LAYER || part->layer.no_tar)
		return missing(s, "the layer", name);
	if (i == MAX_LAYERS || i == out->config.n_diff_ids)
		return import_fail(&s->im->why, EINVAL,
				   "the image has more layers than %zu, which is what its "
				   "configuration says and may be %d at most",
				   MIN(out->config.n_diff_ids, (size_t)MAX_LAYERS), MAX_LAYERS);
	if (strcmp(out->config.diff_ids[i], part->layer.digest) != 0)
		return import_fail(&s->im->why, EBADMSG,
				   "layer %.200s has the digest %s, and the image says %s", name,
				   part->layer.digest, out->config.diff_ids[i]);
	s->layers[i] = &part->layer;
	out->n_layers++;
	return 0;
}

static int all_taken(struct saved *s, const struct saved_image *out)
{
	if (out->n_layers == out->config.n_diff_ids && out->n_layers)
		return 0;
	return import_fail(&s->im->why, EINVAL, "the image has %zu layers, and says it has %zu",
			   out->n_layers, out->config.n_diff_ids);
}

/* The name of a configuration is its digest. */
static bool name_holds(const struct part *config)
{
	const char *slash = strrchr(config->name, '/');
	const char *base = slash ? slash + 1 : config->name;

	if (strspn(base, "0123456789abcdef") != SHA256_HEX_SIZE - 1)
		return true;
	return !strncmp(base, config->digest, SHA256_HEX_SIZE - 1);
}

static int find_docker(struct saved *s, const struct part *manifest, struct saved_image *out)
{
	struct import_why *why = &s->im->why;
	const struct part *config;
	struct saved_names names;
	int r = manifest_parse_saved(manifest->text, manifest->len, &names, why);

	if (r < 0)
		return r;
	out->kind = "docker";
	config = find_name(s, names.config);
	if (!config || config->kind != PART_TEXT || config->too_large)
		r = missing(s, "the configuration", names.config);
	else if (!name_holds(config))
		r = import_fail(why, EBADMSG, "the configuration %.200s has the digest %s",
				names.config, config->digest);
	else
		r = manifest_parse_config(config->text, config->len, &out->config, why);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = take_layer(s, out, find_name(s, names.layers[i]), names.layers[i]);
	saved_names_free(&names);
	return r < 0 ? r : all_taken(s, out);
}

/* Counts the images for this machine in an index and those it leads to; *found is the first. */
static int find_images(struct saved *s, const struct part *index, int depth,
		       struct descriptor *found, size_t *n)
{
	struct descriptor_list list;
	int r = manifest_parse_index(index->text, index->len, &list, &s->im->why);

	for (size_t i = 0; r == 0 && i < list.n; i++) {
		const struct descriptor *d = &list.items[i];
		const struct part *below;

		if (d->other)
			continue;
		if (!d->is_index) {
			if ((*n)++ == 0)
				*found = *d;
			continue;
		}
		if (depth == MAX_INDEX_DEPTH) {
			r = import_fail(&s->im->why, ELOOP, "indexes lead to indexes too often");
			break;
		}
		below = need_text(s, d, "the index");
		r = below ? find_images(s, below, depth + 1, found, n) : -s->im->why.error;
	}
	if (r == 0 || s->im->why.error)
		descriptor_list_free(&list);
	return r;
}

static int find_oci(struct saved *s, const struct part *index, struct saved_image *out)
{
	struct import_why *why = &s->im->why;
	struct descriptor image = { 0 }, config_of = { 0 };
	struct descriptor_list layers = { 0 };
	const struct part *manifest, *config = NULL;
	size_t n = 0;
	int r = find_images(s, index, 0, &image, &n);

	if (r < 0)
		return r;
	out->kind = "oci";
	if (n != 1)
		return import_fail(why, EINVAL,
				   n ? "the archive holds %zu images for this machine; export one"
				     : "the archive holds %zu images for this machine",
				   n);
	manifest = need_text(s, &image, "the manifest");
	if (!manifest)
		return -why->error;
	r = manifest_parse_image(manifest->text, manifest->len, &config_of, &layers, why);
	if (r == 0)
		config = need_text(s, &config_of, "the configuration");
	if (r == 0)
		r = config ? manifest_parse_config(config->text, config->len, &out->config, why)
			   : -why->error;
	for (size_t i = 0; r == 0 && i < layers.n; i++) {
		const struct part *part = find_digest(s, PART_LAYER, layers.items[i].digest);

		if (part && part->layer.blob_bytes != layers.items[i].size)
			part = NULL;
		r = take_layer(s, out, part, layers.items[i].digest);
	}
	descriptor_list_free(&layers);
	return r < 0 ? r : all_taken(s, out);
}

static int find_image(struct saved *s, struct saved_image *out)
{
	const struct part *docker = find_name(s, "manifest.json");
	const struct part *oci = find_name(s, "index.json");
	const struct part *first = docker ? docker : oci;

	if (!first)
		return import_fail(
			&s->im->why, EINVAL,
			"an archive of images without manifest.json and index.json: it is "
			"cut off, or something else");
	if (first->kind != PART_TEXT || first->too_large)
		return import_fail(&s->im->why, EFBIG, "%s is no JSON text of at most %d MiB",
				   first->name, MAX_TEXT >> 20);
	return docker ? find_docker(s, docker, out) : find_oci(s, oci, out);
}

int saved_read(struct import *im, struct tar *tar, const struct entry *first, struct saved **saved,
	       struct saved_image *out)
{
	struct entry e = *first;
	struct saved *s = calloc(1, sizeof(*s));
	int r;

	*out = (struct saved_image){ 0 };
	*saved = s;
	if (!s)
		return import_fail(&im->why, ENOMEM, "out of memory");
	s->im = im;
	out->layers = s->layers;
	do {
		r = keep_entry(s, tar, &e);
		if (r == 0)
			r = tar_next(tar, &e);
	} while (r == 1);
	return r < 0 ? r : find_image(s, out);
}

void saved_free(struct saved *s, struct saved_image *image)
{
	config_text_free(&image->config);
	for (size_t i = 0; s && i < s->n; i++) {
		free(s->parts[i].name);
		free(s->parts[i].text);
	}
	if (s)
		free(s->parts);
	free(s);
}
