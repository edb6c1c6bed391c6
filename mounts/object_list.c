/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listings: a page of objects (ListObjectsV2) and of uploads under way (ListMultipartUploads).
 * Keys are asked for URL-encoded: XML cannot hold every byte that a key can. All strings of a page
 * lie in one piece of memory. Blocking; no locks.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

enum { NONE = -1 };

/* One entry while memory still moves: where its strings begin, or NONE. */
struct raw_entry {
	ssize_t key, tag; /* tag: ETag or upload id */
	size_t key_len;
	uint64_t size;
	int64_t time_us;
	bool is_prefix;
};

struct raw_page {
	const struct page_format *format;
	bool always_encoded; /* it was asked for, and the server does not say whether it did */
	struct text memory;
	struct raw_entry *entries, current;
	size_t n, room;
	ssize_t next, next_id;
	size_t next_len;
	bool is_page, truncated, encoded;
};

/* Where a kind of listing keeps things; paths of elements. */
struct page_format {
	const char *root, *encoding, *truncated;
	const char *entry, *key, *tag, *size, *time;
	const char *prefix_entry, *prefix;
	const char *next, *next_id;
	bool next_encoded, tag_is_etag;
};

static const struct page_format objects_format = {
	.root = "ListBucketResult",
	.encoding = "ListBucketResult/EncodingType",
	.truncated = "ListBucketResult/IsTruncated",
	.entry = "ListBucketResult/Contents",
	.key = "ListBucketResult/Contents/Key",
	.tag = "ListBucketResult/Contents/ETag",
	.size = "ListBucketResult/Contents/Size",
	.time = "ListBucketResult/Contents/LastModified",
	.prefix_entry = "ListBucketResult/CommonPrefixes",
	.prefix = "ListBucketResult/CommonPrefixes/Prefix",
	.next = "ListBucketResult/NextContinuationToken",
	.next_id = "",
	.tag_is_etag = true,
};

static const struct page_format uploads_format = {
	.root = "ListMultipartUploadsResult",
	.encoding = "ListMultipartUploadsResult/EncodingType",
	.truncated = "ListMultipartUploadsResult/IsTruncated",
	.entry = "ListMultipartUploadsResult/Upload",
	.key = "ListMultipartUploadsResult/Upload/Key",
	.tag = "ListMultipartUploadsResult/Upload/UploadId",
	.size = "",
	.time = "ListMultipartUploadsResult/Upload/Initiated",
	.prefix_entry = "",
	.prefix = "",
	.next = "ListMultipartUploadsResult/NextKeyMarker",
	.next_id = "ListMultipartUploadsResult/NextUploadIdMarker",
	.next_encoded = true,
};

/* Keeps a string with its NUL; where it begins. */
static ssize_t keep(struct raw_page *page, const char *text, size_t len)
{
	ssize_t at = (ssize_t)page->memory.len;

	text_add(&page->memory, text, len);
	text_add(&page->memory, "", 1);
	return at;
}

static ssize_t keep_etag(struct raw_page *page, const char *text)
{
	char etag[OBJECT_ETAG_SIZE];

	return answer_copy_etag(etag, text) ? keep(page, etag, strlen(etag)) : keep(page, "", 0);
}

