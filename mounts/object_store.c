/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store's life: what its settings say about where requests go (endpoint, bucket, style, region),
 * its keys, and its end. It makes no requests. Locks: store.h.
 */
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "sign.h"

enum {
	CONNECT_TIMEOUT_MS = 10000,
	STALL_TIMEOUT_MS = 20000,
	ANSWER_TIMEOUT_MS = 300000,
	RETRY_FOR_MS = 30000,
	BUCKET_NAME_MAX = 255, /* since 2018 it is 63 */
	HOST_MAX = 255,
};

static int refuse(struct object_error *error, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct object_error *error, int code, const char *fmt, ...)
{
	va_list ap;

	if (!error)
		return code;
	*error = (struct object_error){ 0 };
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return code;
}

/* --- keys ------------------------------------------------------------------------------------ */

static void wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void object_credentials_wipe(struct object_credentials *credentials)
{
	wipe((char **)&credentials->access_key_id);
	wipe((char **)&credentials->secret_access_key);
	wipe((char **)&credentials->session_token);
}

void store_keys_put(struct store_keys *keys)
{
	if (!keys || atomic_fetch_sub(&keys->refs, 1) != 1)
		return;
	wipe(&keys->id);
	wipe(&keys->secret);
	wipe(&keys->token);
	free(keys);
}

struct store_keys *store_keys_get(struct object_store *store, uint64_t *generation)
{
	struct store_keys *keys;

	pthread_mutex_lock(&store->lock);
	keys = store->keys;
	*generation = store->generation;
	atomic_fetch_add(&keys->refs, 1);
	pthread_mutex_unlock(&store->lock);
	return keys;
}

static int copy_if_any(char **to, const char *from)
{
	if (!from || !*from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : -ENOMEM;
}

static struct store_keys *keys_new(const struct object_credentials *from)
{
	struct store_keys *keys = calloc(1, sizeof(*keys));

	if (!keys)
		return NULL;
	atomic_init(&keys->refs, 1);
	if (copy_if_any(&keys->id, from->access_key_id) < 0 ||
	    copy_if_any(&keys->secret, from->secret_access_key) < 0 ||
	    copy_if_any(&keys->token, from->session_token) < 0) {
		store_keys_put(keys);
		return NULL;
	}
	return keys;
}

int object_store_set_credentials(struct object_store *store,
				 const struct object_credentials *credentials)
{
	struct store_keys *fresh = keys_new(credentials), *old;

	if (!fresh)
		return -ENOMEM;
	pthread_mutex_lock(&store->lock);
	old = store->keys;
	store->keys = fresh;
	store->generation++;
	pthread_mutex_unlock(&store->lock);
	store_keys_put(old);
	return 0;
}

/* --- where requests go ----------------------------------------------------------------------- */

static bool is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '[' || c == ']' || c == ':';
}

/* Splits "https://host[:port][/]"; *host is the caller's to free. */
static int parse_endpoint(const char *endpoint, bool *tls, char **host, struct object_error *error)
{
	const char *start = strstr(endpoint, "://");
	size_t len;

	if (!start || (strncasecmp(endpoint, "https://", 8) && strncasecmp(endpoint, "http://", 7)))
		return refuse(error, -EINVAL, "the endpoint begins with https:// or http://");
	*tls = start - endpoint == 5;
	start += 3;
	for (len = 0; is_host_char(start[len]); len++)
		;
	if (!len || len > HOST_MAX || (start[len] && strcmp(start + len, "/")))
		return refuse(error, -EINVAL,
			      "the endpoint is https://HOST or https://HOST:PORT, nothing more");
	*host = strndup(start, len);
	return *host ? 0 : -ENOMEM;
}

