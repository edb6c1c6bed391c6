/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One request from its first try to its last: what is asked, pauses between tries, new keys when
 * the present ones have expired. What an answer means is judge.c's, how it is sent wire.c's and
 * libs3.c's. Waits for the network and sleeps. Locks: store->lock only to sleep, renew_lock over
 * renew().
 */
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"

enum {
	PAUSE_FIRST_MS = 100, /* doubled with each try */
	PAUSE_MAX_MS = 5000,
	CANCEL_LOOK_MS = 100, /* how often a sleeping call looks whether it is cancelled */
	META_MAX = 2048,      /* S3: names and values together */
};

void request_init(struct request *request, struct object_store *store, struct object_call *call,
		  const char *method, const char *key)
{
	*request = (struct request){ .store = store, .call = call, .method = method, .key = key };
	call->error = (struct object_error){ 0 };
}

int request_begin(struct request *request, struct object_store *store, struct object_call *call,
		  const char *method, const char *key)
{
	request_init(request, store, call, method, key);
	return request_check_key(call, key);
}

void request_free(struct request *request)
{
	text_free(&request->params);
	text_free(&request->headers);
	answer_free(&request->answer);
}

void request_param(struct request *request, const char *name, const char *value)
{
	field_add(&request->params, name, value);
}

void request_header(struct request *request, const char *name, const char *value)
{
	field_add(&request->headers, name, value);
}

int request_refuse(struct request *request, int code, const char *fmt, ...)
{
	struct object_error *error = &request->call->error;
	_cleanup_text_ struct text what = { 0 };
	char escaped[sizeof(error->text)];
	va_list ap;

	error->status = request->answer.status;
	text_printf(&what, "%s %.200s: ", request->method,
		    request->key ? request->key : "of a bucket");
	va_start(ap, fmt);
	vsnprintf(escaped, sizeof(escaped), fmt, ap);
	va_end(ap);
	text_add_str(&what, escaped);
	text_escape(error->text, sizeof(error->text), what.data ? what.data : "out of memory");
	return code;
}

static int refuse_call(struct object_call *call, int code, const char *text)
{
	call->error = (struct object_error){ 0 };
	snprintf(call->error.text, sizeof(call->error.text), "%s", text);
	return code;
}

int request_check_key(struct object_call *call, const char *key)
{
	size_t len = key ? strnlen(key, OBJECT_KEY_MAX + 1) : 0;

	if (!len)
		return refuse_call(call, -EINVAL, "a key has at least one byte");
	if (len > OBJECT_KEY_MAX)
		return refuse_call(call, -ENAMETOOLONG, "a key has at most 1024 bytes");
	return 0;
}

/* May it stand in a header, and arrive there as it was? Blanks at the ends or doubled may not. */
static bool is_header_value(const char *value)
{
	if (*value == ' ')
		return false;
	for (; *value; value++)
		if (*value < ' ' || *value > '~' ||
		    (*value == ' ' && (!value[1] || value[1] == ' ')))
			return false;
	return true;
}

static bool is_meta_name(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
		      (i && strchr("-_", name[i]))))
			return false;
	return len > 0;
}

int request_describe(struct request *request, const char *content_type, const char *meta,
		     size_t meta_len)
{
	if (content_type && !is_header_value(content_type))
		return request_refuse(request, -EINVAL, "no header can hold that content type");
	request_header(request, "content-type",
		       content_type && *content_type ? content_type : "application/octet-stream");
	if (meta_len > META_MAX)
		return request_refuse(request, -EINVAL, "more than 2 KiB of metadata");
	for (const char *f = field_next(meta, meta_len, NULL); f;
	     f = field_next(meta, meta_len, f)) {
		size_t name = strcspn(f, "=");
		char header[256];

		if (!is_meta_name(f, name) || !f[name] || !is_header_value(f + name + 1) ||
		    snprintf(header, sizeof(header), "x-amz-meta-%.*s", (int)name, f) >=
			    (int)sizeof(header))
			return request_refuse(request, -EINVAL,
					      "no header can hold metadata \"%s\"", f);
		if (f[name + 1]) /* an empty one is as good as none, and some servers refuse it */
			request_header(request, header, f + name + 1);
	}
	return 0;
}

