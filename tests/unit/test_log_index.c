/* SPDX-License-Identifier: MIT */
/* log_index: entries, searching, torn files, dropping runs and writing the file anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "log_index.h"
#include "tests/lib/scratch.h"

enum { HEAD = 11, OUTPUT = 5, TAIL = 11, EACH = HEAD + OUTPUT + TAIL };

static char folder[SCRATCH_SIZE];
static int box_dir;

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(scratch_name(folder)))
		return -1;
	box_dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return box_dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(box_dir);
	return remove_tree_at(AT_FDCWD, folder);
}

static void entry_round_trip(void **state)
{
	struct log_entry e = { .begin = 1ull << 40,
			       .run = 77,
			       .from = 12345678901,
			       .gone = 9,
			       .text = 30,
			       .code = -7,
			       .kind = LOG_TAIL,
			       .state = RUN_SIGNALLED,
			       .newline = true };
	struct log_entry back;
	uint8_t bytes[LOG_ENTRY_SIZE];

	(void)state;
	log_entry_pack(&e, bytes);
	assert_true(log_entry_parse(bytes, &back));
	assert_int_equal(back.begin, e.begin);
	assert_int_equal(back.run, e.run);
	assert_int_equal(back.from, e.from);
	assert_int_equal(back.gone, e.gone);
	assert_int_equal(back.text, e.text);
	assert_int_equal(back.code, e.code);
	assert_int_equal(back.kind, e.kind);
	assert_int_equal(back.state, e.state);
	assert_true(back.newline);
	/* Every bit counts, but those of `gone`, which is written by itself. */
	for (size_t i = 0; i < sizeof(bytes) * 8; i++) {
		bytes[i / 8] ^= 1 << i % 8;
		if (i / 8 < 24 || i / 8 >= 32)
			assert_false(log_entry_parse(bytes, &back));
		bytes[i / 8] ^= 1 << i % 8;
	}
	memset(bytes, 0, sizeof(bytes));
	assert_false(log_entry_parse(bytes, &back));
}

static void texts(void **state)
{
	struct log_entry e = { .run = 12 };
	char text[LOG_TEXT_SIZE];

	(void)state;
	log_entry_set_head(&e, 4, true);
	assert_int_equal(log_entry_text(&e, text), 7);
	assert_string_equal(text, "[12] $ ");
	assert_int_equal(e.text, 11);
	log_entry_set_head(&e, 4, false);
	assert_int_equal(e.text, 12);
	e.newline = true;
	log_entry_set_tail(&e, RUN_EXITED, 3);
	log_entry_text(&e, text);
	assert_string_equal(text, "\n[12] exit 3\n");
	e.newline = false;
	log_entry_set_tail(&e, RUN_LOST, 0);
	assert_int_equal(log_entry_text(&e, text), e.text);
	assert_string_equal(text, "[12] lost\n");
	/* The longest of all fits. */
	e = (struct log_entry){ .run = UINT64_MAX, .newline = true };
	log_entry_set_tail(&e, RUN_EXITED, INT32_MIN);
	assert_true(e.text < LOG_TEXT_SIZE);
}

/* Runs 1 to n: "[N] $ true\n", five bytes of output, "[N] exit 0\n". */
static void write_runs(struct log_index *index, uint64_t n)
{
	assert_int_equal(log_index_open_append(index, box_dir, "default"), 0);
	for (uint64_t run = index->n / 2 + 1; run <= n; run++) {
		struct log_entry two[2] = { { .begin = (run - 1) * EACH, .run = run },
					    { .run = run, .from = OUTPUT } };

		log_entry_set_head(&two[0], 5, true);
		two[0].text = HEAD;
		two[1].begin = two[0].begin + HEAD + OUTPUT;
		log_entry_set_tail(&two[1], RUN_EXITED, 0);
		two[1].text = TAIL;
		assert_int_equal(log_index_append(index, two, 2), 0);
	}
}

static void finding(void **state)
{
	struct log_index index;
	struct log_entry e;
	uint64_t i;

	(void)state;
	assert_int_equal(log_index_open(&index, box_dir, "default"), 0);
	assert_int_equal(index.n, 0);
	assert_int_equal(log_index_find(&index, 0, &i), -ENODATA);
	log_index_close(&index);
	write_runs(&index, 1000);
	for (uint64_t at = 0; at < 1000ull * EACH; at += 3) {
		assert_int_equal(log_index_find(&index, at, &i), 0);
		assert_int_equal(i, at / EACH * 2 + (at % EACH >= HEAD + OUTPUT));
	}
	assert_int_equal(log_index_find(&index, UINT64_MAX, &i), 0);
	assert_int_equal(i, 1999);
	assert_int_equal(log_index_entry(&index, 1999, &e), 0);
	assert_int_equal(log_entry_end(&e, OUTPUT), 1000 * EACH);
	assert_int_equal(log_entry_end(&e, OUTPUT + 4), 1000 * EACH + 4);
	assert_int_equal(log_entry_end(&e, 0), 1000 * EACH); /* a stream that shrank */
	assert_int_equal(log_index_entry(&index, 2000, &e), -ENODATA);
	log_index_close(&index);
}

static void look(const char *session, uint64_t n)
{
	struct log_index index;

	assert_int_equal(log_index_open(&index, box_dir, session), 0);
	assert_int_equal(index.n, n);
	log_index_close(&index);
}