/* May the bucket's name be the first label of a host name (and match a certificate's "*.")? */
static bool is_label(const char *name)
{
	size_t len = strlen(name);

	if (len < 3 || len > 63 || name[0] == '-' || name[len - 1] == '-')
		return false;
	for (; *name; name++)
		if (!((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ||
		      *name == '-'))
			return false;
	return true;
}

static bool bucket_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	if (len < 3 || len > BUCKET_NAME_MAX || name[0] == '.')
		return false;
	for (; *name; name++)
		if (!((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
		      (*name >= '0' && *name <= '9') || strchr("-._", *name)))
			return false;
	return true;
}

static bool region_is_valid(const char *region)
{
	size_t len = strlen(region);

	if (!len || len > 60)
		return false;
	for (; *region; region++)
		if (!((*region >= 'a' && *region <= 'z') || (*region >= 'A' && *region <= 'Z') ||
		      (*region >= '0' && *region <= '9') || *region == '-' || *region == '_'))
			return false;
	return true;
}

static bool is_amazon(const char *host)
{
	const char *at = strcasestr(host, ".amazonaws.com");

	return at && (at[14] == '\0' || at[14] == ':' || !strncmp(at + 14, ".cn", 3));
}

static int set_region(struct object_store *store, const char *region, const char *endpoint,
		      struct object_error *error)
{
	if (!region || !*region)
		region = endpoint && strcasestr(endpoint, ".r2.cloudflarestorage.com")
				 ? "auto"
				 : "us-east-1";
	if (!region_is_valid(region))
		return refuse(error, -EINVAL, "the region is a word as eu-central-1");
	store->region = strdup(region);
	return store->region ? 0 : -ENOMEM;
}

static int set_place(struct object_store *store, const struct object_settings *settings,
		     struct object_error *error)
{
	const char *domain = strncmp(store->region, "cn-", 3) ? "" : ".cn";
	_cleanup_text_ struct text origin = { 0 }, host = { 0 }, url = { 0 }, base = { 0 };
	_cleanup_text_ struct text amazon = { 0 };
	_cleanup_free_ char *name = NULL;
	const char *endpoint = settings->endpoint;
	bool virtual = settings->style == OBJECT_STYLE_VIRTUAL;
	int r;

	if (!endpoint || !*endpoint) {
		text_printf(&amazon, "https://s3.%s.amazonaws.com%s", store->region, domain);
		if (amazon.failed)
			return -ENOMEM;
		endpoint = amazon.data;
	}
	r = parse_endpoint(endpoint, &store->tls, &name, error);
	if (r < 0)
		return r;
	if (virtual && !is_label(store->bucket))
		return refuse(error, -EINVAL, "this bucket's name needs style = path");
	if (settings->style == OBJECT_STYLE_AUTO)
		virtual = is_amazon(name) && is_label(store->bucket);
	text_printf(&host, "%s%s%s", virtual ? store->bucket : "", virtual ? "." : "", name);
	text_printf(&origin, "%s://%s", store->tls ? "https" : "http", host.data ? host.data : "");
	text_printf(&base, "%s%s", virtual ? "" : "/", virtual ? "" : store->bucket);
	text_printf(&url, "%s://%s/%s", store->tls ? "https" : "http", name, store->bucket);
	store->origin = text_take(&origin);
	store->host = text_take(&host);
	store->base = text_take(&base);
	store->url = text_take(&url);
	return store->origin && store->host && store->base && store->url ? 0 : -ENOMEM;
}

static int set_all(struct object_store *store, const struct object_settings *settings,
		   struct object_error *error)
{
	const char *id = settings->credentials.access_key_id;
	const char *secret = settings->credentials.secret_access_key;
	int r;

	if (!settings->bucket || !bucket_name_is_valid(settings->bucket))
		return refuse(error, -EINVAL,
			      "a bucket's name has 3 to 255 letters, digits and any of -._");
	if (id && *id && (!secret || !*secret))
		return refuse(error, -EINVAL, "an access key id needs its secret access key");
	r = set_region(store, settings->region, settings->endpoint, error);
	if (r < 0)
		return r;
	store->bucket = strdup(settings->bucket);
	store->keys = keys_new(&settings->credentials);
	if (!store->bucket || !store->keys || copy_if_any(&store->ca_file, settings->ca_file) < 0 ||
	    copy_if_any(&store->proxy, settings->proxy) < 0)
		return -ENOMEM;
	r = set_place(store, settings, error);
	if (r < 0)
		return r;
	store->hash_payload = settings->payload == OBJECT_PAYLOAD_HASHED ||
			      (settings->payload == OBJECT_PAYLOAD_AUTO && !store->tls);
	store->connect_timeout_ms = settings->connect_timeout_ms ?: CONNECT_TIMEOUT_MS;
	store->stall_timeout_ms = settings->stall_timeout_ms ?: STALL_TIMEOUT_MS;
	store->answer_timeout_ms = settings->answer_timeout_ms ?: ANSWER_TIMEOUT_MS;
	store->retry_for_ms = settings->retry_for_ms ?: RETRY_FOR_MS;
	store->copy_max =
		settings->copy_max ? MIN(settings->copy_max, OBJECT_PART_MAX) : OBJECT_PART_MAX;
	store->renew = settings->renew;
	store->renew_arg = settings->renew_arg;
	return 0;
}

/* --- life and end ---------------------------------------------------------------------------- */

static void store_release(struct object_store *store)
{
	store_keys_put(store->keys);
	free(store->bucket);
	free(store->region);
	free(store->ca_file);
	free(store->proxy);
	free(store->origin);
	free(store->host);
	free(store->base);
	free(store->url);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	pthread_mutex_destroy(&store->renew_lock);
	free(store);
}

int object_store_new(struct object_store **out, const struct object_settings *settings,
		     struct object_error *error)
{
	struct object_store *store = calloc(1, sizeof(*store));
	pthread_condattr_t attr;
	int r;

	if (!store)
		return -ENOMEM;
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->renew_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->wake, &attr);
	pthread_condattr_destroy(&attr);
	r = set_all(store, settings, error);
	if (r == 0)
		r = libs3_get();
	if (r < 0) {
		store_release(store);
		return r == -ENOMEM ? refuse(error, r, "out of memory") : r;
	}
	*out = store;
	return 0;
}

void object_store_stop(struct object_store *store)
{
	pthread_mutex_lock(&store->lock);
	atomic_store(&store->stopped, true);
	pthread_cond_broadcast(&store->wake);
	pthread_mutex_unlock(&store->lock);
}

void object_store_free(struct object_store *store)
{
	if (!store)
		return;
	wire_close(store);
	store_release(store);
	libs3_put();
}

void object_store_stats(struct object_store *store, struct object_stats *stats)
{
	stats->requests = atomic_load(&store->requests);
	stats->retries = atomic_load(&store->retries);
	stats->bytes_in = atomic_load(&store->bytes_in);
	stats->bytes_out = atomic_load(&store->bytes_out);
}

const char *object_store_url(const struct object_store *store)
{
	return store->url;
}

void object_info_free(struct object_info *info)
{
	free(info->meta);
	*info = (struct object_info){ 0 };
}

void object_page_free(struct object_page *page)
{
	free(page->entries);
	free(page->next);
	free(page->memory);
	*page = (struct object_page){ 0 };
}

void object_upload_page_free(struct object_upload_page *page)
{
	free(page->entries);
	free(page->next_key);
	free(page->next_id);
	free(page->memory);
	*page = (struct object_upload_page){ 0 };
}
