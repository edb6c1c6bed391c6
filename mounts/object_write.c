/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What makes one object: put, and copy on the server (in parts beyond what one request may copy).
 * Blocking; no locks: all state is the call's.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "sign.h"

#define COPY_PART (512ull << 20)

static int put_accept(struct request *request, struct verdict *verdict)
{
	char etag[OBJECT_ETAG_SIZE];

	(void)verdict;
	return request_take_etag(request, etag);
}

bool request_was_ours(struct request *request, const char *md5, unsigned n_parts, uint64_t size,
		      char etag[OBJECT_ETAG_SIZE])
{
	_cleanup_object_info_ struct object_info info = { 0 };
	struct object_call call = { .cancel = request->call->cancel };
	char wanted[64];

	if (n_parts)
		snprintf(wanted, sizeof(wanted), "\"%s-%u\"", md5, n_parts);
	else
		snprintf(wanted, sizeof(wanted), "\"%s\"", md5);
	if (object_head(request->store, &call, request->key, &info) < 0 || info.size != size ||
	    strcasecmp(info.etag, wanted))
		return false;
	memcpy(etag, info.etag, OBJECT_ETAG_SIZE);
	return true;
}

/* An empty object looks like everybody's. */
static bool put_was_ours(struct request *request, const struct object_put *put, char *etag)
{
	char md5[SIGN_MD5_HEX_SIZE];

	return request->unsure && (put->if_none_match || put->if_match) && put->body.length &&
	       sign_md5(&put->body, md5) == 0 &&
	       request_was_ours(request, md5, 0, put->body.length, etag);
}

static int put_once(struct object_store *store, struct object_call *call,
		    const struct object_put *put, const char *if_match, char *etag)
{
	_cleanup_request_ struct request request;
	int r;

	request_init(&request, store, call, "PUT", put->key);
	request.body = &put->body;
	r = request_describe(&request, put->content_type, put->meta, put->meta_len);
	if (r < 0)
		return r;
	request_condition(&request, if_match, put->if_none_match);
	request.accept = put_accept;
	request.perform = libs3_put_object;
	r = request_run(&request);
	if (r == 0) {
		memcpy(etag, request.answer.etag, OBJECT_ETAG_SIZE);
	} else if ((r == -EEXIST || r == -ESTALE) && put_was_ours(&request, put, etag)) {
		call->error = (struct object_error){ 0 };
		r = 0;
	}
	return r;
}

/* Ceph compares If-Match of a PUT byte by byte with an ETag that has no quotes. */
static int put_bare(struct object_store *store, struct object_call *call,
		    const struct object_put *put, char *etag)
{
	char bare[OBJECT_ETAG_SIZE];
	size_t len = strlen(put->if_match);

	if (len < 2 || put->if_match[0] != '"')
		return put_once(store, call, put, put->if_match, etag);
	snprintf(bare, sizeof(bare), "%.*s", (int)MIN(len - 2, sizeof(bare) - 1),
		 put->if_match + 1);
	return put_once(store, call, put, bare, etag);
}

/* The condition failed: does the server say so although it holds? */
static bool wants_bare_etags(struct object_store *store, const struct object_put *put)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	struct object_call call = { .retry_for_ms = -1 };

	return object_head(store, &call, put->key, &info) == 0 && !strcmp(info.etag, put->if_match);
}

int object_put(struct object_store *store, struct object_call *call, const struct object_put *put,
	       char etag[OBJECT_ETAG_SIZE])
{
	int r = request_check_key(call, put->key);

	if (r < 0)
		return r;
	if (put->body.length > OBJECT_PART_MAX) {
		snprintf(call->error.text, sizeof(call->error.text),
			 "more than 5 GiB in one request");
		return -EFBIG;
	}
	if (put->if_match && atomic_load(&store->bare_etags))
		return put_bare(store, call, put, etag);
	r = put_once(store, call, put, put->if_match, etag);
	if (r == -ESTALE && put->if_match && wants_bare_etags(store, put)) {
		r = put_bare(store, call, put, etag);
		if (r == 0)
			atomic_store(&store->bare_etags, true);
	}
	return r;
}

/* --- copy ------------------------------------------------------------------------------------ */

void request_copy_source(struct request *request, const char *from, const char *if_match)
{
	_cleanup_text_ struct text source = { 0 };

	text_printf(&source, "/%s/", request->store->bucket);
	sign_add_encoded(&source, from, strlen(from), true);
	if (source.failed) {
		request->headers.failed = true;
		return;
	}
	request_header(request, "x-amz-copy-source", source.data);
	if (if_match)
		request_header(request, "x-amz-copy-source-if-match", if_match);
}

