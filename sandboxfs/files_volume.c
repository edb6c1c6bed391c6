/* SPDX-License-Identifier: MIT */
/*
 * Volumes and the ground they stand on, and what a request begins and ends with.
 *
 * A ground is never changed, only replaced: who began on the old one ends on it. Long timeouts
 * that were given on ground that turned live are taken back: by files_volume_set_backing() for
 * all that is known, and by reply_was_long() for an answer that was on its way meanwhile.
 *
 * Must not know what a box is doing. Locks: files_internal.h; the kernel is notified and
 * descriptors are closed with no lock held.
 */
#include "files_internal.h"
#include "perm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/text.h"
#include "fuse_wire.h"

struct files_state files = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

int files_init(bool passthrough)
{
	struct rlimit limit;
	int r = ids_init();

	if (r < 0)
		return r;
	r = wait_init();
	if (r < 0)
		return r;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	files.passthrough = passthrough;
	files.max_anchors = limit.rlim_cur / 3;
	files.max_descriptors = limit.rlim_cur * 2 / 5;
	/* Modes of new files come from the caller, with his umask already taken off. */
	umask(0);
	return 0;
}

void files_end(void)
{
	readdir_end();
	inode_end();
}

/* One box may not use up what all share, nor all boxes what the daemon needs itself. */
int descriptors_take(struct files_volume *vol, unsigned int n)
{
	int r = -ENFILE;

	pthread_mutex_lock(&files.lock);
	if (files.descriptors + n <= files.max_descriptors &&
	    vol->descriptors + n <= files.max_descriptors / 2) {
		files.descriptors += n;
		vol->descriptors += n;
		r = 0;
	}
	pthread_mutex_unlock(&files.lock);
	return r;
}

void descriptors_give(struct files_volume *vol, unsigned int n)
{
	pthread_mutex_lock(&files.lock);
	files.descriptors -= n;
	vol->descriptors -= n;
	pthread_mutex_unlock(&files.lock);
}

const char *proc_path(char buf[32], int fd)
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

void ground_get(struct ground *g)
{
	pthread_mutex_lock(&files.lock);
	g->refs++;
	pthread_mutex_unlock(&files.lock);
}

void ground_put(struct ground *g)
{
	unsigned int left;

	if (!g)
		return;
	pthread_mutex_lock(&files.lock);
	left = --g->refs;
	pthread_mutex_unlock(&files.lock);
	if (left)
		return;
	anchor_put(g->root);
	close_fd(&g->handle_fd);
	free(g);
}

static struct ground *ground_new(const struct files_backing *backing, enum files_kind kind)
{
	struct ground *g = calloc(1, sizeof(*g));
	struct statx stx;
	int root = backing->root;

	if (!g || statx(root, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &stx) < 0) {
		close(root);
		free(g);
		return NULL;
	}
	g->refs = 1;
	g->id_base = backing->id_base;
	g->live = backing->live;
	g->dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	g->handle_fd = -1;
	if (kind == FILES_WORKSPACE) /* an O_PATH descriptor will not do for open_by_handle_at() */
		g->handle_fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pthread_mutex_lock(&files.lock);
	g->serial = ++files.ground_serial;
	pthread_mutex_unlock(&files.lock);
	g->root = anchor_new(root, stx.stx_mnt_id, g->serial);
	if (!g->root) {
		close_fd(&g->handle_fd);
		free(g);
		return NULL;
	}
	return g;
}

struct files_volume *files_volume_new(uint64_t box, enum files_kind kind)
{
	struct files_volume *vol = calloc(1, sizeof(*vol));

	if (!vol)
		return NULL;
	vol->refs = 1;
	vol->box = box;
	vol->kind = kind;
	vol->root = inode_new_root(vol);
	if (!vol->root) {
		free(vol);
		return NULL;
	}
	pthread_mutex_lock(&files.lock);
	vol->next = files.volumes;
	files.volumes = vol;
	pthread_mutex_unlock(&files.lock);
	return vol;
}

/* Names by one step of the epoch, attributes one by one (an open file has no name to ask for). */
static void take_back_long(struct files_volume *vol)
{
	struct files_counts counts;
	fuse_ino_t ino;

	if (!fuse_wire_has(WIRE_INC_EPOCH))
		return; /* nothing was given for long */
	files_count(&counts);
	fuse_wire_inc_epoch();
	while (counts.inodes-- && (ino = inode_next_long(vol)))
		fuse_wire_inval_attr(ino);
}

