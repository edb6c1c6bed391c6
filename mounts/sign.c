/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signature Version 4 in its four steps: canonical request, string to sign, signing key,
 * signature. The only file that sees libcrypto. It makes no requests and keeps nothing; keys that
 * it derives are overwritten. No locks.
 */
#include "sign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/cleanup.h"
#include "base/kv.h"

enum { SHA256_BYTES = 32, MD5_BYTES = 16, READ_SIZE = 1 << 16 };

static const char hex_digits[] = "0123456789abcdef";

static void to_hex(const unsigned char *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex_digits[bytes[i] >> 4];
		out[2 * i + 1] = hex_digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
}

void sign_date(char out[SIGN_DATE_SIZE], time_t when)
{
	struct tm tm;

	gmtime_r(&when, &tm);
	if (!strftime(out, SIGN_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm))
		out[0] = '\0'; /* a year of five digits */
}

static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

void sign_add_encoded(struct text *out, const char *bytes, size_t len, bool keep_slash)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (is_unreserved(c) || (c == '/' && keep_slash))
			text_add_char(out, bytes[i]);
		else
			text_printf(out, "%%%02X", c);
	}
}

/* Orders "name=value" by name, then by value: '=' is no byte of the order. */
static int field_order(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	size_t nx = strcspn(x, "="), ny = strcspn(y, "=");
	int order = memcmp(x, y, MIN(nx, ny));

	if (order == 0 && nx != ny)
		return nx < ny ? -1 : 1;
	return order ? order : strcmp(x, y);
}

/* The fields in order; *sorted is the caller's to free, its strings are those of the list. */
static int sort_fields(const char *fields, size_t len, const char ***sorted, size_t *n)
{
	size_t count = 0;

	for (const char *f = field_next(fields, len, NULL); f; f = field_next(fields, len, f))
		count++;
	*sorted = calloc(count + 1, sizeof(**sorted));
	if (!*sorted)
		return -ENOMEM;
	*n = 0;
	for (const char *f = field_next(fields, len, NULL); f; f = field_next(fields, len, f))
		(*sorted)[(*n)++] = f;
	qsort(*sorted, *n, sizeof(**sorted), field_order);
	return 0;
}

int sign_add_query(struct text *out, const char *params, size_t len)
{
	_cleanup_text_ struct text encoded = { 0 };
	_cleanup_free_ const char **sorted = NULL;
	size_t n;
	int r;

	/* It is the encoded names that are in order. */
	for (const char *f = field_next(params, len, NULL); f; f = field_next(params, len, f)) {
		size_t name = strcspn(f, "=");

		sign_add_encoded(&encoded, f, name, false);
		text_add_char(&encoded, '=');
		if (f[name])
			sign_add_encoded(&encoded, f + name + 1, strlen(f + name + 1), false);
		text_add(&encoded, "", 1);
	}
	if (encoded.failed)
		return -ENOMEM;
	r = sort_fields(encoded.data, encoded.len, &sorted, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		text_printf(out, "%s%s", i ? "&" : "", sorted[i]);
	return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

/* A header's value with blanks at its ends gone and those within it single. */
static void add_trimmed(struct text *out, const char *value)
{
	bool blank = false, any = false;

	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			blank = any;
			continue;
		}
		if (blank)
			text_add_char(out, ' ');
		text_add_char(out, *value);
		blank = false;
		any = true;
	}
}

/* The canonical request into *out, the list of signed headers into *names. */
static int add_canonical(struct text *out, struct text *names, const struct sign_request *request)
{
	_cleanup_free_ const char **headers = NULL;
	size_t n;
	int r = sort_fields(request->headers, request->headers_len, &headers, &n);

	if (r < 0)
		return r;
	text_printf(out, "%s\n%s\n%s\n", request->method, request->path, request->query);
	for (size_t i = 0; i < n; i++) {
		int name = (int)strcspn(headers[i], "=");

		text_printf(out, "%.*s:", name, headers[i]);
		add_trimmed(out, headers[i] + name + (headers[i][name] == '='));
		text_add_char(out, '\n');
		text_printf(names, "%s%.*s", i ? ";" : "", name, headers[i]);
	}
	text_printf(out, "\n%s\n%s", names->data ? names->data : "", request->payload);
	return out->failed || names->failed ? -ENOMEM : 0;
}

static int hmac(const unsigned char *key, size_t key_len, const char *text, unsigned char *out)
{
	unsigned len = 0;

	return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), out,
		    &len)
		       ? 0
		       : -EIO;
}

