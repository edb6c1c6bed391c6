/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The contract of object_store for whole objects, listings, and many threads (contract.h). */
#include "contract.h"
#include "tests/lib/scratch.h"

/* --- objects --------------------------------------------------------------------------------- */

static void check_bucket(void)
{
	WANT(object_store_check(store, &call, ""), 0);
	WANT(object_store_check(store, &call, "nothing/below/here/"), 0);
}

static void put_get_head(void)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	char etag[OBJECT_ETAG_SIZE], buf[64] = "";
	int64_t before = realtime_us() - 2000000;

	WANT(put_bytes("basic/hello", "hello world", 11, etag), 0);
	CHECK(!strcmp(etag, "\"5eb63bbbe01eeed093cb22bb8f5acdc3\""));
	WANT(get_range("basic/hello", 0, UINT64_MAX, buf, NULL, &info), 11);
	CHECK(!strcmp(buf, "hello world") && info.size == 11 && !strcmp(info.etag, etag));
	object_info_free(&info);
	WANT(object_head(store, &call, "basic/hello", &info), 0);
	CHECK(info.size == 11 && !strcmp(info.etag, etag) && !info.meta);
	CHECK(info.mtime_us > before && info.mtime_us < realtime_us() + 2000000);
	CHECK(!strcmp(info.content_type, "application/octet-stream"));
	WANT(put_text("basic/hello", "other"), 0);
	CHECK(has_text("basic/hello", "other"));
}

static void ranges(void)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	char buf[64];

	WANT(put_text("basic/range", "0123456789"), 0);
	WANT(get_range("basic/range", 3, 4, buf, NULL, &info), 4);
	CHECK(!memcmp(buf, "3456", 4) && info.size == 10);
	WANT(get_range("basic/range", 0, 1, buf, NULL, NULL), 1);
	WANT(get_range("basic/range", 8, 50, buf, NULL, NULL), 2);
	CHECK(!memcmp(buf, "89", 2));
	WANT(get_range("basic/range", 9, UINT64_MAX, buf, NULL, NULL), 1);
	WANT(get_range("basic/range", 10, 5, buf, NULL, NULL), 0);
	WANT(get_range("basic/range", 1000, UINT64_MAX, buf, NULL, NULL), 0);
	WANT(get_range("basic/range", 5, 0, buf, NULL, NULL), 0);
	CHECK(!call.error.text[0]);
}

static void empty_object(void)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	char buf[8];

	WANT(put_bytes("basic/empty", NULL, 0, NULL), 0);
	WANT(object_head(store, &call, "basic/empty", &info), 0);
	CHECK(info.size == 0);
	WANT(get_range("basic/empty", 0, UINT64_MAX, buf, NULL, NULL), 0);
	WANT(get_range("basic/empty", 0, 8, buf, NULL, NULL), 0);
}

static void missing_things(void)
{
	struct object_info info;
	char buf[8];

	WANT(object_head(store, &call, "basic/missing", &info), -ENOENT);
	WANT(get_range("basic/missing", 0, 8, buf, NULL, NULL), -ENOENT);
	CHECK(!strcmp(call.error.code, "NoSuchKey") && call.error.status == 404);
	WANT(object_delete(store, &call, "basic/missing"), 0);
	CHECK(!call.error.text[0]);
}

static int sink_some(void *arg, const void *bytes, size_t len, uint64_t offset)
{
	uint64_t *at = arg;
	_cleanup_free_ unsigned char *wanted = malloc(len);

	if (!wanted || offset != *at)
		return -EBADMSG;
	pattern(wanted, offset, len, 7);
	*at += len;
	return memcmp(wanted, bytes, len) ? -EBADMSG : 0;
}

static int sink_refuses(void *arg, const void *bytes, size_t len, uint64_t offset)
{
	(void)arg, (void)bytes, (void)len;
	return offset ? -ENOSPC : 0;
}

static void sinks(void)
{
	_cleanup_free_ unsigned char *bytes = malloc(3 * MIB);
	uint64_t at = 1000;
	struct object_get get = { .key = "basic/sink",
				  .offset = 1000,
				  .length = UINT64_MAX,
				  .sink = sink_some,
				  .sink_arg = &at };

	CHECK(bytes);
	pattern(bytes, 0, 3 * MIB, 7);
	WANT(put_bytes("basic/sink", bytes, 3 * MIB, NULL), 0);
	WANT(object_get(store, &call, &get, NULL), (int64_t)(3 * MIB - 1000));
	get = (struct object_get){ .key = "basic/sink",
				   .length = UINT64_MAX,
				   .sink = sink_refuses };
	WANT(object_get(store, &call, &get, NULL), -ENOSPC);
}