void files_volume_set_owner(struct files_volume *vol, uid_t uid, gid_t gid, mode_t box_mode)
{
	atomic_store(&vol->uid, uid);
	atomic_store(&vol->gid, gid);
	atomic_store(&vol->mode, box_mode);
	pthread_mutex_lock(&files.lock);
	vol->serial++;
	pthread_mutex_unlock(&files.lock);
	take_back_long(vol);
}

void files_volume_set_limits(struct files_volume *vol, uint64_t bytes, uint64_t inodes)
{
	atomic_store(&vol->max_bytes, bytes);
	atomic_store(&vol->max_inodes, inodes);
}

int files_volume_set_veils(struct files_volume *vol, const char *const *paths, size_t n)
{
	_cleanup_text_ struct text all = { 0 };
	char *veils = NULL;

	for (size_t i = 0; i < n; i++)
		text_add(&all, paths[i], strlen(paths[i]) + 1);
	if (all.failed)
		return -ENOMEM;
	if (n)
		veils = text_take(&all); /* a NUL is behind the last one */
	pthread_mutex_lock(&files.lock);
	free(vol->veils);
	vol->veils = veils;
	vol->serial++;
	pthread_mutex_unlock(&files.lock);
	take_back_long(vol);
	return 0;
}

bool volume_is_veil(const struct files_inode *dir, const char *name)
{
	char path[PATH_MAX], *end;
	bool found = false;

	/* A look without the lock: none is the rule, and a change takes names back anyway. */
	if (!__atomic_load_n(&dir->vol->veils, __ATOMIC_RELAXED) || inode_path(dir, path) < 0)
		return false;
	end = path + strlen(path);
	if (snprintf(end, sizeof(path) - (size_t)(end - path), "%s%s", end > path ? "/" : "",
		     name) >= (int)(sizeof(path) - (size_t)(end - path)))
		return false;
	pthread_mutex_lock(&files.lock);
	for (const char *v = dir->vol->veils; v && *v && !found; v += strlen(v) + 1)
		found = !strcmp(v, path);
	pthread_mutex_unlock(&files.lock);
	return found;
}

void files_volume_set_backing(struct files_volume *vol, const struct files_backing *backing)
{
	struct ground *new = backing ? ground_new(backing, vol->kind) : NULL;
	struct ground *old;
	bool was_long;

	pthread_mutex_lock(&files.lock);
	old = vol->ground;
	vol->ground = new;
	vol->serial++;
	pthread_mutex_unlock(&files.lock);
	was_long = old && !old->live;
	anchor_drop_volume(vol, new);
	ground_put(old);
	if (was_long)
		take_back_long(vol);
}

void files_volume_end(struct files_volume *vol)
{
	pthread_mutex_lock(&files.lock);
	vol->dropped = true;
	pthread_mutex_unlock(&files.lock);
	wait_end_volume(vol);
	files_volume_set_backing(vol, NULL);
}

void files_volume_put(struct files_volume *vol)
{
	files_volume_end(vol);
	inode_put(vol->root);
	pthread_mutex_lock(&files.lock);
	volume_put_locked(vol);
	pthread_mutex_unlock(&files.lock);
}

void volume_put_locked(struct files_volume *vol)
{
	if (--vol->refs)
		return;
	for (struct files_volume **v = &files.volumes; *v; v = &(*v)->next) {
		if (*v == vol) {
			*v = vol->next;
			break;
		}
	}
	free(vol->veils);
	free(vol);
}

dev_t volume_workspace_dev(uint64_t box)
{
	dev_t dev = 0;

	pthread_mutex_lock(&files.lock);
	for (struct files_volume *v = files.volumes; v; v = v->next) {
		if (v->box == box && v->kind == FILES_WORKSPACE && v->ground)
			dev = v->ground->dev;
	}
	pthread_mutex_unlock(&files.lock);
	return dev;
}

/* The owner, root, and those who may write in the box: they can run its commands as well. */
static bool acts_as_owner(struct files_volume *vol, const struct fuse_ctx *ctx)
{
	const int act = PERM_W | PERM_X;
	uid_t uid = atomic_load(&vol->uid);
	mode_t mode = atomic_load(&vol->mode);

	if (ctx->uid == 0 || ctx->uid == uid)
		return true;
	if (!(mode & 0022)) /* the common case, without a look at groups */
		return false;
	return perm_mode(ctx->uid, ctx->gid, ctx->pid, uid, atomic_load(&vol->gid), mode, act);
}

