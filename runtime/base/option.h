/* SPDX-License-Identifier: MIT */
/*
 * Settings as a table: a row for each says its key, type, bounds, default and meaning, and where in a
 * program's struct it lies. From it come the defaults, what -o takes and what --help shows.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* The longest duration: sums of a few of them and of a clock stay numbers. */
#define OPTION_TIME_MAX (INT64_C(1) << 50)

struct option_row;

struct option_type {
	const char *word; /* in --help */
	/* From text to the field, which stays as it is on an error: -EINVAL, -ERANGE, -ENOMEM. */
	int (*parse)(void *field, const struct option_row *row, const char *value);
	/* The other way, so that parse() reads the same. */
	void (*show)(const void *field, const struct option_row *row, struct text *out);
	bool is_string; /* the field is a char *, owned by the struct */
	bool is_flag;	/* in a list the key alone says yes */
};

struct option_row {
	const char *key; /* "section.key", or "key" for those before any section */
	const struct option_type *type;
	size_t offset;
	uint64_t min, max;    /* of numbers of any kind */
	const char *fallback; /* default, as one would write it; NULL: the field stays zero */
	const char *help;
};

struct option_table {
	const struct option_row *rows;
	size_t n;
};

/* Where a wrong setting came from and what is wrong with it, one sentence. */
struct options_error {
	char text[512];
};

/* Types, each with the type of its field. Those with bounds: number, id, mode, bytes, duration. */
extern const struct option_type option_string;	 /* char *, not empty */
extern const struct option_type option_number;	 /* uint64_t */
extern const struct option_type option_id;	 /* uid_t, gid_t */
extern const struct option_type option_mode;	 /* mode_t; octal */
extern const struct option_type option_yes_no;	 /* bool */
extern const struct option_type option_bytes;	 /* uint64_t, UINT64_MAX unlimited */
extern const struct option_type option_duration; /* int64_t, ms */
/* For types that differ a little from these. */
int option_parse_string(void *field, const struct option_row *row, const char *value);
void option_show_string(const void *field, const struct option_row *row, struct text *out);
int option_parse_id(void *field, const struct option_row *row, const char *value);
void option_show_id(const void *field, const struct option_row *row, struct text *out);

/*
 * The initializer of a type for an enum that begins with 0 (or an unsigned int): words is a string of
 * the values' words with | between them, in their order.
 */
#define OPTION_CHOICE(words)                                                              \
	{                                                                                 \
		.word = (words), .parse = option_parse_choice, .show = option_show_choice \
	}
int option_parse_choice(void *field, const struct option_row *row, const char *value);
void option_show_choice(const void *field, const struct option_row *row, struct text *out);

/* Sets all rows to their defaults in a struct that is zero but for what has none. 0 or -errno. */
int option_table_init(const struct option_table *table, void *fields);
/* Frees the strings of all rows, which become NULL. */
void option_table_free(const struct option_table *table, void *fields);
/* Sets one. -EINVAL and *err, which has a sentence. */
int option_set(const struct option_table *table, void *fields, const char *key, const char *value,
	       struct options_error *err);
/*
 * Sets all of "key=value,flag,…" as given to -o: a comma in a value is written "\,", an empty item is
 * none, and a yes|no setting stands for yes without a value. own(), if there is one, is asked first:
 * 0 it is no item of its own, 1 taken, or -errno. -EINVAL and *err; -ENOMEM.
 */
int option_read_list(const struct option_table *table, void *fields, const char *list,
		     int (*own)(void *fields, const char *item), struct options_error *err);
/* Adds a line for each with its default and meaning. */
void option_table_help(const struct option_table *table, struct text *out);

#endif
