/* SPDX-License-Identifier: MIT */
/*
 * The empty folders of the image's root, and the links that lead into /usr. Everything that is
 * mounted over when a box starts (proc, dev, run, usr, …) needs its folder here.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/accounts.h"
#include "image/copy.h"
#include "image/image.h"
#include "image/machine.h"

struct folder_row {
	const char *path;
	mode_t mode;
	const char *group; /* its group, if the machine has it; NULL: root */
	unsigned families;
	const char *why;
};

/* Parents before children. */
static const struct folder_row folders[] = {
	{ "usr", 0755, NULL, ANY, "mount point" },
	{ "proc", 0555, NULL, ANY, "mount point" },
	{ "sys", 0555, NULL, ANY, "mount point" },
	{ "dev", 0755, NULL, ANY, "mount point" },
	{ "run", 0755, NULL, ANY, "mount point" },
	{ "tmp", 01777, NULL, ANY, "mount point or plain" },
	{ "workspace", 0755, NULL, ANY, "mount point" },
	{ "mnt", 0755, NULL, ANY, "buckets are mounted below it" },
	{ "media", 0755, NULL, ANY, "as usual" },
	{ "boot", 0755, NULL, ANY, "as usual" },
	{ "home", 0755, NULL, ANY, "as usual, empty" },
	{ "root", 0700, NULL, ANY, "as usual, empty" },
	{ "opt", 0755, NULL, ANY, "as usual, empty" },
	{ "srv", 0755, NULL, ANY, "as usual, empty" },
	{ "etc", 0755, NULL, ANY, "filled below" },
	{ "etc/opt", 0755, NULL, ANY, "as usual, empty" },
	{ "etc/skel", 0755, NULL, ANY, "adduser fails without" },
	{ "etc/default", 0755, NULL, ANY, "packages write into it" },
	{ "etc/profile.d", 0755, NULL, ANY, "packages write into it" },
	{ "etc/sudoers.d", 0750, NULL, ANY, "sudo reads it" },
	{ "etc/systemd", 0755, NULL, ANY, "packages write into it" },
	{ "etc/systemd/system", 0755, NULL, ANY, "packages write into it" },
	{ "etc/ssl", 0755, NULL, ANY, "see the whitelist" },
	{ "etc/ssl/private", 0710, "ssl-cert", DPKG, "packages write into it" },
	{ "etc/apt", 0755, NULL, DPKG, "see the whitelist" },
	{ "etc/apt/auth.conf.d", 0755, NULL, DPKG, "apt looks into it" },
	{ "etc/apt/apt.conf.d", 0755, NULL, DPKG, "see generate.c" },
	{ "var", 0755, NULL, ANY, "filled below" },
	{ "var/backups", 0755, NULL, DPKG, "as usual, empty" },
	{ "var/cache", 0755, NULL, ANY, "as usual, empty" },
	{ "var/cache/debconf", 0755, NULL, DPKG, "debconf fails without" },
	{ "var/cache/apt", 0755, NULL, DPKG, "apt" },
	{ "var/cache/apt/archives", 0755, NULL, DPKG, "apt" },
	{ "var/cache/apt/archives/partial", 0700, NULL, DPKG, "apt" },
	{ "var/cache/pacman", 0755, NULL, PACMAN, "pacman" },
	{ "var/cache/pacman/pkg", 0755, NULL, PACMAN, "pacman" },
	{ "var/lib", 0755, NULL, ANY, "filled below" },
	{ "var/lib/misc", 0755, NULL, ANY, "as usual, empty" },
	{ "var/lib/pam", 0755, NULL, DPKG, "pam-auth-update" },
	{ "var/lib/apt", 0755, NULL, DPKG, "apt" },
	{ "var/lib/apt/lists", 0755, NULL, DPKG, "apt: filled by update inside" },
	{ "var/lib/apt/lists/partial", 0700, NULL, DPKG, "apt" },
	{ "var/lib/pacman", 0755, NULL, PACMAN, "see packages.c" },
	{ "var/lib/pacman/sync", 0755, NULL, PACMAN, "pacman: filled by -Sy inside" },
	{ "var/local", 02775, "staff", DPKG, "as usual, empty" },
	{ "var/log", 0755, NULL, ANY, "as usual, empty" },
	{ "var/log/apt", 0755, NULL, DPKG, "apt" },
	{ "var/mail", 02775, "mail", ANY, "as usual, empty" },
	{ "var/opt", 0755, NULL, ANY, "as usual, empty" },
	{ "var/spool", 0755, NULL, ANY, "as usual, empty" },
	{ "var/tmp", 01777, NULL, ANY, "as usual" },
};

static const struct {
	const char *path, *target;
} links[] = {
	{ "var/run", "/run" },
	{ "var/lock", "/run/lock" },
	{ "var/spool/mail", "../mail" },
	{ "etc/mtab", "../proc/self/mounts" },
};

/* Links of the machine's root into /usr that programs have in their first line. */
static const char *const usr_links[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

static int make_folder(struct build *b, const struct folder_row *row, const char *group_text)
{
	gid_t gid = row->group && group_text ? accounts_find_gid(group_text, row->group) : 0;

	if (!(row->families & b->family))
		return 0;
	if (mkdirat(b->root, row->path, row->mode & 01777) < 0)
		return build_fail(b, errno, "make the folder /%s", row->path);
	if (gid && fchownat(b->root, row->path, 0, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return build_fail(b, errno, "give /%s its owner", row->path);
	if ((row->mode & 02000) && fchmodat(b->root, row->path, row->mode, 0) < 0)
		return build_fail(b, errno, "give /%s its mode", row->path);
	return 0;
}

int build_make_skeleton(struct build *b)
{
	static const struct copy_choice links_only = { .flags = COPY_LINKS_ONLY };
	_cleanup_free_ char *group = NULL;
	int r = 0;

	if (machine_read_file(b, "etc/group", &group, NULL) == -ENOMEM)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(usr_links); i++)
		r = copy_path(b, usr_links[i], &links_only);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++)
		r = make_folder(b, &folders[i], group);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(links); i++)
		r = image_put_link(b, links[i].path, links[i].target);
	return r;
}
