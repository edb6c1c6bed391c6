/* SPDX-License-Identifier: MIT */
/*
 * A small parser of control sequences. Must not trust what it reads, which comes from a box: every
 * state is left in bounded space, whatever follows. No I/O, no locks.
 */
#include "term_modes.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

enum { GROUND, ESCAPE, INTERMEDIATE, CONTROL, STRING, STRING_ESCAPE };

/* What one byte was. */
enum kind {
	PART,	  /* of something not complete */
	PLAIN,	  /* shown or a control character */
	SEQUENCE, /* the last byte of the control sequence in modes->sequence */
	OTHER,	  /* the last byte of an escape sequence or string */
};

/* Private modes that are followed (DECSET, DECRST), each a bit of term_modes.set. */
static const struct mode {
	unsigned int number;
	bool on_at_reset;
	bool alternate;
} followed[] = {
	{ 1, false, false }, /* application cursor keys */
	{ 5, false, false }, /* reverse video */
	{ 7, true, false },  /* wrap at the margin */
	{ 9, false, false }, /* mouse, five kinds and three ways to say where */
	{ 1000, false, false }, { 1001, false, false }, { 1002, false, false },
	{ 1003, false, false }, { 1005, false, false }, { 1006, false, false },
	{ 1015, false, false }, { 1004, false, false }, /* focus */
	{ 25, true, false },				/* cursor shown */
	{ 47, false, true },	{ 1047, false, true },	{ 1049, false, true },
	{ 2004, false, false }, /* bracketed paste */
};

static void set_mode(struct term_modes *modes, unsigned int number, bool on)
{
	for (size_t i = 0; i < ARRAY_SIZE(followed); i++) {
		if (followed[i].number != number)
			continue;
		if (on != followed[i].on_at_reset)
			modes->set |= 1u << i;
		else
			modes->set &= ~(1u << i);
		/* They are one screen under three names. */
		for (size_t j = 0; followed[i].alternate && !on && j < ARRAY_SIZE(followed); j++) {
			if (followed[j].alternate)
				modes->set &= ~(1u << j);
		}
	}
}

/* CSI ? n ; n … h or l. */
static void take_sequence(struct term_modes *modes)
{
	const char *p = modes->sequence, *end = p + modes->len;
	char final = modes->len ? end[-1] : 0;

	if (modes->len < 2 || *p++ != '?' || (final != 'h' && final != 'l'))
		return;
	while (p < end - 1) {
		unsigned int number = 0;

		for (; p < end - 1 && *p >= '0' && *p <= '9'; p++)
			number = MIN(number * 10 + (unsigned int)(*p - '0'), 65535u);
		set_mode(modes, number, final == 'h');
		p++;
	}
}

static enum kind escape_byte(struct term_modes *modes, unsigned char c)
{
	modes->state = GROUND;
	switch (c) {
	case '[':
		modes->state = CONTROL;
		modes->len = 0;
		return PART;
	case ']': /* OSC */
	case 'P': /* DCS */
	case 'X': /* SOS */
	case '^': /* PM */
	case '_': /* APC */
		modes->state = STRING;
		return PART;
	case 'c': /* RIS */
		modes->set = 0;
		modes->keypad = false;
		return OTHER;
	case '=':
	case '>':
		modes->keypad = c == '=';
		return OTHER;
	default:
		if (c < 0x20 || c > 0x2f)
			return OTHER;
		modes->state = INTERMEDIATE; /* a character set: one more byte */
		return PART;
	}
}

static enum kind control_byte(struct term_modes *modes, unsigned char c)
{
	if (c < 0x20 || c > 0x7e)
		return PART; /* carried out at once by a terminal; has no place in a replay */
	/* What is too long is no mode: it is followed to its end all the same. */
	if (modes->len < TERM_SEQUENCE_MAX)
		modes->sequence[modes->len++] = (char)c;
	else
		modes->sequence[0] = 0;
	if (c < 0x40)
		return PART;
	modes->state = GROUND;
	take_sequence(modes);
	return SEQUENCE;
}

