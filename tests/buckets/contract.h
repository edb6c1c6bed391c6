/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For programs that hold object_store to its contract, against any server:
 *
 *   PROGRAM ENDPOINT BUCKET [CASE…]
 *
 * with keys in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. The bucket is there,
 * and what is below the prefixes used is removed. Prints "ok NAME" or "not ok NAME - why"; exit 1
 * if anything failed. A case ends at its first failure, which leaks what it had.
 */
#ifndef TESTS_CONTRACT_H
#define TESTS_CONTRACT_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "mounts/object_store.h"

#define MIB (1ull << 20)

static struct object_store *store;
static const char *bucket;
static _Thread_local struct object_call call;
static jmp_buf failed_case;
static char failure[1024];

/* Only on the main thread. */
__attribute__((format(printf, 2, 3), noreturn)) static inline void fail_at(int line,
									   const char *fmt, ...)
{
	va_list ap;
	int len = snprintf(failure, sizeof(failure), "line %d: ", line);

	va_start(ap, fmt);
	vsnprintf(failure + len, sizeof(failure) - (size_t)len, fmt, ap);
	va_end(ap);
	longjmp(failed_case, 1);
}

#define CHECK(what)                                                                \
	do {                                                                       \
		if (!(what))                                                       \
			fail_at(__LINE__, "%s; last: %s", #what, call.error.text); \
	} while (0)

#define WANT(expression, wanted)                                                        \
	do {                                                                            \
		int64_t got_ = (expression);                                            \
		if (got_ != (int64_t)(wanted))                                          \
			fail_at(__LINE__, "%s is %lld, wanted %lld: %s", #expression,   \
				(long long)got_, (long long)(wanted), call.error.text); \
		if (got_ < 0 && !call.error.text[0])                                    \
			fail_at(__LINE__, "%s failed without a sentence", #expression); \
	} while (0)

/* Bytes that tell where they belong. */
static inline void pattern(unsigned char *buf, uint64_t offset, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = offset + i;

		buf[i] = (unsigned char)((at ^ at >> 8 ^ at >> 17) * 131 + seed);
	}
}

static inline int put_bytes(const char *key, const void *bytes, size_t len, char *etag)
{
	const struct object_put put = { .key = key, .body = { .bytes = bytes, .length = len } };
	char mine[OBJECT_ETAG_SIZE];

	return object_put(store, &call, &put, etag ? etag : mine);
}

static inline int put_text(const char *key, const char *text)
{
	return put_bytes(key, text, strlen(text), NULL);
}

static inline int64_t get_range(const char *key, uint64_t offset, uint64_t length, void *buf,
				const char *if_match, struct object_info *info)
{
	const struct object_get get = {
		.key = key, .offset = offset, .length = length, .if_match = if_match, .buffer = buf
	};

	return object_get(store, &call, &get, info);
}

static inline bool has_text(const char *key, const char *text)
{
	char buf[4096] = "";

	return get_range(key, 0, sizeof(buf) - 1, buf, NULL, NULL) == (int64_t)strlen(text) &&
	       !strcmp(buf, text);
}

/* Removes everything below prefix. */
static inline void clean(const char *prefix)
{
	struct object_list list = { .prefix = prefix };
	bool more = true;

	while (more) {
		_cleanup_object_page_ struct object_page page = { 0 };
		const char *keys[OBJECT_PAGE_MAX];
		int errors[OBJECT_PAGE_MAX];

		WANT(object_list(store, &call, &list, &page), 0);
		CHECK(page.n <= OBJECT_PAGE_MAX);
		for (size_t i = 0; i < page.n; i++)
			keys[i] = page.entries[i].key;
		WANT(object_delete_many(store, &call, keys, page.n, errors), 0);
		more = page.next != NULL;
	}
}

static inline size_t count_below(const char *prefix, const char *delimiter, unsigned max)
{
	struct object_list list = { .prefix = prefix, .delimiter = delimiter, .max = max };
	_cleanup_free_ char *next = NULL;
	size_t n = 0;

	do {
		_cleanup_object_page_ struct object_page page = { 0 };

		list.next = next;
		WANT(object_list(store, &call, &list, &page), 0);
		CHECK(!max || page.n <= max);
		n += page.n;
		free(next);
		next = take_ptr(page.next);
	} while (next);
	return n;
}

struct contract_case {
	const char *name;
	void (*run)(void);
};

static inline bool wanted(const char *name, char **names)
{
	bool any = !*names;

	for (; *names && !any; names++)
		any = !strcmp(*names, name);
	return any;
}

static inline bool run_case(const char *name, void (*run)(void))
{
	volatile int64_t start = monotonic_ms();
	volatile bool good = false;

	if (setjmp(failed_case) == 0) {
		run();
		good = true;
		printf("ok %s (%lld ms)\n", name, (long long)(monotonic_ms() - start));
	} else {
		printf("not ok %s - %s\n", name, failure);
	}
	fflush(stdout);
	return good;
}

static inline int contract_main(int argc, char **argv, const struct contract_case *cases, size_t n)
{
	struct object_settings settings = { .copy_max = 6 * MIB };
	struct object_error error = { 0 };
	int bad = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: %s ENDPOINT BUCKET [CASE…]\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	settings.endpoint = argv[1];
	settings.bucket = bucket = argv[2];
	settings.credentials.access_key_id = getenv("AWS_ACCESS_KEY_ID");
	settings.credentials.secret_access_key = getenv("AWS_SECRET_ACCESS_KEY");
	settings.credentials.session_token = getenv("AWS_SESSION_TOKEN");
	settings.ca_file = getenv("AWS_CA_BUNDLE");
	if (object_store_new(&store, &settings, &error) < 0) {
		printf("not ok new - %s\n", error.text);
		return 1;
	}
	for (size_t i = 0; i < n; i++)
		if (wanted(cases[i].name, argv + 3) && !run_case(cases[i].name, cases[i].run))
			bad = 1;
	object_store_free(store);
	return bad;
}

#endif