static int call_begin_volume(struct call *c, fuse_req_t req, struct files_volume *vol)
{
	const struct fuse_ctx *ctx = req ? fuse_req_ctx(req) : NULL;
	int r = 0;

	*c = (struct call){ .req = req, .vol = vol };
	pthread_mutex_lock(&files.lock);
	c->serial = vol->serial;
	if (vol->dropped)
		r = -ESTALE;
	else if (!vol->ground)
		r = -ENOENT;
	if (r == 0) {
		c->ground = vol->ground;
		c->ground->refs++;
		c->id_base = c->ground->id_base;
	}
	vol->refs++; /* the answer lets go of the inode that holds it */
	pthread_mutex_unlock(&files.lock);
	c->owner = !ctx || acts_as_owner(vol, ctx);
	return r;
}

int call_begin(struct call *c, fuse_req_t req, fuse_ino_t ino)
{
	struct files_inode *inode = inode_of(ino);
	int r = call_begin_volume(c, req, inode->vol);

	c->inode = inode;
	return r;
}

void call_end(struct call *c)
{
	if (!c->vol)
		return;
	ground_put(take_ptr(c->ground));
	pthread_mutex_lock(&files.lock);
	volume_put_locked(take_ptr(c->vol));
	pthread_mutex_unlock(&files.lock);
}

fuse_ino_t files_volume_root(struct files_volume *vol)
{
	return inode_id(vol->root);
}

static int root_attr(struct call *c, struct stat *st)
{
	struct statx stx;
	int r = stat_fd(c->vol->root, c->ground->root->fd, &stx);

	if (r == 0)
		show_attr(c, c->vol->root, c->ground->root->fd, &stx, st);
	return r;
}

int files_volume_root_attr(struct files_volume *vol, struct stat *st)
{
	_cleanup_call_ struct call c = { 0 };
	int r = call_begin_volume(&c, NULL, vol);

	return r < 0 ? r : root_attr(&c, st);
}

void files_reply_root(fuse_req_t req, struct files_volume *vol)
{
	_cleanup_call_ struct call c = { 0 };
	struct fuse_entry_param entry = { 0 };
	int r = call_begin_volume(&c, req, vol);

	if (r == 0)
		r = root_attr(&c, &entry.attr);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	pthread_mutex_lock(&files.lock);
	vol->root->nlookup++;
	pthread_mutex_unlock(&files.lock);
	entry.ino = inode_id(vol->root);
	/* No name timeout: who may enter the box is asked on every walk through this name. */
	entry.attr_timeout = call_timeout(&c);
	reply_entry(&c, &entry);
}

void files_want_capabilities(struct fuse_conn_info *conn)
{
	const unsigned int want = FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS |
				  FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_ATOMIC_O_TRUNC |
				  FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
				  FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA |
				  FUSE_CAP_ASYNC_DIO | FUSE_CAP_SPLICE_WRITE;
	const unsigned int refuse = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_EXPORT_SUPPORT |
				    FUSE_CAP_DONT_MASK | FUSE_CAP_HANDLE_KILLPRIV |
				    FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_POSIX_ACL |
				    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_MOVE;

	conn->want &= ~refuse;
	conn->want |= want & conn->capable;
	conn->max_background = 64;
}

void files_count(struct files_counts *out)
{
	pthread_mutex_lock(&files.lock);
	*out = (struct files_counts){
		.inodes = files.inodes,
		.descriptors = files.anchors + files.descriptors,
		.open_files = files.open_files,
		.waiting_locks = files.waiting,
	};
	pthread_mutex_unlock(&files.lock);
}

const struct fuse_lowlevel_ops files_ops = {
	.lookup = files_op_lookup,
	.forget = files_op_forget,
	.getattr = files_op_getattr,
	.setattr = files_op_setattr,
	.access = files_op_access,
	.statfs = files_op_statfs,
	.readlink = files_op_readlink,
	.mknod = files_op_mknod,
	.mkdir = files_op_mkdir,
	.symlink = files_op_symlink,
	.link = files_op_link,
	.unlink = files_op_unlink,
	.rmdir = files_op_rmdir,
	.rename = files_op_rename,
	.opendir = files_op_opendir,
	.readdir = files_op_readdir,
	.readdirplus = files_op_readdirplus,
	.releasedir = files_op_releasedir,
	.fsyncdir = files_op_fsyncdir,
	.open = files_op_open,
	.create = files_op_create,
	.release = files_op_release,
	.flush = files_op_flush,
	.fsync = files_op_fsync,
	.read = files_op_read,
	.write_buf = files_op_write_buf,
	.fallocate = files_op_fallocate,
	.copy_file_range = files_op_copy_file_range,
	.lseek = files_op_lseek,
	.setxattr = files_op_setxattr,
	.getxattr = files_op_getxattr,
	.listxattr = files_op_listxattr,
	.removexattr = files_op_removexattr,
	.getlk = files_op_getlk,
	.setlk = files_op_setlk,
	.flock = files_op_flock,
};
