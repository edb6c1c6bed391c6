/* SPDX-License-Identifier: MIT */
/*
 * The tables of inodes: one inode a file, one place an inode; a directory that the box moves is a
 * new inode, one that is renamed through the mount is not; nothing is left when all is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxfs/files_internal.h"

static struct files_volume *vol;

static int make_volume(void **state)
{
	(void)state;
	vol = files_volume_new(7, FILES_WORKSPACE);
	return vol ? 0 : -1;
}

static int drop_volume(void **state)
{
	struct files_counts counts;

	(void)state;
	files_volume_put(vol);
	files_count(&counts);
	assert_int_equal(counts.inodes, 0);
	return 0;
}

static struct found object(ino_t ino, mode_t type)
{
	return (struct found){
		.fd = -1,
		.stx = { .stx_ino = ino, .stx_mode = type, .stx_dev_minor = 5 },
	};
}

static struct files_inode *obtain(struct files_inode *dir, const char *name, ino_t ino, mode_t type)
{
	struct found found = object(ino, type);
	struct files_inode *inode = inode_obtain(dir, name, &found);

	assert_non_null(inode);
	assert_true(files_owns(inode_id(inode)));
	assert_ptr_equal(inode_of(inode_id(inode)), inode);
	return inode;
}

static void renamed(struct files_inode *dir, const char *name, struct files_inode *to,
		    const char *new_name, bool exchange)
{
	inode_renamed(dir, name, to, new_name, strdup(name), strdup(new_name), exchange);
}

static void a_file_is_one_inode(void **state)
{
	struct files_inode *d = obtain(vol->root, "d", 2, S_IFDIR);
	struct files_inode *f = obtain(vol->root, "f", 3, S_IFREG);

	(void)state;
	assert_ptr_equal(obtain(d, "hard", 3, S_IFREG), f);
	assert_ptr_not_equal(obtain(d, "x", 3, S_IFSOCK), f);
	assert_ptr_equal(f->parent, d);
	assert_string_equal(f->name, "hard");
	inode_forget(f, 2);
	inode_forget(inode_of(inode_id(obtain(d, "x", 3, S_IFSOCK))), 2);
	inode_forget(d, 1);
}

static void a_handle_tells_generations_apart(void **state)
{
	struct found old = object(3, S_IFREG), new = object(3, S_IFREG);
	struct files_inode *a, *b;

	(void)state;
	old.id = (struct file_id){ .type = 1, .len = 2, .bytes = "a" };
	new.id = (struct file_id){ .type = 1, .len = 2, .bytes = "b" };
	a = inode_obtain(vol->root, "f", &old);
	b = inode_obtain(vol->root, "f", &new);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(inode_obtain(vol->root, "f", &old), a);
	inode_forget(a, 2);
	inode_forget(b, 1);
}

static void a_directory_moved_by_the_box_is_new(void **state)
{
	struct files_inode *a = obtain(vol->root, "a", 2, S_IFDIR);
	struct files_inode *b = obtain(a, "b", 3, S_IFDIR);
	struct files_inode *c = obtain(b, "c", 4, S_IFDIR), *moved, *inner;

	(void)state;
	assert_int_equal(inode_depth(c), 3);
	moved = obtain(vol->root, "b", 3, S_IFDIR);
	assert_ptr_not_equal(moved, b);
	inner = obtain(moved, "c", 4, S_IFDIR);
	assert_ptr_not_equal(inner, c);
	assert_int_equal(inode_depth(inner), 2);
	assert_int_equal(inode_depth(c), 3); /* who stands in it climbs as the kernel does */
	assert_ptr_equal(obtain(vol->root, "b", 3, S_IFDIR), moved);
	/* Another name in the same directory changes no depth. */
	assert_ptr_equal(obtain(vol->root, "bb", 3, S_IFDIR), moved);
	inode_forget(c, 1);
	inode_forget(inner, 1);
	inode_forget(moved, 3);
	inode_forget(b, 1);
	inode_forget(a, 1);
}

