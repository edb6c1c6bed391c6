/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mounts/sign: Signature Version 4 by published vectors: the S3 API reference ("Examples:
 * Signature Calculations", key AKIAIOSFODNN7EXAMPLE, bucket examplebucket) and AWS' general test
 * suite (service "service", key AKIDEXAMPLE). Digests by RFC 1321 and FIPS 180.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "mounts/sign.h"
#include "tests/lib/scratch.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST "host=examplebucket.s3.amazonaws.com\0"
#define DATE "x-amz-date=20130524T000000Z\0"

enum { MAY_24_2013 = 1369353600, AUG_30_2015 = 1440938160 };

static const struct {
	const char *name, *method, *path, *params, *headers;
	size_t params_len, headers_len;
	const char *payload, *signed_headers, *signature;
} vectors[] = {
#define LIST(s) s, sizeof(s) - 1
#define S3(name, method, path, params, headers, payload, names, signature)                    \
	{                                                                                     \
		name, method, path, params, headers, sizeof(params) - 1, sizeof(headers) - 1, \
			payload, names, signature                                             \
	}
	S3("a range of an object", "GET", "/test.txt", "",
	   HOST "range=bytes=0-9\0x-amz-content-sha256=" EMPTY "\0" DATE, EMPTY,
	   "host;range;x-amz-content-sha256;x-amz-date",
	   "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
	S3("put, with a key to encode", "PUT", "/test%24file.text", "",
	   "date=Fri, 24 May 2013 00:00:00 GMT\0" HOST "x-amz-content-sha256="
	   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\0" DATE
	   "x-amz-storage-class=REDUCED_REDUNDANCY\0",
	   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	   "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	   "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
	S3("a parameter without a value", "GET", "/", "lifecycle=\0",
	   "x-amz-content-sha256=" EMPTY "\0" DATE HOST, EMPTY,
	   "host;x-amz-content-sha256;x-amz-date",
	   "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
	S3("parameters out of order", "GET", "/", "prefix=J\0max-keys=2\0",
	   HOST "x-amz-content-sha256=" EMPTY "\0" DATE, EMPTY,
	   "host;x-amz-content-sha256;x-amz-date",
	   "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
};

static const struct {
	const char *name, *params, *headers;
	size_t params_len, headers_len;
	const char *signature;
} suite[] = {
#define SUITE(name, params, headers, signature)                                                    \
	{                                                                                          \
		name, params, headers "host=example.amazonaws.com\0x-amz-date=20150830T123600Z\0", \
			sizeof(params) - 1,                                                        \
			sizeof(headers                                                             \
			       "host=example.amazonaws.com\0x-amz-date=20150830T123600Z\0") -      \
				1,                                                                 \
			signature                                                                  \
	}
	SUITE("get-vanilla", "", "",
	      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
	SUITE("get-vanilla-query-order-key-case", "Param2=value2\0Param1=value1\0", "",
	      "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
	SUITE("get-header-value-trim", "", "my-header1= value1\0my-header2= \"a   b   c\"\0",
	      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
};

static void published_for_s3(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		_cleanup_text_ struct text query = { 0 }, got = { 0 }, wanted = { 0 };
		struct sign_request request = {
			.method = vectors[i].method,
			.path = vectors[i].path,
			.headers = vectors[i].headers,
			.headers_len = vectors[i].headers_len,
			.payload = vectors[i].payload,
			.region = "us-east-1",
			.service = "s3",
			.id = "AKIAIOSFODNN7EXAMPLE",
			.secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
			.when = MAY_24_2013,
		};

		text_add_str(&query, "");
		assert_int_equal(sign_add_query(&query, vectors[i].params, vectors[i].params_len),
				 0);
		request.query = query.data;
		assert_int_equal(sign_add_authorization(&got, &request), 0);
		text_printf(
			&wanted,
			"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
			"aws4_request,SignedHeaders=%s,Signature=%s",
			vectors[i].signed_headers, vectors[i].signature);
		if (strcmp(got.data, wanted.data))
			print_error("%s\n", vectors[i].name);
		assert_string_equal(got.data, wanted.data);
	}
}

static void published_in_general(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(suite); i++) {
		_cleanup_text_ struct text query = { 0 }, got = { 0 };
		struct sign_request request = {
			.method = "GET",
			.path = "/",
			.headers = suite[i].headers,
			.headers_len = suite[i].headers_len,
			.payload = EMPTY,
			.region = "us-east-1",
			.service = "service",
			.id = "AKIDEXAMPLE",
			.secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
			.when = AUG_30_2015,
		};

		text_add_str(&query, "");
		assert_int_equal(sign_add_query(&query, suite[i].params, suite[i].params_len), 0);
		request.query = query.data;
		assert_int_equal(sign_add_authorization(&got, &request), 0);
		if (strcmp(strstr(got.data, "Signature=") + 10, suite[i].signature))
			print_error("%s\n", suite[i].name);
		assert_string_equal(strstr(got.data, "Signature=") + 10, suite[i].signature);
	}
}

static void encoding(void **state)
{
	_cleanup_text_ struct text path = { 0 }, query = { 0 };
	static const char key[] = "a b/../+\xff\n~-._%";
	static const char params[] = "x-a=1\0x=2\0k=a&b=c/d\0";

	(void)state;
	sign_add_encoded(&path, key, sizeof(key) - 1, true);
	assert_string_equal(path.data, "a%20b/../%2B%FF%0A~-._%25");
	/* "x" is before "x-a" although '=' is behind '-'. */
	assert_int_equal(sign_add_query(&query, params, sizeof(params) - 1), 0);
	assert_string_equal(query.data, "k=a%26b%3Dc%2Fd&x=2&x-a=1");
}

static void digests(void **state)
{
	struct object_body body = { .bytes = "??abc", .offset = 2, .length = 3 };
	char sha[SIGN_HEX_SIZE], md5[SIGN_MD5_HEX_SIZE], base64[SIGN_MD5_BASE64_SIZE];
	char path[SCRATCH_SIZE];
	_cleanup_close_ int fd = mkstemp(scratch_name(path));

	(void)state;
	assert_int_equal(sign_sha256(&body, sha), 0);
	assert_string_equal(sha,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(sign_md5(&body, md5), 0);
	assert_string_equal(md5, "900150983cd24fb0d6963f7d28e17f72");
	assert_int_equal(sign_md5_base64("abc", 3, base64), 0);
	assert_string_equal(base64, "kAFQmDzST7DWlj99KOF/cg==");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(write_full(fd, "0123abc", 7), 0);
	body = (struct object_body){ .fd = fd, .offset = 4, .length = 3 };
	assert_int_equal(sign_md5(&body, md5), 0);
	assert_string_equal(md5, "900150983cd24fb0d6963f7d28e17f72");
	body.length = 4;
	assert_int_equal(sign_md5(&body, md5), -EIO);
	body = (struct object_body){ .fd = -1 };
	assert_int_equal(sign_sha256(&body, sha), 0);
	assert_string_equal(sha, EMPTY);
}

static void etag_of_parts(void **state)
{
	struct object_part parts[2] = { { .etag = "\"900150983cd24fb0d6963f7d28e17f72\"" },
					{ .etag = "\"D41D8CD98F00B204E9800998ECF8427E\"" } };
	char md5[SIGN_MD5_HEX_SIZE];

	(void)state;
	assert_int_equal(sign_md5_of_parts(parts, 2, md5), 0);
	assert_string_equal(md5, "fdf1fdf1567f6942ffe1743f1e72301e");
	strcpy(parts[1].etag, "\"not-an-md5\"");
	assert_int_equal(sign_md5_of_parts(parts, 2, md5), -EINVAL);
	parts[1].etag[0] = '\0';
	assert_int_equal(sign_md5_of_parts(parts, 2, md5), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_for_s3), cmocka_unit_test(published_in_general),
		cmocka_unit_test(encoding),	    cmocka_unit_test(digests),
		cmocka_unit_test(etag_of_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