static void torn(void **state)
{
	struct log_index index;
	struct log_entry e;

	(void)state;
	write_runs(&index, 10);
	assert_int_equal(ftruncate(index.fd, 21 * LOG_ENTRY_SIZE - 1), 0);
	log_index_close(&index);
	look("default", 19);
	/* Its run has a head and no tail: who writes next ends it. */
	assert_int_equal(log_index_open_append(&index, box_dir, "default"), 0);
	assert_int_equal(index.n, 20);
	assert_int_equal(log_index_entry(&index, 19, &e), 0);
	assert_int_equal(e.kind, LOG_TAIL);
	assert_int_equal(e.state, RUN_LOST);
	assert_int_equal(e.run, 10);
	/* A hole in the middle: what is behind it does not count, and is cut off. */
	assert_int_equal(pwrite(index.fd, "\0\0\0\0\0\0\0\0", 8, 8 * LOG_ENTRY_SIZE), 8);
	log_index_close(&index);
	assert_int_equal(log_index_open_append(&index, box_dir, "default"), 0);
	assert_int_equal(index.n, 8);
	assert_int_equal(log_index_entry(&index, 6, &e), 0);
	assert_int_equal(e.run, 4);
	assert_int_equal(log_index_entry(&index, 7, &e), 0);
	assert_int_equal(e.state, RUN_LOST);
	log_index_close(&index);
	/* No header: empty. */
	assert_int_equal(log_index_open_append(&index, box_dir, "x"), 0);
	assert_int_equal(ftruncate(index.fd, 5), 0);
	log_index_close(&index);
	look("x", 0);
	assert_int_equal(log_index_open_append(&index, box_dir, "x"), 0);
	assert_int_equal(index.n, 0);
	log_index_close(&index);
}

static bool is_below(const void *ctx, uint64_t run)
{
	return run && run <= *(const uint64_t *)ctx;
}

struct sum {
	uint64_t kept, gone, entries;
};

static int add_up(void *ctx, uint64_t i, const struct log_entry *e, uint64_t length)
{
	struct sum *sum = ctx;

	(void)i;
	sum->entries++;
	if (e->gone)
		assert_int_equal(e->gone, length + 1);
	*(e->gone ? &sum->gone : &sum->kept) += length;
	return 0;
}

static void dropping(void **state)
{
	const uint64_t some = 100, most = 990, all = 1000, end = 1000 * EACH;
	struct log_index index, other;
	struct sum sum = { 0 };
	uint64_t i;

	(void)state;
	write_runs(&index, 1000);
	assert_int_equal(log_index_open(&other, box_dir, "default"), 0);
	assert_int_equal(log_index_drop(&index, box_dir, "default", end, is_below, &some, true), 0);
	assert_int_equal(index.dropped, 100 * EACH);
	assert_true(log_index_is_current(&other, box_dir, "default"));
	assert_int_equal(log_index_each(&index, end, add_up, &sum), 0);
	assert_int_equal(sum.gone, 100 * EACH);
	assert_int_equal(sum.kept, 900 * EACH);
	/* Again: nothing is counted twice. */
	assert_int_equal(log_index_drop(&index, box_dir, "default", end, is_below, &some, true), 0);
	assert_int_equal(index.dropped, 100 * EACH);
	/* Most of it: the file is written anew, and offsets are as they were. */
	assert_int_equal(log_index_drop(&index, box_dir, "default", end, is_below, &most, true), 0);
	assert_int_equal(index.n, 21);
	assert_false(log_index_is_current(&other, box_dir, "default"));
	assert_int_equal(log_index_find(&index, 995ull * EACH + 3, &i), 0);
	assert_int_equal(i, 11);
	sum = (struct sum){ 0 };
	assert_int_equal(log_index_each(&index, end, add_up, &sum), 0);
	assert_int_equal(sum.gone, 990 * EACH);
	assert_int_equal(sum.kept, 10 * EACH);
	log_index_close(&other);
	/* Who still has the old file drops in the new one. */
	assert_int_equal(log_index_open_drop(&other, box_dir, "default"), 0);
	assert_int_equal(log_index_drop(&other, box_dir, "default", end, is_below, &all, false), 0);
	assert_int_equal(other.dropped, end);
	log_index_close(&other);
	log_index_close(&index);
	look("default", 21);
	log_index_remove(box_dir, "default");
	look("default", 0);
}

/* A drop through a file that another program has replaced goes to the new one. */
static void dropping_after_a_replacement(void **state)
{
	const uint64_t some = 10, most = 900, end = 1000 * EACH;
	struct log_index index, old;

	(void)state;
	write_runs(&index, 1000);
	assert_int_equal(log_index_open_drop(&old, box_dir, "default"), 0);
	assert_int_equal(log_index_drop(&index, box_dir, "default", end, is_below, &most, true), 0);
	assert_int_equal(log_index_drop(&old, box_dir, "default", end, is_below, &some, false), 0);
	assert_int_equal(old.dropped, 900 * EACH);
	assert_int_equal(old.ino, index.ino);
	log_index_close(&old);
	log_index_close(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_round_trip),
		cmocka_unit_test(texts),
		cmocka_unit_test_setup_teardown(finding, set_up, tear_down),
		cmocka_unit_test_setup_teardown(torn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dropping, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dropping_after_a_replacement, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
