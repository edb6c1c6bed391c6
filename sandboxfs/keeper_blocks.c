/* SPDX-License-Identifier: MIT */
/*
 * Blocks of user ids: BOX_IDS of them for each box that runs, which no other box of this machine may
 * have, whatever mount it belongs to. Each is claimed by a lock on one byte of BLOCKS_FILE, the one
 * of its number among all blocks there are. The lock belongs to an open file (fcntl(2), F_OFD_SETLK)
 * that the box's keeper gets as well, so it lasts as long as either of us, whatever kills the other.
 * Lock: its own, the innermost.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "keeper.h"
#include "keeper_private.h"
#include "runtime.h"
#include "store.h"

#define BLOCKS_DIR "/run/sandboxfs"
#define BLOCKS_FILE BLOCKS_DIR "/ids"

enum { FREE = -1, USED = -2 }; /* a keeper has the lock, we don't */

static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;
static uid_t blocks_base;
static uint32_t n_blocks, last_block;
static int *blocks; /* descriptors of locks, or one of the above; 0 is the storage block */

static struct flock lock_of(uid_t base)
{
	return (struct flock){
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = base / BOX_IDS, .l_len = 1
	};
}

static int open_file(int flags)
{
	int fd = open(BLOCKS_FILE, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

/* A descriptor that holds it, -EAGAIN: somebody has it, -errno. */
static int claim(uint32_t block)
{
	_cleanup_close_ int fd = open_file(O_RDWR | O_CREAT);
	struct flock lock = lock_of(keeper_block_base(block));

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	return take_fd(&fd);
}

int keeper_init(uid_t uid_base, uint64_t uid_count, struct options_error *err)
{
	_cleanup_close_ int fd = -1;
	int r = store_check_ids(uid_base, err);

	if (r < 0)
		return r;
	blocks_base = uid_base;
	n_blocks = (uint32_t)(uid_count / BOX_IDS);
	blocks = calloc(n_blocks, sizeof(*blocks));
	r = blocks ? 0 : -ENOMEM;
	for (uint32_t i = 0; blocks && i < n_blocks; i++)
		blocks[i] = FREE;
	if (r == 0 && mkdir(BLOCKS_DIR, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0) {
		fd = open_file(O_RDWR | O_CREAT);
		r = MIN(fd, 0);
	}
	if (r < 0)
		snprintf(err->text, sizeof(err->text),
			 "%s, where mounts agree on the user ids of their boxes: %s", BLOCKS_FILE,
			 strerror(-r));
	return r;
}

uid_t keeper_block_base(uint32_t block)
{
	return blocks_base + block * BOX_IDS;
}

/* The next free one after the last given out, so that an id comes back as late as can be. */
uint32_t keeper_block_take(void)
{
	uint32_t found = 0;
	int r = -EAGAIN;

	pthread_mutex_lock(&blocks_lock);
	for (uint32_t i = 1; i < n_blocks && !found; i++) {
		uint32_t b = 1 + (last_block + i - 1) % (n_blocks - 1);

		if (blocks[b] != FREE)
			continue;
		r = claim(b);
		if (r >= 0) {
			blocks[b] = r;
			found = b;
		} else if (r != -EAGAIN) {
			break;
		}
	}
	if (found)
		last_block = found;
	pthread_mutex_unlock(&blocks_lock);
	if (!found && r != -EAGAIN)
		log_error("claim a block of user ids in %s: %s", BLOCKS_FILE, strerror(-r));
	return found;
}

int keeper_block_lock(uint32_t block)
{
	int fd;

	pthread_mutex_lock(&blocks_lock);
	fd = blocks[block];
	pthread_mutex_unlock(&blocks_lock);
	return fd;
}

void keeper_block_adopt(uint32_t block)
{
	int fd;

	if (!block || block >= n_blocks)
		return;
	/* Nobody has it where the keeper is of an older program. */
	fd = claim(block);
	pthread_mutex_lock(&blocks_lock);
	blocks[block] = fd < 0 ? USED : fd;
	pthread_mutex_unlock(&blocks_lock);
}

void keeper_block_free(struct box *box)
{
	int fd = -1;

	pthread_mutex_lock(&blocks_lock);
	if (box->block && box->block < n_blocks) {
		fd = blocks[box->block];
		blocks[box->block] = FREE;
	}
	pthread_mutex_unlock(&blocks_lock);
	if (fd >= 0)
		close(fd);
	box->block = 0;
}

int keeper_blocks_in_use(uid_t base, uint64_t count)
{
	_cleanup_close_ int fd = open_file(O_RDWR);
	int n = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	/* One by one: asked for many, the kernel tells of any of them. */
	for (uint64_t id = base; id < base + count; id += BOX_IDS) {
		struct flock lock = lock_of((uid_t)id);

		if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
			return -errno;
		n += lock.l_type != F_UNLCK;
	}
	return n;
}
