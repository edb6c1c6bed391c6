/* SPDX-License-Identifier: MIT */
/*
 * Digests, the one place that sees libcrypto: MD5 for what packages say of their files, SHA-256 for
 * what images say of their parts. Results are in small hexadecimal digits.
 */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include <stddef.h>

enum { MD5_HEX_SIZE = 33, SHA256_HEX_SIZE = 65 };

/* Of a whole text. 0, or -errno when libcrypto has none of it. */
int digest_md5(const void *data, size_t len, char hex[MD5_HEX_SIZE]);
int digest_sha256(const void *data, size_t len, char hex[SHA256_HEX_SIZE]);

/* SHA-256 of what comes in pieces. new: NULL when out of memory. */
struct digest;
struct digest *digest_new(void);
void digest_free(struct digest *digest);
void digest_add(struct digest *digest, const void *data, size_t len);
/* Ends it: nothing can be added afterwards. 0, or -ENOMEM if any step failed. */
int digest_end(struct digest *digest, char hex[SHA256_HEX_SIZE]);

#endif
