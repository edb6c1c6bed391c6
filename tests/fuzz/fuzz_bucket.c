/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an S3 server answers: headers and documents, to each kind of request, and a directory made of
 * its listings. The first byte is the question, the second the status; then headers up to an empty
 * line, and the body. The network is this file: it answers every request with that.
 */
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "mounts/bucket.h"
#include "mounts/listing.h"
#include "mounts/node.h"
#include "mounts/options.h"
#include "mounts/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct object_store *the_store;
struct options the_options;
pthread_mutex_t tree_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *headers, *body;
static size_t headers_len, body_len;
static int status;

/* --- the network -------------------------------------------------------------------------------- */

static void take_headers(struct answer *answer)
{
	for (const char *p = headers, *end = headers + headers_len; p < end;) {
		const char *line = memchr(p, '\n', (size_t)(end - p)) ?: end;
		_cleanup_free_ char *copy = strndup(p, (size_t)(line - p));
		char *value = copy ? strchr(copy, ':') : NULL;

		if (value) {
			*value++ = '\0';
			answer_take_header(answer, copy, value, true);
		}
		p = line + 1;
	}
}

static enum wire_end answer_it(struct request *request)
{
	struct answer *answer = &request->answer;

	answer->status = status;
	take_headers(answer);
	request->body_sent = request->body ? request->body->length : 0;
	if (status / 100 == 2 && request->take) {
		request->failure = request->take(request, body, body_len);
		return request->failure ? WIRE_FAILED : WIRE_ANSWERED;
	}
	text_add(&answer->document, body, body_len);
	return WIRE_ANSWERED;
}

enum wire_end wire_perform(struct request *request)
{
	return answer_it(request);
}

enum wire_end libs3_get_object(struct request *request)
{
	return answer_it(request);
}

enum wire_end libs3_head_object(struct request *request)
{
	return answer_it(request);
}

enum wire_end libs3_put_object(struct request *request)
{
	return answer_it(request);
}

enum wire_end libs3_copy_object(struct request *request)
{
	return answer_it(request);
}

enum wire_end libs3_delete_object(struct request *request)
{
	return answer_it(request);
}

void wire_close(struct object_store *store)
{
	(void)store;
}

int libs3_get(void)
{
	return 0;
}

void libs3_put(void)
{
}

int bucket_list_failed(const char *key, int error, const struct object_call *call)
{
	(void)key;
	assert(call->error.text[0]);
	return error;
}

/* --- questions ------------------------------------------------------------------------------------ */

