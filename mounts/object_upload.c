/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Multipart uploads: start, parts, complete, abort. Parts go through libs3, the rest are documents.
 * Blocking; no locks: all state is the call's.
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "sign.h"

struct wanted {
	const char *path;
	char *value;
	size_t size;
	bool found;
};

static int on_element(void *arg, const char *path, const char *text, size_t len)
{
	struct wanted *wanted = arg;

	if (strcmp(path, wanted->path))
		return 0;
	if (len >= wanted->size || strlen(text) != len)
		return -EPROTO;
	memcpy(wanted->value, text, len + 1);
	wanted->found = true;
	return 0;
}

int request_take_element(struct request *request, struct verdict *verdict, const char *path,
			 char *value, size_t size)
{
	struct wanted wanted = { .path = path, .value = value, .size = size };
	const struct text *document = &request->answer.document;
	int r = xml_parse(document->data, document->len, on_element, &wanted);

	if (r == -ENOMEM)
		return request_refuse(request, r, "out of memory");
	return r < 0 || !wanted.found ? judge_document(request, verdict) : 0;
}

int request_take_etag_element(struct request *request, struct verdict *verdict, const char *path,
			      char etag[OBJECT_ETAG_SIZE])
{
	char text[OBJECT_ETAG_SIZE];
	int r = request_take_element(request, verdict, path, text, sizeof(text));

	if (r < 0)
		return r;
	return answer_copy_etag(etag, text)
		       ? 0
		       : request_refuse(request, -EPROTO, "no ETag in a document from %s",
					request->store->origin);
}

/* --- start and abort ------------------------------------------------------------------------- */

enum { ID_SIZE = 1024 };

static int start_accept(struct request *request, struct verdict *verdict)
{
	return request_take_element(request, verdict, "InitiateMultipartUploadResult/UploadId",
				    request->arg, ID_SIZE);
}

int object_upload_start(struct object_store *store, struct object_call *call,
			const struct object_upload *upload, char **id)
{
	_cleanup_request_ struct request request;
	char got[ID_SIZE];
	int r = request_begin(&request, store, call, "POST", upload->key);

	if (r == 0)
		r = request_describe(&request, upload->content_type, upload->meta,
				     upload->meta_len);
	if (r < 0)
		return r;
	request_param(&request, "uploads", "");
	request.arg = got;
	request.accept = start_accept;
	request.perform = wire_perform;
	r = request_run(&request);
	if (r < 0)
		return r;
	*id = strdup(got);
	return *id ? 0 : request_refuse(&request, -ENOMEM, "out of memory");
}

int object_upload_abort(struct object_store *store, struct object_call *call, const char *key,
			const char *id)
{
	_cleanup_request_ struct request request;
	int r = request_begin(&request, store, call, "DELETE", key);

	if (r < 0)
		return r;
	request_param(&request, "uploadId", id);
	return request_run_delete(&request);
}

/* --- parts ----------------------------------------------------------------------------------- */

static int init_part(struct request *request, struct object_store *store, struct object_call *call,
		     const char *key, const char *id, unsigned number)
{
	char text[16];
	int r = request_begin(request, store, call, "PUT", key);

	if (r < 0)
		return r;
	if (number < 1 || number > OBJECT_PARTS_MAX)
		return request_refuse(request, -EFBIG, "parts have numbers from 1 to 10000");
	snprintf(text, sizeof(text), "%u", number);
	request_param(request, "partNumber", text);
	request_param(request, "uploadId", id);
	return 0;
}

static int part_accept(struct request *request, struct verdict *verdict)
{
	(void)verdict;
	return request_take_etag(request, request->arg);
}

int object_upload_part(struct object_store *store, struct object_call *call, const char *key,
		       const char *id, unsigned number, const struct object_body *body,
		       struct object_part *part)
{
	_cleanup_request_ struct request request;
	int r = init_part(&request, store, call, key, id, number);

	if (r < 0)
		return r;
	if (body->length > OBJECT_PART_MAX)
		return request_refuse(&request, -EFBIG, "a part of more than 5 GiB");
	part->size = body->length;
	request.body = body;
	request.arg = part->etag;
	request.accept = part_accept;
	request.perform = libs3_put_object;
	return request_run(&request);
}

static int part_copy_accept(struct request *request, struct verdict *verdict)
{
	return request_take_etag_element(request, verdict, "CopyPartResult/ETag", request->arg);
}

