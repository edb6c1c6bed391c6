/* SPDX-License-Identifier: MIT */
/* base/term_modes: what a stream does to a terminal, and what of it is shown again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/term_modes.h"

/* Fed as a whole and byte by byte, it must come to the same. */
static struct term_modes fed(const char *bytes, size_t len)
{
	struct term_modes whole = { 0 }, single = { 0 };

	term_modes_feed(&whole, bytes, len);
	for (size_t i = 0; i < len; i++)
		term_modes_feed(&single, bytes + i, 1);
	assert_int_equal(whole.set, single.set);
	assert_int_equal(whole.keypad, single.keypad);
	return whole;
}

static struct term_modes fed_str(const char *s)
{
	return fed(s, strlen(s));
}

static void expect(const struct term_modes *modes, const char *set, const char *reset)
{
	_cleanup_text_ struct text a = { 0 }, b = { 0 };

	term_modes_add_set(modes, &a);
	term_modes_add_reset(modes, &b);
	assert_string_equal(a.data ? a.data : "", set);
	assert_string_equal(b.data ? b.data : "", reset);
}

static void modes_are_followed(void **state)
{
	struct term_modes m = fed_str("plain \033[1;31mtext\033[m\r\n");

	(void)state;
	expect(&m, "", "");
	m = fed_str("\033[?25l\033[?2004h\033=");
	expect(&m, "\033[?25l\033[?2004h\033=", "\033>\033[?25h\033[?2004l");
	m = fed_str("\033[?25;1000;1006l\033[?1000;1006h\033[?25h");
	expect(&m, "\033[?1000h\033[?1006h", "\033[?1000l\033[?1006l");
	m = fed_str("\033[?1049h");
	assert_true(term_modes_alternate(&m));
	expect(&m, "\033[?1049h\033[H\033[2J", "\033[m\033[?1049l");
	m = fed_str("\033[?1049h\033[?47l");
	assert_false(term_modes_alternate(&m));
	m = fed_str("\033[?1049h\033=\033c");
	expect(&m, "", "");
}

static void garbage_is_none(void **state)
{
	char lengthy[300];
	struct term_modes m;

	(void)state;
	m = fed_str("\033[25h\033[?25\030h\033]0;\033\\[?25l\007\033P\033[?25l");
	assert_int_equal(m.set, 1u << 12); /* the last one ended its string and counts */
	m = fed_str("\033]0;title ?25l [?25l\007\033(B\033[!p");
	assert_int_equal(m.set, 0);
	m = fed_str("\033[?99999999999999999999h\033[?;;;h\033[?h\033[h\033[?1049");
	assert_int_equal(m.set, 0);
	memset(lengthy, '1', sizeof(lengthy));
	lengthy[sizeof(lengthy) - 1] = '\0';
	m = fed_str("\033[?");
	term_modes_feed(&m, lengthy, sizeof(lengthy) - 1);
	term_modes_feed(&m, ";25l", 4);
	assert_int_equal(m.set, 0);
	m = fed("\033[?2\0005l\033[?1049h", 15);
	assert_true(term_modes_alternate(&m));
}

static const char *shown(struct text *t, const char *s, size_t lines, size_t bytes)
{
	text_reset(t);
	text_add_str(t, "");
	term_modes_add_normal(s, strlen(s), lines, bytes, t);
	return t->data ? t->data : "";
}

static void the_normal_screen(void **state)
{
	_cleanup_text_ struct text t = { 0 };

	(void)state;
	assert_string_equal(shown(&t, "", 10, 100), "");
	assert_string_equal(shown(&t, "a\nb\nc\n$ ", 10, 100), "a\nb\nc\n$ ");
	assert_string_equal(shown(&t, "a\nb\nc\n$ ", 2, 100), "c\n$ ");
	assert_string_equal(shown(&t, "a\nb\nc\n$ ", 10, 5), "c\n$ ");
	assert_string_equal(shown(&t, "\033[31mred\033[m\033[6n\033[c\033[?25l\033]11;?\007x", 10,
				  100),
			    "\033[31mred\033[mx");
	assert_string_equal(shown(&t, "one\n\033[?1049hfull\nscreen\033[?1049ltwo", 10, 100),
			    "one\ntwo");
	/* It began in the midst of a full-screen program. */
	assert_string_equal(shown(&t, "full\nscreen\033[?1049ltwo\n", 10, 100), "two\n");
	assert_string_equal(shown(&t, "one\n\033[?47hfull", 10, 100), "one\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_are_followed),
		cmocka_unit_test(garbage_is_none),
		cmocka_unit_test(the_normal_screen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
