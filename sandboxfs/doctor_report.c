/* SPDX-License-Identifier: MIT */
/*
 * What the checks found, for people and as JSON. Everything that came from outside has been escaped
 * by the checks. No locks.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "doctor_check.h"
#include "version.h"

enum { WIDTH = 96, STATE_WIDTH = 9, NAME_WIDTH = 21, LABEL_WIDTH = 8 };

static const struct {
	const char *word, *colour;
} states[N_DOCTOR_STATES] = {
	[DOCTOR_OK] = { "ok", "\033[32m" },	    [DOCTOR_NOTE] = { "note", "\033[36m" },
	[DOCTOR_WARN] = { "warn", "\033[33m" },	    [DOCTOR_MISSING] = { "missing", "\033[31m" },
	[DOCTOR_UNSEEN] = { "unseen", "\033[35m" },
};

static const char *cost_of(const struct doctor_check *c, const struct finding *f)
{
	return f->cost.len ? f->cost.data : c->cost;
}

static const char *remedy_of(const struct doctor_check *c, const struct finding *f)
{
	return f->remedy.len ? f->remedy.data : c->remedy;
}

static bool is_fatal(const struct doctor_check *c, const struct finding *f)
{
	return c->essential && f->state == DOCTOR_MISSING;
}

bool doctor_boxes_run(const struct doctor_check *checks, const struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_fatal(&checks[i], &findings[i]))
			return false;
	}
	return true;
}

/* --- for people --------------------------------------------------------------------------------- */

/* Words of s, broken at WIDTH, the next lines indented like the first. */
static void add_wrapped(struct text *t, const char *s, size_t indent)
{
	size_t column = indent;

	while (*s) {
		size_t len = strcspn(s, " ");

		if (column > indent && column + 1 + len > WIDTH) {
			text_printf(t, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			text_add_char(t, ' ');
			column++;
		}
		text_add(t, s, len);
		column += len;
		s += len;
		s += strspn(s, " ");
	}
	text_add_char(t, '\n');
}

static void add_detail(struct text *t, const char *label, const char *s)
{
	if (!s)
		return;
	text_printf(t, "%*s%-*s", 2 + STATE_WIDTH, "", LABEL_WIDTH, label);
	add_wrapped(t, s, 2 + STATE_WIDTH + LABEL_WIDTH);
}

static void add_row(struct text *t, const struct doctor_check *c, const struct finding *f,
		    bool colour)
{
	text_printf(t, "  %s%-*s%s%-*s", colour ? states[f->state].colour : "", STATE_WIDTH,
		    states[f->state].word, colour ? "\033[0m" : "", NAME_WIDTH, c->name);
	add_wrapped(t, f->found.data ? f->found.data : "", 2 + STATE_WIDTH + NAME_WIDTH);
	/* What is right costs nothing, and what was not seen may be right. */
	if (f->state == DOCTOR_OK || f->state == DOCTOR_UNSEEN)
		return;
	add_detail(t, "costs", cost_of(c, f));
	add_detail(t, "helps", remedy_of(c, f));
}

static void add_names(struct text *t, const struct doctor_check *checks,
		      const struct finding *findings, size_t n, enum doctor_state state)
{
	const char *before = "";

	for (size_t i = 0; i < n; i++) {
		if (findings[i].state != state || !checks[i].essential)
			continue;
		text_printf(t, "%s%s", before, checks[i].name);
		before = ", ";
	}
}

static void add_verdict(struct text *t, const struct doctor_check *checks,
			const struct finding *findings, size_t n)
{
	_cleanup_text_ struct text missing = { 0 }, unseen = { 0 }, verdict = { 0 };

	add_names(&missing, checks, findings, n, DOCTOR_MISSING);
	add_names(&unseen, checks, findings, n, DOCTOR_UNSEEN);
	if (missing.len)
		text_printf(&verdict, "Boxes cannot run here. What stands in the way: %s.",
			    missing.data);
	else if (unseen.len)
		text_printf(
			&verdict,
			"Nothing essential is missing, as far as could be seen. Not seen: %s. Root "
			"sees all.",
			unseen.data);
	else
		text_add_str(&verdict, "Boxes can run here.");
	text_add_char(t, '\n');
	add_wrapped(t, verdict.data ? verdict.data : "", 0);
}

void doctor_print(const struct doctor_check *checks, const struct finding *findings, size_t n,
		  bool colour)
{
	_cleanup_text_ struct text t = { 0 };
	const char *section = "";

	text_printf(&t, "sandboxfs " SANDBOXFS_VERSION " on %s\n", doctor_distribution());
	for (size_t i = 0; i < n; i++) {
		if (strcmp(section, checks[i].section) != 0)
			text_printf(&t, "\n%s\n", checks[i].section);
		section = checks[i].section;
		add_row(&t, &checks[i], &findings[i], colour);
	}
	add_verdict(&t, checks, findings, n);
	if (t.data && !t.failed)
		fputs(t.data, stdout);
}

/* --- for programs ------------------------------------------------------------------------------- */

static json_t *row_json(const struct doctor_check *c, const struct finding *f)
{
	bool well = f->state == DOCTOR_OK;

	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s?, s:s?}", "section", c->section, "name",
			 c->name, "state", states[f->state].word, "essential", c->essential,
			 "found", f->found.data ? f->found.data : "", "cost",
			 well ? NULL : cost_of(c, f), "remedy", well ? NULL : remedy_of(c, f));
}

int doctor_print_json(const struct doctor *d, const struct doctor_check *checks,
		      const struct finding *findings, size_t n)
{
	_cleanup_free_ char *text = NULL;
	json_t *rows = json_array(), *all;
	struct utsname u = { .release = "" };
	int failed = !rows;

	uname(&u);
	for (size_t i = 0; i < n && !failed; i++)
		failed = json_array_append_new(rows, row_json(&checks[i], &findings[i])) < 0;
	all = json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "version", SANDBOXFS_VERSION,
			"distribution", doctor_distribution(), "kernel", u.release, "root", d->root,
			"boxes_can_run", doctor_boxes_run(checks, findings, n), "checks", rows);
	if (all && !failed)
		text = json_dumps(all, JSON_INDENT(2));
	json_decref(all);
	if (!text)
		return -ENOMEM;
	puts(text);
	return 0;
}
