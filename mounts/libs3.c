/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests that libs3 has: get, put, head, copy and delete of objects; parts of uploads are puts.
 * Each goes through wire.c's shim, which signs and judges; libs3's own opinion of the outcome is
 * not used. The only file that sees libs3. Its pool of handles (and so of connections) is shared
 * by all threads and has a lock of its own.
 */
#include "store.h"

#include <errno.h>
#include <string.h>

#include <libs3.h>

#include "base/cleanup.h"

static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;

int libs3_get(void)
{
	S3Status status = S3StatusOK;

	pthread_mutex_lock(&users_lock);
	if (users == 0)
		status = S3_initialize(NULL, S3_INIT_ALL, NULL);
	if (status == S3StatusOK)
		users++;
	pthread_mutex_unlock(&users_lock);
	return status == S3StatusOK ? 0 : -ENOMEM;
}

void libs3_put(void)
{
	pthread_mutex_lock(&users_lock);
	if (--users == 0)
		S3_deinitialize();
	pthread_mutex_unlock(&users_lock);
}

struct outcome {
	struct request *request;
	S3Status status;
};

static S3Status on_properties(const S3ResponseProperties *properties, void *arg)
{
	(void)properties, (void)arg;
	return S3StatusOK;
}

static void on_complete(S3Status status, const S3ErrorDetails *details, void *arg)
{
	(void)details;
	((struct outcome *)arg)->status = status;
}

static int give_bytes(int size, char *buf, void *arg)
{
	struct outcome *outcome = arg;
	ssize_t n = request_read_body(outcome->request, buf, (size_t)size);

	return n < 0 ? -1 : (int)n;
}

static S3Status take_bytes(int size, const char *bytes, void *arg)
{
	struct request *request = ((struct outcome *)arg)->request;

	request->failure = request->take(request, bytes, (size_t)size);
	return request->failure ? S3StatusAbortedByCallback : S3StatusOK;
}

/*
 * No context of several requests: at once. libs3 4 and later has a timeout there as well; 0 leaves it
 * to wire.c. It signs with Version 4, too, but is still given no keys: there is one signer, which all
 * requests go through.
 */
#ifdef S3_DEFAULT_REGION
#define AT_ONCE NULL, 0
#else
#define AT_ONCE NULL
#endif

static const S3ResponseHandler handler = { on_properties, on_complete };

/*
 * The bucket's real name, host and keys are put in by the shim. libs3 checks the name, and signs
 * with what it is given by its old method, which nobody gets to see.
 */
static const S3BucketContext context = { .hostName = "localhost",
					 .bucketName = "bucket",
					 .protocol = S3ProtocolHTTP,
					 .uriStyle = S3UriStylePath,
					 .accessKeyId = "id",
					 .secretAccessKey = "secret" };

static enum wire_end finish(const struct outcome *outcome)
{
	return wire_shim_end(outcome->request, S3_get_status_name(outcome->status));
}

enum wire_end libs3_get_object(struct request *request)
{
	const S3GetObjectHandler get = { handler, take_bytes };
	struct outcome outcome = { .request = request };

	wire_shim_begin(request);
	S3_get_object(&context, request->key, NULL, 0, 0, AT_ONCE, &get, &outcome);
	return finish(&outcome);
}

enum wire_end libs3_head_object(struct request *request)
{
	struct outcome outcome = { .request = request };

	wire_shim_begin(request);
	S3_head_object(&context, request->key, AT_ONCE, &handler, &outcome);
	return finish(&outcome);
}

enum wire_end libs3_put_object(struct request *request)
{
	const S3PutObjectHandler put = { handler, give_bytes };
	struct outcome outcome = { .request = request };

	wire_shim_begin(request);
	S3_put_object(&context, request->key, request->body->length, NULL, AT_ONCE, &put, &outcome);
	return finish(&outcome);
}

enum wire_end libs3_copy_object(struct request *request)
{
	struct outcome outcome = { .request = request };

	wire_shim_begin(request);
	S3_copy_object(&context, request->key, NULL, NULL, NULL, NULL, 0, NULL, AT_ONCE, &handler,
		       &outcome);
	return finish(&outcome);
}

enum wire_end libs3_delete_object(struct request *request)
{
	struct outcome outcome = { .request = request };

	wire_shim_begin(request);
	S3_delete_object(&context, request->key, AT_ONCE, &handler, &outcome);
	return finish(&outcome);
}
