/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One operation of object_store, for tests that break the server meanwhile:
 *
 *   op SETTING=VALUE… -- OPERATION ARGUMENT…
 *
 * Keys come from the environment as in contract.h; RENEW=id:secret:token is what new keys there
 * are to ask for. Prints lines "name=value": code (0 or the errno's name), text, s3 (S3's code),
 * status, retries, requests, ms, and what the operation brought (bytes, etag, …).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/text.h"
#include "mounts/object_store.h"

static struct object_store *store;
static struct object_call call;
static pthread_t stopper;
static bool stopping;

static int open_body(const char *path, struct object_body *body)
{
	struct stat st;

	*body = (struct object_body){ .fd = open(path, O_RDONLY | O_CLOEXEC) };
	if (body->fd < 0 || fstat(body->fd, &st) < 0)
		return -errno;
	body->length = (uint64_t)st.st_size;
	return 0;
}

/* put KEY FILE [new | match ETAG] */
static int op_put(char **args)
{
	struct object_put put = { .key = args[0] };
	char etag[OBJECT_ETAG_SIZE] = "";
	int r = open_body(args[1], &put.body);

	if (r < 0)
		return r;
	put.if_none_match = args[2] && !strcmp(args[2], "new");
	put.if_match = args[2] && !strcmp(args[2], "match") ? args[3] : NULL;
	r = object_put(store, &call, &put, etag);
	close(put.body.fd);
	printf("etag=%s\n", etag);
	return r;
}

static int write_at(void *arg, const void *bytes, size_t len, uint64_t offset)
{
	ssize_t n = pwrite(*(int *)arg, bytes, len, (off_t)offset);

	return n == (ssize_t)len ? 0 : -EIO;
}

