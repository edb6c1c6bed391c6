/* SPDX-License-Identifier: MIT */
/*
 * The sizes of an image's file system. It grows online and cannot shrink, so what is more than the
 * limit is taken: blocks by a file that is allocated and never written (which costs no room in the
 * image), inodes by empty files. Both lie beside the box's folders, where the box has no way to,
 * so whatever it does it gets ENOSPC at the limit. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "disk/image.h"

/* Of the kernel's fs/ext4/ext4.h, which no header of the C library has. */
#define EXT4_RESIZE_FS _IOW('f', 16, uint64_t)

#define BALLAST_BLOCKS "ballast"
#define BALLAST_INODES "ballast.inodes"

enum {
	GROUP_BLOCKS = 32768,
	FIXED_INODES = 13, /* 10 reserved ones, lost+found, both ballasts */
	MAX_BALLAST_INODES = 200000,
	MAX_STEPS = 16,
	NAME_SIZE = 16,
	/* Of ext4_calculate_resv_clusters(). */
	RESERVED_SHARE = 50,
	MOST_RESERVED = 4096,
};

/* What is there: all of the file system, what of it is free, what is ours. In blocks, inodes. */
struct sizes {
	uint64_t blocks, free_blocks, inodes, free_inodes;
	uint64_t our_blocks, our_inodes; /* ballast */
	uint64_t folder_blocks;		 /* of folders that are not the box's */
	uint64_t reserved_blocks;	 /* what ext4 keeps back, whoever asks */
};

static uint64_t blocks_below(int root, const char *name)
{
	struct stat st;

	if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512 / DISK_BLOCK;
}

static const char *inode_name(char name[NAME_SIZE], unsigned int i)
{
	snprintf(name, NAME_SIZE, "%u", i);
	return name;
}