void request_condition(struct request *request, const char *if_match, bool if_none_match)
{
	if (if_match)
		request_header(request, "if-match", if_match);
	if (if_none_match)
		request_header(request, "if-none-match", "*");
}

int request_take_etag(struct request *request, char etag[OBJECT_ETAG_SIZE])
{
	const struct answer *answer = &request->answer;

	if (!answer->etag[0] || answer->etag_too_long)
		return request_refuse(request, -EPROTO, "%s ETag in the answer: %s is no S3 server",
				      answer->etag_too_long ? "an overlong" : "no",
				      request->store->origin);
	memcpy(etag, answer->etag, OBJECT_ETAG_SIZE);
	return 0;
}

void request_fill_info(struct request *request, struct object_info *info)
{
	struct answer *answer = &request->answer;

	*info = (struct object_info){ .mtime_us = answer->mtime_us };
	info->size = answer->has_range ? answer->range_total : answer->length;
	memcpy(info->etag, answer->etag, sizeof(info->etag));
	memcpy(info->content_type, answer->content_type, sizeof(info->content_type));
	if (answer->meta.len) {
		info->meta_len = answer->meta.len;
		info->meta = text_take(&answer->meta);
		if (!info->meta)
			info->meta_len = 0;
	}
}

ssize_t request_read_body(struct request *request, void *buf, size_t size)
{
	const struct object_body *body = request->body;
	uint64_t left = body ? body->length - request->body_sent : 0;
	ssize_t n;

	size = (size_t)MIN((uint64_t)size, left);
	if (!size)
		return 0;
	if (body->bytes) {
		memcpy(buf, (const char *)body->bytes + body->offset + request->body_sent, size);
		n = (ssize_t)size;
	} else {
		do
			n = pread(body->fd, buf, size, (off_t)(body->offset + request->body_sent));
		while (n < 0 && errno == EINTR);
		if (n <= 0) /* 0: it became shorter under our hands */
			return request->failure = n < 0 ? -errno : -EIO;
	}
	request->body_sent += (uint64_t)n;
	return n;
}

/* --- again and again ------------------------------------------------------------------------- */

bool request_cancelled(const struct request *request)
{
	return atomic_load(&request->store->stopped) ||
	       (request->call->cancel && atomic_load(request->call->cancel));
}

/* Half of it to all of it: many who were refused at once do not come back at once. */
static int64_t jitter(int64_t ms)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (uint32_t)hash_u64((uint64_t)monotonic_us());
	return ms / 2 + (int64_t)(random % (uint32_t)(ms / 2 + 1));
}

static void pause_for(struct request *request, int64_t ms)
{
	struct object_store *store = request->store;
	int64_t until = monotonic_ms() + ms;

	pthread_mutex_lock(&store->lock);
	while (!request_cancelled(request)) {
		int64_t now = monotonic_ms(), next = MIN(until, now + CANCEL_LOOK_MS);
		struct timespec when = { .tv_sec = next / 1000, .tv_nsec = next % 1000 * 1000000 };

		if (now >= until)
			break;
		pthread_cond_timedwait(&store->wake, &store->lock, &when);
	}
	pthread_mutex_unlock(&store->lock);
}

/* Asks for other keys, unless another thread has done so since. True: it is worth another try. */
static bool renew_keys(struct request *request)
{
	struct object_store *store = request->store;
	struct object_credentials fresh = { 0 };
	bool changed;

	if (!store->renew || request->renewed)
		return false;
	request->renewed = true;
	pthread_mutex_lock(&store->renew_lock);
	pthread_mutex_lock(&store->lock);
	changed = store->generation != request->generation;
	pthread_mutex_unlock(&store->lock);
	if (!changed && store->renew(store->renew_arg, &fresh) == 0)
		changed = object_store_set_credentials(store, &fresh) == 0;
	pthread_mutex_unlock(&store->renew_lock);
	object_credentials_wipe(&fresh);
	return changed;
}

