/* SPDX-License-Identifier: MIT */
/* Where a test in C may write: the folder that tests/run makes for it, by hand /tmp. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>

enum { SCRATCH_SIZE = 240 };

/* Fills a template for mkstemp(3) or mkdtemp(3), and returns it. */
static inline char *scratch_name(char path[SCRATCH_SIZE])
{
	const char *folder = getenv("TEST_TMP");

	snprintf(path, SCRATCH_SIZE, "%.200s/test.XXXXXX", folder ? folder : "/tmp");
	return path;
}

#endif
