/* SPDX-License-Identifier: MIT */
/*
 * Inodes: what a node id of the kernel stands for.
 *
 * Identity is (volume, device, inode number, type shown, file handle); the handle carries the
 * generation, so that a number used again is another inode. Where there is no handle (overlayfs,
 * a bucket) the number has to do. The type is part of it because a FIFO is shown as a socket but
 * its creation must be answered with a FIFO (files_ops_dir.c).
 *
 * Place is (parent, name) as the kernel has it in its dentries. Rewritten link targets count `..`
 * by it, so it must be exact for directories and symbolic links: when the box moves a directory,
 * the next lookup makes a new inode, and the old one keeps its place, as the kernel's old dentry
 * does. Only a rename through the mount moves inodes, in step with the kernel. A box can therefore
 * never shift the ground under a walk of a host process that is under way.
 *
 * Must not touch a file. Locks: everything here is under files.lock.
 */
#include "files_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/text.h"

enum { FIRST_BUCKETS = 1024 };

/* Two hash tables of one size, chained through the inodes. */
static struct {
	struct files_inode **identity, **place;
	size_t n_buckets;
} table;

static uint64_t object_hash(const struct files_volume *vol, dev_t dev, ino_t ino)
{
	return hash_u64((uintptr_t)vol ^ hash_u64(dev ^ hash_u64(ino)));
}

/* One that was superseded is not looked for by what it is any more, but stays in the table. */
static uint64_t identity_hash(const struct files_inode *inode)
{
	return inode->superseded ? hash_u64((uintptr_t)inode)
				 : object_hash(inode->vol, inode->dev, inode->ino);
}

static uint64_t place_hash(const struct files_inode *parent, const char *name)
{
	return hash_u64((uintptr_t)parent) ^ hash_bytes(name, strlen(name));
}

static struct files_inode **identity_bucket(uint64_t hash)
{
	return &table.identity[hash & (table.n_buckets - 1)];
}

static struct files_inode **place_bucket(uint64_t hash)
{
	return &table.place[hash & (table.n_buckets - 1)];
}

static void identity_add(struct files_inode *inode)
{
	struct files_inode **b = identity_bucket(identity_hash(inode));

	inode->next_identity = *b;
	*b = inode;
}

static void identity_remove(struct files_inode *inode)
{
	struct files_inode **p = identity_bucket(identity_hash(inode));

	while (*p != inode)
		p = &(*p)->next_identity;
	*p = inode->next_identity;
}

static void identity_supersede(struct files_inode *inode)
{
	identity_remove(inode);
	inode->superseded = true;
	identity_add(inode);
}

static void place_add(struct files_inode *inode)
{
	struct files_inode **b = place_bucket(place_hash(inode->parent, inode->name));

	inode->next_place = *b;
	*b = inode;
	inode->placed = true;
}

static void place_remove(struct files_inode *inode)
{
	struct files_inode **p;

	if (!inode->placed)
		return;
	p = place_bucket(place_hash(inode->parent, inode->name));
	while (*p != inode)
		p = &(*p)->next_place;
	*p = inode->next_place;
	inode->placed = false;
}

static struct files_inode *place_find(const struct files_inode *parent, const char *name)
{
	struct files_inode *i;

	if (!table.n_buckets)
		return NULL;
	for (i = *place_bucket(place_hash(parent, name)); i; i = i->next_place) {
		if (i->parent == parent && !strcmp(i->name, name))
			return i;
	}
	return NULL;
}

/* Doubles the tables when they are full; failing only makes them slower, unless there are none. */
static int table_grow(void)
{
	size_t old = table.n_buckets, n = old ? old * 2 : FIRST_BUCKETS;
	struct files_inode **identity, **place, **from_identity, **from_place;

	if (old && files.inodes < old)
		return 0;
	identity = calloc(n, sizeof(*identity));
	place = calloc(n, sizeof(*place));
	if (!identity || !place) {
		free(identity);
		free(place);
		return old ? 0 : -ENOMEM;
	}
	from_identity = table.identity;
	from_place = table.place;
	table.identity = identity;
	table.place = place;
	table.n_buckets = n;
	for (size_t b = 0; b < old; b++) {
		for (struct files_inode *i = from_identity[b], *next; i; i = next) {
			next = i->next_identity;
			identity_add(i);
		}
		for (struct files_inode *i = from_place[b], *next; i; i = next) {
			next = i->next_place;
			place_add(i);
		}
	}
	free(from_identity);
	free(from_place);
	return 0;
}

