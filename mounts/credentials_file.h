/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of credentials: one section of one file that may hold secrets. */
#ifndef MOUNTS_CREDENTIALS_FILE_H
#define MOUNTS_CREDENTIALS_FILE_H

#include <sys/types.h>

#include "credentials.h"

/* What one section says; strings are allocated, NULL: not said. */
struct credentials_section {
	struct credentials credentials;
	char *file, *profile, *users;
	bool found;
};

#define _cleanup_credentials_section_ __attribute__((cleanup(credentials_section_free)))
void credentials_section_free(struct credentials_section *section);

struct credentials_key {
	const char *key; /* NULL ends the table */
	size_t offset;	 /* of a string in struct credentials_section */
	bool secret;
};

extern const struct credentials_key credentials_ini_rows[], credentials_aws_rows[];

struct credentials_file {
	const char *path;
	const struct credentials_key *rows;
	bool strict;	      /* a key that is in no row is an error */
	bool others_may_read; /* out: a secret in it is an error */
	struct credentials_section *section;
	struct object_error *error;
};

/*
 * Reads the section of that name; 0 also when it is not there: section->found tells. The file has
 * to be owner's; root's will do as well if root_too.
 */
int credentials_read_section(struct credentials_file *reading, const char *wanted, uid_t owner,
			     bool root_too);
/* Sets the sentence and returns code. */
int credentials_refuse(struct object_error *error, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
