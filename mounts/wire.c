/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The libcurl boundary. A request becomes an HTTP exchange here, whether we make it ourselves or
 * libs3 does: Debian's libs3 2.0 signs by a method that no server takes any more, encodes keys
 * wrongly, trusts any certificate, follows redirects and takes a 503 without a body for success.
 * So it is linked with --wrap, and what it asks of libcurl comes through here (wire_shim_begin):
 * its handle, its connection and its callbacks for an object's bytes are used, all else is set by
 * us.
 *
 * The only file that sees libcurl. It tries once and judges nothing. Each exchange is one
 * thread's; store->lock guards the idle handles.
 */
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"

enum {
	BUFFER_SIZE = 128 << 10,
	REFUSAL_MAX = 64 << 10, /* of an error document; more is left out */
	BUSY_FACTOR = 3,	/* patience once the server has everything, in stall timeouts */
};

CURLcode __real_curl_easy_setopt(CURL *curl, CURLoption option, ...);
CURLcode __real_curl_easy_perform(CURL *curl);
CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...);
CURLcode __wrap_curl_easy_perform(CURL *curl);
struct tm *__wrap_gmtime(const time_t *when);

struct exchange {
	struct request *request;
	struct text url;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
	bool stalled, cancelled;
	curl_off_t moved; /* bytes either way when last looked at, */
	int64_t moved_ms; /* and when that was */
	/* How an object's bytes go: through libs3, or NULL. */
	curl_read_callback read;
	curl_write_callback write;
	void *read_arg, *write_arg;
};

/* --- what comes back ------------------------------------------------------------------------- */

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	_cleanup_free_ char *copy = strndup(line, n * size);
	char *value;

	if (!copy)
		return 0;
	text_strip(copy);
	if (!strncmp(copy, "HTTP/", 5)) { /* also after a 100 */
		value = strchr(copy, ' ');
		answer_reset(&x->request->answer);
		x->request->answer.status = value ? (int)strtol(value, NULL, 10) : 0;
	} else if ((value = strchr(copy, ':'))) {
		*value = '\0';
		answer_take_header(&x->request->answer, copy, text_strip(value + 1),
				   x->request->keep_meta);
	}
	return n * size;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	struct request *request = x->request;
	struct answer *answer = &request->answer;
	bool is_good = answer->status / 100 == 2;

	n *= size;
	atomic_fetch_add(&request->store->bytes_in, n);
	if (is_good && request->take) {
		if (x->write)
			return x->write(bytes, 1, n, x->write_arg);
		request->failure = request->take(request, bytes, n);
		return request->failure ? 0 : n;
	}
	if (answer->document.len + n > (is_good ? ANSWER_MAX : REFUSAL_MAX)) {
		answer->cut = true;
		return is_good ? 0 : n;
	}
	text_add(&answer->document, bytes, n);
	return answer->document.failed ? 0 : n;
}

static size_t on_read(char *buf, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	ssize_t got;

	if (x->read)
		return x->read(buf, size, n, x->read_arg);
	got = request_read_body(x->request, buf, n * size);
	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

/* A kept connection that was closed before the body was through: we start anew, libcurl may not. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	(void)arg, (void)offset, (void)origin;
	return CURL_SEEKFUNC_CANTSEEK;
}

/* About once a second at the least. Non-zero ends the exchange. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct exchange *x = arg;
	const struct request *request = x->request;
	int64_t patience = request->store->stall_timeout_ms, now = monotonic_ms();

	(void)down_total, (void)up_total;
	if (request->slow)
		patience = request->store->answer_timeout_ms;
	else if (request->body && request->body->length &&
		 request->body_sent == request->body->length)
		patience *= BUSY_FACTOR;
	if (down + up != x->moved || !x->moved_ms) {
		x->moved = down + up;
		x->moved_ms = now;
	}
	x->cancelled = request_cancelled(request);
	x->stalled = now - x->moved_ms > patience;
	return x->cancelled || x->stalled;
}

/* --- what is sent ---------------------------------------------------------------------------- */

static int add_header_line(struct exchange *x, const char *name, int name_len, const char *value)
{
	_cleanup_text_ struct text line = { 0 };
	struct curl_slist *longer;

	text_printf(&line, "%.*s: %s", name_len, name, value);
	longer = line.failed ? NULL : curl_slist_append(x->headers, line.data);
	if (line.data) /* one of them holds the session token */
		explicit_bzero(line.data, line.len);
	if (!longer)
		return -ENOMEM;
	x->headers = longer;
	return 0;
}

static int compose(struct exchange *x)
{
	_cleanup_text_ struct text all = { 0 };
	int r = compose_request(x->request, &x->url, &all);

	for (const char *f = field_next(all.data, all.len, NULL); r == 0 && f;
	     f = field_next(all.data, all.len, f)) {
		int name = (int)strcspn(f, "=");

		r = add_header_line(x, f, name, f + name + 1);
	}
	if (all.data)
		explicit_bzero(all.data, all.len);
	/* Waiting for "100 Continue" costs a second where the server does not know it. */
	return r < 0 ? r : add_header_line(x, "Expect", 6, "");
}

static CURLcode set_method(CURL *curl, const struct request *request)
{
	const char *method = request->method;
	CURLcode rc;

	if (!strcmp(method, "GET"))
		return curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	if (!strcmp(method, "HEAD"))
		return curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (!strcmp(method, "DELETE"))
		return curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	rc = curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	rc |= curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
			       (curl_off_t)(request->body ? request->body->length : 0));
	if (strcmp(method, "PUT"))
		rc |= curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	return rc;
}

