/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The contract of object_store for multipart uploads, and copies made of parts (contract.h). */
#include "contract.h"

/* --- multipart ------------------------------------------------------------------------------- */

static void multipart(void)
{
	_cleanup_free_ unsigned char *bytes = malloc(6 * MIB), *back = malloc(6 * MIB);
	struct object_part parts[3];
	struct object_upload upload = { .key = "multi/part ü", .content_type = "text/plain" };
	struct object_complete complete = { .key = upload.key, .parts = parts, .n = 3 };
	_cleanup_free_ char *id = NULL;
	_cleanup_object_info_ struct object_info info = { 0 };
	_cleanup_text_ struct text meta = { 0 };
	char etag[OBJECT_ETAG_SIZE];

	CHECK(bytes && back);
	field_add(&meta, "mode", "0640");
	upload.meta = meta.data;
	upload.meta_len = meta.len;
	WANT(object_upload_start(store, &call, &upload, &id), 0);
	for (int i = 2; i >= 0; i--) {
		struct object_body body = { .bytes = bytes, .length = i < 2 ? 6 * MIB : 100 };

		pattern(bytes, i * 6 * MIB, body.length, 3);
		WANT(object_upload_part(store, &call, upload.key, id, (unsigned)i + 1, &body,
					&parts[i]),
		     0);
		CHECK(parts[i].size == body.length);
	}
	complete.id = id;
	WANT(object_upload_complete(store, &call, &complete, etag), 0);
	WANT(object_head(store, &call, upload.key, &info), 0);
	CHECK(info.size == 12 * MIB + 100 && !strcmp(info.etag, etag));
	CHECK(!strcmp(info.content_type, "text/plain") && info.meta);
	for (int i = 0; i < 2; i++) {
		pattern(bytes, i * 6 * MIB, 6 * MIB, 3);
		WANT(get_range(upload.key, i * 6 * MIB, 6 * MIB, back, etag, NULL), 6 * MIB);
		CHECK(!memcmp(bytes, back, 6 * MIB));
	}
	WANT(object_upload_abort(store, &call, upload.key, "2~no-such-upload"), 0);
	clean("multi/");
}

static void multipart_refused(void)
{
	struct object_part parts[2] = { 0 };
	struct object_upload upload = { .key = "multi/small" };
	struct object_complete complete = { .key = upload.key, .parts = parts, .n = 2 };
	struct object_body body = { .bytes = "tiny", .length = 4 };
	_cleanup_free_ char *id = NULL;
	char etag[OBJECT_ETAG_SIZE];

	WANT(object_upload_start(store, &call, &upload, &id), 0);
	for (unsigned i = 0; i < 2; i++)
		WANT(object_upload_part(store, &call, upload.key, id, i + 1, &body, &parts[i]), 0);
	complete.id = id;
	WANT(object_upload_complete(store, &call, &complete, etag), -EINVAL);
	CHECK(!strcmp(call.error.code, "EntityTooSmall"));
	WANT(object_upload_part(store, &call, upload.key, id, 10001, &body, &parts[0]), -EFBIG);
	WANT(object_upload_part(store, &call, upload.key, "2~nothing", 1, &body, &parts[0]),
	     -ENOENT);
	complete.n = 1;
	strcpy(parts[0].etag, "\"00000000000000000000000000000000\"");
	WANT(object_upload_complete(store, &call, &complete, etag), -EINVAL);
	WANT(object_upload_abort(store, &call, upload.key, id), 0);
}

static void multipart_conditions(void)
{
	struct object_part part;
	struct object_upload upload = { .key = "multi/condition" };
	struct object_complete complete = { .key = upload.key, .parts = &part, .n = 1 };
	struct object_body body = { .bytes = "tiny", .length = 4 };
	_cleanup_free_ char *id = NULL;
	char etag[OBJECT_ETAG_SIZE];

	WANT(put_text(upload.key, "there"), 0);
	WANT(object_upload_start(store, &call, &upload, &id), 0);
	WANT(object_upload_part(store, &call, upload.key, id, 1, &body, &part), 0);
	complete.id = id;
	complete.if_none_match = true;
	WANT(object_upload_complete(store, &call, &complete, etag), -EEXIST);
	complete.if_none_match = false;
	complete.if_match = "\"00000000000000000000000000000000\"";
	WANT(object_upload_complete(store, &call, &complete, etag), -ESTALE);
	CHECK(has_text(upload.key, "there"));
	complete.if_match = NULL;
	WANT(object_upload_complete(store, &call, &complete, etag), 0);
	CHECK(has_text(upload.key, "tiny"));
	clean("multi/");
}

static void uploads_listed(void)
{
	_cleanup_object_upload_page_ struct object_upload_page page = { 0 };
	struct object_upload upload = { .key = "open/a b" };
	_cleanup_free_ char *id = NULL;

	WANT(object_upload_start(store, &call, &upload, &id), 0);
	WANT(object_upload_list(store, &call, "open/", NULL, NULL, &page), 0);
	WANT(page.n, 1);
	CHECK(!strcmp(page.entries[0].key, upload.key) && !strcmp(page.entries[0].id, id));
	CHECK(page.entries[0].started_us > realtime_us() - 3600 * 1000000ll);
	WANT(object_upload_abort(store, &call, upload.key, id), 0);
	object_upload_page_free(&page);
	WANT(object_upload_list(store, &call, "open/", NULL, NULL, &page), 0);
	WANT(page.n, 0);
}

/* In parts when it is larger than the store may copy at once (6 MiB here, see main()). */
static void copy_large(void)
{
	_cleanup_free_ unsigned char *bytes = malloc(13 * MIB), *back = malloc(13 * MIB);
	struct object_copy copy = { .from = "multi/large", .to = "multi/copy", .size = 13 * MIB };
	_cleanup_object_info_ struct object_info info = { 0 };
	_cleanup_text_ struct text meta = { 0 };
	struct object_put put = { .key = copy.from, .content_type = "text/csv" };
	char etag[OBJECT_ETAG_SIZE];

	CHECK(bytes && back);
	field_add(&meta, "mode", "0640");
	pattern(bytes, 0, 13 * MIB, 9);
	put.body = (struct object_body){ .bytes = bytes, .length = 13 * MIB };
	put.meta = meta.data;
	put.meta_len = meta.len;
	WANT(object_put(store, &call, &put, etag), 0);
	WANT(object_copy(store, &call, &copy, etag), 0);
	WANT(object_head(store, &call, copy.to, &info), 0);
	CHECK(info.size == 13 * MIB && strstr(info.etag, "-3") && !strcmp(info.etag, etag));
	CHECK(info.meta && !strcmp(info.content_type, "text/csv"));
	WANT(get_range(copy.to, 0, 13 * MIB, back, NULL, NULL), 13 * MIB);
	CHECK(!memcmp(bytes, back, 13 * MIB));
	copy.if_match = "\"00000000000000000000000000000000\"";
	WANT(object_copy(store, &call, &copy, etag), -ESTALE);
	clean("multi/");
}

static const struct contract_case cases[] = {
	{ "multipart", multipart },
	{ "multipart_refused", multipart_refused },
	{ "multipart_conditions", multipart_conditions },
	{ "uploads_listed", uploads_listed },
	{ "copy_large", copy_large },
};

int main(int argc, char **argv)
{
	return contract_main(argc, argv, cases, ARRAY_SIZE(cases));
}
