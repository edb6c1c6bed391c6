/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * AWS Signature Version 4 ("Authenticating Requests: Using the Authorization Header", S3 API
 * reference) and the digests that go with it. Pure functions: no state, any thread.
 *
 * Headers and query parameters are field lists (base/kv.h), not encoded: "name=value\0…". Header
 * names are in lower case.
 */
#ifndef MOUNTS_SIGN_H
#define MOUNTS_SIGN_H

#include <stddef.h>
#include <time.h>

#include "base/text.h"
#include "object_store.h"

enum { SIGN_HEX_SIZE = 65, SIGN_DATE_SIZE = 17, SIGN_MD5_HEX_SIZE = 33, SIGN_MD5_BASE64_SIZE = 25 };
/* Instead of a body's digest: the body is not part of the signature. */
#define SIGN_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

struct sign_request {
	const char *method;
	const char *path;  /* as in the request line: sign_add_encoded() */
	const char *query; /* as in the request line: sign_add_query(); "" if there is none */
	const char *headers;
	size_t headers_len; /* all of them are signed; "host" must be there */
	const char *payload;
	const char *region, *service, *id, *secret;
	time_t when; /* the same as in x-amz-date */
};

/* "20260131T235959Z" */
void sign_date(char out[SIGN_DATE_SIZE], time_t when);
/* Adds every byte but the unreserved ones of RFC 3986 (and '/' if keep_slash) as %XX. */
void sign_add_encoded(struct text *out, const char *bytes, size_t len, bool keep_slash);
/* Adds "a=1&b=" with names in order, both sides encoded. 0 or -ENOMEM. */
int sign_add_query(struct text *out, const char *params, size_t len);
/* Adds the value of the Authorization header. 0, -ENOMEM, or -EIO if the library refuses. */
int sign_add_authorization(struct text *out, const struct sign_request *request);

/* Digests of a body, in hex. 0 or -errno of reading it (-EIO: it ended early, no such digest). */
int sign_sha256(const struct object_body *body, char hex[SIGN_HEX_SIZE]);
int sign_md5(const struct object_body *body, char hex[SIGN_MD5_HEX_SIZE]);
/* MD5 of bytes as in Content-MD5. */
int sign_md5_base64(const void *bytes, size_t len, char out[SIGN_MD5_BASE64_SIZE]);
/*
 * What the MD5 in the ETag of an object is that was put together of parts: that of their MD5s,
 * given as their ETags. -EINVAL if one of these is no MD5.
 */
int sign_md5_of_parts(const struct object_part *parts, unsigned n, char hex[SIGN_MD5_HEX_SIZE]);

#endif
