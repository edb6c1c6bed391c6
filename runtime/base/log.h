/* SPDX-License-Identifier: MIT */
/*
 * Log lines to standard error, one write(2) a line, with a syslog level prefix
 * ("<3>…", sd-daemon(3)) when standard error is the journal. Never log a secret.
 * Text that came from a box goes through text_escape() first.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* name is kept by reference and stands before each line ("sandboxfs", "keeper alice"). */
void log_init(const char *name, enum log_level max_level);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
