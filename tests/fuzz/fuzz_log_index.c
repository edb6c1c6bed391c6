/* SPDX-License-Identifier: MIT */
/*
 * log_index: any bytes as the file. The first byte says what is done to the header and to the
 * entries' checks, so that the fuzzer gets past them.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "log_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WITH_HEADER = 1, WITH_CHECKS = 2 };

static int box_dir = -1;

static char folder[] = "/tmp/fuzz_log_index.XXXXXX";

static void remove_folder(void)
{
	remove_tree_at(AT_FDCWD, folder);
}

static void open_folder(void)
{
	assert(mkdtemp(folder));
	atexit(remove_folder);
	box_dir = open(folder, O_RDONLY | O_DIRECTORY);
	assert(box_dir >= 0 && mkdirat(box_dir, LOG_FOLDER, 0700) == 0);
}

static void mend(uint8_t *bytes, size_t len)
{
	for (size_t at = LOG_ENTRY_SIZE; at + LOG_ENTRY_SIZE <= len; at += LOG_ENTRY_SIZE) {
		struct log_entry e = { 0 };

		memcpy(&e.begin, bytes + at, 8);
		memcpy(&e.run, bytes + at + 8, 8);
		memcpy(&e.from, bytes + at + 16, 8);
		memcpy(&e.gone, bytes + at + 24, 8);
		memcpy(&e.text, bytes + at + 32, 4);
		e.kind = bytes[at + 40];
		e.state = bytes[at + 41];
		e.newline = bytes[at + 42] & 1;
		log_entry_pack(&e, bytes + at);
	}
}

static int see(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length)
{
	uint64_t *count = ctx;
	char text[LOG_TEXT_SIZE];

	(void)length;
	assert(i == *count);
	++*count;
	assert(log_entry_text(entry, text) < LOG_TEXT_SIZE);
	assert(log_entry_end(entry, 0) >= entry->begin);
	return 0;
}

static bool is_odd(const void *ctx, uint64_t run)
{
	(void)ctx;
	return run & 1;
}

static void use(void)
{
	struct log_index index;
	uint64_t count = 0, i;

	if (log_index_open(&index, box_dir, "s") == 0) {
		(void)log_index_each(&index, UINT64_MAX / 2, see, &count);
		assert(count <= index.n);
		for (uint64_t at = 1; at; at <<= 1) {
			if (log_index_find(&index, at, &i) == 0)
				assert(i < index.n);
		}
		log_index_close(&index);
	}
	if (log_index_open_append(&index, box_dir, "s") < 0)
		return;
	/* Now it is whole. */
	count = 0;
	assert(log_index_each(&index, UINT64_MAX / 2, see, &count) == 0);
	assert(count == index.n);
	(void)log_index_drop(&index, box_dir, "s", UINT64_MAX / 2, is_odd, NULL, true);
	log_index_close(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes;
	int fd;

	if (!size)
		return 0;
	if (box_dir < 0)
		open_folder();
	bytes = malloc(size);
	if (!bytes)
		return 0;
	memcpy(bytes, data + 1, size - 1);
	if ((data[0] & WITH_HEADER) && size > LOG_ENTRY_SIZE)
		memcpy(bytes, LOG_MAGIC, sizeof(LOG_MAGIC) - 1);
	if (data[0] & WITH_CHECKS)
		mend(bytes, size - 1);
	fd = openat(box_dir, LOG_FOLDER "/s", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && write_full(fd, bytes, size - 1) == 0);
	close(fd);
	free(bytes);
	use();
	return 0;
}
