/* SPDX-License-Identifier: MIT */
/* import/manifest: the JSON texts of image archives, of any bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv.h"
#include "import/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As in reader.c, which is not part of this. */
int import_fail(struct import_why *why, int error, const char *fmt, ...)
{
	(void)fmt;
	if (!why->error)
		why->error = error;
	return -why->error;
}

static int ignore_line(void *ctx, const char *key, const char *value)
{
	(void)ctx;
	assert(*key && value);
	return 0;
}

static void fuzz_config(const char *text, size_t len)
{
	struct import_why why = { 0 };
	struct config_text config;
	struct text out = { 0 };
	char *record;
	int line;

	if (manifest_parse_config(text, len, &config, &why) < 0)
		return;
	/* What it says is a record that can be read, whatever was in it. */
	image_config_add(&config.config, &out);
	record = text_take(&out);
	assert(record && record_parse(record, ignore_line, NULL, &line) == 0);
	free(record);
	config_text_free(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct import_why why = { 0 };
	struct descriptor_list list;
	struct descriptor config;
	struct saved_names names;

	if (manifest_parse_saved(text, size, &names, &why) == 0)
		saved_names_free(&names);
	why = (struct import_why){ 0 };
	if (manifest_parse_index(text, size, &list, &why) == 0)
		descriptor_list_free(&list);
	why = (struct import_why){ 0 };
	if (manifest_parse_image(text, size, &config, &list, &why) == 0)
		descriptor_list_free(&list);
	fuzz_config(text, size);
	return 0;
}
