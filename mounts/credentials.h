/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where keys come from, and who may use them: sections [credentials NAME] of sandboxfs.ini, a
 * user's own profile files, and the environment. For threads of any kind (reading files blocks),
 * nothing is kept.
 *
 * A file that holds secrets is taken only if it is a plain file of the right owner that nobody
 * else may write, and, if there is a secret in it, that no other may read.
 *
 * Errors of all: -ENOENT no such profile or file; -EACCES no such section, or not for this user;
 * -EPERM the file is not safe; -EINVAL something in it is wrong; -ENOMEM. *error says it in a
 * sentence, with file and line, and without any secret.
 */
#ifndef MOUNTS_CREDENTIALS_H
#define MOUNTS_CREDENTIALS_H

#include <sys/types.h>

#include "object_store.h"

/* All strings are allocated; NULL: not said. */
struct credentials {
	struct object_credentials keys;
	char *endpoint, *region;
	/* Written by the user, not by who runs the machine: see below before using it. */
	bool endpoint_is_users;
	enum object_style style;
};

#define _cleanup_credentials_ __attribute__((cleanup(credentials_free)))
/* Overwrites the secrets; leaves it all zero. */
void credentials_free(struct credentials *credentials);

/*
 * The section [credentials name] of an ini file, for a box of user uid:
 *
 *   access_key_id, secret_access_key, session_token
 *   file      instead of these: a file as ~/.aws/credentials, profile says which section of it
 *   profile   without file: of the user's own profile files
 *   endpoint, region, style (path, virtual)
 *   users     who may, beside root: names or numbers with commas or blanks between them, or *
 *
 * Without keys, file and profile requests are not signed. The file is root's or the caller's own.
 */
int credentials_from_ini(struct credentials *out, const char *path, const char *name, uid_t uid,
			 struct object_error *error);

/*
 * ~/.aws/credentials and ~/.aws/config of user uid, by that user's entry in the user database;
 * profile NULL: default. Files must be that user's. A caller with that uid may have named others
 * in AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE.
 */
int credentials_from_profile(struct credentials *out, const char *profile, uid_t uid,
			     struct object_error *error);

/*
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION (or AWS_DEFAULT_REGION)
 * and AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL), only if the caller is uid itself.
 */
int credentials_from_environment(struct credentials *out, uid_t uid, struct object_error *error);

/*
 * May a user name this endpoint himself? patterns: as in the ini file's `endpoints`, with commas or
 * blanks between them, each with * for any characters but '/'. No pattern, no endpoint.
 */
bool credentials_endpoint_allowed(const char *patterns, const char *endpoint);

#endif
