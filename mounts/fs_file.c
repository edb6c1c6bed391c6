/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files. A handle reads from the bucket (reader.h), or from what is being written (content.h) as
 * soon as anybody has written to the file. Closing and fsync return when the file is in the bucket.
 *
 * Locks: content->lock, then tree_lock.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "content.h"
#include "control.h"
#include "fs.h"
#include "listing.h"
#include "reader.h"
#include "removals.h"
#include "session.h"

enum { PAGE_BYTES = 4096 };

struct open_file {
	struct node *node; /* the kernel holds it while the file is open */
	struct reader *reader;
	struct content *content; /* of a handle open for writing */
	bool kept;		 /* the kernel kept its pages when this was opened */
	bool stale;		 /* tree_lock: what was opened is not there any more */
};

static struct open_file *handle_of(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

static struct open_file *new_handle(struct node *node)
{
	struct open_file *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->node = node;
	h->reader = reader_new();
	if (!h->reader) {
		free(h);
		return NULL;
	}
	return h;
}

static void free_handle(struct open_file *h)
{
	if (h->content)
		content_put(h->content);
	reader_free(h->reader);
	free(h);
}

static bool for_writing(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC);
}

/* --- opening -------------------------------------------------------------------------------------------- */

static int open_content(struct open_file *h, bool is_new, int flags)
{
	int r = 0;

	pthread_mutex_lock(&tree_lock);
	h->content = content_get(h->node, is_new, is_new && (flags & O_EXCL));
	pthread_mutex_unlock(&tree_lock);
	if (!h->content)
		return -ENOMEM;
	content_lock(h->content);
	if (flags & O_TRUNC)
		r = content_truncate(h->content, 0);
	/* Who asks whether the name is free wants to know it now, not at close. */
	if (r == 0 && is_new && (flags & O_EXCL) && the_options.exclusive_at_open)
		r = content_save(h->content);
	content_unlock(h->content);
	return r;
}

/* May what the kernel has of it in memory stay? */
static bool pages_are_good(struct node *node)
{
	bool good;

	pthread_mutex_lock(&tree_lock);
	good = node->content ||
	       (node->etag && node->page_etag && !strcmp(node->etag, node->page_etag));
	if (!good && node->etag)
		(void)string_replace(&node->page_etag, node->etag);
	pthread_mutex_unlock(&tree_lock);
	return good;
}

/*
 * What is known of it is asked for anew. The kernel has to ask as well if the file ends elsewhere now: it
 * would end it where it did, or, from the answers to several reads at a time, somewhere between.
 */
static int refresh(struct node *node, bool always, bool *shorter)
{
	uint64_t before;
	bool differs;
	int r;

	pthread_mutex_lock(&tree_lock);
	before = node->size;
	pthread_mutex_unlock(&tree_lock);
	r = fs_refresh(node);
	pthread_mutex_lock(&tree_lock);
	differs = node->size != before;
	*shorter = node->size < before;
	pthread_mutex_unlock(&tree_lock);
	if (always || (r == 0 && differs))
		session_attr_changed((uintptr_t)node);
	return r;
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *node = fs_node(ino);
	struct open_file *h;
	bool shorter;
	int r;

	waiting_begin(req);
	r = refresh(node, false, &shorter);
	if (r < 0) {
		fs_reply_err(req, -r);
		return;
	}
	h = new_handle(node);
	r = h ? 0 : -ENOMEM;
	if (r == 0 && for_writing(fi))
		r = open_content(h, false, fi->flags & ~O_EXCL);
	if (r < 0) {
		if (h)
			free_handle(h);
		fs_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)h;
	fi->keep_cache = h->kept = pages_are_good(node);
	if (fs_reply_open(req, fi) == -ENOENT)
		free_handle(h);
}

/* The name of a file that is not in the bucket yet. */
static int make_node(struct node *dir, const char *name, struct meta meta,
		     struct fuse_entry_param *e)
{
	struct found found = { .kind = CHANGE_FILE,
			       .mtime_us = realtime_us(),
			       .fresh_until_ms = monotonic_ms() + the_options.ttl_ms,
			       .is_ours = true,
			       .meta = meta };
	char key[OBJECT_KEY_MAX + 1];
	int r;

	pthread_mutex_lock(&tree_lock);
	r = dir->gone ? -ENOENT : node_child_key(dir, name, false, key);
	if (r == 0)
		r = fs_entry(dir, name, &found, e);
	if (r == 0)
		names_changed(dir, name, CHANGE_FILE, true, 0, found.mtime_us, NULL);
	pthread_mutex_unlock(&tree_lock);
	return r;
}

