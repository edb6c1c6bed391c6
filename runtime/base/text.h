/* SPDX-License-Identifier: MIT */
/*
 * Text: a growing buffer, strict parsing of numbers, sizes and durations, escaping
 * of what came from a box, checking of names. No I/O here.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A growing byte buffer. data is NULL or NUL-terminated behind len. An allocation
 * that fails sets failed and drops what was to be added; check it once at the end.
 */
struct text {
	char *data;
	size_t len;
	size_t size;
	bool failed;
};

#define _cleanup_text_ __attribute__((cleanup(text_free)))

void text_free(struct text *t);
void text_reset(struct text *t); /* empties it, keeps the memory */
void text_add(struct text *t, const void *bytes, size_t len);
void text_add_str(struct text *t, const char *s);
void text_add_char(struct text *t, char c);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Hands the buffer to the caller (free() it); NULL if an allocation failed. Never NULL else. */
char *text_take(struct text *t);

/*
 * Adds len bytes with everything unprintable as \ooo and a backslash as \134, so that
 * a terminal stays unharmed and one line stays one line. Valid UTF-8 passes.
 */
void text_add_escaped(struct text *t, const char *bytes, size_t len);
/* The same into a fixed buffer, cut to fit; returns out. */
const char *text_escape(char *out, size_t out_size, const char *s);

/* Adds s in single quotes as a POSIX shell word. */
void text_add_shell_quoted(struct text *t, const char *s);

/*
 * Strict parsers: the whole string or nothing; no sign, no blanks. 0 or -EINVAL, -ERANGE.
 * Sizes: decimal digits and an optional K, M, G, T (powers of 1024; "KiB", "MB" are refused).
 * Durations: digits and ms, s, m, h, d; a bare number is seconds; "0" is never.
 * "unlimited" and "max" parse as UINT64_MAX for sizes.
 */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out);
int parse_size(const char *s, uint64_t *bytes);
int parse_duration_ms(const char *s, int64_t *ms);
int parse_bool(const char *s, bool *out); /* yes no true false 1 0 on off */

/* Formats so that the parsers above read the same value back. buf of 32 bytes is enough. */
const char *format_size(char buf[32], uint64_t bytes);
const char *format_duration(char buf[32], int64_t ms);

/* Length in bytes of the UTF-8 sequence at s (at most len bytes), 0 if it is none. */
size_t utf8_sequence(const char *s, size_t len);

/*
 * A box's, run's or session's name: 1–63 bytes of valid UTF-8, no control characters, no
 * '/', no leading dot, no leading or trailing blank.
 */
bool name_is_valid(const char *name);

/*
 * The name of a user as it may stand in a passwd file (1–63 bytes, no ':', '/', blank or control
 * character, no leading '-'), or a number below 65536.
 */
bool user_name_is_valid(const char *name);

/* Puts a copy of value (NULL: none) in the place of what *field holds, which is freed. On -ENOMEM the
 * old one stays. */
int string_replace(char **field, const char *value);

/* Strips blanks and newlines from both ends, in place; returns the start. */
char *text_strip(char *s);

/* A 64-bit mixer (splitmix64): equal in, equal out, well spread. Not for secrets. */
uint64_t hash_u64(uint64_t x);
/* FNV-1a over bytes, then mixed. */
uint64_t hash_bytes(const void *bytes, size_t len);

#endif
