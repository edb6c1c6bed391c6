/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing the index of a transcript. Must not trust what it reads to be whole: a
 * machine may have died in the middle of it. No state but the caller's struct; no locks but
 * flock(2) while entries are dropped.
 */
#include "log_index.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "output_gap.h"
#include "runtime.h"

enum {
	AT_GONE = 24,
	AT_CHECK = 44,
	AT_DROPPED = 8,
	CHUNK = 256, /* entries read at a time */
	SCRIPT_MAX = 1 << 24,
	OPEN_RUNS = 16, /* with a head and no tail: one runs, the others were being refused */
	COMPACT_SLACK = 256,
	LOCK_TRIES = 40,
	LOCK_LOOK_US = 500,
	PATH_SIZE = 96,
};

/* --- entries ------------------------------------------------------------------------------ */

static void put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

/* Over what never changes, so that `gone` may be written by itself. */
static uint32_t check_of(const uint8_t bytes[LOG_ENTRY_SIZE])
{
	uint8_t fixed[LOG_ENTRY_SIZE];

	memcpy(fixed, bytes, sizeof(fixed));
	put64(fixed + AT_GONE, 0);
	put32(fixed + AT_CHECK, 0);
	return (uint32_t)hash_bytes(fixed, sizeof(fixed));
}

void log_entry_pack(const struct log_entry *entry, uint8_t bytes[LOG_ENTRY_SIZE])
{
	memset(bytes, 0, LOG_ENTRY_SIZE);
	put64(bytes, entry->begin);
	put64(bytes + 8, entry->run);
	put64(bytes + 16, entry->from);
	put64(bytes + AT_GONE, entry->gone);
	put32(bytes + 32, entry->text);
	put32(bytes + 36, (uint32_t)entry->code);
	bytes[40] = entry->kind;
	bytes[41] = entry->state;
	bytes[42] = entry->newline;
	put32(bytes + AT_CHECK, check_of(bytes));
}

/* So far below the end of what a number can hold that sums cannot overflow. */
static bool is_sane(uint64_t value)
{
	return value < 1ull << 62;
}

bool log_entry_parse(const uint8_t bytes[LOG_ENTRY_SIZE], struct log_entry *entry)
{
	if (get32(bytes + AT_CHECK) != check_of(bytes))
		return false;
	*entry = (struct log_entry){
		.begin = get64(bytes),
		.run = get64(bytes + 8),
		.from = get64(bytes + 16),
		.gone = get64(bytes + AT_GONE),
		.text = get32(bytes + 32),
		.code = (int32_t)get32(bytes + 36),
		.kind = bytes[40],
		.state = bytes[41],
		.newline = bytes[42],
	};
	return entry->kind >= LOG_HEAD && entry->kind <= LOG_GAP && entry->state < N_RUN_STATES &&
	       is_sane(entry->begin) && is_sane(entry->from) && is_sane(entry->gone) &&
	       entry->text <= SCRIPT_MAX && (entry->kind != LOG_GAP || entry->gone);
}

size_t log_entry_text(const struct log_entry *entry, char text[LOG_TEXT_SIZE])
{
	const char *gap = entry->newline ? "\n" : "";
	unsigned long long run = entry->run;
	int n = 0;

	if (entry->kind == LOG_HEAD)
		n = snprintf(text, LOG_TEXT_SIZE, "%s[%llu] $ ", gap, run);
	else if (entry->kind == LOG_TAIL && entry->state == RUN_EXITED)
		n = snprintf(text, LOG_TEXT_SIZE, "%s[%llu] exit %d\n", gap, run, entry->code);
	else if (entry->kind == LOG_TAIL)
		n = snprintf(text, LOG_TEXT_SIZE, "%s[%llu] %s\n", gap, run,
			     run_state_word(entry->state));
	return (size_t)n;
}

