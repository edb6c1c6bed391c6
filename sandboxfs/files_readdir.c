/* SPDX-License-Identifier: MIT */
/*
 * Directory streams. Offsets are those of the backing's directory, so a stream may be continued
 * anywhere and costs one buffer, whatever the directory's size.
 *
 * READDIRPLUS carries attributes only where the kernel may keep them; while something runs in the
 * box they would be thrown away at once, and names alone are ten times cheaper.
 *
 * Must not be asked about a veiled directory's content: that is empty. Locks: a stream's own mutex
 * while it is read, taken before files.lock; it covers one client's stream only.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUFFER_BYTES = 32768 };

struct dir_stream {
	pthread_mutex_t lock;
	struct dir_stream *prev, *next_stream; /* all; under files.lock */
	struct files_volume *vol;
	struct ground *ground;
	int fd;	    /* -1: veiled */
	off_t next; /* offset of the entry at `at` */
	size_t at, end;
	char buf[BUFFER_BYTES] __attribute__((aligned(8)));
};

struct raw_entry {
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
	char name[];
};

static struct dir_stream *streams;

static void stream_free(struct dir_stream *s)
{
	descriptors_give(s->vol, FDS_STREAM);
	pthread_mutex_lock(&files.lock);
	if (s->prev)
		s->prev->next_stream = s->next_stream;
	else
		streams = s->next_stream;
	if (s->next_stream)
		s->next_stream->prev = s->prev;
	volume_put_locked(s->vol);
	pthread_mutex_unlock(&files.lock);
	close_fd(&s->fd);
	ground_put(s->ground);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* A stream of fd, which it takes over, also on failure; NULL: no memory. */
static struct dir_stream *stream_new(struct call *c, int fd)
{
	struct dir_stream *s = malloc(sizeof(*s));

	if (!s) {
		close_fd(&fd);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->fd = fd;
	s->next = 0;
	s->at = s->end = 0;
	s->vol = c->vol;
	s->ground = c->ground;
	s->prev = NULL;
	pthread_mutex_lock(&files.lock);
	s->vol->refs++;
	s->ground->refs++;
	s->next_stream = streams;
	if (streams)
		streams->prev = s;
	streams = s;
	pthread_mutex_unlock(&files.lock);
	return s;
}

/* A descriptor to read the directory c->inode by; -errno. */
static int open_directory(struct call *c)
{
	_cleanup_anchor_ struct anchor *a = NULL;
	int r = anchor_find(c, c->inode, &a);

	if (r == 0)
		r = ids_check_anchor(c, a, MAY_R);
	if (r < 0)
		return r;
	do {
		r = as_box_root(c->id_base, a->fd,
				openat(a->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	} while (r < 0 && anchor_relieve(r));
	return r == -EMFILE ? -ENFILE : r;
}

static int stream_open(struct call *c, struct dir_stream **out)
{
	int r = descriptors_take(c->vol, FDS_STREAM), fd = -1;

	if (r < 0)
		return r;
	if (!c->inode->veiled)
		r = fd = open_directory(c);
	if (r >= 0) {
		*out = stream_new(c, fd);
		r = *out ? 0 : -ENOMEM;
	}
	if (r < 0)
		descriptors_give(c->vol, FDS_STREAM);
	return r;
}

void readdir_end(void)
{
	while (streams)
		stream_free(streams);
}

/* The entry at offset off: 1, 0 at the end, -errno. It is valid until the next call. */
static int stream_peek(struct dir_stream *s, off_t off, const struct raw_entry **entry)
{
	if (s->fd < 0)
		return 0;
	if (off != s->next) {
		if (lseek(s->fd, off, SEEK_SET) < 0)
			return -errno;
		s->next = off;
		s->at = s->end = 0;
	}
	if (s->at == s->end) {
		long n = syscall(SYS_getdents64, s->fd, s->buf, sizeof(s->buf));

		if (n <= 0)
			return n < 0 ? -errno : 0;
		s->at = 0;
		s->end = n;
	}
	*entry = (const struct raw_entry *)(s->buf + s->at);
	return 1;
}

static void stream_step(struct dir_stream *s, const struct raw_entry *entry)
{
	s->at += entry->len;
	s->next = entry->next;
}

static bool is_dot_name(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* A page of entries under construction. */
struct page {
	char *buf;
	size_t size, used;
	bool plus, is_long;
	struct files_inode **given; /* to the kernel, one reference each */
	size_t n_given;
};

/* The least an entry of READDIRPLUS takes (struct fuse_entry_out and fuse_dirent). */
enum { MIN_PLUS_BYTES = 128 + 24 };

static void describe(const struct call *c, const struct raw_entry *e, struct stat *st)
{
	unsigned int type = e->type == DT_FIFO ? DT_SOCK : e->type;
	dev_t dev = inode_is_root(c->inode) ? c->ground->dev : c->inode->dev;

	*st = (struct stat){
		.st_ino = inode_shown_ino(c->vol, dev, e->ino),
		.st_mode = type << 12,
	};
}

/* Adds one entry; false if it does not fit. */
static bool page_add(struct call *c, struct page *page, const struct anchor *at,
		     const struct raw_entry *e)
{
	struct fuse_entry_param entry = { 0 };
	size_t room = page->size - page->used, need;
	char *to = page->buf + page->used;

	if (!page->plus) {
		describe(c, e, &entry.attr);
		need = fuse_add_direntry(c->req, to, room, e->name, &entry.attr, e->next);
		page->used += need <= room ? need : 0;
		return need <= room;
	}
	if (fuse_add_direntry_plus(c->req, NULL, 0, e->name, &entry, e->next) > room)
		return false;
	describe(c, e, &entry.attr);
	if (at && !is_dot_name(e->name)) {
		_cleanup_found_ struct found found = { .fd = -1 };

		/* One that went meanwhile, or cannot be read now, is a name only. */
		if (look_up(c, c->inode, at, e->name, &found) < 0 ||
		    show_entry(c, c->inode, at, e->name, &found, &entry) < 0)
			entry.ino = 0;
	}
	if (entry.ino)
		page->given[page->n_given++] = inode_of(entry.ino);
	if (entry.ino && entry.attr_timeout > 0) {
		inode_note_long(inode_of(entry.ino));
		page->is_long = true;
	}
	page->used += fuse_add_direntry_plus(c->req, to, room, e->name, &entry, e->next);
	return true;
}

static void fill_page(struct call *c, struct dir_stream *s, off_t off, struct page *page,
		      int *error)
{
	_cleanup_anchor_ struct anchor *at = NULL;
	const struct raw_entry *e = NULL;

	/* Only attributes that last are worth their price; who may not search gets none. */
	if (page->plus && s->fd >= 0 && call_timeout(c) > 0 &&
	    (anchor_find(c, c->inode, &at) < 0 || ids_check_anchor(c, at, MAY_X) < 0)) {
		anchor_put(at);
		at = NULL;
	}
	pthread_mutex_lock(&s->lock);
	while ((*error = stream_peek(s, off, &e)) > 0) {
		if (!page_add(c, page, at, e))
			break;
		stream_step(s, e);
		off = s->next;
	}
	pthread_mutex_unlock(&s->lock);
}

/* The kernel never saw the page: it holds none of these inodes. */
static void forget_page(const struct page *page)
{
	for (size_t i = 0; i < page->n_given; i++)
		inode_forget(page->given[i], 1);
}

static void read_stream(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi, bool plus)
{
	struct dir_stream *s = (struct dir_stream *)(uintptr_t)fi->fh;
	_cleanup_call_ struct call c = { 0 };
	_cleanup_free_ char *buf = malloc(size);
	_cleanup_free_ struct files_inode **given =
		plus ? calloc(size / MIN_PLUS_BYTES + 1, sizeof(*given)) : NULL;
	struct page page = { .buf = buf, .size = size, .plus = plus, .given = given };
	int r = call_begin(&c, req, ino);

	if (r == 0 && (!buf || (plus && !given)))
		r = -ENOMEM;
	if (r == 0)
		fill_page(&c, s, off, &page, &r);
	if (r < 0 && !page.used) {
		fuse_reply_err(req, -r);
		return;
	}
	if (fuse_reply_buf(req, page.buf, page.used) == -ENOENT && plus)
		forget_page(&page);
	else if (page.is_long)
		reply_was_long(&c, c.inode);
}

void files_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	_cleanup_call_ struct call c = { 0 };
	struct dir_stream *s = NULL;
	int r = call_begin(&c, req, ino);

	if (r == 0)
		r = stream_open(&c, &s);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)s;
	if (fuse_reply_open(req, fi) == -ENOENT)
		stream_free(s);
}

void files_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	read_stream(req, ino, size, off, fi, false);
}

void files_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			  struct fuse_file_info *fi)
{
	read_stream(req, ino, size, off, fi, true);
}

void files_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	stream_free((struct dir_stream *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

void files_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	const struct dir_stream *s = (struct dir_stream *)(uintptr_t)fi->fh;
	int r = 0;

	(void)ino;
	if (s->fd >= 0)
		r = datasync ? fdatasync(s->fd) : fsync(s->fd);
	fuse_reply_err(req, r < 0 ? errno : 0);
}