static CURLcode set_connection(CURL *curl, const struct object_store *store)
{
	CURLcode rc = curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);

	rc |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	rc |= curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (store->ca_file) {
		rc |= curl_easy_setopt(curl, CURLOPT_CAINFO, store->ca_file);
		rc |= curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	rc |= curl_easy_setopt(curl, CURLOPT_PROXY, store->proxy ? store->proxy : "");
	rc |= curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	rc |= curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	rc |= curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	rc |= curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* a key may be "a/../b" */
	rc |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	rc |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)store->connect_timeout_ms);
	rc |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 0L); /* on_progress() looks */
	rc |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 0L);
	/* Only faster; libcurl 7.88 refuses the first on a handle that could not resolve a name. */
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)BUFFER_SIZE);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_SIZE);
	rc |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "sandbox-bucket/" SANDBOXFS_VERSION);
	return rc;
}

static CURLcode set_up(CURL *curl, struct exchange *x)
{
	CURLcode rc = curl_easy_setopt(curl, CURLOPT_URL, x->url.data);

	rc |= set_method(curl, x->request);
	rc |= set_connection(curl, x->request->store);
	rc |= curl_easy_setopt(curl, CURLOPT_HTTPHEADER, x->headers);
	rc |= curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, x->error);
	rc |= curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	rc |= curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	rc |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	rc |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	rc |= curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	rc |= curl_easy_setopt(curl, CURLOPT_READDATA, x);
	rc |= curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
	rc |= curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	rc |= curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
	rc |= curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	return rc;
}

/* --- one exchange ---------------------------------------------------------------------------- */

static enum wire_end fail(struct request *request, int code, const char *why)
{
	request->failure = code;
	snprintf(request->lost_why, sizeof(request->lost_why), "%s", why);
	return WIRE_FAILED;
}

static enum wire_end end_of_error(CURL *curl, const struct exchange *x, CURLcode code)
{
	struct request *request = x->request;
	const char *why = x->error[0] ? x->error : curl_easy_strerror(code);
	long connects = 1;

	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return fail(request, -EIO, why);
	case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: anything at all */
	case CURLE_WEIRD_SERVER_REPLY:
		return fail(request, -EPROTO, why);
	case CURLE_OUT_OF_MEMORY: /* libcurl also says so of headers beyond its own bound */
		if (request->answer.status)
			return fail(request, -EPROTO, "the headers of the answer have no end");
		return fail(request, -ENOMEM, why);
	case CURLE_URL_MALFORMAT:
		return fail(request, -EINVAL, why);
	default:
		break;
	}
	snprintf(request->lost_why, sizeof(request->lost_why), "%s",
		 x->stalled ? "nothing moved any more" : why);
	curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
	return connects == 0 && !request->answer.status ? WIRE_STALE : WIRE_LOST;
}

static enum wire_end end_of(CURL *curl, const struct exchange *x, CURLcode code)
{
	struct request *request = x->request;

	if (request->failure)
		return WIRE_FAILED;
	if (request->answer.document.failed || request->answer.meta.failed)
		return fail(request, -ENOMEM, "out of memory");
	if (x->cancelled)
		return WIRE_CANCELLED;
	if (code == CURLE_OK)
		return request->answer.status ? WIRE_ANSWERED : WIRE_LOST;
	/* A refusal may come before the body is through, and the connection be closed then. */
	if (request->answer.status >= 300 || request->answer.cut)
		return WIRE_ANSWERED;
	return end_of_error(curl, x, code);
}

