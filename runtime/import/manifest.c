/* SPDX-License-Identifier: MIT */
/*
 * Reading the JSON of image archives. Formats: the OCI image specification (image-layout,
 * image-index, manifest, config) and Docker's manifest.json. No I/O, no locks.
 */
#include "import/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/kv.h"

enum {
	MAX_STRINGS = 1024, /* in one list */
	MAX_CONFIG_BYTES = 256 << 10,
};

static const char digest_prefix[] = "sha256:";

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

static json_t *parse(const char *text, size_t len, const char *what, struct import_why *why)
{
	json_error_t error;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		import_fail(why, EINVAL, "%s is no valid JSON: line %d: %s", what, error.line,
			    error.text);
	return json;
}

/* --- lists of strings ----------------------------------------------------------------------- */

static void free_strings(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

/* The strings of an array; absent and null are an empty one. */
static int take_strings(const json_t *array, const char *what, char ***out, size_t *n,
			struct import_why *why)
{
	size_t size = json_array_size(array), bytes = 0;

	if (!array || json_is_null(array))
		return 0;
	if (!json_is_array(array) || size > MAX_STRINGS)
		return import_fail(why, EINVAL, "%s is no list of at most %d strings", what,
				   MAX_STRINGS);
	*out = calloc(size + 1, sizeof(**out));
	if (!*out)
		return import_fail(why, ENOMEM, "out of memory");
	for (*n = 0; *n < size; ++*n) {
		const char *s = json_string_value(json_array_get(array, *n));

		bytes += s ? strlen(s) + 1 : 0;
		if (!s || bytes > MAX_CONFIG_BYTES)
			return import_fail(why, EINVAL, "%s holds no string, or too much", what);
		(*out)[*n] = strdup(s);
		if (!(*out)[*n])
			return import_fail(why, ENOMEM, "out of memory");
	}
	return 0;
}

static int take_string(const json_t *value, const char *what, char **out, struct import_why *why)
{
	const char *s = json_string_value(value);

	if (!value || json_is_null(value) || (s && !*s))
		return 0;
	if (!s || strlen(s) >= 4096)
		return import_fail(why, EINVAL, "%s is no string, or too long", what);
	*out = strdup(s);
	return *out ? 0 : import_fail(why, ENOMEM, "out of memory");
}

/* --- digests -------------------------------------------------------------------------------- */

static int take_digest(const json_t *value, char out[SHA256_HEX_SIZE], struct import_why *why)
{
	const char *s = json_string_value(value);
	size_t n = strlen(digest_prefix);

	if (!s || strncmp(s, digest_prefix, n) != 0 || strlen(s + n) != SHA256_HEX_SIZE - 1 ||
	    strspn(s + n, "0123456789abcdef") != SHA256_HEX_SIZE - 1)
		return import_fail(why, EINVAL, "a digest is no sha256: and 64 digits");
	strcpy(out, s + n);
	return 0;
}

static bool type_is(const json_t *object, const char *word)
{
	const char *type = json_string_value(json_object_get(object, "mediaType"));

	return type && strstr(type, word);
}

static bool is_other_machine(const json_t *object)
{
	const json_t *platform = json_object_get(object, "platform");
	const char *os = json_string_value(json_object_get(platform, "os"));
	const char *machine = json_string_value(json_object_get(platform, "architecture"));

	return (os && strcmp(os, "linux") != 0) ||
	       (machine && strcmp(machine, manifest_machine()) != 0);
}

static int take_descriptor(const json_t *object, struct descriptor *out, struct import_why *why)
{
	const json_t *size = json_object_get(object, "size");

	if (!json_is_object(object) || !json_is_integer(size) || json_integer_value(size) < 0)
		return import_fail(why, EINVAL, "a descriptor has no size");
	*out = (struct descriptor){
		.size = (uint64_t)json_integer_value(size),
		.is_index = type_is(object, "image.index") || type_is(object, "manifest.list"),
		.other = is_other_machine(object),
	};
	return take_digest(json_object_get(object, "digest"), out->digest, why);
}

static int take_descriptors(const json_t *array, const char *what, struct descriptor_list *out,
			    struct import_why *why)
{
	size_t n = json_array_size(array);

	if (!json_is_array(array) || n > MAX_STRINGS)
		return import_fail(why, EINVAL, "%s is no list of at most %d descriptors", what,
				   MAX_STRINGS);
	out->items = calloc(n + 1, sizeof(*out->items));
	if (!out->items)
		return import_fail(why, ENOMEM, "out of memory");
	for (out->n = 0; out->n < n; out->n++) {
		int r = take_descriptor(json_array_get(array, out->n), &out->items[out->n], why);

		if (r < 0)
			return r;
	}
	return 0;
}

void descriptor_list_free(struct descriptor_list *list)
{
	free(list->items);
	*list = (struct descriptor_list){ 0 };
}

/* --- the texts ------------------------------------------------------------------------------- */

int manifest_parse_saved(const char *text, size_t len, struct saved_names *out,
			 struct import_why *why)
{
	_cleanup_json_ json_t *json = parse(text, len, "manifest.json", why);
	const json_t *image = json_array_get(json, 0);
	int r;

	*out = (struct saved_names){ 0 };
	if (!json)
		return -why->error;
	if (json_array_size(json) != 1)
		return import_fail(why, EINVAL,
				   json_is_array(json) ? "the archive holds %zu images; save one"
						       : "manifest.json is no list of images",
				   json_array_size(json));
	r = take_string(json_object_get(image, "Config"), "Config of manifest.json", &out->config,
			why);
	if (r == 0)
		r = take_strings(json_object_get(image, "Layers"), "Layers of manifest.json",
				 &out->layers, &out->n, why);
	if (r == 0 && !out->config)
		r = import_fail(why, EINVAL, "manifest.json names no configuration");
	if (r < 0)
		saved_names_free(out);
	return r;
}

void saved_names_free(struct saved_names *names)
{
	free(names->config);
	free_strings(names->layers, names->n);
	*names = (struct saved_names){ 0 };
}

int manifest_parse_index(const char *text, size_t len, struct descriptor_list *out,
			 struct import_why *why)
{
	_cleanup_json_ json_t *json = parse(text, len, "the index", why);
	int r;

	*out = (struct descriptor_list){ 0 };
	if (!json)
		return -why->error;
	r = take_descriptors(json_object_get(json, "manifests"), "the index's manifests", out, why);
	if (r < 0)
		descriptor_list_free(out);
	return r;
}

int manifest_parse_image(const char *text, size_t len, struct descriptor *config,
			 struct descriptor_list *layers, struct import_why *why)
{
	_cleanup_json_ json_t *json = parse(text, len, "the manifest", why);
	int r;

	*layers = (struct descriptor_list){ 0 };
	if (!json)
		return -why->error;
	r = take_descriptor(json_object_get(json, "config"), config, why);
	if (r == 0)
		r = take_descriptors(json_object_get(json, "layers"), "the manifest's layers",
				     layers, why);
	if (r < 0)
		descriptor_list_free(layers);
	return r;
}

static int take_config(const json_t *json, struct image_config *out, struct import_why *why)
{
	const json_t *c = json_object_get(json, "config");
	int r;

	r = take_strings(json_object_get(c, "Env"), "Env", &out->env, &out->n_env, why);
	if (r == 0)
		r = take_strings(json_object_get(c, "Entrypoint"), "Entrypoint", &out->entrypoint,
				 &out->n_entrypoint, why);
	if (r == 0)
		r = take_strings(json_object_get(c, "Cmd"), "Cmd", &out->cmd, &out->n_cmd, why);
	if (r == 0)
		r = take_string(json_object_get(c, "User"), "User", &out->user, why);
	if (r == 0)
		r = take_string(json_object_get(c, "WorkingDir"), "WorkingDir", &out->cwd, why);
	if (r == 0)
		r = take_string(json_object_get(json, "architecture"), "architecture",
				&out->architecture, why);
	return r;
}

static int take_diff_ids(const json_t *json, struct config_text *out, struct import_why *why)
{
	const json_t *array = json_object_get(json_object_get(json, "rootfs"), "diff_ids");
	size_t n = json_array_size(array);

	if (!json_is_array(array) || n > MAX_STRINGS)
		return import_fail(why, EINVAL, "the configuration has no list of its layers");
	out->diff_ids = calloc(n + 1, sizeof(*out->diff_ids));
	if (!out->diff_ids)
		return import_fail(why, ENOMEM, "out of memory");
	for (; out->n_diff_ids < n; out->n_diff_ids++) {
		int r = take_digest(json_array_get(array, out->n_diff_ids),
				    out->diff_ids[out->n_diff_ids], why);

		if (r < 0)
			return r;
	}
	return 0;
}

int manifest_parse_config(const char *text, size_t len, struct config_text *out,
			  struct import_why *why)
{
	_cleanup_json_ json_t *json = parse(text, len, "the configuration", why);
	int r;

	*out = (struct config_text){ 0 };
	if (!json)
		return -why->error;
	if (!json_is_object(json))
		return import_fail(why, EINVAL, "the configuration is no JSON object");
	r = take_config(json, &out->config, why);
	if (r == 0)
		r = take_diff_ids(json, out, why);
	if (r < 0)
		config_text_free(out);
	return r;
}

void config_text_free(struct config_text *text)
{
	struct image_config *c = &text->config;

	free_strings(c->env, c->n_env);
	free_strings(c->entrypoint, c->n_entrypoint);
	free_strings(c->cmd, c->n_cmd);
	free(c->user);
	free(c->cwd);
	free(c->architecture);
	free(text->diff_ids);
	*text = (struct config_text){ 0 };
}

/* --- for the description ------------------------------------------------------------------------ */

const char *manifest_machine(void)
{
	static const struct {
		const char *kernel, *oci;
	} names[] = { { "x86_64", "amd64" },	{ "aarch64", "arm64" },	  { "armv7l", "arm" },
		      { "riscv64", "riscv64" }, { "ppc64le", "ppc64le" }, { "s390x", "s390x" },
		      { "i686", "386" } };
	struct utsname kernel;

	for (size_t i = 0; uname(&kernel) == 0 && i < ARRAY_SIZE(names); i++) {
		if (!strcmp(kernel.machine, names[i].kernel))
			return names[i].oci;
	}
	return "unknown";
}

static bool is_variable(const char *entry)
{
	size_t n = strspn(entry, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return n && n < 256 && entry[n] == '=' && !(entry[0] >= '0' && entry[0] <= '9');
}

void image_config_add(const struct image_config *c, struct text *out)
{
	for (size_t i = 0; i < c->n_env; i++) {
		char key[300];

		if (!is_variable(c->env[i]))
			continue; /* no shell could export it */
		snprintf(key, sizeof(key), "env.%.*s", (int)strcspn(c->env[i], "="), c->env[i]);
		record_add(out, key, strchr(c->env[i], '=') + 1);
	}
	if (c->user)
		record_add(out, "user", c->user);
	if (c->cwd)
		record_add(out, "cwd", c->cwd);
	for (size_t i = 0; i < c->n_entrypoint; i++)
		record_add(out, "entrypoint", c->entrypoint[i]);
	for (size_t i = 0; i < c->n_cmd; i++)
		record_add(out, "cmd", c->cmd[i]);
	if (c->architecture)
		record_add(out, "architecture", c->architecture);
}