static void unmake_node(struct node *dir, const char *name, const struct fuse_entry_param *e)
{
	pthread_mutex_lock(&tree_lock);
	names_forget(dir, name);
	node_set_gone(fs_node(e->ino));
	node_forget(fs_node(e->ino), 1);
	pthread_mutex_unlock(&tree_lock);
}

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct meta meta = meta_new(S_IFREG | mode, ctx->uid, ctx->gid);
	struct node *dir = fs_node(parent);
	struct open_file *h = NULL;
	struct fuse_entry_param e = { 0 };
	struct found found;
	bool is_new;
	int r;

	waiting_begin(req);
	r = names_find(dir, name, &found);
	if (r == 0)
		r = meta_complete(dir, name, &found);
	is_new = r == 0 && found.kind == CHANGE_GONE;
	if (r == 0 && found.kind == CHANGE_DIR)
		r = -EISDIR;
	if (r == 0 && !is_new && (fi->flags & O_EXCL))
		r = -EEXIST;
	if (r == 0 && is_new) {
		r = make_node(dir, name, meta, &e);
	} else if (r == 0) { /* it has come meanwhile */
		pthread_mutex_lock(&tree_lock);
		r = fs_entry(dir, name, &found, &e);
		pthread_mutex_unlock(&tree_lock);
	}
	if (r < 0) {
		fs_reply_err(req, -r);
		return;
	}
	h = new_handle(fs_node(e.ino));
	r = h ? open_content(h, is_new, fi->flags) : -ENOMEM;
	if (r < 0) {
		if (is_new)
			unmake_node(dir, name, &e);
		if (h)
			free_handle(h);
		if (!is_new)
			fs_entry_undo(&e);
		fs_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)h;
	e.attr_timeout = 0;
	if (fs_reply_create(req, &e, fi) == -ENOENT) {
		free_handle(h);
		fs_entry_undo(&e);
	}
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* Points the reader at the object as it is known now. -ESTALE: there is none any more. */
static int aim(struct open_file *h)
{
	_cleanup_free_ char *etag = NULL;
	char key[OBJECT_KEY_MAX + 1];
	uint64_t version, size;
	int r;

	pthread_mutex_lock(&tree_lock);
	version = h->node->version;
	size = h->node->size;
	r = h->node->gone || h->stale ? -ESTALE : node_key(h->node, key);
	etag = h->node->etag ? strdup(h->node->etag) : NULL;
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = reader_is_of(h->reader, version, etag);
	if (r != 0)
		return r < 0 ? r : 0;
	return reader_set(h->reader, key, etag, size, version);
}

/*
 * The object changed between the listing and the first read: nothing was seen of it, begin anew. Not if
 * the kernel may have other pages of the old one, which would be mixed with the new one's, nor if it reads
 * behind what is the end now: then this handle is of no more use.
 */
static int aim_again(struct open_file *h)
{
	bool mixed, shorter = false;
	int r;

	pthread_mutex_lock(&tree_lock);
	mixed = h->kept && h->node->size > PAGE_BYTES;
	if (h->stale) {
		pthread_mutex_unlock(&tree_lock);
		return -ESTALE;
	}
	if (h->node->parent) {
		listing_remove(h->node->parent);
		if (h->node->parent->dir)
			change_drop_done(&h->node->parent->dir->changes, h->node->name);
	}
	h->node->fresh_until_ms = 0;
	pthread_mutex_unlock(&tree_lock);
	r = refresh(h->node, mixed, &shorter);
	pthread_mutex_lock(&tree_lock);
	h->node->version++;
	h->stale = mixed || shorter;
	pthread_mutex_unlock(&tree_lock);
	if (r == 0)
		r = aim(h);
	return r == -ENOENT ? -ESTALE : r;
}

static void read_object(fuse_req_t req, struct open_file *h, size_t size, off_t off)
{
	struct reader_bytes bytes = { .n = 0 };
	struct reader *reader = h->reader;
	ssize_t n = aim(h);

	if (n == 0)
		n = reader_take(reader, (uint64_t)off, size, &bytes);
	if ((n == -ESTALE || n == -ENOENT) && !reader_has_begun(reader)) {
		n = aim_again(h);
		if (n == 0)
			n = reader_take(reader, (uint64_t)off, size, &bytes);
	}
	/* Once it is answered the file may be closed, and only what is held of the reader be there. */
	if (n < 0)
		fs_reply_err(req, n == -ENOENT ? ESTALE : (int)-n);
	else
		fs_reply_iov(req, bytes.at, bytes.n);
	reader_give(reader, &bytes);
}

/* A reference to the content, if anything of the file is to be read from there. */
static struct content *content_to_read(struct node *node)
{
	struct content *c;
	bool here;