static enum kind feed_byte(struct term_modes *modes, unsigned char c)
{
	if (c == 0x1b && modes->state != STRING) {
		modes->state = ESCAPE;
		return PART;
	}
	switch (modes->state) {
	case ESCAPE:
		return escape_byte(modes, c);
	case INTERMEDIATE:
		if (c < 0x20 || c > 0x2f)
			modes->state = GROUND;
		return modes->state == GROUND ? OTHER : PART;
	case CONTROL:
		if (c == 0x18 || c == 0x1a) { /* CAN and SUB end it */
			modes->state = GROUND;
			return OTHER;
		}
		return control_byte(modes, c);
	case STRING:
		if (c == 0x1b)
			modes->state = STRING_ESCAPE;
		else if (c == 0x07 || c == 0x18 || c == 0x1a)
			modes->state = GROUND;
		return modes->state == GROUND ? OTHER : PART;
	case STRING_ESCAPE:
		modes->state = GROUND;
		return c == '\\' ? OTHER : escape_byte(modes, c);
	default:
		return PLAIN;
	}
}

void term_modes_feed(struct term_modes *modes, const char *bytes, size_t len)
{
	const char *end = bytes + len;

	while (bytes < end) {
		/* Mostly there is no sequence: look for the next one. */
		if (modes->state == GROUND) {
			bytes = memchr(bytes, 0x1b, (size_t)(end - bytes));
			if (!bytes)
				return;
		}
		feed_byte(modes, (unsigned char)*bytes++);
	}
}

bool term_modes_alternate(const struct term_modes *modes)
{
	for (size_t i = 0; i < ARRAY_SIZE(followed); i++) {
		if (followed[i].alternate && modes->set & 1u << i)
			return true;
	}
	return false;
}

static void add_modes(const struct term_modes *modes, bool back, struct text *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(followed); i++) {
		if (modes->set & 1u << i)
			text_printf(t, "\033[?%u%c", followed[i].number,
				    followed[i].on_at_reset == back ? 'h' : 'l');
	}
}

void term_modes_add_set(const struct term_modes *modes, struct text *t)
{
	add_modes(modes, false, t);
	if (term_modes_alternate(modes))
		text_add_str(t, "\033[H\033[2J");
	if (modes->keypad)
		text_add_str(t, "\033=");
}

void term_modes_add_reset(const struct term_modes *modes, struct text *t)
{
	if (modes->keypad)
		text_add_str(t, "\033>");
	if (term_modes_alternate(modes))
		text_add_str(t, "\033[m");
	add_modes(modes, true, t);
}

/* --- the normal screen ------------------------------------------------------------------------ */

/* Had the bytes begun in the alternate screen? The first change tells. */
static bool begins_alternate(const char *bytes, size_t len)
{
	struct term_modes modes = { 0 };

	for (size_t i = 0; i < len; i++) {
		if (feed_byte(&modes, (unsigned char)bytes[i]) != SEQUENCE)
			continue;
		if (term_modes_alternate(&modes))
			return false;
		for (size_t j = 0; j < ARRAY_SIZE(followed); j++) {
			struct term_modes was = { .set = 1u << j };

			if (!followed[j].alternate)
				continue;
			memcpy(was.sequence, modes.sequence, sizeof(was.sequence));
			was.len = modes.len;
			take_sequence(&was);
			if (!was.set)
				return true;
		}
	}
	return false;
}

/* Colours and movements; not modes, nor what a terminal answers. */
static bool may_replay(const struct term_modes *modes)
{
	char final = modes->len ? modes->sequence[modes->len - 1] : 0;

	return modes->len < TERM_SEQUENCE_MAX && final && !strchr("hlncpqrstuxy", final);
}

void term_modes_add_normal(const char *bytes, size_t len, size_t max_lines, size_t max_bytes,
			   struct text *t)
{
	_cleanup_text_ struct text kept = { 0 };
	struct term_modes modes = { 0 };
	size_t start, lines = 0;

	if (begins_alternate(bytes, len))
		set_mode(&modes, 1049, true);
	for (size_t i = 0; i < len; i++) {
		enum kind kind = feed_byte(&modes, (unsigned char)bytes[i]);

		if (term_modes_alternate(&modes))
			continue;
		if (kind == PLAIN) {
			text_add_char(&kept, bytes[i]);
		} else if (kind == SEQUENCE && may_replay(&modes)) {
			text_add_str(&kept, "\033[");
			text_add(&kept, modes.sequence, modes.len);
		}
	}
	if (kept.failed)
		return;
	/* Back over whole lines; a start in the midst of one only where nothing was before it. */
	for (start = kept.len; start > 0; start--) {
		if (kept.data[start - 1] == '\n' && start < kept.len && ++lines >= max_lines)
			break;
		if (kept.len - start >= max_bytes) {
			const char *line = memchr(kept.data + start, '\n', kept.len - start);

			start = line ? (size_t)(line + 1 - kept.data) : kept.len;
			break;
		}
	}
	text_add(t, kept.data ? kept.data + start : "", kept.len - start);
}
