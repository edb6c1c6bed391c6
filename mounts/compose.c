/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a request to what goes over the wire: URL and headers, signed. Keys are encoded here, once,
 * and signed as they are sent. No I/O but reading a body for its digest. Locks: store->lock for
 * the keys.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "sign.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Path and query, encoded once: they are signed as they are sent. */
static int compose_target(const struct request *request, struct text *path, struct text *query)
{
	text_add_str(path, request->store->base);
	if (request->key) {
		text_add_char(path, '/');
		sign_add_encoded(path, request->key, strlen(request->key), true);
	} else if (!*request->store->base) {
		text_add_char(path, '/');
	}
	text_add_str(query, "");
	if (path->failed)
		return -ENOMEM;
	return sign_add_query(query, request->params.data, request->params.len);
}

static int payload_hash(const struct request *request, char hash[SIGN_HEX_SIZE])
{
	if (request->body && request->store->hash_payload)
		return sign_sha256(request->body, hash);
	snprintf(hash, SIGN_HEX_SIZE, "%s", request->body ? SIGN_UNSIGNED_PAYLOAD : EMPTY_SHA256);
	return 0;
}

/* Adds what a signed request has, and its signature, to all (a field list). */
static int add_signature(struct request *request, const char *path, const char *query,
			 struct text *all)
{
	struct store_keys *keys = store_keys_get(request->store, &request->generation);
	struct sign_request sign = { .method = request->method,
				     .path = path,
				     .query = query,
				     .region = request->store->region,
				     .service = "s3",
				     .id = keys->id,
				     .secret = keys->secret,
				     .when = (time_t)(realtime_us() / 1000000) };
	char hash[SIGN_HEX_SIZE], date[SIGN_DATE_SIZE];
	_cleanup_text_ struct text value = { 0 };
	int r = 0;

	if (keys->id) {
		r = payload_hash(request, hash);
		sign_date(date, sign.when);
		field_add(all, "host", request->store->host);
		field_add(all, "x-amz-date", date);
		if (keys->token)
			field_add(all, "x-amz-security-token", keys->token);
		if (r == 0)
			field_add(all, "x-amz-content-sha256", hash);
		sign.payload = hash;
		sign.headers = all->data;
		sign.headers_len = all->len;
		if (r == 0)
			r = all->failed ? -ENOMEM : sign_add_authorization(&value, &sign);
		if (r == 0)
			field_add(all, "authorization", value.data);
	}
	store_keys_put(keys);
	return r;
}

int compose_request(struct request *request, struct text *url, struct text *headers)
{
	_cleanup_text_ struct text path = { 0 }, query = { 0 };
	int r = compose_target(request, &path, &query);

	if (r < 0)
		return r;
	text_add(headers, request->headers.data, request->headers.len);
	r = add_signature(request, path.data, query.data, headers);
	if (r < 0)
		return r;
	text_printf(url, "%s%s%s%s", request->store->origin, path.data, query.len ? "?" : "",
		    query.data);
	return url->failed || headers->failed ? -ENOMEM : 0;
}
