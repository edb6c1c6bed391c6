/* SPDX-License-Identifier: MIT */
/* The ring of refusals. Must not call anything that takes a lock. Lock: why->lock, a leaf. */
#include "why.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"

struct why root_why = { .lock = PTHREAD_MUTEX_INITIALIZER };

void why_init(struct why *why)
{
	*why = (struct why){ .next = 0 };
	pthread_mutex_init(&why->lock, NULL);
}

void why_free(struct why *why)
{
	for (int i = 0; i < WHY_LINES; i++) {
		free(why->lines[i]);
		why->lines[i] = NULL;
	}
}

void why_add(struct why *why, uid_t uid, const char *fmt, ...)
{
	_cleanup_text_ struct text line = { 0 };
	char sentence[1024], stamp[40];
	time_t now = realtime_us() / 1000000;
	struct tm tm;
	va_list ap;
	char *made;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	localtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S%z", &tm);
	text_printf(&line, "%s uid %u: ", stamp, uid);
	text_add_escaped(&line, sentence, strlen(sentence));
	text_add_char(&line, '\n');
	made = text_take(&line);
	if (!made)
		return;
	pthread_mutex_lock(&why->lock);
	free(why->lines[why->next % WHY_LINES]);
	why->lines[why->next++ % WHY_LINES] = made;
	pthread_mutex_unlock(&why->lock);
}

void why_show(struct why *why, struct text *out)
{
	pthread_mutex_lock(&why->lock);
	for (unsigned int i = 0; i < WHY_LINES; i++) {
		const char *line = why->lines[(why->next + i) % WHY_LINES];

		if (line)
			text_add_str(out, line);
	}
	pthread_mutex_unlock(&why->lock);
}