static void from_descriptor(void)
{
	char path[SCRATCH_SIZE], buf[32] = "";
	_cleanup_close_ int fd = mkstemp(scratch_name(path));
	struct object_put put = { .key = "basic/fd",
				  .body = { .fd = fd, .offset = 4, .length = 6 } };
	char etag[OBJECT_ETAG_SIZE];

	CHECK(fd >= 0 && unlink(path) == 0);
	CHECK(write_full(fd, "0123456789abcdef", 16) == 0 && lseek(fd, 2, SEEK_SET) == 2);
	WANT(object_put(store, &call, &put, etag), 0);
	CHECK(lseek(fd, 0, SEEK_CUR) == 2 && has_text("basic/fd", "456789"));
	put.body.length = 100; /* more than there is */
	WANT(object_put(store, &call, &put, etag), -EIO);
	put.body.fd = -1;
	WANT(object_put(store, &call, &put, etag), -EBADF);
	WANT(get_range("basic/fd", 0, 32, buf, NULL, NULL), 6);
}

static void metadata(void)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	_cleanup_text_ struct text meta = { 0 };
	char etag[OBJECT_ETAG_SIZE];
	struct object_put put = { .key = "basic/meta",
				  .body = { .bytes = "x", .length = 1 },
				  .content_type = "text/plain; charset=utf-8" };

	field_add(&meta, "mode", "0644");
	field_add(&meta, "mtime", "1769900000.123456789");
	put.meta = meta.data;
	put.meta_len = meta.len;
	WANT(object_put(store, &call, &put, etag), 0);
	WANT(object_head(store, &call, "basic/meta", &info), 0);
	CHECK(info.meta && !strcmp(field_get(info.meta, info.meta_len, "mode"), "0644"));
	CHECK(!strcmp(field_get(info.meta, info.meta_len, "mtime"), "1769900000.123456789"));
	CHECK(!strcmp(info.content_type, "text/plain; charset=utf-8"));
	text_reset(&meta);
	field_add(&meta, "name", "zeile\r\nx-amz-acl: public-read");
	put.meta = meta.data;
	put.meta_len = meta.len;
	WANT(object_put(store, &call, &put, etag), -EINVAL);
	put.meta_len = 0;
	put.content_type = "text/\nplain";
	WANT(object_put(store, &call, &put, etag), -EINVAL);
}

static void conditions(void)
{
	struct object_put put = { .key = "basic/condition",
				  .body = { .bytes = "one", .length = 3 },
				  .if_none_match = true };
	char first[OBJECT_ETAG_SIZE], second[OBJECT_ETAG_SIZE], buf[8];

	WANT(object_delete(store, &call, put.key), 0);
	WANT(object_put(store, &call, &put, first), 0);
	WANT(object_put(store, &call, &put, second), -EEXIST);
	put.if_none_match = false;
	put.if_match = first;
	put.body.bytes = "two";
	WANT(object_put(store, &call, &put, second), 0);
	WANT(object_put(store, &call, &put, second), -ESTALE);
	CHECK(has_text(put.key, "two"));
	WANT(get_range(put.key, 0, 8, buf, first, NULL), -ESTALE);
	WANT(get_range(put.key, 0, 8, buf, second, NULL), 3);
}

static void bad_keys(void)
{
	char key[OBJECT_KEY_MAX + 2], buf[8];
	struct object_info info;

	memset(key, 'k', sizeof(key));
	key[OBJECT_KEY_MAX + 1] = '\0';
	WANT(put_text(key, "x"), -ENAMETOOLONG);
	WANT(object_head(store, &call, "", &info), -EINVAL);
	WANT(get_range("", 0, 8, buf, NULL, NULL), -EINVAL);
	WANT(object_delete(store, &call, ""), -EINVAL);
	key[OBJECT_KEY_MAX] = '\0';
	memcpy(key, "long/", 5);
	WANT(put_text(key, "longest"), 0);
	CHECK(has_text(key, "longest"));
	WANT(object_delete(store, &call, key), 0);
}

static const char *const hostile[] = {
	"odd/a b+c&d=e?f#g%41",
	"odd/..",
	"odd/../up",
	"odd/./here",
	"odd//double",
	"odd/trailing/",
	"odd/a",
	"odd/a/b",
	"odd/new\nline",
	"odd/tab\there",
	"odd/\x01\x1f",
	"odd/ü€😀",
	"odd/\xff\xfe",
	"odd/<xml>&amp;\"'",
	"odd/\\back",
	"odd/%2e%2e%2f",
	"odd/ leading",
	"odd/trailing ",
	"odd/~tilde*star(1)",
	"odd/\rreturn",
	"odd/\x7f",
	"odd/plus+plus",
};

