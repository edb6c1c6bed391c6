/* SPDX-License-Identifier: MIT */
/*
 * Users of a box, as its account files have them. Must not wait for the box: an open that would
 * (a FIFO, a lease) fails, and a file of another filesystem is none. A row that is not well-formed
 * is not there. One thread, no locks.
 */
#include "keeper/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/text.h"
#include "runtime.h"

enum {
	FILE_BYTES_MAX = 1 << 20, /* what lies behind that is not looked at */
	PASSWD_FIELDS = 7,
	PASSWD_FIELDS_MIN = 4, /* home and shell may be missing */
	GROUP_FIELDS = 4,
};

/* The lines of an account file; each is ended by a NUL when it is given out. */
struct rows {
	char *data, *at, *end;
};

static void rows_close(struct rows *rows)
{
	free(rows->data);
}

#define _cleanup_rows_ __attribute__((cleanup(rows_close)))

/* What cannot be read is empty. */
static void rows_open(struct rows *rows, const struct box *box, const char *path)
{
	/* A file on a bucket could make us wait for a network. */
	_cleanup_close_ int fd =
		open_how_at(box->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
			    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	struct stat st;
	ssize_t n;

	*rows = (struct rows){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return;
	rows->data = malloc((size_t)MIN(st.st_size, FILE_BYTES_MAX) + 1);
	if (!rows->data)
		return;
	n = read_full(fd, rows->data, (size_t)MIN(st.st_size, FILE_BYTES_MAX));
	rows->at = rows->data;
	rows->end = rows->data + MAX(n, 0);
	/* The last line may lack its newline, but not its second half. */
	if (n == FILE_BYTES_MAX)
		rows->end = memrchr(rows->data, '\n', (size_t)n);
	if (!rows->end)
		rows->end = rows->data;
}

/* The next line without NULs in it, or NULL. */
static char *rows_next(struct rows *rows)
{
	while (rows->at < rows->end) {
		char *line = rows->at, *end = memchr(line, '\n', rows->end - line);

		if (!end)
			end = rows->end;
		rows->at = end + 1;
		*end = '\0';
		if (strlen(line) == (size_t)(end - line))
			return line;
	}
	return NULL;
}

/* Cuts a line at its colons. The number of fields; what is behind the last of max is dropped. */
static int split_fields(char *line, char **fields, int max)
{
	int n = 0;

	while (line && n < max)
		fields[n++] = strsep(&line, ":");
	return n;
}

static bool is_user_name(const char *name)
{
	/* Rows of NIS begin with a sign. */
	return name_is_valid(name) && *name != '+' && *name != '-' && *name != '#' &&
	       !strpbrk(name, ":,");
}

static bool is_number(const char *name)
{
	return *name && name[strspn(name, "0123456789")] == '\0';
}

static int parse_id(const char *text, uint32_t *id)
{
	uint64_t value;

	if (parse_u64(text, 0, BOX_IDS - 1, &value) < 0)
		return -EINVAL;
	*id = (uint32_t)value;
	return 0;
}

static void copy_path(char *to, size_t size, const char *path, const char *otherwise)
{
	snprintf(to, size, "%s", *path == '/' && strlen(path) < size ? path : otherwise);
}

/* The user of that name, or with NULL of that number, from the first row that has it. 0, -ENOENT,
 * -EINVAL: the row has an id that no box has. */
static int find_in_passwd(const struct box *box, const char *name, uint32_t number,
			  struct box_user *out)
{
	_cleanup_rows_ struct rows rows;
	char *line, *f[PASSWD_FIELDS];

	rows_open(&rows, box, "etc/passwd");
	while ((line = rows_next(&rows))) {
		int n = split_fields(line, f, PASSWD_FIELDS);
		uint32_t uid, gid;
		bool valid;

		if (n < PASSWD_FIELDS_MIN || !is_user_name(f[0]) || (name && strcmp(f[0], name)))
			continue;
		valid = parse_id(f[2], &uid) == 0 && parse_id(f[3], &gid) == 0;
		if (!valid && name)
			return -EINVAL;
		if (!valid || (!name && uid != number))
			continue;
		snprintf(out->name, sizeof(out->name), "%s", f[0]);
		out->uid = uid;
		out->gid = gid;
		copy_path(out->home, sizeof(out->home), n > 5 ? f[5] : "", "/");
		copy_path(out->shell, sizeof(out->shell), n > 6 ? f[6] : "", "");
		return 0;
	}
	return -ENOENT;
}

static bool list_has(char *list, const char *name)
{
	char *member;

	while ((member = strsep(&list, ","))) {
		if (!strcmp(member, name))
			return true;
	}
	return false;
}

static void add_group(struct box_user *user, uint32_t gid)
{
	for (uint32_t i = 0; i < user->n_groups; i++) {
		if (user->groups[i] == gid)
			return;
	}
	if (user->n_groups < INIT_MAX_GROUPS)
		user->groups[user->n_groups++] = gid;
}

static void find_groups(const struct box *box, struct box_user *user)
{
	_cleanup_rows_ struct rows rows;
	char *line, *f[GROUP_FIELDS];
	uint32_t gid;

	rows_open(&rows, box, "etc/group");
	while ((line = rows_next(&rows))) {
		if (split_fields(line, f, GROUP_FIELDS) == GROUP_FIELDS &&
		    parse_id(f[2], &gid) == 0 && list_has(f[3], user->name))
			add_group(user, gid);
	}
}

/* A group of the box by its name, or a number. */
static int find_group(const struct box *box, const char *name, uint32_t *gid)
{
	_cleanup_rows_ struct rows rows = { 0 };
	char *line, *f[GROUP_FIELDS];

	if (is_number(name))
		return parse_id(name, gid);
	if (!is_user_name(name))
		return -EINVAL;
	rows_open(&rows, box, "etc/group");
	while ((line = rows_next(&rows))) {
		if (split_fields(line, f, GROUP_FIELDS) >= GROUP_FIELDS - 1 && !strcmp(f[0], name))
			return parse_id(f[2], gid);
	}
	return -ENOENT;
}

static int find_account(const struct box *box, const char *name, struct box_user *out)
{
	bool by_number = !name || !*name || is_number(name);
	uint32_t number = 0;
	int r;

	*out = (struct box_user){ .home = "/" };
	if (by_number ? name && *name && parse_id(name, &number) < 0 : !is_user_name(name))
		return -EINVAL;
	r = find_in_passwd(box, by_number ? NULL : name, number, out);
	if (r == -ENOENT && (by_number || !strcmp(name, "root"))) {
		out->uid = out->gid = number;
		if (number)
			snprintf(out->name, sizeof(out->name), "%u", number);
		else
			snprintf(out->name, sizeof(out->name), "root");
		add_group(out, out->gid);
		return 0;
	}
	if (r < 0)
		return r;
	add_group(out, out->gid);
	find_groups(box, out);
	return 0;
}

int user_find(const struct box *box, const char *name, struct box_user *out)
{
	char account[64];
	const char *group;
	size_t len;
	int r;

	if (!name || !*name)
		name = box->set.user ? box->set.user : "";
	group = strchr(name, ':');
	len = group ? (size_t)(group - name) : strlen(name);
	if (len >= sizeof(account) || (group && !len))
		return -EINVAL;
	memcpy(account, name, len);
	account[len] = '\0';
	r = find_account(box, account, out);
	if (r < 0 || !group)
		return r;
	/* As with a container's USER: the group that is named, and no others. */
	r = find_group(box, group + 1, &out->gid);
	out->n_groups = 0;
	add_group(out, out->gid);
	return r;
}
