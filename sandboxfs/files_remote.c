/* SPDX-License-Identifier: MIT */
/*
 * Which requests ask a bucket, told from their bytes (Documentation/filesystems/fuse/fuse.rst and
 * <linux/fuse.h>). All nodes that a request names are looked at; FORGET asks nobody.
 *
 * Locks: files.lock for the devices; the rest is of one thread, or does not change.
 */
#include <linux/fuse.h>
#include <string.h>

#include "files_internal.h"

enum { LIKELY = 64 };

static _Thread_local bool may_wait, again;
static _Thread_local struct files_remote_key again_key;

/* The newest devices of buckets. */
static struct {
	dev_t dev[LIKELY];
	unsigned int next;
} likely;

void files_may_wait(void)
{
	may_wait = true;
}

bool remote_may_wait(void)
{
	return may_wait;
}

void remote_again(fuse_req_t req, const struct files_volume *vol, dev_t dev)
{
	again_key = (struct files_remote_key){ .box = vol->box, .dev = dev };
	again = true;
	fuse_reply_none(req);
}

bool files_ask_again(struct files_remote_key *key)
{
	bool was = again;

	*key = again_key;
	again = false;
	return was;
}

void remote_note(dev_t dev)
{
	if (remote_is_likely(dev))
		return;
	pthread_mutex_lock(&files.lock);
	likely.dev[likely.next++ % LIKELY] = dev;
	pthread_mutex_unlock(&files.lock);
}

bool remote_is_likely(dev_t dev)
{
	bool found = false;

	pthread_mutex_lock(&files.lock);
	for (unsigned int i = 0; i < LIKELY && !found; i++)
		found = likely.dev[i] == dev && dev;
	pthread_mutex_unlock(&files.lock);
	return found;
}

/* The second node of a request that has two, 0: it has one. */
static uint64_t second_node(const struct fuse_in_header *head, size_t size)
{
	const void *body = head + 1;

	size -= sizeof(*head);
	switch (head->opcode) {
	case FUSE_RENAME:
	case FUSE_LINK:
		/* Both begin with it. */
		return size >= sizeof(uint64_t) ? *(const uint64_t *)body : 0;
	case FUSE_RENAME2:
		return size >= sizeof(struct fuse_rename2_in)
			       ? ((const struct fuse_rename2_in *)body)->newdir
			       : 0;
	case FUSE_COPY_FILE_RANGE:
		return size >= sizeof(struct fuse_copy_file_range_in)
			       ? ((const struct fuse_copy_file_range_in *)body)->nodeid_out
			       : 0;
	default:
		return 0;
	}
}

static bool is_remote(uint64_t node, struct files_remote_key *key)
{
	const struct files_inode *inode;

	if (!files_owns(node))
		return false;
	inode = inode_of(node);
	*key = (struct files_remote_key){ .box = inode->vol->box, .dev = inode->dev };
	return inode->remote;
}

bool files_remote_key(const void *request, size_t size, struct files_remote_key *key)
{
	const struct fuse_in_header *head = request;

	if (size < sizeof(*head) || head->opcode == FUSE_FORGET ||
	    head->opcode == FUSE_BATCH_FORGET || head->opcode == FUSE_INTERRUPT)
		return false;
	return is_remote(head->nodeid, key) || is_remote(second_node(head, size), key);
}
