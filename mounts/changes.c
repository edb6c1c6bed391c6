/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of a directory's own changes. It must not ask the server anything. Lock: tree_lock, held
 * by every caller.
 */
#include "changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"

enum { MAX_QUESTIONS = 2048 };

/* Numbers of the questions under way, in no order; beyond the room none is dropped any more. */
static struct {
	uint64_t last; /* number given */
	uint64_t under_way[MAX_QUESTIONS];
	unsigned n, uncounted;
} questions;

uint64_t changes_begin_question(void)
{
	if (questions.n < MAX_QUESTIONS)
		questions.under_way[questions.n++] = questions.last;
	else
		questions.uncounted++;
	return questions.last;
}

void changes_end_question(uint64_t number)
{
	for (unsigned i = 0; i < questions.n; i++) {
		if (questions.under_way[i] == number) {
			questions.under_way[i] = questions.under_way[--questions.n];
			return;
		}
	}
	questions.uncounted--;
}

static uint64_t oldest_question(void)
{
	uint64_t oldest = questions.uncounted ? 0 : UINT64_MAX;

	for (unsigned i = 0; i < questions.n; i++) {
		if (questions.under_way[i] < oldest)
			oldest = questions.under_way[i];
	}
	return oldest;
}

static size_t slot_of(const struct change_table *table, const char *name)
{
	return hash_bytes(name, strlen(name)) & (table->n_slots - 1);
}

static struct change **find_slot(const struct change_table *table, const char *name)
{
	struct change **p;

	if (!table->n)
		return NULL;
	for (p = &table->slots[slot_of(table, name)]; *p; p = &(*p)->chain) {
		if (!strcmp((*p)->name, name))
			return p;
	}
	return NULL;
}

const struct change *change_find(const struct change_table *table, const char *name)
{
	struct change **p = find_slot(table, name);

	return p ? *p : NULL;
}

static void remove_at(struct change_table *table, struct change **p)
{
	struct change *c = *p;

	*p = c->chain;
	table->n--;
	free(c->etag);
	free(c);
}

void change_drop(struct change_table *table, const char *name)
{
	struct change **p = find_slot(table, name);

	if (p)
		remove_at(table, p);
}

void change_drop_done(struct change_table *table, const char *name)
{
	struct change **p = find_slot(table, name);

	if (p && !(*p)->pending)
		remove_at(table, p);
}

static int make_room(struct change_table *table)
{
	size_t n_slots = table->n_slots ? table->n_slots * 2 : 16;
	struct change_table larger = { .n_slots = n_slots, .n = table->n };

	if (table->n < table->n_slots)
		return 0;
	larger.slots = calloc(n_slots, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_slots; i++) {
		for (struct change *c = table->slots[i], *next; c; c = next) {
			struct change **p = &larger.slots[slot_of(&larger, c->name)];

			next = c->chain;
			c->chain = *p;
			*p = c;
		}
	}
	free(table->slots);
	*table = larger;
	return 0;
}

int change_put(struct change_table *table, const char *name, enum change_kind kind, bool pending,
	       uint64_t size, int64_t mtime_us, const char *etag)
{
	size_t len = strlen(name);
	struct change *c = calloc(1, sizeof(*c) + len + 1);
	char *copy = etag ? strdup(etag) : NULL;
	struct change **p;

	if (!c || (etag && !copy) || make_room(table) < 0) {
		free(c);
		free(copy);
		return -ENOMEM;
	}
	*c = (struct change){ .kind = kind,
			      .pending = pending,
			      .number = ++questions.last,
			      .at_ms = monotonic_ms(),
			      .size = size,
			      .mtime_us = mtime_us,
			      .etag = copy };
	memcpy(c->name, name, len + 1);
	change_drop(table, name);
	p = &table->slots[slot_of(table, name)];
	c->chain = *p;
	*p = c;
	table->n++;
	return 0;
}

void changes_prune(struct change_table *table, uint64_t listed, int64_t older_than_ms)
{
	uint64_t oldest = oldest_question();

	for (size_t i = 0; i < table->n_slots && table->n; i++) {
		for (struct change **p = &table->slots[i]; *p;) {
			const struct change *c = *p;

			if (!c->pending && c->number <= oldest && c->number <= listed &&
			    c->at_ms < older_than_ms)
				remove_at(table, p);
			else
				p = &(*p)->chain;
		}
	}
}

void changes_free(struct change_table *table)
{
	for (size_t i = 0; i < table->n_slots; i++) {
		while (table->slots[i])
			remove_at(table, &table->slots[i]);
	}
	free(table->slots);
	*table = (struct change_table){ 0 };
}

const struct change *changes_next(const struct change_table *table, size_t *slot,
				  const struct change *at)
{
	if (at && at->chain)
		return at->chain;
	if (at)
		(*slot)++;
	for (; *slot < table->n_slots; (*slot)++) {
		if (table->slots[*slot])
			return table->slots[*slot];
	}
	return NULL;
}
