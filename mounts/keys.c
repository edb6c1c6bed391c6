/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the keys of this mount come from. It must not log a secret, nor keep one. No locks: the
 * settings do not change once the mount is there.
 */
#include "keys.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static int (*asked)(struct credentials *out, struct object_error *error);

void keys_ask(int (*ask)(struct credentials *out, struct object_error *error))
{
	asked = ask;
}

static int find(struct credentials *out, const struct options *opt, struct object_error *error)
{
	uid_t uid = getuid();
	int r;

	if (asked)
		return asked(out, error);
	if (opt->credentials)
		return credentials_from_ini(out, opt->config, opt->credentials, uid, error);
	if (opt->profile)
		return credentials_from_profile(out, opt->profile, uid, error);
	r = credentials_from_environment(out, uid, error);
	if (r == -ENOENT)
		r = credentials_from_profile(out, NULL, uid, error);
	if (r != -ENOENT)
		return r;
	*out = (struct credentials){ 0 };
	*error = (struct object_error){ 0 };
	return 0;
}

int keys_load(struct credentials *out, struct options *opt, struct object_error *error)
{
	int r = find(out, opt, error);

	if (r == 0 && !opt->endpoint && out->endpoint)
		r = string_replace(&opt->endpoint, out->endpoint);
	if (r == 0 && !opt->region && out->region)
		r = string_replace(&opt->region, out->region);
	if (r == 0 && opt->style == OBJECT_STYLE_AUTO)
		opt->style = out->style;
	return r;
}

int keys_renew(void *arg, struct object_credentials *fresh)
{
	_cleanup_credentials_ struct credentials found = { 0 };
	struct object_error error;
	int r = find(&found, arg, &error);

	if (r < 0)
		return r;
	*fresh = found.keys;
	found.keys = (struct object_credentials){ 0 };
	return 0;
}