/* They are made and removed at the end, so there are all up to one and none from there on. */
static unsigned int count_ballast_inodes(int folder)
{
	unsigned int least = 0, most = MAX_BALLAST_INODES;

	while (least < most) {
		unsigned int i = (least + most) / 2;
		char name[NAME_SIZE];

		if (faccessat(folder, inode_name(name, i), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			least = i + 1;
		else
			most = i;
	}
	return least;
}

static int get_sizes(int root, struct sizes *s)
{
	_cleanup_close_ int folder =
		openat(root, BALLAST_INODES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statfs fs;

	*s = (struct sizes){ 0 };
	if (fstatfs(root, &fs) < 0)
		return -errno;
	s->blocks = fs.f_blocks;
	/* A full one does not tell. */
	s->reserved_blocks =
		fs.f_bavail ? fs.f_bfree - fs.f_bavail
			    : MIN((uint64_t)fs.f_blocks / RESERVED_SHARE, (uint64_t)MOST_RESERVED);
	s->free_blocks = fs.f_bavail;
	s->inodes = fs.f_files;
	s->free_inodes = fs.f_ffree;
	s->our_blocks = blocks_below(root, BALLAST_BLOCKS);
	s->our_inodes = folder < 0 ? 0 : count_ballast_inodes(folder);
	s->folder_blocks = blocks_below(root, ".") + blocks_below(root, "lost+found") +
			   blocks_below(root, BALLAST_INODES);
	return 0;
}

/* What the box may take, and takes. */
static uint64_t room_blocks(const struct sizes *s)
{
	return s->blocks - s->reserved_blocks - s->folder_blocks - s->our_blocks;
}

static uint64_t room_inodes(const struct sizes *s)
{
	return s->inodes - FIXED_INODES - s->our_inodes;
}

static uint64_t used_blocks(const struct sizes *s)
{
	uint64_t room = room_blocks(s);

	return room - MIN(room, s->free_blocks);
}

static uint64_t used_inodes(const struct sizes *s)
{
	uint64_t room = room_inodes(s);

	return room - MIN(room, s->free_inodes);
}

static int make_ballast(int root)
{
	int fd = openat(root, BALLAST_BLOCKS, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return mkdirat(root, BALLAST_INODES, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int set_ballast_inodes(int root, uint64_t have, uint64_t want)
{
	_cleanup_close_ int folder =
		openat(root, BALLAST_INODES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char name[NAME_SIZE];

	if (folder < 0)
		return -errno;
	for (; have < want; have++) {
		if (mknodat(folder, inode_name(name, (unsigned int)have), S_IFREG, 0) < 0)
			return -errno;
	}
	for (; have > want; have--) {
		if (unlinkat(folder, inode_name(name, (unsigned int)have - 1), 0) < 0)
			return -errno;
	}
	return 0;
}

/* The file's own tables take blocks too, so the aim is reached in a few steps. */
static int set_ballast_blocks(int root, uint64_t room)
{
	_cleanup_close_ int fd = openat(root, BALLAST_BLOCKS, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	struct sizes s;
	struct stat st;
	int r = fd < 0 ? -errno : 0;

	for (int step = 0; step < MAX_STEPS && r == 0; step++) {
		off_t more;

		r = get_sizes(root, &s);
		if (r < 0 || room_blocks(&s) == room)
			break;
		if (fstat(fd, &st) < 0)
			return -errno;
		more = ((off_t)room_blocks(&s) - (off_t)room) * DISK_BLOCK;
		if (more > 0)
			r = fallocate(fd, 0, st.st_size, more) < 0 ? -errno : 0;
		else
			r = ftruncate(fd, MAX(st.st_size + more, 0)) < 0 ? -errno : 0;
	}
	return r;
}

static int grow(int dir, const char *name, int device, int root, uint64_t more_blocks)
{
	_cleanup_close_ int image = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int top = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	uint64_t blocks;

	if (image < 0 || top < 0 || fstat(image, &st) < 0)
		return -errno;
	blocks = (uint64_t)st.st_size / DISK_BLOCK + more_blocks;
	if (ftruncate(image, (off_t)(blocks * DISK_BLOCK)) < 0 ||
	    ioctl(device, LOOP_SET_CAPACITY, 0) < 0 || ioctl(top, EXT4_RESIZE_FS, &blocks) < 0)
		return -errno;
	return 0;
}

static uint64_t missing_blocks(const struct sizes *s, const struct disk_limits *limits)
{
	uint64_t want = limits->bytes / DISK_BLOCK, room = room_blocks(s) + s->our_blocks;
	uint64_t want_inodes = limits->inodes ? limits->inodes : MIN(want, (uint64_t)LEAST_INODES);
	uint64_t has = room_inodes(s) + s->our_inodes;
	uint64_t blocks = room < want ? want - room : 0;

	/* Each group brings as many as the others have. */
	if (has < want_inodes) {
		uint64_t groups = (s->blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS;
		uint64_t each = MAX(s->inodes / MAX(groups, (uint64_t)1), (uint64_t)1);

		blocks = MAX(blocks, ((want_inodes - has) / each + 1) * GROUP_BLOCKS);
	}
	return blocks;
}

/* A part of what is added is the file system's own, so this as well comes near in steps. */
static int make_room(int dir, const char *name, int device, int root,
		     const struct disk_limits *limits)
{
	struct sizes s;
	uint64_t before = 0, extra = 0;
	int r;

	for (int step = 0; step < MAX_STEPS; step++) {
		uint64_t missing;

		r = get_sizes(root, &s);
		if (r < 0)
			return r;
		missing = missing_blocks(&s, limits);
		if (!missing)
			return 0;
		/* A last group too small for its own tables is not made. */
		if (s.blocks == before)
			extra += GROUP_BLOCKS / MAX_STEPS;
		before = s.blocks;
		r = grow(dir, name, device, root, missing + extra);
		if (r < 0)
			return r;
	}
	return -ENOSPC;
}

static int check_use(const struct sizes *s, const struct disk_limits *limits, char *why)
{
	char used[32];

	if (used_blocks(s) > limits->bytes / DISK_BLOCK)
		return disk_say(why, EBUSY, "the box takes %s already: remove files first",
				format_size(used, used_blocks(s) * DISK_BLOCK));
	if (!limits->inodes)
		return 0;
	if (used_inodes(s) > limits->inodes)
		return disk_say(why, EBUSY, "the box has %llu files already: remove some first",
				(unsigned long long)used_inodes(s));
	if (s->inodes - FIXED_INODES > limits->inodes + MAX_BALLAST_INODES)
		return disk_say(
			why, EBUSY,
			"the box's disk was made for %llu files, and cannot be narrowed to "
			"less than %llu: set disk_inodes before the box's first start",
			(unsigned long long)(s->inodes - FIXED_INODES),
			(unsigned long long)(s->inodes - FIXED_INODES - MAX_BALLAST_INODES));
	return 0;
}

static int set_sizes(int dir, const char *name, int device, int root,
		     const struct disk_limits *limits)
{
	struct sizes s;
	int r = make_room(dir, name, device, root, limits);

	if (r == 0)
		r = get_sizes(root, &s);
	if (r == 0) {
		uint64_t all = s.inodes - FIXED_INODES;

		r = set_ballast_inodes(root, s.our_inodes,
				       limits->inodes ? all - limits->inodes : 0);
	}
	/* The empty files' folder may have grown. */
	if (r == 0)
		r = make_room(dir, name, device, root, limits);
	return r == 0 ? set_ballast_blocks(root, limits->bytes / DISK_BLOCK) : r;
}

int image_set_limits(int dir, const char *name, const struct disk_limits *limits, char *why)
{
	_cleanup_close_ int device = -1;
	_cleanup_close_ int root = image_mount(dir, name, &device);
	struct sizes s;
	int r = root < 0 ? root : make_ballast(root);

	if (r == 0)
		r = get_sizes(root, &s);
	if (r < 0)
		return disk_say(why, -r, "the box's disk: %s", strerror(-r));
	r = check_use(&s, limits, why);
	if (r < 0)
		return r;
	r = set_sizes(dir, name, device, root, limits);
	if (r == -EPERM)
		return disk_say(
			why, EPERM,
			"the box's disk has no room for so much, and cannot grow here while "
			"it runs (CAP_SYS_RESOURCE): stop the box first");
	return r < 0 ? disk_say(why, -r, "the size of the box's disk: %s", strerror(-r)) : 0;
}

int image_get_usage(int root, struct disk_usage *usage)
{
	struct sizes s;
	int r = get_sizes(root, &s);

	if (r < 0)
		return r;
	*usage = (struct disk_usage){
		.bytes = used_blocks(&s) * DISK_BLOCK,
		.inodes = used_inodes(&s),
		.limits = { room_blocks(&s) * DISK_BLOCK, room_inodes(&s) },
	};
	return 0;
}