static enum wire_end run_exchange(CURL *curl, struct exchange *x)
{
	struct request *request = x->request;
	enum wire_end end = WIRE_FAILED;
	int r = compose(x);

	if (r < 0)
		request->failure = r;
	else if (set_up(curl, x) != CURLE_OK)
		request->failure = -ENOMEM;
	if (!request->failure) {
		atomic_fetch_add(&request->store->requests, 1);
		end = end_of(curl, x, __real_curl_easy_perform(curl));
		atomic_fetch_add(&request->store->bytes_out, request->body_sent);
	}
	/* The handle lives on, what it points to does not. */
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
	for (struct curl_slist *i = x->headers; i; i = i->next)
		explicit_bzero(i->data, strlen(i->data));
	curl_slist_free_all(x->headers);
	text_free(&x->url);
	return end;
}

enum wire_end wire_perform(struct request *request)
{
	struct object_store *store = request->store;
	struct exchange x = { .request = request };
	CURL *curl = NULL;
	enum wire_end end;

	pthread_mutex_lock(&store->lock);
	if (store->n_idle)
		curl = store->idle[--store->n_idle];
	pthread_mutex_unlock(&store->lock);
	if (!curl)
		curl = curl_easy_init();
	if (!curl)
		return fail(request, -ENOMEM, "out of memory");
	end = run_exchange(curl, &x);
	curl_easy_reset(curl); /* keeps its connections */
	pthread_mutex_lock(&store->lock);
	if (store->n_idle < WIRE_IDLE_MAX) {
		store->idle[store->n_idle++] = curl;
		curl = NULL;
	}
	pthread_mutex_unlock(&store->lock);
	if (curl)
		curl_easy_cleanup(curl);
	return end;
}

void wire_close(struct object_store *store)
{
	while (store->n_idle)
		curl_easy_cleanup(store->idle[--store->n_idle]);
}

/* --- libs3's calls --------------------------------------------------------------------------- */

/* The request that libs3 is making on this thread; it does so in one blocking call. */
static _Thread_local struct {
	struct request *request; /* NULL: not libs3, or not now */
	enum wire_end end;
	bool performed;
	curl_read_callback read;
	curl_write_callback write;
	void *read_arg, *write_arg;
} shim;

void wire_shim_begin(struct request *request)
{
	memset(&shim, 0, sizeof(shim));
	shim.request = request;
}

enum wire_end wire_shim_end(struct request *request, const char *why)
{
	shim.request = NULL;
	return shim.performed ? shim.end : fail(request, -EINVAL, why);
}

CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
	va_list ap;
	CURLcode rc;

	va_start(ap, option);
	if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB) {
		rc = __real_curl_easy_setopt(curl, option, va_arg(ap, curl_off_t));
	} else if (option < CURLOPTTYPE_OBJECTPOINT) {
		rc = __real_curl_easy_setopt(curl, option, va_arg(ap, long));
	} else {
		void *value = va_arg(ap, void *);

		rc = __real_curl_easy_setopt(curl, option, value);
		if (shim.request && option == CURLOPT_READFUNCTION)
			shim.read = (curl_read_callback)value;
		else if (shim.request && option == CURLOPT_WRITEFUNCTION)
			shim.write = (curl_write_callback)value;
		else if (shim.request && option == CURLOPT_READDATA)
			shim.read_arg = value;
		else if (shim.request && option == CURLOPT_WRITEDATA)
			shim.write_arg = value;
	}
	va_end(ap);
	return rc;
}

CURLcode __wrap_curl_easy_perform(CURL *curl)
{
	struct exchange x = { .request = shim.request,
			      .read = shim.read,
			      .write = shim.write,
			      .read_arg = shim.read_arg,
			      .write_arg = shim.write_arg };

	if (!shim.request)
		return __real_curl_easy_perform(curl);
	shim.request = NULL;
	shim.end = run_exchange(curl, &x);
	shim.performed = true;
	return CURLE_OK; /* what libs3 makes of it is not asked */
}

/* libs3 dates each request by gmtime(), whose result is shared by all threads. */
struct tm *__wrap_gmtime(const time_t *when)
{
	static _Thread_local struct tm tm;

	return gmtime_r(when, &tm);
}
