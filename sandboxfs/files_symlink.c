/* SPDX-License-Identifier: MIT */
/*
 * Targets of symbolic links, so that none leads a host process out of the box.
 *
 * The host's kernel follows a link by its text, component by component, through our tree, and any
 * component may be another link or be exchanged while it walks. So a text is safe only if it never
 * goes up after it went down: leading `..` at most as many as there are directories above the link
 * inside the volume (that depth cannot change under the walker, see files_inode.c), then names.
 *
 *   inside the box         in files/ at depth d (0: in files/ itself)   in root at depth d
 *   a/b, ../a (d enough)   as it is                                     as it is
 *   /workspace/x           d times ../, x                               d times ../, workspace/x
 *   /etc/x                 d times ../, ../root/etc/x                   d times ../, etc/x
 *   too many ../           as from the box's / : through ../root        the surplus is cut
 *   a/../b                 what is before the last .. is resolved here, in the box's terms; if
 *                          that fails, taken by its letters
 *
 * The box's directory has `root` beside `files`, and that is a link to the root volume.
 *
 * What is written through the mount is stored as it is, but for one case: a text that leads
 * through ../root from files/ is stored as the absolute path it means inside, and reads back as it
 * was written. Other texts that lead out of the volume mean inside what they say, and read back
 * rewritten; a text with `..` after a name may read back simplified.
 *
 * symlink_show() and symlink_store() are pure; no locks.
 */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

enum { MAX_LINKS = 40 };

/* A text under construction; too long sticks. */
struct path {
	char *text;
	size_t len;
	bool too_long;
};

static void path_add(struct path *p, const char *bytes, size_t len)
{
	if (p->too_long || p->len + len >= PATH_MAX) {
		p->too_long = true;
		return;
	}
	memcpy(p->text + p->len, bytes, len);
	p->len += len;
	p->text[p->len] = '\0';
}

/* Adds a component or more, with '/' before it where something stands already. */
static void path_join(struct path *p, const char *bytes, size_t len)
{
	if (!len)
		return;
	if (p->len && p->text[p->len - 1] != '/')
		path_add(p, "/", 1);
	path_add(p, bytes, len);
}

static void path_pop(struct path *p)
{
	while (p->len && p->text[p->len - 1] != '/')
		p->len--;
	if (p->len)
		p->len--;
	p->text[p->len] = '\0';
}

static int path_done(struct path *p)
{
	if (!p->len)
		path_add(p, ".", 1);
	return p->too_long ? -ENAMETOOLONG : 0;
}

/* The next component of *s: its length, 0 at the end; *at is where it begins. */
static size_t next_component(const char **s, const char **at)
{
	size_t len;

	*s += strspn(*s, "/");
	*at = *s;
	len = strcspn(*s, "/");
	*s += len;
	return len;
}

static bool is_dotdot(const char *at, size_t len)
{
	return len == 2 && at[0] == '.' && at[1] == '.';
}

static bool is_dot(const char *at, size_t len)
{
	return len == 1 && at[0] == '.';
}

/* Steps over leading "." and ".."; returns what follows and how many ".." there were. */
static const char *skip_up(const char *s, unsigned int *ups)
{
	const char *at, *rest = s;
	size_t len;

	*ups = 0;
	while ((len = next_component(&s, &at))) {
		if (is_dotdot(at, len))
			++*ups;
		else if (!is_dot(at, len))
			return at;
		rest = s;
	}
	return rest + strspn(rest, "/");
}

/* Where the last ".." of s ends, NULL if there is none. */
static const char *last_up(const char *s)
{
	const char *at, *last = NULL;
	size_t len;

	while ((len = next_component(&s, &at))) {
		if (is_dotdot(at, len))
			last = s;
	}
	return last;
}

/* Takes names by their letters: out has no "." or ".."; *ups counts what went above the start. */
static void by_letters(const char *s, unsigned int *ups, struct path *out)
{
	const char *at;
	size_t len;

	while ((len = next_component(&s, &at))) {
		if (is_dot(at, len))
			continue;
		if (!is_dotdot(at, len))
			path_join(out, at, len);
		else if (out->len)
			path_pop(out);
		else
			++*ups;
	}
}