static void a_rename_moves_the_inode(void **state)
{
	struct files_inode *a = obtain(vol->root, "a", 2, S_IFDIR);
	struct files_inode *b = obtain(a, "b", 3, S_IFDIR);
	struct files_inode *c = obtain(b, "c", 4, S_IFDIR);
	char path[PATH_MAX];

	(void)state;
	renamed(a, "b", vol->root, "z", false);
	assert_int_equal(inode_depth(c), 2);
	assert_int_equal(inode_path(c, path), 0);
	assert_string_equal(path, "z/c");
	assert_ptr_equal(obtain(vol->root, "z", 3, S_IFDIR), b);
	renamed(vol->root, "z", vol->root, "a", true);
	assert_string_equal(a->name, "z");
	assert_string_equal(b->name, "a");
	assert_int_equal(inode_path(c, path), 0);
	assert_string_equal(path, "a/c");
	renamed(vol->root, "nothing", a, "x", false);
	inode_forget(c, 1);
	inode_forget(b, 2);
	inode_forget(a, 1);
}

static void each_name_of_a_link_is_an_inode(void **state)
{
	struct files_inode *d = obtain(vol->root, "d", 2, S_IFDIR);
	struct files_inode *l = obtain(vol->root, "l", 3, S_IFLNK);
	struct files_inode *m = obtain(d, "l", 3, S_IFLNK);

	(void)state;
	assert_ptr_not_equal(l, m);
	assert_ptr_equal(obtain(vol->root, "l", 3, S_IFLNK), l);
	assert_ptr_equal(obtain(d, "l", 3, S_IFLNK), m);
	assert_int_equal(inode_depth(l->parent), 0);
	assert_int_equal(inode_depth(m->parent), 1);
	inode_forget(l, 2);
	inode_forget(m, 2);
	inode_forget(d, 1);
}

static void parents_stay_as_long_as_children(void **state)
{
	enum { DEEP = 3000 };
	struct files_inode *dir = vol->root, *first = NULL;
	struct files_counts counts;

	(void)state;
	for (int i = 0; i < DEEP; i++) {
		struct files_inode *next = obtain(dir, "d", 100 + i, S_IFDIR);

		if (i > 0)
			inode_forget(dir, 1);
		else
			first = next;
		dir = next;
	}
	assert_int_equal(inode_depth(dir), DEEP);
	assert_int_equal(first->nlookup, 0);
	files_count(&counts);
	assert_int_equal(counts.inodes, DEEP + 1);
	inode_forget(dir, 1); /* and all above it */
	files_count(&counts);
	assert_int_equal(counts.inodes, 1);
}

/* Random lookups, moves and forgets against a count of what the kernel holds. */
static void nothing_is_lost_or_left(void **state)
{
	enum { KINDS = 3, OBJECTS = 40, STEPS = 60000 };
	static const mode_t types[KINDS] = { S_IFDIR, S_IFREG, S_IFLNK };
	struct files_inode *held[256] = { 0 };
	unsigned int seed = 3;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		unsigned int slot = rand_r(&seed) % ARRAY_SIZE(held), n = rand_r(&seed) % OBJECTS;
		struct files_inode *dir = held[rand_r(&seed) % ARRAY_SIZE(held)];
		char name[8], other[8];

		if (!dir || !S_ISDIR(dir->type))
			dir = vol->root;
		snprintf(name, sizeof(name), "n%u", rand_r(&seed) % 30);
		snprintf(other, sizeof(other), "n%u", rand_r(&seed) % 30);
		if (rand_r(&seed) % 8 == 0) {
			/* The kernel never moves a directory below itself. */
			if (strcmp(name, other))
				renamed(dir, name, dir, other, rand_r(&seed) % 2);
		} else if (held[slot]) {
			inode_forget(held[slot], 1);
			held[slot] = NULL;
		} else {
			mode_t type = types[n % KINDS];

			for (struct files_inode *up = dir; up; up = up->parent) {
				if (up->ino == 1000 + n)
					type = S_IFREG; /* no loops in a filesystem */
			}
			held[slot] = obtain(dir, name, 1000 + n, type);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		if (held[i])
			inode_forget(held[i], 1);
	}
}

static void shown_numbers_are_apart(void **state)
{
	(void)state;
	assert_true(inode_shown_ino(vol, 1, 1) >> 63);
	assert_int_not_equal(inode_shown_ino(vol, 1, 2), inode_shown_ino(vol, 2, 1));
	assert_int_equal(inode_shown_ino(vol, 1, 2), inode_shown_ino(vol, 1, 2));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_volume, drop_volume)
	const struct CMUnitTest tests[] = {
		CASE(a_file_is_one_inode),
		CASE(a_handle_tells_generations_apart),
		CASE(a_directory_moved_by_the_box_is_new),
		CASE(a_rename_moves_the_inode),
		CASE(each_name_of_a_link_is_an_inode),
		CASE(parents_stay_as_long_as_children),
		CASE(nothing_is_lost_or_left),
		CASE(shown_numbers_are_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
