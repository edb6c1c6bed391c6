/* SPDX-License-Identifier: MIT */
/*
 * Events of runs. Text of a script may be anything: it is escaped before it goes into JSON. Called
 * with box->lock held, right behind the change that is told.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "box.h"
#include "events.h"

void event_run_title(struct run *run, const char *script, size_t len)
{
	size_t n = strcspn(len ? script : "", "\n");

	n = MIN(n, len);
	if (n >= sizeof(run->title)) {
		/* Not in the middle of a character. */
		for (n = sizeof(run->title) - 1; n && ((unsigned char)script[n] & 0xc0) == 0x80;)
			n--;
	}
	memcpy(run->title, script, n);
	run->title[n] = '\0';
}

/* Which run it is, and whose: of a session, or one of its own, maybe with a name. */
static json_t *run_fields(struct box *box, const struct run *run)
{
	json_t *fields = json_pack("{s:I}", "run", (json_int_t)run->number);
	char session[64];

	session_key_name(box, run->session, session);
	if (*session)
		json_object_set_new(fields, "session", json_string(session));
	if (*run->name)
		json_object_set_new(fields, "name", json_string(run->name));
	return fields;
}

void event_run_queued(struct box *box, const struct run *run)
{
	event_add(box, "run_queued", "o", run_fields(box, run));
}

void event_run_started(struct box *box, const struct run *run)
{
	char title[4 * sizeof(run->title)];
	json_t *fields = run_fields(box, run);

	text_escape(title, sizeof(title), run->title);
	json_object_set_new(fields, "cmd", json_string(title));
	event_add(box, "run_started", "o", fields);
}

void event_run_ended(struct box *box, const struct run *run, const char *why)
{
	json_t *fields = run_fields(box, run);
	_cleanup_text_ struct text sentence = { 0 };

	json_object_set_new(fields, "state", json_string(run_state_word(run->state)));

	/* A code is told where there is one: not of what was lost, or never ran. */
	if (run->state != RUN_LOST && run->state != RUN_FAILED)
		json_object_set_new(fields, "exit", json_integer(run->code));
	if (run->started_us)
		json_object_set_new(fields, "seconds",
				    json_real((double)(realtime_us() - run->started_us) / 1e6));
	if (why) {
		text_add_escaped(&sentence, why, strlen(why));
		json_object_set_new(fields, "why", json_string(sentence.data));
	}
	event_add(box, "run_ended", "o", fields);
}