static void add_ups(struct path *out, unsigned int n)
{
	while (n-- > 0)
		path_join(out, "..", 2);
}

/* From a link in files/ at depth to a path of the box, without leading '/'. */
static int from_workspace(unsigned int depth, const char *box_path, char out[PATH_MAX])
{
	static const char workspace[] = "workspace";
	struct path p = { .text = out };
	size_t n = sizeof(workspace) - 1;

	if (!strncmp(box_path, workspace, n) && (box_path[n] == '/' || !box_path[n])) {
		add_ups(&p, depth);
		box_path += n;
		box_path += strspn(box_path, "/");
	} else {
		add_ups(&p, depth + 1);
		path_join(&p, "root", 4);
	}
	path_join(&p, box_path, strlen(box_path));
	return path_done(&p);
}

/* `ups` times up from a link at depth, then down rest, which has no "..". */
static int show_plain(enum files_kind kind, unsigned int depth, unsigned int ups, const char *rest,
		      char out[PATH_MAX])
{
	struct path p = { .text = out };

	if (ups > depth && kind == FILES_WORKSPACE)
		return from_workspace(depth, rest, out);
	add_ups(&p, MIN(ups, depth));
	path_join(&p, rest, strlen(rest));
	return path_done(&p);
}

static int show_absolute(enum files_kind kind, unsigned int depth, const char *rest,
			 char out[PATH_MAX])
{
	return kind == FILES_WORKSPACE ? from_workspace(depth, rest, out)
				       : show_plain(kind, depth, depth, rest, out);
}

/* The part of an absolute target that lies in the volume; NULL: none of it does. */
static const char *below_volume(enum files_kind kind, const char *target)
{
	const char *at, *s = target;
	size_t len;

	if (kind == FILES_ROOT)
		return target;
	len = next_component(&s, &at);
	return len == 9 && !memcmp(at, "workspace", 9) ? s : NULL;
}

/* A target with `..` after a name. */
static int show_winding(enum files_kind kind, unsigned int depth, const char *target,
			symlink_resolve resolve, void *ctx, char out[PATH_MAX])
{
	char canonical[PATH_MAX] = "", winding[PATH_MAX];
	bool absolute = target[0] == '/';
	const char *inside = absolute ? below_volume(kind, target) : target;
	const char *end = inside ? last_up(inside) : NULL;
	unsigned int ups = 0;
	struct path p = { .text = canonical };

	if (end && (size_t)(end - inside) < sizeof(winding)) {
		memcpy(winding, inside, end - inside);
		winding[end - inside] = '\0';
		if (resolve && resolve(ctx, absolute, winding, canonical) == 0) {
			struct path whole = { .text = out };

			add_ups(&whole, depth);
			path_join(&whole, canonical, strlen(canonical));
			end += strspn(end, "/");
			path_join(&whole, end, strlen(end));
			return path_done(&whole);
		}
	}
	canonical[0] = '\0';
	by_letters(target, &ups, &p);
	if (p.too_long)
		return -ENAMETOOLONG;
	return absolute ? show_absolute(kind, depth, canonical, out)
			: show_plain(kind, depth, ups, canonical, out);
}

