/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What removes objects: one, or up to 1000 in a request (DeleteObjects). Blocking; no locks.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "sign.h"

int object_delete(struct object_store *store, struct object_call *call, const char *key)
{
	_cleanup_request_ struct request request;
	int r = request_begin(&request, store, call, "DELETE", key);

	return r < 0 ? r : request_run_delete(&request);
}

/* The keys of one request: indices, as some went another way. */
struct batch {
	const char *const *keys;
	int *errors;
	size_t index[OBJECT_PAGE_MAX], n;
	/* Of the answer: the element that is being read. */
	char key[OBJECT_KEY_MAX + 1], code[64];
	char first_code[64]; /* of the first error in any answer; as it came */
	bool is_result;
};

/* An error of a key that is not of this batch is nobody's. */
static void note_error(struct batch *batch)
{
	int code = judge_code_errno(batch->code);

	if (!strcmp(batch->code, "NoSuchKey"))
		return;
	if (!batch->first_code[0])
		memcpy(batch->first_code, batch->code, sizeof(batch->first_code));
	for (size_t i = 0; i < batch->n; i++)
		if (!strcmp(batch->keys[batch->index[i]], batch->key))
			batch->errors[batch->index[i]] = code ? -code : -EIO;
}

static int on_element(void *arg, const char *path, const char *text, size_t len)
{
	struct batch *batch = arg;

	(void)len;
	if (!strcmp(path, "DeleteResult/Error/Key")) {
		snprintf(batch->key, sizeof(batch->key), "%s", text);
	} else if (!strcmp(path, "DeleteResult/Error/Code")) {
		snprintf(batch->code, sizeof(batch->code), "%s", text);
	} else if (!strcmp(path, "DeleteResult/Error")) {
		note_error(batch);
		batch->key[0] = batch->code[0] = '\0';
	} else if (!strcmp(path, "DeleteResult")) {
		batch->is_result = true;
	}
	return 0;
}

static int batch_accept(struct request *request, struct verdict *verdict)
{
	struct batch *batch = request->arg;
	const struct text *document = &request->answer.document;
	int r;

	for (size_t i = 0; i < batch->n; i++)
		batch->errors[batch->index[i]] = 0;
	batch->is_result = false;
	r = xml_parse(document->data, document->len, on_element, batch);
	if (r == -ENOMEM)
		return request_refuse(request, r, "out of memory");
	return r < 0 || !batch->is_result ? judge_document(request, verdict) : 0;
}

static int send_batch(struct object_store *store, struct object_call *call, struct batch *batch,
		      const struct text *document)
{
	_cleanup_request_ struct request request;
	struct object_body body = { .bytes = document->data, .length = document->len };
	char md5[SIGN_MD5_BASE64_SIZE];
	int r;

	request_init(&request, store, call, "POST", NULL);
	r = sign_md5_base64(document->data, document->len, md5);
	if (r < 0)
		return request_refuse(&request, r, "no MD5 on this machine, which S3 wants here");
	request_param(&request, "delete", "");
	request_header(&request, "content-md5", md5);
	request_header(&request, "content-type", "application/xml");
	request.body = &body;
	request.slow = true;
	request.arg = batch;
	request.accept = batch_accept;
	request.perform = wire_perform;
	return request_run(&request);
}

/* Takes keys from first on into the batch and its document; returns how many were looked at. */
static size_t fill_batch(struct batch *batch, struct text *document, size_t n, size_t first)
{
	size_t i;

	text_reset(document);
	batch->n = 0;
	text_add_str(document, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
			       "<Quiet>true</Quiet>");
	for (i = first; i < n && batch->n < OBJECT_PAGE_MAX; i++) {
		_cleanup_text_ struct text key = { 0 };

		/* What XML cannot hold, and what is refused anyway, goes alone. */
		batch->errors[i] = -EAGAIN;
		if (!*batch->keys[i] || strlen(batch->keys[i]) > OBJECT_KEY_MAX ||
		    !xml_add_escaped(&key, batch->keys[i]) || key.failed)
			continue;
		text_printf(document, "<Object><Key>%s</Key></Object>", key.data);
		batch->index[batch->n++] = i;
	}
	text_add_str(document, "</Delete>");
	return i - first;
}

int object_delete_many(struct object_store *store, struct object_call *call,
		       const char *const *keys, size_t n, int *errors)
{
	_cleanup_free_ struct batch *batch = calloc(1, sizeof(*batch));
	_cleanup_text_ struct text document = { 0 };
	struct object_error first = { 0 };
	int r = 0, result = 0;

	if (!batch)
		return -ENOMEM;
	batch->keys = keys;
	batch->errors = errors;
	for (size_t done = 0, took; done < n; done += took) {
		took = fill_batch(batch, &document, n, done);
		if (document.failed)
			r = -ENOMEM;
		else if (batch->n && r == 0)
			r = send_batch(store, call, batch, &document);
		for (size_t i = done; i < done + took; i++) {
			/* -EAGAIN: not in the batch; -EIO: the server could not just then. */
			if (r < 0)
				errors[i] = r;
			else if (errors[i] == -EAGAIN || errors[i] == -EIO)
				errors[i] = object_delete(store, call, keys[i]);
			if (errors[i] < 0 && result == 0) {
				result = errors[i];
				first = call->error;
			}
		}
	}
	if (result < 0 && !first.text[0]) { /* the answer was none, one of its lines was */
		char shown[sizeof(first.code)];

		text_escape(shown, sizeof(shown), batch->first_code);
		snprintf(first.code, sizeof(first.code), "%s", shown);
		snprintf(first.text, sizeof(first.text), "POST of a bucket: %s from %s",
			 shown[0] ? shown : strerror(-result), store->url);
	}
	call->error = first;
	return result;
}