void log_entry_set_head(struct log_entry *entry, uint64_t script_len, bool script_ends_line)
{
	char text[LOG_TEXT_SIZE];

	entry->kind = LOG_HEAD;
	entry->text = (uint32_t)(log_entry_text(entry, text) + MIN(script_len, SCRIPT_MAX / 2) +
				 !script_ends_line);
}

void log_entry_set_tail(struct log_entry *entry, enum run_state state, int code)
{
	char text[LOG_TEXT_SIZE];

	entry->kind = LOG_TAIL;
	entry->state = (uint8_t)state;
	entry->code = code;
	entry->text = (uint32_t)log_entry_text(entry, text);
}

uint64_t log_entry_end(const struct log_entry *entry, uint64_t run_size)
{
	if (entry->gone)
		return entry->begin + entry->gone - 1;
	return entry->begin + entry->text + MAX(run_size, entry->from) - entry->from;
}

/* --- what runs have written ------------------------------------------------------------------- */

static const char *const stream_files[N_STREAMS] = { RUN_OUT, RUN_ERR };

static void run_path(char path[PATH_SIZE], uint64_t run, const char *file)
{
	snprintf(path, PATH_SIZE, "runs/%llu/%s", (unsigned long long)run, file);
}

/* Of a stream that limits/output_total has taken: nobody's offset moves. */
static uint64_t gone_size(int box_dir, uint64_t run, enum stream which)
{
	char path[PATH_SIZE];

	run_path(path, run, RUN_GAPS);
	_cleanup_close_ int fd = openat(box_dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return output_gone(fd, which);
}

uint64_t log_run_size(int box_dir, uint64_t run)
{
	uint64_t size = 0;

	for (int i = 0; i < N_STREAMS; i++) {
		char path[PATH_SIZE];
		struct stat st;

		run_path(path, run, stream_files[i]);
		if (fstatat(box_dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			size += (uint64_t)st.st_size;
		else
			size += gone_size(box_dir, run, (enum stream)i);
	}
	return size;
}

bool log_run_ends_line(int box_dir, uint64_t run)
{
	for (int i = 0; i < N_STREAMS; i++) {
		char path[PATH_SIZE], last = '\n';
		struct stat st;

		run_path(path, run, stream_files[i]);
		_cleanup_close_ int fd = openat(box_dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size &&
		    pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n')
			return false;
	}
	return true;
}

/* --- reading --------------------------------------------------------------------------------------- */

static off_t position(uint64_t i)
{
	return (off_t)((i + 1) * LOG_ENTRY_SIZE); /* the header is as long as an entry */
}

int log_index_entry(const struct log_index *index, uint64_t i, struct log_entry *entry)
{
	uint8_t bytes[LOG_ENTRY_SIZE];
	ssize_t n;

	if (i >= index->n)
		return -ENODATA;
	n = pread(index->fd, bytes, sizeof(bytes), position(i));
	if (n < 0)
		return -errno;
	return n == sizeof(bytes) && log_entry_parse(bytes, entry) ? 0 : -ENODATA;
}

int log_index_find(const struct log_index *index, uint64_t offset, uint64_t *i)
{
	uint64_t low = 0, high = index->n; /* what is sought is in [low - 1, high) */
	struct log_entry entry;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		int r = log_index_entry(index, middle, &entry);

		if (r < 0 && r != -ENODATA)
			return r;
		/* Behind what is garbled nothing counts. */
		if (r == 0 && entry.begin <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return -ENODATA;
	*i = low - 1;
	return 0;
}

/* The header and how many entries there may be. */
static int index_measure(struct log_index *index)
{
	uint8_t header[LOG_ENTRY_SIZE];
	struct stat st;

	index->n = index->dropped = 0;
	if (fstat(index->fd, &st) < 0)
		return -errno;
	index->ino = st.st_ino;
	if (st.st_size < LOG_ENTRY_SIZE)
		return 0;
	if (pread(index->fd, header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return -EIO;
	if (memcmp(header, LOG_MAGIC, strlen(LOG_MAGIC)) != 0)
		return 0;
	index->dropped = get64(header + AT_DROPPED);
	index->n = (uint64_t)st.st_size / LOG_ENTRY_SIZE - 1;
	return 0;
}

static void log_path(char path[PATH_SIZE], const char *session)
{
	snprintf(path, PATH_SIZE, LOG_FOLDER "/%s", session);
}

static int index_open(struct log_index *index, int box_dir, const char *session, int flags)
{
	struct log_entry last;
	char path[PATH_SIZE];
	int r;

	log_path(path, session);
	*index = (struct log_index){ .fd = openat(box_dir, path, flags | O_CLOEXEC | O_NOFOLLOW) };
	if (index->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = index_measure(index);
	/* Of what is being written, or was torn, nothing counts. */
	while (r == 0 && index->n && log_index_entry(index, index->n - 1, &last) == -ENODATA)
		index->n--;
	if (r < 0)
		log_index_close(index);
	return r;
}

int log_index_open(struct log_index *index, int box_dir, const char *session)
{
	return index_open(index, box_dir, session, O_RDONLY);
}

int log_index_open_drop(struct log_index *index, int box_dir, const char *session)
{
	return index_open(index, box_dir, session, O_RDWR);
}

void log_index_close(struct log_index *index)
{
	close_fd(&index->fd);
	index->n = 0;
}

bool log_index_is_current(const struct log_index *index, int box_dir, const char *session)
{
	char path[PATH_SIZE];
	struct stat st;

	log_path(path, session);
	if (fstatat(box_dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return index->fd < 0;
	/* What is torn behind the last entry is no entry; it does not grow. */
	return index->fd >= 0 && st.st_ino == index->ino &&
	       (uint64_t)st.st_size < (uint64_t)position(index->n + 1);
}

int log_index_each(const struct log_index *index, uint64_t end,
		   int (*fn)(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length),
		   void *ctx)
{
	uint8_t bytes[CHUNK * LOG_ENTRY_SIZE];
	struct log_entry entry, next;
	uint64_t first = 0, got = 0;
	bool have = false;

	for (uint64_t i = 0; i < index->n; i++) {
		int r;

		if (i == first + got) {
			ssize_t n = pread(index->fd, bytes, sizeof(bytes), position(i));

			if (n < 0)
				return -errno;
			first = i;
			got = (uint64_t)n / LOG_ENTRY_SIZE;
		}
		if (i >= first + got ||
		    !log_entry_parse(bytes + (i - first) * LOG_ENTRY_SIZE, &next) ||
		    (have && next.begin < entry.begin))
			break;
		r = have ? fn(ctx, i - 1, &entry, next.begin - entry.begin) : 0;
		if (r)
			return r;
		entry = next;
		have = true;
		if (i == index->n - 1)
			return fn(ctx, i, &entry, MAX(end, entry.begin) - entry.begin);
	}
	return have ? -ENODATA : 0;
}

/* --- appending --------------------------------------------------------------------------------------- */

static int write_at(int fd, const void *data, size_t len, off_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)data + done, len - done, at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int log_index_append(struct log_index *index, const struct log_entry *entries, size_t n)
{
	uint8_t bytes[4 * LOG_ENTRY_SIZE];
	int r;

	if (n > sizeof(bytes) / LOG_ENTRY_SIZE)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		log_entry_pack(&entries[i], bytes + i * LOG_ENTRY_SIZE);
	r = write_at(index->fd, bytes, n * LOG_ENTRY_SIZE, position(index->n));
	if (r < 0 && ftruncate(index->fd, position(index->n)) < 0)
		return -errno;
	if (r == 0)
		index->n += n;
	return r;
}

static int write_header(int fd, uint64_t dropped)
{
	uint8_t header[LOG_ENTRY_SIZE] = { 0 };

	memcpy(header, LOG_MAGIC, sizeof(LOG_MAGIC) - 1);
	put64(header + AT_DROPPED, dropped);
	return write_at(fd, header, sizeof(header), 0);
}

/* What a look at the whole file finds. */
struct survey {
	uint64_t valid;		  /* entries up to the first bad one */
	uint64_t open[OPEN_RUNS]; /* heads without a tail */
	size_t n_open;
	struct log_entry last;
};

static void survey_run(struct survey *s, const struct log_entry *entry)
{
	size_t i = 0;

	while (i < s->n_open && s->open[i] != entry->run)
		i++;
	if (entry->kind == LOG_TAIL && i < s->n_open)
		s->open[i] = s->open[--s->n_open];
	else if (entry->kind == LOG_HEAD && i == s->n_open && i < OPEN_RUNS)
		s->open[s->n_open++] = entry->run;
}

static int survey_entry(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length)
{
	struct survey *s = ctx;

	(void)length;
	s->valid = i + 1;
	s->last = *entry;
	if (!entry->gone)
		survey_run(s, entry);
	return 0;
}

static int append_lost(struct log_index *index, int box_dir, const struct survey *s)
{
	struct log_entry last = s->last;

	for (size_t i = 0; i < s->n_open; i++) {
		uint64_t size = log_run_size(box_dir, last.run);
		struct log_entry tail = {
			.begin = log_entry_end(&last, size),
			.run = s->open[i],
			.from = log_run_size(box_dir, s->open[i]),
			.newline = !last.gone && size > last.from &&
				   !log_run_ends_line(box_dir, last.run),
		};
		int r;

		log_entry_set_tail(&tail, RUN_LOST, 0);
		r = log_index_append(index, &tail, 1);
		if (r < 0)
			return r;
		last = tail;
	}
	return 0;
}

static int index_repair(struct log_index *index, int box_dir)
{
	struct survey s = { 0 };
	int r = log_index_each(index, 0, survey_entry, &s);

	if (r < 0 && r != -ENODATA)
		return r;
	/* The walk stops before the entry in front of a bad one. */
	if (r == -ENODATA && log_index_entry(index, s.valid, &s.last) == 0) {
		s.valid++;
		if (!s.last.gone)
			survey_run(&s, &s.last);
	}
	index->n = s.valid;
	if (ftruncate(index->fd, position(index->n)) < 0)
		return -errno;
	return append_lost(index, box_dir, &s);
}

int log_index_open_append(struct log_index *index, int box_dir, const char *session)
{
	char path[PATH_SIZE];
	int r;

	log_path(path, session);
	*index = (struct log_index){ .fd = -1 };
	if (mkdirat(box_dir, LOG_FOLDER, 0700) < 0 && errno != EEXIST)
		return -errno;
	index->fd = openat(box_dir, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (index->fd < 0)
		return -errno;
	r = index_measure(index);
	if (r == 0)
		r = index->n ? 0 : write_header(index->fd, index->dropped);
	if (r == 0)
		r = index_repair(index, box_dir);
	if (r < 0)
		log_index_close(index);
	return r;
}

void log_index_sessions(int box_dir, void (*fn)(void *ctx, const char *session), void *ctx)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd =
		openat(box_dir, LOG_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return;
	take_fd(&fd);
	while ((e = readdir(dir))) {
		if (e->d_name[0] != '.')
			fn(ctx, e->d_name);
	}
}

void log_index_remove(int box_dir, const char *session)
{
	char path[PATH_SIZE];

	log_path(path, session);
	unlinkat(box_dir, path, 0);
}

/* --- dropping ----------------------------------------------------------------------------------------- */

struct drop {
	struct log_index *index;
	bool (*is_gone)(const void *ctx, uint64_t run);
	const void *ctx;
	uint64_t n_gone, bytes;
};

static int drop_entry(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length)
{
	struct drop *d = ctx;
	uint8_t gone[8];

	d->n_gone += entry->gone != 0;
	if (entry->gone || !d->is_gone(d->ctx, entry->run))
		return 0;
	d->n_gone++;
	d->bytes += length;
	put64(gone, length + 1);
	return write_at(d->index->fd, gone, sizeof(gone), position(i) + AT_GONE);
}

struct compaction {
	struct log_index to;
	struct log_entry gap;
	bool in_gap;
};

static int compact_entry(void *ctx, uint64_t i, const struct log_entry *entry, uint64_t length)
{
	struct compaction *c = ctx;
	int r = 0;

	(void)i;
	if (entry->gone && c->in_gap) {
		c->gap.gone += length;
		return 0;
	}
	if (entry->gone) {
		c->in_gap = true;
		c->gap = (struct log_entry){ .begin = entry->begin,
					     .gone = length + 1,
					     .kind = LOG_GAP };
		return 0;
	}
	if (c->in_gap)
		r = log_index_append(&c->to, &c->gap, 1);
	c->in_gap = false;
	return r < 0 ? r : log_index_append(&c->to, entry, 1);
}

/* Writes the file anew beside the old one and takes its place. */
static int index_compact(struct log_index *index, int box_dir, const char *session, uint64_t end)
{
	struct compaction c = { .to = { .fd = -1 } };
	char path[PATH_SIZE], temp[PATH_SIZE];
	struct stat st;
	int r;

	log_path(path, session);
	snprintf(temp, sizeof(temp), LOG_FOLDER "/.%s", session); /* a name has no leading dot */
	c.to.fd = openat(box_dir, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c.to.fd < 0)
		return -errno;
	c.to.dropped = index->dropped;
	r = fstat(c.to.fd, &st) < 0 ? -errno : write_header(c.to.fd, index->dropped);
	if (r == 0)
		r = log_index_each(index, end, compact_entry, &c);
	if (r == 0 && c.in_gap)
		r = log_index_append(&c.to, &c.gap, 1);
	if (r == 0 && renameat(box_dir, temp, box_dir, path) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(box_dir, temp, 0);
		close_fd(&c.to.fd);
		return r;
	}
	c.to.ino = st.st_ino;
	close_fd(&index->fd);
	*index = c.to;
	return 0;
}

/* Those who hold it hold it for a moment only; one that hangs must not hang us. */
static int lock_index(const struct log_index *index)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(index->fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		usleep(LOCK_LOOK_US);
	}
	return -EAGAIN;
}

/* The same, and it is the file of that name: another one may just have been written anew. */
static int lock_current(struct log_index *index, int box_dir, const char *session)
{
	char path[PATH_SIZE];
	struct stat st;
	int r = lock_index(index);

	log_path(path, session);
	if (r < 0 || fstatat(box_dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    st.st_ino == index->ino)
		return r;
	log_index_close(index);
	r = log_index_open_drop(index, box_dir, session);
	if (r < 0 || index->fd < 0)
		return r < 0 ? r : -ENOENT;
	return lock_index(index);
}

int log_index_drop(struct log_index *index, int box_dir, const char *session, uint64_t end,
		   bool (*is_gone)(const void *ctx, uint64_t run), const void *ctx, bool compact)
{
	struct drop d = { .index = index, .is_gone = is_gone, .ctx = ctx };
	uint8_t header[LOG_ENTRY_SIZE], dropped[8];
	int r = lock_current(index, box_dir, session);

	if (r < 0)
		return r;
	r = log_index_each(index, end, drop_entry, &d);
	if (r == -ENODATA)
		r = 0; /* what is garbled is nobody's */
	/* The other program may have dropped some, too. Entries first: see open_reader(). */
	if (r == 0 && pread(index->fd, header, sizeof(header), 0) != (ssize_t)sizeof(header))
		r = -EIO;
	if (r == 0) {
		index->dropped = get64(header + AT_DROPPED) + d.bytes;
		put64(dropped, index->dropped);
		if (d.bytes)
			r = write_at(index->fd, dropped, sizeof(dropped), AT_DROPPED);
	}
	if (r == 0 && compact && d.n_gone > index->n - d.n_gone + COMPACT_SLACK)
		r = index_compact(index, box_dir, session, end);
	flock(index->fd, LOCK_UN);
	return r;
}