	pthread_mutex_lock(&tree_lock);
	c = node->content ? content_get(node, false, false) : NULL;
	pthread_mutex_unlock(&tree_lock);
	if (!c)
		return NULL;
	pthread_mutex_lock(&c->lock); /* also while it is being saved */
	here = c->fd >= 0 || c->is_new;
	if (here)
		return c;
	content_unlock(c);
	content_put(c);
	return NULL;
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(0);
	struct content *c;
	int64_t n;

	waiting_begin(req);
	c = content_to_read(fs_node(ino));
	if (!c) {
		read_object(req, handle_of(fi), size, off);
		return;
	}
	n = content_begin_read(c, (uint64_t)off, size);
	out.buf[0].size = n > 0 ? (size_t)n : 0;
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = c->fd;
	out.buf[0].pos = off;
	if (n < 0)
		fs_reply_err(req, (int)-n);
	else
		fs_reply_data(req, &out);
	content_unlock(c);
	content_put(c);
}

/* --- writing -------------------------------------------------------------------------------------------- */

void fs_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
		  struct fuse_file_info *fi)
{
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	struct content *c = handle_of(fi)->content;
	ssize_t n;
	int r;

	(void)ino;
	waiting_begin(req);
	content_lock(c);
	if (fi->flags & O_APPEND)
		off = (off_t)MAX((uint64_t)off, c->size); /* others of ours may have been quicker */
	n = content_begin_write(c, (uint64_t)off, out.buf[0].size);
	if (n == 0) {
		out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		out.buf[0].fd = c->fd;
		out.buf[0].pos = off;
		n = fuse_buf_copy(&out, in, 0);
		if (n < 0)
			log_warn("cannot write to the spool in %s: %s", the_options.spool_dir,
				 strerror((int)-n));
		r = content_end_write(c, (uint64_t)off, n > 0 ? (uint64_t)n : 0);
		if (r < 0)
			n = r;
	}
	content_unlock(c);
	if (n < 0)
		fs_reply_err(req, (int)-n);
	else
		fs_reply_write(req, (size_t)n);
}

static int save(struct content *c)
{
	int r;

	content_lock(c);
	r = content_save(c);
	content_unlock(c);
	return r;
}

/*
 * Has the closing process another descriptor of that file? A shell's redirection closes one before
 * anything is written; sending an empty object then would cost two writes for each `echo x > f`.
 */
static bool has_another(pid_t pid, uint64_t ino)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *entry;
	char path[64], wanted[40];

	if (control_is_served())
		return control_is_held(pid, ino);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	snprintf(wanted, sizeof(wanted), "ino:\t%llu\n", (unsigned long long)ino);
	dir = pid > 0 ? opendir(path) : NULL;
	for (int n = 0; dir && n < 256 && (entry = readdir(dir)); n++) {
		_cleanup_free_ char *text = NULL;

		if (entry->d_name[0] != '.' &&
		    read_file_at(dirfd(dir), entry->d_name, 1 << 14, &text, NULL) == 0 &&
		    strstr(text, wanted))
			return true;
	}
	return false;
}

void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct content *c = handle_of(fi)->content;
	pid_t pid = fuse_req_ctx(req)->pid;
	bool empty;

	/* A process that is killed waits for nothing: what it has written is saved after its end. */
	if (!c || waiting_is_killed(pid)) {
		fs_reply_err(req, 0);
		return;
	}
	waiting_begin(req);
	content_lock(c);
	empty = c->dirty && !c->written && c->size == 0;
	content_unlock(c);
	if (empty && has_another(pid, fs_node(ino)->ino))
		fs_reply_err(req, 0);
	else
		fs_reply_err(req, -save(c));
}

void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct content *c = handle_of(fi)->content;

	(void)ino;
	(void)datasync;
	waiting_begin(req);
	fs_reply_err(req, c ? -save(c) : 0);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	free_handle(handle_of(fi));
	fs_reply_err(req, 0);
}

/* --- all of it -------------------------------------------------------------------------------------------- */

static void save_node(struct node *node, void *ctx)
{
	struct content *c;
	int r;

	pthread_mutex_lock(&tree_lock);
	c = node->content ? content_get(node, false, false) : NULL;
	pthread_mutex_unlock(&tree_lock);
	if (!c)
		return;
	r = save(c);
	content_put(c);
	if (r < 0)
		*(int *)ctx = r;
}

int fs_sync(void)
{
	int r = 0, removed;

	nodes_each_content(save_node, &r);
	removed = removals_flush(NULL);
	return r < 0 ? r : removed;
}
