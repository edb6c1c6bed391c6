/* SPDX-License-Identifier: MIT */
/* Digests by libcrypto. Must do no I/O. No locks. */
#include "image/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>

struct digest {
	EVP_MD_CTX *context;
	bool failed;
};

static void to_hex(const unsigned char *bytes, size_t n, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*hex++ = digits[bytes[i] >> 4];
		*hex++ = digits[bytes[i] & 15];
	}
	*hex = '\0';
}

int digest_md5(const void *data, size_t len, char hex[MD5_HEX_SIZE])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, len, bytes, NULL, EVP_md5(), NULL) != 1)
		return -ENOSYS;
	to_hex(bytes, (MD5_HEX_SIZE - 1) / 2, hex);
	return 0;
}

int digest_sha256(const void *data, size_t len, char hex[SHA256_HEX_SIZE])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, len, bytes, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	to_hex(bytes, (SHA256_HEX_SIZE - 1) / 2, hex);
	return 0;
}

struct digest *digest_new(void)
{
	struct digest *digest = calloc(1, sizeof(*digest));

	if (!digest)
		return NULL;
	digest->context = EVP_MD_CTX_new();
	if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
		digest_free(digest);
		return NULL;
	}
	return digest;
}

void digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->context);
	free(digest);
}

void digest_add(struct digest *digest, const void *data, size_t len)
{
	digest->failed |= EVP_DigestUpdate(digest->context, data, len) != 1;
}

int digest_end(struct digest *digest, char hex[SHA256_HEX_SIZE])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];

	if (digest->failed || EVP_DigestFinal_ex(digest->context, bytes, NULL) != 1)
		return -ENOMEM;
	to_hex(bytes, (SHA256_HEX_SIZE - 1) / 2, hex);
	return 0;
}
