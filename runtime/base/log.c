/* SPDX-License-Identifier: MIT */
/* Log lines. Must not allocate and must keep errno. No locks: one write a line. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

static const char *log_name = "sandboxfs";
static enum log_level log_max = LOG_LEVEL_INFO;
static int log_prefix;

void log_init(const char *name, enum log_level max_level)
{
	log_name = name;
	log_max = max_level;
	log_prefix = getenv("JOURNAL_STREAM") != NULL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	int len = 0;
	va_list ap;

	if (level > log_max)
		return;
	if (log_prefix)
		len = snprintf(line, sizeof(line), "<%d>", level);
	len += snprintf(line + len, sizeof(line) - len, "%s: ", log_name);
	errno = saved;
	va_start(ap, fmt);
	len += vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	len = MIN(len, (int)sizeof(line) - 2);
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		errno = saved; /* nowhere left to complain */
	errno = saved;
}