/* The key of one day, region and service. */
static int signing_key(const struct sign_request *request, const char *day,
		       unsigned char key[SHA256_BYTES])
{
	_cleanup_text_ struct text first = { 0 };
	int r;

	text_printf(&first, "AWS4%s", request->secret);
	if (first.failed)
		return -ENOMEM;
	r = hmac((const unsigned char *)first.data, first.len, day, key);
	if (r == 0)
		r = hmac(key, SHA256_BYTES, request->region, key);
	if (r == 0)
		r = hmac(key, SHA256_BYTES, request->service, key);
	if (r == 0)
		r = hmac(key, SHA256_BYTES, "aws4_request", key);
	OPENSSL_cleanse(first.data, first.len);
	return r;
}

int sign_add_authorization(struct text *out, const struct sign_request *request)
{
	_cleanup_text_ struct text canonical = { 0 }, names = { 0 }, scope = { 0 }, string = { 0 };
	unsigned char digest[SHA256_BYTES], key[SHA256_BYTES];
	char hex[SIGN_HEX_SIZE], date[SIGN_DATE_SIZE], day[9];
	int r = add_canonical(&canonical, &names, request);

	if (r < 0)
		return r;
	if (!EVP_Digest(canonical.data, canonical.len, digest, NULL, EVP_sha256(), NULL))
		return -EIO;
	to_hex(digest, sizeof(digest), hex);
	sign_date(date, request->when);
	snprintf(day, sizeof(day), "%.8s", date);
	text_printf(&scope, "%s/%s/%s/aws4_request", day, request->region, request->service);
	if (scope.failed)
		return -ENOMEM;
	text_printf(&string, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope.data, hex);
	if (string.failed)
		return -ENOMEM;
	r = signing_key(request, day, key);
	if (r == 0)
		r = hmac(key, sizeof(key), string.data, digest);
	OPENSSL_cleanse(key, sizeof(key));
	if (r < 0)
		return r;
	to_hex(digest, sizeof(digest), hex);
	text_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
		    request->id, scope.data, names.data, hex);
	return out->failed ? -ENOMEM : 0;
}

static void free_context(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

#define _cleanup_context_ __attribute__((cleanup(free_context)))

static int digest_fd(EVP_MD_CTX *ctx, const struct object_body *body)
{
	_cleanup_free_ char *buf = malloc(READ_SIZE);
	uint64_t done = 0;

	if (!buf)
		return -ENOMEM;
	while (done < body->length) {
		size_t want = (size_t)MIN((uint64_t)READ_SIZE, body->length - done);
		ssize_t n = pread(body->fd, buf, want, (off_t)(body->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		if (!EVP_DigestUpdate(ctx, buf, (size_t)n))
			return -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static int digest_body(const struct object_body *body, const EVP_MD *type, char *hex)
{
	_cleanup_context_ EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int r = 0;

	if (!ctx)
		return -ENOMEM;
	if (!EVP_DigestInit_ex(ctx, type, NULL))
		return -EIO; /* not there: MD5 in FIPS mode */
	if (!body->bytes)
		r = digest_fd(ctx, body);
	else if (!EVP_DigestUpdate(ctx, (const char *)body->bytes + body->offset, body->length))
		r = -EIO;
	if (r < 0)
		return r;
	if (!EVP_DigestFinal_ex(ctx, digest, &len))
		return -EIO;
	to_hex(digest, len, hex);
	return 0;
}

int sign_sha256(const struct object_body *body, char hex[SIGN_HEX_SIZE])
{
	return digest_body(body, EVP_sha256(), hex);
}

int sign_md5(const struct object_body *body, char hex[SIGN_MD5_HEX_SIZE])
{
	return digest_body(body, EVP_md5(), hex);
}

int sign_md5_base64(const void *bytes, size_t len, char out[SIGN_MD5_BASE64_SIZE])
{
	unsigned char digest[MD5_BYTES];

	if (!EVP_Digest(bytes, len, digest, NULL, EVP_md5(), NULL))
		return -EIO;
	EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
	return 0;
}

/* The MD5 in a quoted ETag; false if there is none. */
static bool etag_md5(const char *etag, unsigned char digest[MD5_BYTES])
{
	if (*etag == '"')
		etag++;
	for (int i = 0; i < 2 * MD5_BYTES; i++) {
		const char *at = etag[i] ? strchr(hex_digits, etag[i] | 0x20) : NULL;
		unsigned digit;

		if (!at)
			return false;
		digit = (unsigned)(at - hex_digits);
		digest[i / 2] = (unsigned char)(i % 2 ? digest[i / 2] | digit : digit << 4);
	}
	return etag[2 * MD5_BYTES] == '"' || etag[2 * MD5_BYTES] == '\0';
}

int sign_md5_of_parts(const struct object_part *parts, unsigned n, char hex[SIGN_MD5_HEX_SIZE])
{
	_cleanup_free_ unsigned char *all = malloc((size_t)n * MD5_BYTES + 1);
	struct object_body body = { .bytes = all, .length = (uint64_t)n * MD5_BYTES };

	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (!etag_md5(parts[i].etag, all + (size_t)i * MD5_BYTES))
			return -EINVAL;
	return sign_md5(&body, hex);
}
