/* SPDX-License-Identifier: MIT */
/*
 * The key of the `host` image: a hash of what tells one state of the machine's software from
 * another. It is linked into the daemon and computed at each start of a box, so it may only stat:
 * no file is opened, nothing is allocated that grows. No locks.
 */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "runtime.h"

/* Counted up whenever the builder makes another image from the same machine. */
#define IMAGE_FORMAT 2

/*
 * A package manager replaces its database and touches the folders in which programs lie. The
 * content of a folder is not looked at: whoever edits a file below /usr in place by hand changes
 * what every box sees at once, without an image of its own.
 */
static const char *const key_paths[] = {
	"var/lib/dpkg/status",
	"usr/lib/sysimage/rpm/rpmdb.sqlite",
	"var/lib/rpm/rpmdb.sqlite",
	"var/lib/rpm/Packages.db",
	"var/lib/rpm/Packages",
	"var/lib/pacman/local",
	"etc/ld.so.cache",
	"etc/passwd",
	"etc/group",
	"usr/bin",
	"usr/sbin",
	"usr/lib",
	"etc/alternatives",
	"etc/ssl/certs",
};

static void key_add_path(struct text *facts, int root, const char *path)
{
	struct stat st;

	if (fstatat(root, path, &st, 0) < 0) {
		text_printf(facts, "%s -\n", path);
		return;
	}
	text_printf(facts, "%s %ju %ju %jd.%09ld\n", path, (uintmax_t)st.st_ino,
		    (uintmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

int image_key_at(int root, char key[IMAGE_KEY_SIZE])
{
	_cleanup_text_ struct text facts = { 0 };

	text_printf(&facts, "format %d\n", IMAGE_FORMAT);
	for (size_t i = 0; i < sizeof(key_paths) / sizeof(key_paths[0]); i++)
		key_add_path(&facts, root, key_paths[i]);
	/* Twice over different texts: the hash has 64 bits and the key 128. */
	snprintf(key, 17, "%016jx", (uintmax_t)hash_bytes(facts.data, facts.len));
	text_add_str(&facts, "again\n");
	if (facts.failed)
		return -ENOMEM;
	snprintf(key + 16, 17, "%016jx", (uintmax_t)hash_bytes(facts.data, facts.len));
	return 0;
}

int image_host_key(char key[IMAGE_KEY_SIZE])
{
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -errno;
	return image_key_at(root, key);
}
