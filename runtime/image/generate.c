/* SPDX-License-Identifier: MIT */
/*
 * Files of the image that are made and not copied: accounts, names, sudo. A table of paths with
 * the function that writes each; what the machine has at that path is read only for accounts.
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
#include "network.h"

/* What the generators read of the machine. */
struct sources {
	const char *passwd;
	const char *group;
};

struct generated_row {
	const char *path;
	mode_t mode;
	const char *group; /* its group, if the machine has it; NULL: root */
	unsigned families;
	const char *needs; /* only if the machine has this; NULL: always */
	void (*make)(struct text *out, const struct sources *from);
	const char *text; /* instead of make */
	const char *why;
};

static void make_passwd(struct text *out, const struct sources *from)
{
	accounts_make_passwd(out, from->passwd);
}

static void make_group(struct text *out, const struct sources *from)
{
	accounts_make_group(out, from->group);
}

static void make_shadow(struct text *out, const struct sources *from)
{
	accounts_make_shadow(out, from->passwd);
}

static void make_gshadow(struct text *out, const struct sources *from)
{
	accounts_make_gshadow(out, from->group);
}

/* Root of the box may do all in it anyway; so may whoever is in the usual group, with no password,
 * because accounts in a box have none. */
static void make_sudoers(struct text *out, const struct sources *from)
{
	static const char *const admins[] = { "sudo", "wheel" };

	text_add_str(out,
		     "Defaults env_reset\n"
		     "Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
		     "/sbin:/bin\"\n"
		     "root ALL=(ALL:ALL) NOPASSWD: ALL\n");
	for (size_t i = 0; i < ARRAY_SIZE(admins); i++)
		if (accounts_find_gid(from->group, admins[i]))
			text_printf(out, "%%%s ALL=(ALL:ALL) NOPASSWD: ALL\n", admins[i]);
	text_add_str(out, "@includedir /etc/sudoers.d\n");
}

static const struct generated_row generated[] = {
	{ "etc/passwd", 0644, NULL, ANY, NULL, make_passwd, NULL, "no users of the machine" },
	{ "etc/group", 0644, NULL, ANY, NULL, make_group, NULL, "no members" },
	{ "etc/shadow", 0640, "shadow", ANY, NULL, make_shadow, NULL, "no password matches" },
	{ "etc/gshadow", 0640, "shadow", ANY, NULL, make_gshadow, NULL, "no password matches" },
	{ "etc/hosts", 0644, NULL, ANY, NULL, NULL,
	  "127.0.0.1 localhost\n127.0.1.1 box\n::1 localhost ip6-localhost ip6-loopback\n",
	  "localhost must resolve without a network" },
	{ "etc/hostname", 0644, NULL, ANY, NULL, NULL, "box\n",
	  "the machine's name stays outside" },
	{ "etc/resolv.conf", 0644, NULL, ANY, NULL, NULL, "nameserver " NET_RESOLVER "\n",
	  "the same in every box; there is nobody where a box has no network" },
	{ "etc/machine-id", 0444, NULL, ANY, NULL, NULL, "", "never the machine's" },
	{ "etc/fstab", 0644, NULL, ANY, NULL, NULL, "", "nothing to mount" },
	{ "etc/environment", 0644, NULL, ANY, NULL, NULL, "", "PAM reads it" },
	{ "etc/subuid", 0644, NULL, ANY, NULL, NULL, "", "adduser adds to it" },
	{ "etc/subgid", 0644, NULL, ANY, NULL, NULL, "", "adduser adds to it" },
	{ "etc/sudoers", 0440, NULL, ANY, "usr/bin/sudo", make_sudoers, NULL, "sudo" },
	{ "etc/apt/apt.conf.d/99sandboxfs", 0644, NULL, DPKG, "usr/bin/apt-get", NULL,
	  "Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n",
	  "two large files less in each box" },
};

static int generate_row(struct build *b, const struct generated_row *row,
			const struct sources *from)
{
	struct stat st, like = { .st_mode = S_IFREG | row->mode };
	_cleanup_text_ struct text made = { 0 };

	if (!(row->families & b->family) ||
	    (row->needs && fstatat(b->machine, row->needs, &st, 0) < 0))
		return 0;
	if (row->group)
		like.st_gid = accounts_find_gid(from->group, row->group);
	if (row->group && !like.st_gid)
		like.st_mode &= ~S_IRWXG; /* no such group here: root's alone */
	if (row->make)
		row->make(&made, from);
	else
		text_add_str(&made, row->text);
	if (made.failed)
		return build_fail(b, ENOMEM, "make /%s", row->path);
	return image_put_file(b, row->path, made.data ? made.data : "", made.len, &like);
}

int build_generate(struct build *b)
{
	_cleanup_free_ char *passwd = NULL, *group = NULL;
	struct sources from;
	int r = machine_read_file(b, "etc/passwd", &passwd, NULL);

	if (r < 0)
		return build_fail(b, -r, "read /etc/passwd");
	r = machine_read_file(b, "etc/group", &group, NULL);
	if (r < 0)
		return build_fail(b, -r, "read /etc/group");
	from = (struct sources){ .passwd = passwd, .group = group };
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(generated); i++)
		r = generate_row(b, &generated[i], &from);
	return r;
}