/* Takes references off, and off the parents of what is free then. Descriptors close unlocked. */
static void inode_drop(struct files_inode *inode, unsigned int refs, uint64_t nlookup)
{
	while (inode) {
		struct files_inode *parent = NULL;
		struct anchor *anchor = NULL;

		pthread_mutex_lock(&files.lock);
		inode->refs -= refs;
		inode->nlookup -= MIN(nlookup, inode->nlookup);
		if (!inode->refs && !inode->nlookup) {
			anchor = anchor_detach_locked(inode);
			parent = inode->parent;
			if (!inode_is_root(inode))
				identity_remove(inode);
			place_remove(inode);
			volume_put_locked(inode->vol);
			free(inode->name);
			free(inode);
			files.inodes--;
		}
		pthread_mutex_unlock(&files.lock);
		anchor_put(anchor);
		inode = parent;
		refs = 1;
		nlookup = 0;
	}
}

void inode_get(struct files_inode *inode)
{
	pthread_mutex_lock(&files.lock);
	inode->refs++;
	pthread_mutex_unlock(&files.lock);
}

void inode_put(struct files_inode *inode)
{
	inode_drop(inode, 1, 0);
}

void inode_forget(struct files_inode *inode, uint64_t n)
{
	inode_drop(inode, 0, n);
}

/* One that the kernel knows: in bucket b, or a root. There are no other threads any more. */
static struct files_inode *known_in(size_t b)
{
	for (struct files_inode *i = table.identity[b]; i; i = i->next_identity) {
		if (i->nlookup)
			return i;
	}
	return NULL;
}

static struct files_inode *known_root(void)
{
	for (struct files_volume *v = files.volumes; v; v = v->next) {
		if (v->root->nlookup)
			return v->root;
	}
	return NULL;
}

/* What RELEASE and FORGET would have done. */
static void end_inode(struct files_inode *inode)
{
	while (inode->open_files) {
		inode->open_files->backed = false; /* the kernel's side is gone */
		open_file_put(inode->open_files);
	}
	inode_forget(inode, UINT64_MAX);
}

void inode_end(void)
{
	struct files_inode *inode;

	for (size_t b = 0; b < table.n_buckets; b++) {
		while ((inode = known_in(b)))
			end_inode(inode);
	}
	while ((inode = known_root()))
		end_inode(inode);
	free(table.identity);
	free(table.place);
	memset(&table, 0, sizeof(table));
}

struct files_inode *inode_new_root(struct files_volume *vol)
{
	struct files_inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;
	inode->vol = vol;
	inode->type = S_IFDIR;
	inode->refs = 1;
	pthread_mutex_lock(&files.lock);
	vol->refs++;
	files.inodes++;
	pthread_mutex_unlock(&files.lock);
	return inode;
}

static bool same_object(const struct files_inode *i, const struct files_inode *wanted)
{
	return !i->superseded && i->vol == wanted->vol && i->ino == wanted->ino &&
	       i->dev == wanted->dev && i->type == wanted->type && i->veiled == wanted->veiled &&
	       i->id.len == wanted->id.len && i->id.type == wanted->id.type &&
	       !memcmp(i->id.bytes, wanted->id.bytes, i->id.len);
}

/* The inode that may be used for what was found as name in dir. */
static struct files_inode *identity_find(const struct files_inode *wanted,
					 const struct files_inode *dir, const char *name)
{
	struct files_inode *i;

	i = *identity_bucket(identity_hash(wanted));
	for (; i; i = i->next_identity) {
		if (!same_object(i, wanted))
			continue;
		if (S_ISLNK(i->type) && (i->parent != dir || strcmp(i->name, name)))
			continue;
		return i;
	}
	return NULL;
}

/* Puts inode at (dir, name), where another one may have been; name is taken over. */
static void place_move(struct files_inode *inode, struct files_inode *dir, char *name)
{
	struct files_inode *before = place_find(dir, name);

	if (before)
		place_remove(before);
	place_remove(inode);
	dir->refs++;
	if (inode->parent)
		inode->parent->refs--; /* whoever calls holds the old parent in another way */
	free(inode->name);
	inode->parent = dir;
	inode->name = name;
	place_add(inode);
}

static void inode_describe(struct files_inode *inode, const struct files_volume *vol,
			   const struct found *found)
{
	*inode = (struct files_inode){
		.vol = (struct files_volume *)vol,
		.dev = makedev(found->stx.stx_dev_major, found->stx.stx_dev_minor),
		.ino = found->stx.stx_ino,
		.type = found->stx.stx_mode & S_IFMT,
		.veiled = found->veiled,
		.remote = found->remote,
		.id = found->id,
	};
}