int symlink_show(enum files_kind kind, unsigned int depth, const char *target,
		 symlink_resolve resolve, void *ctx, char out[PATH_MAX])
{
	unsigned int ups;
	const char *rest = skip_up(target, &ups);

	if (last_up(rest))
		return show_winding(kind, depth, target, resolve, ctx, out);
	if (target[0] == '/')
		return show_absolute(kind, depth, rest, out);
	if (ups > depth)
		return show_plain(kind, depth, ups, rest, out);
	if (strlen(target) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(out, target);
	return 0;
}

int symlink_store(enum files_kind kind, unsigned int depth, const char *given, char out[PATH_MAX])
{
	unsigned int ups;
	const char *rest = skip_up(given, &ups);
	struct path p = { .text = out };

	out[0] = '\0';
	if (kind == FILES_WORKSPACE && given[0] != '/' && ups == depth + 1 && !last_up(rest) &&
	    !strncmp(rest, "root", 4) && (rest[4] == '/' || !rest[4])) {
		path_add(&p, "/", 1);
		rest += 4;
		rest += strspn(rest, "/");
	} else {
		rest = given;
	}
	path_add(&p, rest, strlen(rest));
	return path_done(&p);
}

/* Resolving in the box's terms, for targets with `..` after a name. */

struct resolver {
	struct call *call;
	struct files_inode *dir; /* of the link */
};

/* Opens a canonical path, "" the root; its last component may be a link. */
static int open_canonical(struct call *c, const char *path)
{
	int root = c->ground->root->fd;

	return as_box_root(c->id_base, root,
			   open_how_at(root, *path ? path : ".", O_PATH | O_NOFOLLOW, 0,
				       RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS |
					       RESOLVE_NO_MAGICLINKS));
}

/* Puts the target of the link fd before what is left to walk; -EXDEV if it leaves the volume. */
static int push_target(struct call *c, int fd, struct path *done, char rest[PATH_MAX])
{
	char target[PATH_MAX], joined[2 * PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
	const char *from = target;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (target[0] == '/') {
		from = below_volume(c->vol->kind, target);
		if (!from)
			return -EXDEV;
		done->len = 0;
		done->text[0] = '\0';
	} else {
		path_pop(done);
	}
	if (snprintf(joined, sizeof(joined), "%s/%s", from, rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(rest, joined);
	return 0;
}

/* Into a bucket, on a thread that must not wait for one. */
static bool leads_away(int fd)
{
	struct statx stx;

	return !remote_may_wait() &&
	       statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 &&
	       remote_is_likely(makedev(stx.stx_dev_major, stx.stx_dev_minor));
}

static int resolve_in_box(void *ctx, bool absolute, const char *path, char canonical[PATH_MAX])
{
	struct resolver *r = ctx;
	struct path done = { .text = canonical };
	char rest[PATH_MAX];
	const char *s = rest, *at;
	int links = 0, err = 0;
	size_t len;

	canonical[0] = '\0';
	if (!absolute) {
		err = inode_path(r->dir, canonical);
		done.len = strlen(canonical);
	}
	snprintf(rest, sizeof(rest), "%s", path);
	while (err == 0 && (len = next_component(&s, &at))) {
		_cleanup_close_ int fd = -1;
		struct stat st;

		if (is_dot(at, len))
			continue;
		if (is_dotdot(at, len)) {
			if (!done.len && r->call->vol->kind == FILES_WORKSPACE)
				return -EXDEV;
			path_pop(&done);
			continue;
		}
		path_join(&done, at, len);
		if (done.too_long)
			return -ENAMETOOLONG;
		fd = open_canonical(r->call, canonical);
		if (fd < 0)
			return -ENOENT;
		if (leads_away(fd))
			return -EXDEV;
		if (fstat(fd, &st) < 0)
			return -ENOENT;
		if (S_ISLNK(st.st_mode)) {
			if (links++ == MAX_LINKS)
				return -ELOOP;
			memmove(rest, s, strlen(s) + 1);
			err = push_target(r->call, fd, &done, rest);
			s = rest;
		} else if (!S_ISDIR(st.st_mode)) {
			return -ENOTDIR;
		}
	}
	return err;
}

int symlink_read(struct call *c, const struct files_inode *inode, int fd, char out[PATH_MAX])
{
	struct resolver resolver = { .call = c };
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
	int r;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	pthread_mutex_lock(&files.lock);
	resolver.dir = inode->parent;
	resolver.dir->refs++;
	pthread_mutex_unlock(&files.lock);
	r = symlink_show(c->vol->kind, inode_depth(resolver.dir), target, resolve_in_box, &resolver,
			 out);
	inode_put(resolver.dir);
	return r;
}

void files_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	_cleanup_call_ struct call c = { 0 };
	_cleanup_anchor_ struct anchor *a = NULL;
	char target[PATH_MAX];
	int r = call_begin(&c, req, ino);

	if (r == 0)
		r = anchor_find(&c, c.inode, &a);
	if (r == 0)
		r = symlink_read(&c, c.inode, a->fd, target);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_readlink(req, target);
}