static int push(struct raw_page *page, bool is_prefix)
{
	if (page->current.key == NONE)
		return -EPROTO;
	if (page->n == page->room) {
		size_t room = page->room ? 2 * page->room : 256;
		struct raw_entry *more = reallocarray(page->entries, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		page->entries = more;
		page->room = room;
	}
	page->current.is_prefix = is_prefix;
	page->entries[page->n++] = page->current;
	page->current = (struct raw_entry){ .key = NONE, .tag = NONE };
	return 0;
}

static int on_element(void *arg, const char *path, const char *text, size_t len)
{
	struct raw_page *page = arg;
	const struct page_format *format = page->format;

	if (!strcmp(path, format->key) || !strcmp(path, format->prefix)) {
		page->current.key = keep(page, text, len);
		page->current.key_len = len;
	} else if (!strcmp(path, format->tag)) {
		page->current.tag =
			format->tag_is_etag ? keep_etag(page, text) : keep(page, text, len);
	} else if (!strcmp(path, format->size)) {
		return parse_u64(text, 0, INT64_MAX, &page->current.size) < 0 ? -EPROTO : 0;
	} else if (!strcmp(path, format->time)) {
		page->current.time_us = xml_time_us(text);
	} else if (!strcmp(path, format->entry)) {
		return push(page, false);
	} else if (!strcmp(path, format->prefix_entry)) {
		return push(page, true);
	} else if (!strcmp(path, format->next) && len) {
		page->next = keep(page, text, len);
		page->next_len = len;
	} else if (!strcmp(path, format->next_id) && len) {
		page->next_id = keep(page, text, len);
	} else if (!strcmp(path, format->truncated)) {
		page->truncated = !strcmp(text, "true");
	} else if (!strcmp(path, format->encoding)) {
		page->encoded = !strcmp(text, "url");
	} else if (!strcmp(path, format->root)) {
		page->is_page = true;
	}
	return page->memory.failed ? -ENOMEM : 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes the encoding of a form in place; returns the length. */
static size_t decode(char *s, size_t len)
{
	size_t to = 0;

	for (size_t i = 0; i < len; i++) {
		int high = s[i] == '%' && i + 2 < len ? hex_digit(s[i + 1]) : -1;
		int low = high < 0 ? -1 : hex_digit(s[i + 2]);

		if (low >= 0) {
			s[to++] = (char)(high << 4 | low);
			i += 2;
		} else {
			s[to++] = s[i] == '+' ? ' ' : s[i];
		}
	}
	s[to] = '\0';
	return to;
}

static void decode_page(struct raw_page *page)
{
	char *memory = page->memory.data;

	for (size_t i = 0; i < page->n && (page->encoded || page->always_encoded); i++)
		page->entries[i].key_len =
			decode(memory + page->entries[i].key, page->entries[i].key_len);
	if (page->encoded && page->format->next_encoded && page->next != NONE)
		decode(memory + page->next, page->next_len);
}

static void raw_page_free(struct raw_page *page)
{
	text_free(&page->memory);
	free(page->entries);
}

#define _cleanup_raw_page_ __attribute__((cleanup(raw_page_free)))

static int list_accept(struct request *request, struct verdict *verdict)
{
	struct raw_page *page = request->arg;
	const struct text *document = &request->answer.document;
	int r;

	text_reset(&page->memory);
	page->n = 0;
	page->next = page->next_id = NONE;
	page->is_page = page->truncated = page->encoded = false;
	page->current = (struct raw_entry){ .key = NONE, .tag = NONE };
	r = xml_parse(document->data, document->len, on_element, page);
	if (r == -ENOMEM)
		return request_refuse(request, r, "out of memory");
	if (r < 0 || !page->is_page)
		return judge_document(request, verdict);
	if (page->truncated && page->next == NONE)
		return request_refuse(request, -EPROTO, "a page that says neither end nor next");
	text_add(&page->memory, "", 1); /* there is some, also for an empty page */
	if (page->memory.failed)
		return request_refuse(request, -ENOMEM, "out of memory");
	decode_page(page);
	return 0;
}

static const char *at(const char *memory, ssize_t where)
{
	return where == NONE ? "" : memory + where;
}

/* --- objects --------------------------------------------------------------------------------- */

static int entry_order(const void *a, const void *b)
{
	const struct object_entry *x = a, *y = b;
	int order = memcmp(x->key, y->key, MIN(x->key_len, y->key_len));

	return order ? order : x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
}

static int fill_page(struct raw_page *raw, struct object_page *page)
{
	char *memory = raw->memory.data;

	page->entries = calloc(raw->n + 1, sizeof(*page->entries));
	if (raw->truncated)
		page->next = strdup(at(memory, raw->next));
	if (!page->entries || (raw->truncated && !page->next)) {
		object_page_free(page);
		return -ENOMEM;
	}
	page->memory = text_take(&raw->memory);
	page->n = raw->n;
	for (size_t i = 0; i < raw->n; i++) {
		const struct raw_entry *from = &raw->entries[i];

		page->entries[i] = (struct object_entry){ .key = at(memory, from->key),
							  .key_len = from->key_len,
							  .etag = at(memory, from->tag),
							  .size = from->size,
							  .mtime_us = from->time_us,
							  .is_prefix = from->is_prefix };
	}
	qsort(page->entries, page->n, sizeof(*page->entries), entry_order);
	return 0;
}

static void add_list_params(struct request *request, const struct object_list *list)
{
	char max[16];

	snprintf(max, sizeof(max), "%u",
		 list->max ? MIN(list->max, OBJECT_PAGE_MAX) : OBJECT_PAGE_MAX);
	request_param(request, "list-type", "2");
	request_param(request, "encoding-type", "url");
	request_param(request, "max-keys", max);
	if (list->prefix && *list->prefix)
		request_param(request, "prefix", list->prefix);
	if (list->delimiter && *list->delimiter)
		request_param(request, "delimiter", list->delimiter);
	if (list->next)
		request_param(request, "continuation-token", list->next);
	else if (list->start_after && *list->start_after)
		request_param(request, "start-after", list->start_after);
}

/*
 * A server may list anything. What does not begin with the prefix would be taken for a name below it,
 * and be renamed or removed with it; the place that was asked for already would be so for ever.
 */
static int check_page(struct request *request, const struct object_list *list,
		      const struct object_page *page)
{
	const char *prefix = list->prefix ? list->prefix : "";
	size_t len = strlen(prefix);

	for (size_t i = 0; i < page->n; i++) {
		const struct object_entry *e = &page->entries[i];

		if (e->key_len < len || memcmp(e->key, prefix, len))
			return request_refuse(request, -EPROTO,
					      "%s lists %.200s, which was not asked for",
					      request->store->origin, e->key);
	}
	if (page->next && list->next && !strcmp(page->next, list->next))
		return request_refuse(request, -EPROTO, "the listing of %s goes in circles",
				      request->store->origin);
	return 0;
}

int object_list(struct object_store *store, struct object_call *call,
		const struct object_list *list, struct object_page *page)
{
	_cleanup_raw_page_ struct raw_page raw = { .format = &objects_format };
	_cleanup_request_ struct request request;
	int r;

	*page = (struct object_page){ 0 };
	request_init(&request, store, call, "GET", NULL);
	add_list_params(&request, list);
	request.arg = &raw;
	request.accept = list_accept;
	request.perform = wire_perform;
	r = request_run(&request);
	if (r == 0 && fill_page(&raw, page) < 0)
		r = request_refuse(&request, -ENOMEM, "out of memory");
	if (r == 0)
		r = check_page(&request, list, page);
	if (r < 0)
		object_page_free(page);
	return r;
}

int object_store_check(struct object_store *store, struct object_call *call, const char *prefix)
{
	_cleanup_object_page_ struct object_page page = { 0 };
	struct object_list list = { .prefix = prefix, .max = 1 };

	return object_list(store, call, &list, &page);
}

/* --- uploads --------------------------------------------------------------------------------- */

static int fill_upload_page(struct raw_page *raw, struct object_upload_page *page)
{
	char *memory = raw->memory.data;

	page->entries = calloc(raw->n + 1, sizeof(*page->entries));
	if (raw->truncated) {
		page->next_key = strdup(at(memory, raw->next));
		page->next_id = strdup(at(memory, raw->next_id));
	}
	if (!page->entries || (raw->truncated && (!page->next_key || !page->next_id))) {
		object_upload_page_free(page);
		return -ENOMEM;
	}
	page->memory = text_take(&raw->memory);
	page->n = raw->n;
	for (size_t i = 0; i < raw->n; i++) {
		const struct raw_entry *from = &raw->entries[i];

		page->entries[i] = (struct object_upload_entry){ .key = at(memory, from->key),
								 .key_len = from->key_len,
								 .id = at(memory, from->tag),
								 .started_us = from->time_us };
	}
	return 0;
}

static int list_uploads(struct object_store *store, struct object_call *call, const char *prefix,
			const char *next_key, const char *next_id, bool encoded,
			struct object_upload_page *page)
{
	_cleanup_raw_page_ struct raw_page raw = { .format = &uploads_format,
						   .always_encoded = encoded };
	_cleanup_request_ struct request request;
	int r;

	request_init(&request, store, call, "GET", NULL);
	request_param(&request, "uploads", "");
	if (encoded)
		request_param(&request, "encoding-type", "url");
	if (prefix && *prefix)
		request_param(&request, "prefix", prefix);
	if (next_key && *next_key)
		request_param(&request, "key-marker", next_key);
	if (next_id && *next_id)
		request_param(&request, "upload-id-marker", next_id);
	request.arg = &raw;
	request.accept = list_accept;
	request.perform = wire_perform;
	r = request_run(&request);
	if (r == 0 && fill_upload_page(&raw, page) < 0)
		r = request_refuse(&request, -ENOMEM, "out of memory");
	return r;
}

/* Encoded only if it has to be: Ceph does it without saying so, others may not do it at all. */
int object_upload_list(struct object_store *store, struct object_call *call, const char *prefix,
		       const char *next_key, const char *next_id, struct object_upload_page *page)
{
	int r;

	*page = (struct object_upload_page){ 0 };
	r = list_uploads(store, call, prefix, next_key, next_id, false, page);
	return r == -EPROTO ? list_uploads(store, call, prefix, next_key, next_id, true, page) : r;
}
