/* SPDX-License-Identifier: MIT */
/*
 * What kind of machine this is: who keeps its package list, where its vendor keeps defaults, and
 * whether its programs all lie below /usr; and reading its files. Only looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/image.h"
#include "image/machine.h"

enum { MAX_TEXT = 64 << 20 };

/* The machine's paths are looked up below its root, links too. */
#define INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* The first that is there counts. */
static const struct {
	const char *path;
	enum family family;
} package_databases[] = {
	{ "var/lib/dpkg/status", DPKG },
	{ "usr/lib/sysimage/rpm", RPM },
	{ "var/lib/rpm", RPM },
	{ "var/lib/pacman/local", PACMAN },
};

/* Folders that a machine of today keeps in /usr, with a link in the root. */
static const char *const merged_names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

int machine_read_open(int fd, char **data, size_t *len, struct stat *st)
{
	_cleanup_free_ char *text = NULL;
	ssize_t n;

	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	if (st->st_size > MAX_TEXT)
		return -EFBIG;
	text = malloc(st->st_size + 1);
	if (!text)
		return -ENOMEM;
	n = read_full(fd, text, st->st_size);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	if (len)
		*len = n;
	*data = take_ptr(text);
	return 0;
}

int machine_read_file(const struct build *b, const char *path, char **data, size_t *len)
{
	_cleanup_close_ int fd = open_how_at(b->machine, path, O_RDONLY | O_NONBLOCK, 0, INSIDE);
	struct stat st;

	return fd < 0 ? fd : machine_read_open(fd, data, len, &st);
}

int machine_read_plain(const struct build *b, const char *path, char **data, size_t *len,
		       struct stat *st)
{
	_cleanup_close_ int fd =
		open_how_at(b->machine, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, INSIDE);

	return fd < 0 ? fd : machine_read_open(fd, data, len, st);
}

static bool exists(const struct build *b, const char *path)
{
	struct stat st;

	return fstatat(b->machine, path, &st, 0) == 0;
}

static int check_merged(struct build *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(merged_names); i++) {
		struct stat st;

		if (fstatat(b->machine, merged_names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		text_printf(
			&b->why,
			"this machine keeps /%s beside /usr instead of in it, and the image `host` "
			"shows only /usr: import an image (cp image.tar "
			"MOUNTPOINT/.sandboxfs/images/NAME) and use that one",
			merged_names[i]);
		return -ENOTSUP;
	}
	if (!exists(b, "usr/bin/env"))
		return build_fail(b, ENOENT,
				  "use this machine's /usr, which has no bin/env "
				  "(import an image instead)");
	return 0;
}

/* True if the word is in the value of ID or ID_LIKE of an os-release(5) text. */
bool os_release_names(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *p, *end;

		line += *line == '\n';
		if (!strncmp(line, "ID=", 3))
			p = line + 3;
		else if (!strncmp(line, "ID_LIKE=", 8))
			p = line + 8;
		else
			continue;
		for (end = p + strcspn(p, "\n"); p < end; p += strcspn(p, " \"'\n")) {
			p += strspn(p, " \"'");
			if (p + len <= end && !strncmp(p, word, len) && strchr(" \"'\n", p[len]))
				return true;
		}
	}
	return false;
}

/* openSUSE and ostree keep the defaults that they ship in usr/etc: nothing local lies there. */
static bool has_vendor_etc(struct build *b)
{
	_cleanup_free_ char *release = NULL;

	if (exists(b, "run/ostree-booted") || exists(b, "ostree/repo"))
		return true;
	if (machine_read_file(b, "etc/os-release", &release, NULL) < 0)
		return false;
	return os_release_names(release, "suse") || os_release_names(release, "opensuse");
}

int build_check_machine(struct build *b)
{
	int r = check_merged(b);

	if (r < 0)
		return r;
	b->family = UNKNOWN;
	for (size_t i = 0; i < ARRAY_SIZE(package_databases); i++) {
		if (!exists(b, package_databases[i].path))
			continue;
		b->family = package_databases[i].family;
		build_note(b, "# package database: /%s", package_databases[i].path);
		break;
	}
	b->vendor_etc = has_vendor_etc(b);
	return 0;
}