static void hostile_keys(void)
{
	struct object_list list = { .prefix = "odd/" };
	_cleanup_object_page_ struct object_page page = { 0 };
	int errors[ARRAY_SIZE(hostile)];
	size_t refused = 0;

	clean("odd/");
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		int r = put_text(hostile[i], hostile[i]);

		/* A server may refuse what is not UTF-8, but then it says so. */
		if (r == -EINVAL && (unsigned char)hostile[i][4] == 0xff && ++refused)
			continue;
		WANT(r, 0);
		CHECK(has_text(hostile[i], hostile[i]));
	}
	WANT(object_list(store, &call, &list, &page), 0);
	WANT(page.n, ARRAY_SIZE(hostile) - refused);
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		size_t found = 0;

		if (refused && (unsigned char)hostile[i][4] == 0xff)
			continue;
		for (size_t k = 0; k < page.n; k++)
			found += !strcmp(page.entries[k].key, hostile[i]) &&
				 page.entries[k].key_len == strlen(hostile[i]);
		if (found != 1)
			fail_at(__LINE__, "key %zu was listed %zu times", i, found);
	}
	WANT(object_delete_many(store, &call, hostile, ARRAY_SIZE(hostile), errors),
	     refused ? -EINVAL : 0);
	WANT(count_below("odd/", NULL, 0), 0);
}

static void listing(void)
{
	struct object_list list = { .prefix = "list/", .delimiter = "/" };
	_cleanup_object_page_ struct object_page page = { 0 };
	char key[64];

	clean("list/");
	for (int i = 0; i < 25; i++) {
		snprintf(key, sizeof(key), i < 20 ? "list/f%02d" : "list/d%02d/x", i);
		WANT(put_text(key, "12345"), 0);
	}
	WANT(put_text("list/d20/y", "1"), 0);
	WANT(object_list(store, &call, &list, &page), 0);
	WANT(page.n, 25);
	CHECK(!page.next);
	CHECK(page.entries[0].is_prefix && !strcmp(page.entries[0].key, "list/d20/"));
	CHECK(!page.entries[5].is_prefix && !strcmp(page.entries[5].key, "list/f00"));
	CHECK(page.entries[5].size == 5 && page.entries[5].mtime_us > 0);
	CHECK(!strcmp(page.entries[5].etag, "\"827ccb0eea8a706c4c34a16891f84e7b\""));
	WANT(count_below("list/", NULL, 0), 26);
	WANT(count_below("list/", NULL, 4), 26);
	WANT(count_below("list/", "/", 3), 25);
	WANT(count_below("list/none", "/", 0), 0);
	object_page_free(&page);
	list.start_after = "list/f17";
	WANT(object_list(store, &call, &list, &page), 0);
	WANT(page.n, 2);
	clean("list/");
}

static void copies(void)
{
	_cleanup_object_info_ struct object_info info = { 0 };
	char etag[OBJECT_ETAG_SIZE], source[OBJECT_ETAG_SIZE];
	struct object_copy copy = {
		.from = "copy/from a+b%", .to = "copy/to ü", .size = 5, .if_match = source
	};
	_cleanup_text_ struct text meta = { 0 };

	WANT(put_bytes(copy.from, "bytes", 5, source), 0);
	WANT(object_copy(store, &call, &copy, etag), 0);
	CHECK(!strcmp(etag, source) && has_text(copy.to, "bytes"));
	copy.if_match = "\"00000000000000000000000000000000\"";
	WANT(object_copy(store, &call, &copy, etag), -ESTALE);
	field_add(&meta, "mode", "0600");
	copy = (struct object_copy){ .from = "copy/to ü",
				     .to = "copy/to ü",
				     .replace = true,
				     .meta = meta.data,
				     .meta_len = meta.len,
				     .content_type = "image/png" };
	WANT(object_copy(store, &call, &copy, etag), 0);
	WANT(object_head(store, &call, copy.to, &info), 0);
	CHECK(info.size == 5 && !strcmp(info.content_type, "image/png"));
	CHECK(info.meta && !strcmp(field_get(info.meta, info.meta_len, "mode"), "0600"));
	copy.from = "copy/missing";
	WANT(object_copy(store, &call, &copy, etag), -ENOENT);
	clean("copy/");
}

