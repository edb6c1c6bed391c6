/* SPDX-License-Identifier: MIT */
/*
 * The fields of MSG_START: every one is checked here, so that what follows may rely on it. What
 * cannot be honoured is refused. Pure functions, no I/O, no locks.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "base/kv.h"
#include "base/text.h"
#include "box.h"
#include "cgroup.h"
#include "runtime.h"
#include "stages.h"

int failure_set(struct failure *why, int error, const char *fmt, ...)
{
	va_list ap;

	if (why->text[0])
		return -error;
	why->error = error;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -error;
}

static int need(const struct box_settings *set, const char *key, const char **value,
		struct failure *why)
{
	*value = field_get(set->fields, set->fields_len, key);
	if (!*value || !**value)
		return failure_set(why, EINVAL, "the setting %s is missing", key);
	return 0;
}

static int need_number(const struct box_settings *set, const char *key, uint64_t min, uint64_t max,
		       uint64_t *out, struct failure *why)
{
	const char *value;

	if (need(set, key, &value, why) < 0)
		return -EINVAL;
	if (parse_u64(value, min, max, out) < 0)
		return failure_set(why, EINVAL, "the setting %s is no number from %llu to %llu",
				   key, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

/* 0 or absent is none. */
static int take_limits(struct box_settings *set, struct failure *why)
{
	for (int i = 0; i < N_LIMITS; i++) {
		const struct limit_type *type = &limit_types[i];
		uint64_t *value = &set->limits.of[i];

		*value = LIMIT_NONE;
		if (!field_get(set->fields, set->fields_len, type->field))
			continue;
		if (need_number(set, type->field, 0, type->max, value, why) < 0)
			return -EINVAL;
		*value = limit_of_wire(*value);
		if (*value < type->min)
			return failure_set(why, EINVAL,
					   "%s is below %llu, the least a box can live with",
					   type->field, (unsigned long long)type->min);
	}
	return 0;
}

static int take_disk_method(struct box_settings *set, struct failure *why)
{
	const char *word = field_get(set->fields, set->fields_len, "disk_method");
	int method = word ? disk_method_parse(word) : DISK_AUTO;

	if (method < 0)
		return failure_set(why, EINVAL,
				   "disk_method is none of auto quota loop tmpfs none");
	set->disk_method = (enum disk_method)method;
	return 0;
}

static int need_ids(const struct box_settings *set, const char *key, uid_t *out,
		    struct failure *why)
{
	uint64_t base = 0;

	/* Below lie the machine's own ids; the last id is none. */
	if (need_number(set, key, BOX_IDS, UINT32_MAX - BOX_IDS, &base, why) < 0)
		return -EINVAL;
	*out = (uid_t)base;
	return 0;
}

/* NUMBER:NUMBER… */
static bool layers_are_valid(const char *layers)
{
	for (const char *p = layers;; p++) {
		size_t digits = strspn(p, "0123456789");

		p += digits;
		if (!digits || digits > 10)
			return false;
		if (!*p)
			return true;
		if (*p != ':')
			return false;
	}
}

static int check_words(const struct box_settings *set, struct failure *why)
{
	if (strlen(set->hostname) > MAXHOSTNAMELEN)
		return failure_set(why, EINVAL, "the host name is longer than %d bytes",
				   MAXHOSTNAMELEN);
	if (!strcmp(set->image, "host") ? set->layers != NULL
					: !set->layers || !layers_are_valid(set->layers))
		return failure_set(why, EOPNOTSUPP, "no box can be made from this kind of image");
	if (set->image_dir[0] != '/')
		return failure_set(why, EINVAL, "image_dir is no absolute path");
	if (!cgroup_path_is_valid(set->cgroup))
		return failure_set(why, EINVAL, "cgroup is no path of the form NAME/NAME");
	if (set->cwd[0] != '/')
		return failure_set(why, EINVAL, "cwd is no absolute path");
	if (set->uid_base < set->storage_base + BOX_IDS &&
	    set->storage_base < set->uid_base + BOX_IDS)
		return failure_set(why, EINVAL, "uid_base and storage_base overlap");
	return 0;
}

int box_settings_parse(struct box_settings *set, const char *fields, size_t len,
		       struct failure *why)
{
	const char *network;
	int r;

	*set = (struct box_settings){ .fields = fields, .fields_len = len };
	*why = (struct failure){ .step = "read the settings" };
	if (!len || fields[len - 1] != '\0')
		return failure_set(why, EINVAL, "the settings are no field list");
	if ((r = need_number(set, "box", 1, UINT64_MAX, &set->number, why)) < 0 ||
	    (r = need(set, "name", &set->name, why)) < 0 ||
	    (r = need(set, "hostname", &set->hostname, why)) < 0 ||
	    (r = need(set, "token", &set->token, why)) < 0 ||
	    (r = need(set, "image", &set->image, why)) < 0 ||
	    (r = need(set, "image_dir", &set->image_dir, why)) < 0 ||
	    (r = need(set, "cgroup", &set->cgroup, why)) < 0 ||
	    (r = need_ids(set, "uid_base", &set->uid_base, why)) < 0 ||
	    (r = need_ids(set, "storage_base", &set->storage_base, why)) < 0 ||
	    (r = take_limits(set, why)) < 0 || (r = take_disk_method(set, why)) < 0)
		return r;
	set->keep_runs = field_get_u64(fields, len, "keep_runs", 0);
	set->cwd = field_get(fields, len, "cwd");
	if (!set->cwd || !*set->cwd)
		set->cwd = "/workspace";
	set->tz = field_get(fields, len, "tz");
	set->layers = field_get(fields, len, "layers");
	set->user = field_get(fields, len, "user");
	if (!set->user)
		set->user = "";
	network = field_get(fields, len, "network");
	set->network_if_any = network && !strcmp(network, "if-any");
	set->network = set->network_if_any || (network && !strcmp(network, "private"));
	return check_words(set, why);
}