/* get KEY FILE [OFFSET LENGTH] [ETAG] */
static int op_get(char **args)
{
	_cleanup_close_ int fd = open(args[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct object_get get = {
		.key = args[0], .length = UINT64_MAX, .sink = write_at, .sink_arg = &fd
	};
	struct object_info info;
	int64_t r;

	if (args[2] && (parse_u64(args[2], 0, UINT64_MAX, &get.offset) < 0 || !args[3] ||
			parse_u64(args[3], 0, UINT64_MAX, &get.length) < 0))
		return -EINVAL;
	get.if_match = args[2] && args[3] ? args[4] : NULL;
	r = object_get(store, &call, &get, &info);
	printf("bytes=%" PRId64 "\netag=%s\n", r, info.etag);
	return r < 0 ? (int)r : 0;
}

static int op_head(char **args)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	int r = object_head(store, &call, args[0], &info);

	printf("bytes=%" PRIu64 "\netag=%s\n", info.size, info.etag);
	return r;
}

static int op_check(char **args)
{
	return object_store_check(store, &call, args[0] ? args[0] : "");
}

static int op_delete(char **args)
{
	return object_delete(store, &call, args[0]);
}

static int op_copy(char **args)
{
	struct object_copy copy = { .from = args[0], .to = args[1] };
	char etag[OBJECT_ETAG_SIZE] = "";
	int r = object_copy(store, &call, &copy, etag);

	printf("etag=%s\n", etag);
	return r;
}

/* list PREFIX */
static int op_list(char **args)
{
	struct object_list list = { .prefix = args[0], .max = 2 };
	_cleanup_free_ char *next = NULL;
	size_t n = 0;
	int r;

	do {
		_cleanup_object_page_ struct object_page page = { 0 };

		list.next = next;
		r = object_list(store, &call, &list, &page);
		n += page.n;
		free(next);
		next = take_ptr(page.next);
	} while (r == 0 && next);
	printf("n=%zu\n", n);
	return r;
}

/* deletes KEY… */
static int op_deletes(char **args)
{
	size_t n = 0;
	int errors[64], r;

	while (args[n] && n < ARRAY_SIZE(errors))
		n++;
	r = object_delete_many(store, &call, (const char *const *)args, n, errors);
	for (size_t i = 0; i < n; i++)
		printf("error%zu=%s\n", i, errors[i] ? strerrorname_np(-errors[i]) : "0");
	return r;
}

/* upload KEY FILE: in parts of 5 MiB */
static int op_upload(char **args)
{
	struct object_upload upload = { .key = args[0] };
	struct object_part parts[64];
	struct object_complete complete = { .key = args[0], .parts = parts };
	char etag[OBJECT_ETAG_SIZE] = "";
	_cleanup_free_ char *id = NULL;
	struct object_body body, part;
	int r = open_body(args[1], &body);

	if (r == 0)
		r = object_upload_start(store, &call, &upload, &id);
	for (part = body; r == 0 && part.offset < body.length; part.offset += part.length) {
		part.length = MIN(OBJECT_PART_MIN, body.length - part.offset);
		r = object_upload_part(store, &call, args[0], id, complete.n + 1, &part,
				       &parts[complete.n]);
		complete.n++;
	}
	complete.id = id;
	if (r == 0)
		r = object_upload_complete(store, &call, &complete, etag);
	if (r < 0 && id) {
		struct object_call cleaning = { 0 };

		object_upload_abort(store, &cleaning, args[0], id);
	}
	printf("etag=%s\n", etag);
	return r;
}

static int renew(void *arg, struct object_credentials *fresh)
{
	_cleanup_free_ char *copy = strdup(arg);
	char *rest = copy;

	fresh->access_key_id = strdup(strsep(&rest, ":"));
	fresh->secret_access_key = strdup(strsep(&rest, ":"));
	fresh->session_token = rest ? strdup(rest) : NULL;
	return 0;
}

static void *stop_later(void *arg)
{
	int64_t ms = (intptr_t)arg;
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
	object_store_stop(store);
	return NULL;
}

static const struct {
	const char *name;
	int (*run)(char **args);
} ops[] = {
	{ "put", op_put },     { "get", op_get },	  { "head", op_head },
	{ "check", op_check }, { "delete", op_delete },	  { "copy", op_copy },
	{ "list", op_list },   { "deletes", op_deletes }, { "upload", op_upload },
};

static int run(char **args)
{
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (*args && !strcmp(*args, ops[i].name))
			return ops[i].run(args + 1);
	return -ENOSYS;
}

static int64_t duration(const char *value)
{
	int64_t ms;

	return *value == '-' ? -1 : parse_duration_ms(value, &ms) == 0 ? ms : 0;
}

static void set(struct object_settings *s, const char *key, const char *value)
{
	if (!strcmp(key, "endpoint"))
		s->endpoint = value;
	else if (!strcmp(key, "bucket"))
		s->bucket = value;
	else if (!strcmp(key, "region"))
		s->region = value;
	else if (!strcmp(key, "style"))
		s->style = !strcmp(value, "path")      ? OBJECT_STYLE_PATH
			   : !strcmp(value, "virtual") ? OBJECT_STYLE_VIRTUAL
						       : OBJECT_STYLE_AUTO;
	else if (!strcmp(key, "ca"))
		s->ca_file = value;
	else if (!strcmp(key, "proxy"))
		s->proxy = value;
	else if (!strcmp(key, "retry"))
		s->retry_for_ms = duration(value);
	else if (!strcmp(key, "stall"))
		s->stall_timeout_ms = duration(value);
	else if (!strcmp(key, "payload"))
		s->payload =
			!strcmp(value, "hashed") ? OBJECT_PAYLOAD_HASHED : OBJECT_PAYLOAD_UNSIGNED;
}

static int make_store(char ***argv)
{
	struct object_settings settings = { 0 };
	int r;

	settings.credentials.access_key_id = getenv("AWS_ACCESS_KEY_ID");
	settings.credentials.secret_access_key = getenv("AWS_SECRET_ACCESS_KEY");
	settings.credentials.session_token = getenv("AWS_SESSION_TOKEN");
	if (getenv("RENEW")) {
		settings.renew = renew;
		settings.renew_arg = getenv("RENEW");
	}
	for (; **argv && strcmp(**argv, "--"); ++*argv) {
		char *value = strchr(**argv, '=');

		if (!value)
			return -EINVAL;
		*value = '\0';
		set(&settings, **argv, value + 1);
	}
	r = object_store_new(&store, &settings, &call.error);
	if (r == 0 && getenv("STOP_AFTER_MS")) {
		uint64_t ms = 0;

		parse_u64(getenv("STOP_AFTER_MS"), 0, 1000000, &ms);
		stopping = pthread_create(&stopper, NULL, stop_later, (void *)(intptr_t)ms) == 0;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct object_stats stats = { 0 };
	int64_t start;
	int r;

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	argv++;
	r = make_store(&argv);
	start = monotonic_ms();
	if (r == 0 && *argv)
		r = run(argv + 1);
	if (store)
		object_store_stats(store, &stats);
	printf("code=%s\ntext=%s\ns3=%s\nstatus=%d\nretries=%u\nrequests=%" PRIu64 "\nms=%" PRId64
	       "\n",
	       r < 0 ? strerrorname_np(-r) : "0", call.error.text, call.error.code,
	       call.error.status, call.retries, stats.requests, monotonic_ms() - start);
	if (stopping) {
		pthread_cancel(stopper);
		pthread_join(stopper, NULL);
	}
	object_store_free(store);
	return 0;
}