static void deletes(void)
{
	enum { N = 1203 };
	_cleanup_free_ char(*names)[32] = calloc(N, 32);
	_cleanup_free_ const char **keys = calloc(N, sizeof(*keys));
	_cleanup_free_ int *errors = calloc(N, sizeof(*errors));

	CHECK(names && keys && errors);
	for (int i = 0; i < N; i++) {
		snprintf(names[i], 32, "many/%04d", i);
		keys[i] = names[i];
		if (i % 100 == 0) /* the rest is not there, which is no error */
			WANT(put_text(names[i], "x"), 0);
	}
	WANT(count_below("many/", NULL, 0), 13);
	WANT(object_delete_many(store, &call, keys, N, errors), 0);
	for (int i = 0; i < N; i++)
		CHECK(errors[i] == 0);
	WANT(count_below("many/", NULL, 0), 0);
	keys[1] = "";
	WANT(object_delete_many(store, &call, keys, 3, errors), -EINVAL);
	CHECK(errors[0] == 0 && errors[1] == -EINVAL && errors[2] == 0);
	WANT(object_delete_many(store, &call, keys, 0, errors), 0);
}

/* --- many at once ---------------------------------------------------------------------------- */

enum { THREADS = 16, ROUNDS = 40 };

static void *work(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	_cleanup_free_ unsigned char *bytes = malloc(64 << 10), *back = malloc(64 << 10);
	char key[64], etag[OBJECT_ETAG_SIZE];
	intptr_t bad = !bytes || !back;

	for (unsigned i = 0; i < ROUNDS && !bad; i++) {
		size_t len = 1 + (me * 7919 + i * 104729) % (64 << 10);
		struct object_list list = { .prefix = key };
		_cleanup_object_page_ struct object_page page = { 0 };

		snprintf(key, sizeof(key), "threads/%u/%u", me, i);
		pattern(bytes, 0, len, me * ROUNDS + i);
		bad = put_bytes(key, bytes, len, etag) < 0 ||
		      get_range(key, 0, 64 << 10, back, etag, NULL) != (int64_t)len ||
		      memcmp(bytes, back, len) ||
		      (i % 8 == 0 && (object_list(store, &call, &list, &page) < 0 || !page.n)) ||
		      (i % 2 && object_delete(store, &call, key) < 0);
		if (bad)
			fprintf(stderr, "thread %u, round %u: %s\n", me, i, call.error.text);
	}
	return (void *)bad;
}

static void threads(void)
{
	pthread_t ids[THREADS];
	size_t bad = 0;

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&ids[i], NULL, work, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(ids[i], &result);
		bad += result != NULL;
	}
	WANT(bad, 0);
	WANT(count_below("threads/", NULL, 0), THREADS * ROUNDS / 2);
	clean("threads/");
}

static void counted(void)
{
	struct object_stats before, after;

	object_store_stats(store, &before);
	WANT(put_text("basic/counted", "12345"), 0);
	CHECK(has_text("basic/counted", "12345"));
	object_store_stats(store, &after);
	CHECK(after.requests == before.requests + 2 && after.retries == before.retries);
	CHECK(after.bytes_out == before.bytes_out + 5 && after.bytes_in == before.bytes_in + 5);
	CHECK(strstr(object_store_url(store), bucket));
}

static void cancelled(void)
{
	atomic_bool yes = true;

	call.cancel = &yes;
	WANT(put_text("basic/cancelled", "x"), -ECANCELED);
	call.cancel = NULL;
	WANT(object_head(store, &call, "basic/cancelled", &(struct object_info){ 0 }), -ENOENT);
}

/* The last one: afterwards nothing works any more. */
static void stopped(void)
{
	object_store_stop(store);
	WANT(put_text("basic/stopped", "x"), -ECANCELED);
}

static const struct contract_case cases[] = {
	{ "check_bucket", check_bucket },
	{ "put_get_head", put_get_head },
	{ "ranges", ranges },
	{ "empty_object", empty_object },
	{ "missing_things", missing_things },
	{ "sinks", sinks },
	{ "from_descriptor", from_descriptor },
	{ "metadata", metadata },
	{ "conditions", conditions },
	{ "bad_keys", bad_keys },
	{ "hostile_keys", hostile_keys },
	{ "listing", listing },
	{ "copies", copies },
	{ "deletes", deletes },
	{ "threads", threads },
	{ "counted", counted },
	{ "cancelled", cancelled },
	{ "stopped", stopped },
};

int main(int argc, char **argv)
{
	return contract_main(argc, argv, cases, ARRAY_SIZE(cases));
}