/*
 * Ceph does not look at x-amz-copy-source-if-match. So where the outcome does not show that the
 * source was the right one, it is asked afterwards: its ETag does not come back once it has
 * changed.
 */
static int check_source(struct object_store *store, struct object_call *call, const char *from,
			const char *if_match)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	int r = object_head(store, call, from, &info);

	if (r == 0 && strcmp(info.etag, if_match)) {
		snprintf(call->error.text, sizeof(call->error.text),
			 "what was copied is another object by now");
		r = -ESTALE;
	}
	return r;
}

static int copy_accept(struct request *request, struct verdict *verdict)
{
	return request_take_etag_element(request, verdict, "CopyObjectResult/ETag", request->arg);
}

static int copy_whole(struct object_store *store, struct object_call *call,
		      const struct object_copy *copy, char *etag)
{
	_cleanup_request_ struct request request;
	int r = 0;

	request_init(&request, store, call, "PUT", copy->to);
	request_copy_source(&request, copy->from, copy->if_match);
	if (copy->replace) {
		request_header(&request, "x-amz-metadata-directive", "REPLACE");
		r = request_describe(&request, copy->content_type, copy->meta, copy->meta_len);
	}
	if (r < 0)
		return r;
	request.slow = true;
	request.arg = etag;
	request.accept = copy_accept;
	request.perform = libs3_copy_object;
	r = request_run(&request);
	if (r == 0 && copy->if_match && strcmp(etag, copy->if_match))
		r = check_source(store, call, copy->from, copy->if_match);
	return r;
}

/* All parts of one source into an upload; n_parts of them fit into parts. */
static int copy_parts(struct object_store *store, struct object_call *call,
		      const struct object_copy *copy, const char *id, const char *if_match,
		      uint64_t part_size, struct object_part *parts, unsigned n_parts, char *etag)
{
	const struct object_complete complete = {
		.key = copy->to, .id = id, .parts = parts, .n = n_parts
	};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n_parts; i++) {
		uint64_t offset = i * part_size;

		r = object_upload_part_copy(store, call, copy->to, id, i + 1, copy->from, offset,
					    MIN(part_size, copy->size - offset), if_match,
					    &parts[i]);
	}
	if (r == 0)
		r = check_source(store, call, copy->from, if_match);
	return r < 0 ? r : object_upload_complete(store, call, &complete, etag);
}

static int copy_in_parts(struct object_store *store, struct object_call *call,
			 const struct object_copy *copy, char *etag)
{
	uint64_t part_size = MAX(MIN(COPY_PART, store->copy_max), OBJECT_PART_MIN);
	struct object_upload upload = { .key = copy->to,
					.content_type = copy->content_type,
					.meta = copy->meta,
					.meta_len = copy->meta_len };
	_cleanup_object_info_ struct object_info info = { 0 };
	_cleanup_free_ struct object_part *parts = NULL;
	struct object_call cleaning = { .retry_for_ms = call->retry_for_ms };
	_cleanup_free_ char *id = NULL;
	unsigned n_parts;
	int r;

	part_size = MAX(part_size, copy->size / OBJECT_PARTS_MAX + 1);
	n_parts = (unsigned)((copy->size + part_size - 1) / part_size);
	parts = calloc(n_parts, sizeof(*parts));
	if (!parts)
		return -ENOMEM;
	/* Also so that all parts are of the same object, whatever happens to it meanwhile. */
	r = object_head(store, call, copy->from, &info);
	if (r < 0)
		return r;
	if (!copy->replace) {
		upload.content_type = info.content_type;
		upload.meta = info.meta;
		upload.meta_len = info.meta_len;
	}
	r = object_upload_start(store, call, &upload, &id);
	if (r < 0)
		return r;
	r = copy_parts(store, call, copy, id, copy->if_match ? copy->if_match : info.etag,
		       part_size, parts, n_parts, etag);
	if (r < 0) /* also when cancelled; what remains is found by a listing of uploads */
		object_upload_abort(store, &cleaning, copy->to, id);
	return r;
}

int object_copy(struct object_store *store, struct object_call *call,
		const struct object_copy *copy, char etag[OBJECT_ETAG_SIZE])
{
	int r = request_check_key(call, copy->from);

	if (r == 0)
		r = request_check_key(call, copy->to);
	if (r < 0)
		return r;
	return copy->size > store->copy_max ? copy_in_parts(store, call, copy, etag)
					    : copy_whole(store, call, copy, etag);
}