/* One try. */
static void try_once(struct request *request, struct verdict *verdict)
{
	enum wire_end end;

	request->body_sent = 0;
	request->failure = 0;
	request->came_further = false;
	request->lost_why[0] = '\0';
	request->call->error = (struct object_error){ 0 };
	answer_reset(&request->answer);
	*verdict = (struct verdict){ 0 };
	if (request->prepare)
		request->failure = request->prepare(request);
	if (request->params.failed || request->headers.failed)
		request->failure = -ENOMEM;
	if (request_cancelled(request))
		end = WIRE_CANCELLED;
	else if (request->failure)
		end = WIRE_FAILED;
	else
		end = request->perform(request);
	judge(request, end, verdict);
	if (verdict->code == 0 && request->accept)
		verdict->code = request->accept(request, verdict);
	/* Whether the server did it nevertheless is known only from a clear refusal. */
	if (verdict->again &&
	    (end != WIRE_ANSWERED || request->answer.status >= 500 || request->answer.status < 300))
		request->unsure = true;
	if (end == WIRE_STALE && request->tries == 0)
		verdict->pause_ms = -1;
}

/* How long until the next try: -1 when there is no time left for one. */
static int64_t next_pause(const struct request *request, const struct verdict *verdict,
			  int64_t deadline_ms)
{
	int64_t pause = PAUSE_FIRST_MS;

	if (verdict->pause_ms < 0)
		return 0;
	for (unsigned i = 0; i < request->tries && pause < PAUSE_MAX_MS; i++)
		pause *= 2;
	pause = MAX(jitter(MIN(pause, PAUSE_MAX_MS)), verdict->pause_ms);
	return monotonic_ms() + pause > deadline_ms ? -1 : pause;
}

static void say_given_up(struct request *request, int64_t since_ms)
{
	struct object_error *error = &request->call->error;
	size_t len = strlen(error->text);

	snprintf(error->text + len, sizeof(error->text) - len, "; tried %u times in %lld s",
		 request->tries + 1, (long long)(monotonic_ms() - since_ms + 500) / 1000);
}

int request_run(struct request *request)
{
	struct object_store *store = request->store;
	int64_t patience = request->call->retry_for_ms ?: store->retry_for_ms;
	int64_t start = monotonic_ms(), deadline = start + patience, pause;
	struct verdict verdict;

	for (;; request->tries++) {
		try_once(request, &verdict);
		if (verdict.code == 0) {
			request->call->error.status = 0;
			return 0;
		}
		if (verdict.renew && renew_keys(request))
			continue;
		if (!verdict.again || patience < 0)
			return verdict.code;
		if (request->came_further) {
			request->tries = 0;
			deadline = monotonic_ms() + patience;
		}
		pause = next_pause(request, &verdict, deadline);
		if (pause < 0) {
			say_given_up(request, start);
			return verdict.code;
		}
		atomic_fetch_add(&store->retries, 1);
		request->call->retries++;
		pause_for(request, pause);
	}
}

/* A success says nothing; whoever talks after a 200 is no S3 server, or has an error to tell. */
static int delete_accept(struct request *request, struct verdict *verdict)
{
	return request->answer.document.len ? judge_document(request, verdict) : 0;
}

int request_run_delete(struct request *request)
{
	struct object_error *error = &request->call->error;
	int r;

	request->accept = delete_accept;
	request->perform = libs3_delete_object;
	r = request_run(request);
	if (r != -ENOENT || !strcmp(error->code, "NoSuchBucket"))
		return r;
	*error = (struct object_error){ 0 };
	return 0;
}