struct files_inode *inode_obtain(struct files_inode *dir, const char *name, struct found *found)
{
	struct files_inode wanted, *inode, *old_parent = NULL;
	struct files_inode *fresh = malloc(sizeof(*fresh));
	char *own_name = strdup(name);

	inode_describe(&wanted, dir->vol, found);
	pthread_mutex_lock(&files.lock);
	if (!fresh || !own_name || table_grow() < 0) {
		pthread_mutex_unlock(&files.lock);
		free(fresh);
		free(own_name);
		return NULL;
	}
	inode = identity_find(&wanted, dir, name);
	if (inode && S_ISDIR(inode->type) && inode->parent != dir) {
		identity_supersede(inode); /* the box moved it; the kernel's old dentry stays */
		inode = NULL;
	}
	if (!inode) {
		inode = take_ptr(fresh);
		*inode = wanted;
		inode->vol->refs++;
		files.inodes++;
		identity_add(inode);
		place_move(inode, dir, take_ptr(own_name));
	} else if (inode->parent != dir || strcmp(inode->name, name) || !inode->placed) {
		old_parent = inode->parent;
		old_parent->refs++;
		place_move(inode, dir, take_ptr(own_name));
	}
	inode->nlookup++;
	pthread_mutex_unlock(&files.lock);
	if (old_parent)
		inode_put(old_parent);
	free(fresh);
	free(own_name);
	return inode;
}

void inode_renamed(struct files_inode *dir, const char *name, struct files_inode *new_dir,
		   const char *new_name, char *own_name, char *own_new_name, bool exchange)
{
	struct files_inode *moved, *other = NULL;

	pthread_mutex_lock(&files.lock);
	moved = place_find(dir, name);
	if (exchange)
		other = place_find(new_dir, new_name);
	/* The request holds both directories, so no parent is let go of for the last time. */
	if (moved)
		place_move(moved, new_dir, take_ptr(own_new_name));
	if (other)
		place_move(other, dir, take_ptr(own_name));
	pthread_mutex_unlock(&files.lock);
	free(own_name);
	free(own_new_name);
}

unsigned int inode_depth(const struct files_inode *dir)
{
	unsigned int depth = 0;

	pthread_mutex_lock(&files.lock);
	for (; dir->parent; dir = dir->parent)
		depth++;
	pthread_mutex_unlock(&files.lock);
	return depth;
}

int inode_path(const struct files_inode *inode, char path[PATH_MAX])
{
	size_t at = PATH_MAX - 1;
	int r = 0;

	path[at] = '\0';
	pthread_mutex_lock(&files.lock);
	for (; inode->parent; inode = inode->parent) {
		size_t len = strlen(inode->name);

		if (len + 1 > at) {
			r = -ENAMETOOLONG;
			break;
		}
		if (path[at])
			path[--at] = '/';
		at -= len;
		memcpy(path + at, inode->name, len);
	}
	pthread_mutex_unlock(&files.lock);
	memmove(path, path + at, PATH_MAX - at);
	return r;
}

/*
 * Several filesystems stand behind one st_dev, so the number is a hash. Bit 63 keeps it apart from
 * the numbers of the control entries, which never have it.
 */
uint64_t inode_shown_ino(const struct files_volume *vol, dev_t dev, ino_t ino)
{
	return hash_u64(hash_u64(vol->box) ^ hash_u64(dev ^ hash_u64(ino))) | 1ULL << 63;
}

void inode_note_long(struct files_inode *inode)
{
	pthread_mutex_lock(&files.lock);
	inode->long_attr = true;
	pthread_mutex_unlock(&files.lock);
}

fuse_ino_t inode_next_long(struct files_volume *vol)
{
	static size_t at; /* where the last call stopped looking; any value will do */
	fuse_ino_t found = 0;

	pthread_mutex_lock(&files.lock);
	if (vol->root->long_attr) {
		vol->root->long_attr = false;
		found = inode_id(vol->root);
	}
	for (size_t n = 0; !found && n < table.n_buckets; n++, at++) {
		for (struct files_inode *i = *identity_bucket(at); i; i = i->next_identity) {
			if (i->vol != vol || !i->long_attr)
				continue;
			i->long_attr = false;
			found = inode_id(i);
			break;
		}
	}
	pthread_mutex_unlock(&files.lock);
	return found;
}

void files_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	inode_forget(inode_of(ino), n);
	fuse_reply_none(req);
}
