/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The journal: records "?" key NUL (about to begin), "+" id NUL key NUL and "-" id NUL, appended by one
 * write(2) each. A process holds a lock on its file while it lives. That one cannot be written costs
 * no data, only an unfinished upload that stays on the server; it is said and gone on. Lock: none,
 * appends are atomic.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "bucket.h"

static struct {
	int fd;
	char path[4200];
} journal = { .fd = -1 };

/* Files of all mounts of this prefix begin with that. */
static void file_prefix(char *out, size_t size)
{
	_cleanup_text_ struct text what = { 0 };

	text_printf(&what, "%s\n%s", object_store_url(the_store), the_options.prefix);
	snprintf(out, size, "sandbox-bucket.%u.%016llx.", (unsigned)geteuid(),
		 (unsigned long long)hash_bytes(what.data ? what.data : "", what.len));
}

static bool ended_later(const char *data, const char *end, const char *id)
{
	while (data < end) {
		if (*data == '-' && !strcmp(data + 1, id))
			return true;
		data += strlen(data) + 1;
	}
	return false;
}

static void abort_one(const char *key, const char *id)
{
	struct object_call call = { 0 };

	if (object_upload_abort(the_store, &call, key, id) < 0)
		log_warn("an upload that was left unfinished is still there: %s", call.error.text);
}

/* The process died between asking for an upload and writing down what it is called. */
static void abort_nameless(const char *key)
{
	_cleanup_object_upload_page_ struct object_upload_page page = { 0 };
	struct object_call call = { 0 };

	if (object_upload_list(the_store, &call, key, NULL, NULL, &page) < 0)
		return;
	for (size_t i = 0; i < page.n; i++) {
		if (!strcmp(page.entries[i].key, key))
			abort_one(key, page.entries[i].id);
	}
}

static void abort_left(const char *data, size_t len)
{
	const char *end = data + len, *begun = NULL;

	for (const char *p = data; p < end;) {
		const char *id = p + 1, *next = p + strlen(p) + 1;

		if (*p == '?') {
			if (begun)
				abort_nameless(begun);
			begun = id;
		} else if (*p == '+' && next < end) {
			const char *key = next;

			if (begun && !strcmp(begun, key))
				begun = NULL;
			next = key + strlen(key) + 1;
			if (!ended_later(next, end, id))
				abort_one(key, id);
		}
		p = next;
	}
	if (begun)
		abort_nameless(begun);
}

static void clean_one(int dir, const char *name)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;

	/* Of a living process, or not of ours? */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    flock(fd, LOCK_EX | LOCK_NB) < 0)
		return;
	if (read_file_at(dir, name, 64 << 20, &data, &len) == 0)
		abort_left(data, len);
	unlinkat(dir, name, 0);
}

static void clean(const char *prefix)
{
	_cleanup_closedir_ DIR *dir = opendir(the_options.spool_dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			clean_one(dirfd(dir), entry->d_name);
	}
}

void journal_open(void)
{
	char prefix[80];

	file_prefix(prefix, sizeof(prefix));
	if (the_options.ro)
		return;
	clean(prefix);
	snprintf(journal.path, sizeof(journal.path), "%.4000s/%sXXXXXX", the_options.spool_dir,
		 prefix);
	journal.fd = mkostemp(journal.path, O_APPEND | O_CLOEXEC);
	if (journal.fd < 0 || flock(journal.fd, LOCK_EX | LOCK_NB) < 0)
		log_warn("%s: %s", journal.path, strerror(errno));
}

static void append(const struct text *record)
{
	if (journal.fd >= 0 &&
	    (record->failed || write_full(journal.fd, record->data, record->len) < 0))
		log_warn("%s cannot be written", journal.path);
}

void journal_starting(const char *key)
{
	_cleanup_text_ struct text record = { 0 };

	text_add_char(&record, '?');
	text_add(&record, key, strlen(key) + 1);
	append(&record);
}

void journal_started(const char *key, const char *id)
{
	_cleanup_text_ struct text record = { 0 };

	text_printf(&record, "+%s", id);
	text_add(&record, "", 1);
	text_add(&record, key, strlen(key) + 1);
	append(&record);
}

void journal_ended(const char *id)
{
	_cleanup_text_ struct text record = { 0 };

	text_printf(&record, "-%s", id);
	text_add(&record, "", 1);
	append(&record);
}

void journal_close(void)
{
	if (journal.fd < 0)
		return;
	unlink(journal.path);
	close_fd(&journal.fd);
}
