/* SPDX-License-Identifier: MIT */
/* base/kv: records and field lists of any bytes; what is written is read back as it was. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count_line(void *ctx, const char *key, const char *value)
{
	assert(*key && value);
	++*(int *)ctx;
	return 0;
}

static int keep_value(void *ctx, const char *key, const char *value)
{
	char **kept = ctx;

	if (strcmp(key, "key") == 0) {
		free(*kept);
		*kept = strdup(value);
	}
	return 0;
}

static void check_round_trip(const char *value)
{
	struct text t = { 0 };
	char *kept = NULL, *text;
	int line;

	record_add(&t, "before", "x");
	record_add(&t, "key", value);
	record_add(&t, "after", "");
	text = text_take(&t);
	assert(text && record_parse(text, keep_value, &kept, &line) == 0);
	assert(line == 3);
	assert(kept && strcmp(kept, value) == 0);
	free(kept);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);
	int lines = 0, line;

	if (!s)
		return 0;
	memcpy(s, data, size);
	s[size] = '\0';
	check_round_trip(s);
	for (const char *f = NULL; (f = field_next((const char *)data, size, f));)
		assert(f >= (const char *)data && f + strlen(f) < (const char *)data + size);
	(void)field_get((const char *)data, size, "key");
	(void)field_get_u64((const char *)data, size, "n", 7);
	(void)record_parse(s, count_line, &lines, &line);
	free(s);
	return 0;
}