int object_upload_part_copy(struct object_store *store, struct object_call *call, const char *key,
			    const char *id, unsigned number, const char *from, uint64_t offset,
			    uint64_t length, const char *if_match, struct object_part *part)
{
	_cleanup_request_ struct request request;
	char range[64];
	int r = init_part(&request, store, call, key, id, number);

	if (r == 0)
		r = request_check_key(call, from);
	if (r < 0)
		return r;
	if (!length || length > OBJECT_PART_MAX)
		return request_refuse(&request, -EINVAL, "a part has 1 byte to 5 GiB");
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, offset, offset + length - 1);
	request_copy_source(&request, from, if_match);
	request_header(&request, "x-amz-copy-source-range", range);
	part->size = length;
	request.slow = true;
	request.arg = part->etag;
	request.accept = part_copy_accept;
	request.perform = libs3_copy_object;
	return request_run(&request);
}

/* --- complete -------------------------------------------------------------------------------- */

/* Ceph leaves the ETag empty; that is no lesser success. */
static int complete_accept(struct request *request, struct verdict *verdict)
{
	char text[OBJECT_ETAG_SIZE], *etag = request->arg;
	int r = request_take_element(request, verdict, "CompleteMultipartUploadResult/ETag", text,
				     sizeof(text));

	if (r == 0 && !answer_copy_etag(etag, text))
		*etag = '\0';
	return r;
}

/* The ETag of what has just been completed, where the server did not say. */
static int ask_etag(struct object_store *store, struct object_call *call, const char *key,
		    char *etag)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	int r = object_head(store, call, key, &info);

	if (r == 0)
		memcpy(etag, info.etag, OBJECT_ETAG_SIZE);
	return r;
}

/*
 * Not every server looks at conditions here, so we look first: what then remains is the short time
 * in between.
 */
static int check_condition(struct request *request, const struct object_complete *complete)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	int r;

	if (!complete->if_none_match && !complete->if_match)
		return 0;
	r = object_head(request->store, request->call, complete->key, &info);
	if (complete->if_none_match)
		return r == -ENOENT ? 0
		       : r < 0	    ? r
				    : request_refuse(request, -EEXIST, "it is there already");
	if (r < 0 && r != -ENOENT)
		return r;
	return r == 0 && !strcmp(info.etag, complete->if_match)
		       ? 0
		       : request_refuse(request, -ESTALE, "it is another object by now");
}

static bool complete_was_ours(struct request *request, const struct object_complete *complete,
			      char *etag)
{
	char md5[SIGN_MD5_HEX_SIZE];
	uint64_t size = 0;

	for (unsigned i = 0; i < complete->n; i++)
		size += complete->parts[i].size;
	return request->unsure && sign_md5_of_parts(complete->parts, complete->n, md5) == 0 &&
	       request_was_ours(request, md5, complete->n, size, etag);
}

static int compose_parts(struct text *document, const struct object_complete *complete)
{
	text_add_str(document, "<CompleteMultipartUpload "
			       "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (unsigned i = 0; i < complete->n; i++) {
		text_printf(document, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
		if (!xml_add_escaped(document, complete->parts[i].etag))
			return -EINVAL;
		text_add_str(document, "</ETag></Part>");
	}
	text_add_str(document, "</CompleteMultipartUpload>");
	return document->failed ? -ENOMEM : 0;
}

int object_upload_complete(struct object_store *store, struct object_call *call,
			   const struct object_complete *complete, char etag[OBJECT_ETAG_SIZE])
{
	_cleanup_text_ struct text document = { 0 };
	_cleanup_request_ struct request request;
	struct object_body body = { 0 };
	int r = request_begin(&request, store, call, "POST", complete->key);

	if (r < 0)
		return r;
	r = compose_parts(&document, complete);
	if (r < 0)
		return request_refuse(&request, r, "%s", strerror(-r));
	r = check_condition(&request, complete);
	if (r < 0)
		return r;
	body = (struct object_body){ .bytes = document.data, .length = document.len };
	request_param(&request, "uploadId", complete->id);
	request_header(&request, "content-type", "application/xml");
	request_condition(&request, complete->if_match, complete->if_none_match);
	request.body = &body;
	request.slow = true;
	request.arg = etag;
	request.accept = complete_accept;
	request.perform = wire_perform;
	r = request_run(&request);
	if (r < 0 && r != -ECANCELED && complete_was_ours(&request, complete, etag)) {
		call->error = (struct object_error){ 0 };
		r = 0;
	}
	return r == 0 && !*etag ? ask_etag(store, call, complete->key, etag) : r;
}