static void check_outcome(int64_t r, const struct object_call *call)
{
	assert(r >= 0 || call->error.text[0]);
	for (const char *p = call->error.text; *p; p++)
		assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void ask_list(struct object_call *call)
{
	_cleanup_object_page_ struct object_page page = { 0 };
	const struct object_list list = { .prefix = "d/", .delimiter = "/", .next = "next" };
	int r = object_list(the_store, call, &list, &page);

	check_outcome(r, call);
	assert(r == 0 || (!page.n && !page.entries));
	for (size_t i = 0; i < page.n; i++) {
		const struct object_entry *e = &page.entries[i];

		assert(e->key_len >= 2 && !memcmp(e->key, "d/", 2) && !e->key[e->key_len]);
		assert(strlen(e->etag) < OBJECT_ETAG_SIZE && e->size <= INT64_MAX);
	}
}

static void ask_directory(struct object_call *call)
{
	struct listing *listing = listing_begin();
	int r = 0;

	(void)call;
	assert(listing);
	for (int pages = 0; r == 0 && pages < 3 && !listing->complete; pages++)
		r = listing_more(listing, "d/");
	assert(listing->n_ready <= listing->n_entries);
	for (size_t i = 0; i < listing->n_ready; i++) {
		bool let_go;
		const struct entry *e = listing_at(listing, i, &let_go);

		assert(e && name_can_be_shown(e->name, strlen(e->name)));
		if (listing->complete)
			assert(listing_find(listing, e->name));
	}
	pthread_mutex_lock(&tree_lock);
	listing_unref(listing);
	pthread_mutex_unlock(&tree_lock);
}

static void ask_uploads(struct object_call *call)
{
	_cleanup_object_upload_page_ struct object_upload_page page = { 0 };

	check_outcome(object_upload_list(the_store, call, "d/", NULL, NULL, &page), call);
	for (size_t i = 0; i < page.n; i++)
		assert(strlen(page.entries[i].id) + page.entries[i].key_len <= 2 * body_len + 2);
}

static void ask_get(struct object_call *call)
{
	char buffer[64];
	const struct object_get get = {
		.key = "k", .offset = 3, .length = sizeof(buffer), .buffer = buffer
	};
	_cleanup_object_info_ struct object_info info = { 0 };
	int64_t r = object_get(the_store, call, &get, &info);

	check_outcome(r, call);
	assert(r <= (int64_t)sizeof(buffer));
}

static void ask_head(struct object_call *call)
{
	_cleanup_object_info_ struct object_info info = { 0 };

	check_outcome(object_head(the_store, call, "k", &info), call);
}

static void ask_put(struct object_call *call)
{
	const struct object_put put = { .key = "k", .body = { .bytes = "x", .length = 1 } };
	char etag[OBJECT_ETAG_SIZE] = "";
	int r = object_put(the_store, call, &put, etag);

	check_outcome(r, call);
	assert(r < 0 || etag[0]);
}

static void ask_copy(struct object_call *call)
{
	const struct object_copy copy = { .from = "k", .to = "l", .size = 1 };
	char etag[OBJECT_ETAG_SIZE] = "";

	check_outcome(object_copy(the_store, call, &copy, etag), call);
}

static void ask_deletes(struct object_call *call)
{
	static const char *const keys[] = { "a", "b", "\x01" };
	int errors[ARRAY_SIZE(keys)];

	check_outcome(object_delete_many(the_store, call, keys, ARRAY_SIZE(keys), errors), call);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert(errors[i] <= 0);
}

static void ask_upload(struct object_call *call)
{
	struct object_part part = { .etag = "\"900150983cd24fb0d6963f7d28e17f72\"", .size = 1 };
	const struct object_upload upload = { .key = "k" };
	struct object_complete complete = { .key = "k", .parts = &part, .n = 1 };
	char etag[OBJECT_ETAG_SIZE] = "";
	_cleanup_free_ char *id = NULL;
	int r = object_upload_start(the_store, call, &upload, &id);

	check_outcome(r, call);
	complete.id = r == 0 ? id : "id";
	check_outcome(object_upload_complete(the_store, call, &complete, etag), call);
}

static void (*const questions[])(struct object_call *call) = {
	ask_list, ask_directory, ask_uploads, ask_get,	  ask_head,
	ask_put,  ask_copy,	 ask_deletes, ask_upload,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct object_settings settings = {
		.endpoint = "http://127.0.0.1:1",
		.bucket = "bucket",
		.retry_for_ms = -1,
		.credentials = { .access_key_id = "id", .secret_access_key = "secret" }
	};
	struct object_error error = { 0 };

	(void)argc, (void)argv;
	log_init("fuzz", LOG_LEVEL_ERROR);
	the_options.cache_entries = 100;
	the_options.prefix = strdup("");
	assert(object_store_new(&the_store, &settings, &error) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = {
		200, 200, 206, 204, 301, 400, 403, 404, 412, 500, 503, 999
	};
	struct object_call call = { 0 };
	const char *blank;

	if (size < 2)
		return 0;
	status = statuses[data[1] % ARRAY_SIZE(statuses)];
	headers = (const char *)data + 2;
	blank = memmem(headers, size - 2, "\n\n", 2);
	headers_len = blank ? (size_t)(blank - headers) : 0;
	body = blank ? blank + 2 : headers;
	body_len = size - (size_t)(body - (const char *)data);
	questions[data[0] % ARRAY_SIZE(questions)](&call);
	return 0;
}
