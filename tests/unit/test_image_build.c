/* SPDX-License-Identifier: MIT */
/*
 * Whole builds of the `host` image from small made-up machines, one of each kind: what comes in,
 * what stays out, what is hidden, what is refused. Needs root (owners, character devices).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "image/image.h"
#include "image/key.h"
#include "tests/lib/scratch.h"

/* md5 of "pristine\n" */
#define MD5_PRISTINE "fa5eb9e64c7ec540f581172e317ada48"

struct machine {
	char top[SCRATCH_SIZE];
	int dir;     /* of top */
	int machine; /* top/machine */
	int root, usrmask;
	char key[IMAGE_KEY_SIZE];
	struct text why;
};

static void put_mode(struct machine *m, const char *path, const char *text, mode_t mode)
{
	char part[256];
	int fd;

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		assert_true(mkdirat(m->machine, part, 0755) == 0 || errno == EEXIST);
	}
	fd = openat(m->machine, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void put(struct machine *m, const char *path, const char *text)
{
	put_mode(m, path, text, 0644);
}

static int set_up(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	umask(0);
	assert_non_null(mkdtemp(scratch_name(m->top)));
	m->dir = open(m->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(m->dir, "machine", 0755), 0);
	m->machine = openat(m->dir, "machine", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	m->root = m->usrmask = -1;
	put_mode(m, "usr/bin/env", "", 0755);
	put_mode(m, "usr/sbin/x", "", 0755);
	assert_int_equal(symlinkat("usr/bin", m->machine, "bin"), 0);
	put(m, "etc/passwd", "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n");
	put(m, "etc/group", "root:x:0:\nshadow:x:42:bob\n");
	put_mode(m, "etc/shadow", "root:$6$REALHASH:1:::::::\n", 0640);
	*state = m;
	return 0;
}

static int tear_down(void **state)
{
	struct machine *m = *state;

	remove_tree_at(AT_FDCWD, m->top);
	close_fd(&m->dir);
	close_fd(&m->machine);
	close_fd(&m->root);
	close_fd(&m->usrmask);
	text_free(&m->why);
	free(m);
	return 0;
}

static int build_with(struct machine *m, struct image_options options)
{
	char machine[SCRATCH_SIZE + 16], out[SCRATCH_SIZE + 16], path[128];
	int r;

	snprintf(machine, sizeof(machine), "%s/machine", m->top);
	snprintf(out, sizeof(out), "%s/images", m->top);
	options.machine = machine;
	text_reset(&m->why);
	r = image_build(&options, out, m->key, &m->why);
	if (r < 0)
		return r;
	close_fd(&m->root);
	close_fd(&m->usrmask);
	snprintf(path, sizeof(path), "images/%s/root", m->key);
	m->root = openat(m->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "images/%s/usrmask", m->key);
	m->usrmask = openat(m->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(m->root >= 0 && m->usrmask >= 0);
	return 0;
}

static void build(struct machine *m)
{
	int r = build_with(m, (struct image_options){ 0 });

	if (r < 0)
		fail_msg("%s", m->why.data);
}

static void assert_file(struct machine *m, const char *path, const char *wanted)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(m->root, path, 1 << 20, &text, NULL);

	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	assert_string_equal(text, wanted);
}

static bool is_in(struct machine *m, const char *path)
{
	struct stat st;

	return fstatat(m->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void assert_absent(struct machine *m, const char *path)
{
	if (is_in(m, path))
		fail_msg("%s is in the image", path);
}

static bool is_opaque(struct machine *m, const char *path)
{
	_cleanup_close_ int fd = openat(m->usrmask, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char value[8];

	return fd >= 0 && fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}

static bool is_whiteout(struct machine *m, const char *path)
{
	struct stat st;

	return fstatat(m->usrmask, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == 0;
}

static void make_debian(struct machine *m)
{
	put(m, "var/lib/dpkg/status",
	    "Package: a\nStatus: install ok installed\nConffiles:\n"
	    " /etc/a/same " MD5_PRISTINE "\n /etc/a/altered " MD5_PRISTINE "\n"
	    " /etc/login.defs " MD5_PRISTINE "\n /etc/ssl/certs/altered.pem " MD5_PRISTINE "\n");
	put(m, "var/lib/dpkg/status-old", "old");
	put_mode(m, "var/lib/dpkg/lock", "", 0640);
	put(m, "var/lib/dpkg/info/a.list", "/.\n/etc/a\n/etc/a/same\n/var/lib/a\n/var/lib/gone\n");
	put(m, "var/lib/a/data", "content");
	put(m, "etc/a/same", "pristine\n");
	put(m, "etc/a/altered", "token=123\n");
	put(m, "etc/login.defs", "altered\n");
}

static void debian_conffiles(void **state)
{
	struct machine *m = *state;

	make_debian(m);
	put(m, "etc/ssl/certs/altered.pem", "altered\n");
	build(m);
	assert_file(m, "etc/a/same", "pristine\n");
	assert_absent(m, "etc/a/altered");
	assert_absent(m, "etc/ssl/certs/altered.pem"); /* not even by the tree's row */
	assert_file(m, "etc/login.defs", "altered\n"); /* the row says so */
	assert_true(is_in(m, "var/lib/a"));
	assert_absent(m, "var/lib/a/data");
	assert_absent(m, "var/lib/gone");
	assert_true(is_in(m, "var/lib/dpkg/info/a.list"));
	assert_absent(m, "var/lib/dpkg/status-old");
	assert_absent(m, "var/lib/dpkg/lock");
}

static void secrets_stay_out(void **state)
{
	static const char *const paths[] = {
		"etc/ssh/ssh_host_rsa_key",
		"etc/ssl/private/x.key",
		"etc/npmrc",
		"etc/pip.conf",
		"etc/gitconfig",
		"etc/apt/auth.conf",
		"etc/apt/auth.conf.d/x",
		"etc/profile.d/x.sh",
		"etc/sudoers.d/bob",
		"etc/munge/munge.key",
		"etc/unknown.conf",
		"home/bob/x",
		"root/.ssh/id",
		"opt/x",
		"var/lib/secret/x",
		"srv/x",
		"var/cache/debconf/passwords.dat",
		/* in folders that are copied: by mode, by content, by name */
		"etc/ssl/certs/mine.pem",
		"etc/ssl/certs/closed.pem",
		"etc/apt/apt.conf.d/closed",
		"etc/ssl/certs/x.key",
	};
	struct machine *m = *state;

	make_debian(m);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		put(m, paths[i], "-----BEGIN PRIVATE KEY-----\n");
	put_mode(m, "etc/ssl/certs/closed.pem", "x\n", 0640);
	put_mode(m, "etc/apt/apt.conf.d/closed", "x\n", 0600);
	put(m, "etc/ssl/certs/good.pem", "-----BEGIN CERTIFICATE-----\n");
	put(m, "etc/machine-id", "deadbeef\n");
	build(m);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_absent(m, paths[i]);
	assert_file(m, "etc/ssl/certs/good.pem", "-----BEGIN CERTIFICATE-----\n");
	assert_file(m, "etc/machine-id", "");
	assert_file(m, "etc/passwd", "root:x:0:0::/root:/bin/sh\n");
	assert_file(m, "etc/shadow", "root:*:19000:0:99999:7:::\n");
	assert_file(m, "etc/group", "root:x:0:\nshadow:x:42:\n");
}

static void owners_modes_times(void **state)
{
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct machine *m = *state;
	struct stat st;

	make_debian(m);
	assert_int_equal(fchownat(m->machine, "etc/a/same", 5, 6, 0), 0);
	assert_int_equal(fchmodat(m->machine, "etc/a/same", 04754, 0), 0);
	assert_int_equal(utimensat(m->machine, "etc/a/same", times, 0), 0);
	assert_int_equal(fchownat(m->machine, "var/lib/a", 7, 8, 0), 0);
	assert_int_equal(fchmodat(m->machine, "var/lib/a", 02775, 0), 0);
	build(m);
	assert_int_equal(fstatat(m->root, "etc/a/same", &st, 0), 0);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_gid, 6);
	assert_int_equal(st.st_mode & 07777, 04754);
	assert_int_equal(st.st_mtim.tv_sec, 1000);
	assert_int_equal(fstatat(m->root, "var/lib/a", &st, 0), 0);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 8);
	assert_int_equal(st.st_mode & 07777, 02775);
	assert_int_equal(fstatat(m->root, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_gid, 42);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(fstatat(m->root, "tmp", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_int_equal(fstatat(m->root, "root", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void links_in_the_image_lead_nowhere(void **state)
{
	struct machine *m = *state;

	/* A link that is copied, and a folder that belongs below it: it must be made neither
	 * through the link on this machine nor make the build fail. */
	make_debian(m);
	put(m, "elsewhere/java/x", "");
	assert_int_equal(mkdirat(m->machine, "etc/ssl", 0755), 0);
	assert_int_equal(symlinkat("/elsewhere", m->machine, "etc/ssl/certs"), 0);
	assert_int_equal(unlinkat(m->machine, "etc/a/same", 0), 0);
	put(m, "var/lib/dpkg/info/b.list", "/etc/ssl/certs/java\n/etc/b\n");
	put(m, "etc/b/x", "");
	build(m);
	assert_true(is_in(m, "etc/ssl/certs"));
	assert_absent(m, "elsewhere");
	assert_true(is_in(m, "etc/b"));
	assert_int_not_equal(access("/elsewhere", F_OK), 0);
}

static void mask_hides_what_is_closed(void **state)
{
	static const char *const masks[] = { "usr/share/mine", "usr/bin/tool", "usr/none/x" };
	static const char *const adds[] = { "etc/npmrc", "etc/site" };
	struct machine *m = *state;

	make_debian(m);
	put(m, "usr/etc/npmrc", "token");
	put(m, "usr/local/etc/npmrc", "token");
	put_mode(m, "usr/lib/closed", "", 0640);
	put_mode(m, "usr/lib/only-run", "", 0711);
	put(m, "usr/lib/closed-dir/x", "");
	put(m, "usr/share/mine/x", "");
	put_mode(m, "usr/bin/tool", "", 0755);
	put(m, "etc/npmrc", "registry=x\n");
	put_mode(m, "etc/site/deep/x", "y\n", 0600);
	assert_int_equal(fchmodat(m->machine, "usr/lib/closed-dir", 0750, 0), 0);
	assert_int_equal(build_with(m, (struct image_options){ .masks = masks,
							       .n_masks = ARRAY_SIZE(masks),
							       .adds = adds,
							       .n_adds = ARRAY_SIZE(adds) }),
			 0);
	assert_true(is_opaque(m, "etc"));
	assert_true(is_opaque(m, "local/etc"));
	assert_true(is_opaque(m, "lib/closed-dir"));
	assert_true(is_opaque(m, "share/mine"));
	assert_false(is_opaque(m, "lib"));
	assert_true(is_whiteout(m, "lib/closed"));
	assert_true(is_whiteout(m, "bin/tool"));
	assert_int_not_equal(faccessat(m->usrmask, "lib/only-run", F_OK, 0), 0);
	assert_int_equal(faccessat(m->usrmask, "sbin/policy-rc.d", X_OK, 0), 0);
	assert_file(m, "etc/npmrc", "registry=x\n");
	assert_file(m, "etc/site/deep/x", "y\n");
}

static void links_in_usr_stay_links(void **state)
{
	struct machine *m = *state;

	/* usr/sbin -> bin: a folder of that name in the mask would hide every program in it */
	make_debian(m);
	assert_int_equal(unlinkat(m->machine, "usr/sbin/x", 0), 0);
	assert_int_equal(unlinkat(m->machine, "usr/sbin", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("bin", m->machine, "usr/sbin"), 0);
	build(m);
	assert_int_not_equal(faccessat(m->usrmask, "sbin", F_OK, AT_SYMLINK_NOFOLLOW), 0);
}

static void fedora(void **state)
{
	struct machine *m = *state;

	put(m, "usr/lib/sysimage/rpm/rpmdb.sqlite", "");
	put(m, "etc/os-release", "ID=fedora\n");
	put(m, "etc/authselect/nsswitch.conf", "passwd: files sss\n");
	assert_int_equal(
		symlinkat("/etc/authselect/nsswitch.conf", m->machine, "etc/nsswitch.conf"), 0);
	put(m, "etc/authselect/system-auth", "auth required pam_unix.so\n");
	put(m, "etc/pam.d/su", "auth include system-auth\n");
	assert_int_equal(
		symlinkat("/etc/authselect/system-auth", m->machine, "etc/pam.d/system-auth"), 0);
	put(m, "etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://u:p@h/\npassword=1\n");
	put(m, "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "-----BEGIN CERTIFICATE-----\n");
	put(m, "etc/pki/tls/private/localhost.key", "-----BEGIN PRIVATE KEY-----\n");
	put(m, "etc/pki/tls/certs/localhost.crt", "x");
	put(m, "usr/etc/x", "");
	assert_int_equal(mkdirat(m->machine, "var", 0755) == 0 || errno == EEXIST, 1);
	put(m, "var/lib/thing/secret", "");
	build(m);
	assert_file(m, "etc/authselect/nsswitch.conf", "passwd: files\n");
	assert_true(is_in(m, "etc/nsswitch.conf"));
	assert_true(is_in(m, "etc/pam.d/system-auth"));
	assert_file(m, "etc/authselect/system-auth", "auth required pam_unix.so\n");
	assert_file(m, "etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://h/\n");
	assert_true(is_in(m, "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"));
	assert_absent(m, "etc/pki/tls/private");
	assert_absent(m, "etc/pki/tls/certs/localhost.crt");
	assert_true(is_in(m, "var/lib/thing"));
	assert_absent(m, "var/lib/thing/secret");
	assert_absent(m, "etc/apt");
	assert_true(is_opaque(m, "etc"));
	assert_int_not_equal(faccessat(m->usrmask, "sbin", F_OK, 0), 0);
}

static void vendor_defaults_in_usr_etc(void **state)
{
	struct machine *m = *state;

	put(m, "usr/lib/sysimage/rpm/Packages.db", "");
	put(m, "etc/os-release", "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n");
	put(m, "usr/etc/tool/same", "default\n");
	put(m, "etc/tool/same", "default\n");
	put(m, "usr/etc/tool/altered", "default\n");
	put(m, "etc/tool/altered", "token\n");
	put(m, "etc/tool/own", "token\n");
	put_mode(m, "usr/etc/shadow", "root:hash\n", 0600);
	build(m);
	assert_false(is_opaque(m, "etc"));
	assert_true(is_whiteout(m, "etc/shadow"));
	assert_file(m, "etc/tool/same", "default\n");
	assert_absent(m, "etc/tool/altered");
	assert_absent(m, "etc/tool/own");
}

static void arch(void **state)
{
	struct machine *m = *state;

	put(m, "var/lib/pacman/local/a-1-1/files", "%FILES%\netc/\nvar/\nvar/lib/a/\nusr/bin/a\n");
	put(m, "var/lib/pacman/sync/core.db", "big");
	put(m, "var/lib/a/x", "");
	put(m, "etc/pacman.d/mirrorlist", "Server = https://u:p@h/$repo\n");
	put(m, "etc/pacman.d/gnupg/x", "secret");
	put(m, "etc/ca-certificates/extracted/tls-ca-bundle.pem", "x");
	assert_int_equal(mkdirat(m->machine, "etc/ssl", 0755), 0);
	assert_int_equal(mkdirat(m->machine, "etc/ssl/certs", 0755), 0);
	assert_int_equal(symlinkat("../../ca-certificates/extracted/tls-ca-bundle.pem", m->machine,
				   "etc/ssl/certs/ca-certificates.crt"),
			 0);
	build(m);
	assert_true(is_in(m, "var/lib/pacman/local/a-1-1/files"));
	assert_absent(m, "var/lib/pacman/sync/core.db");
	assert_true(is_in(m, "var/lib/a"));
	assert_absent(m, "var/lib/a/x");
	assert_absent(m, "etc/pacman.d/gnupg");
	assert_file(m, "etc/pacman.d/mirrorlist", "Server = https://h/$repo\n");
	assert_true(is_in(m, "etc/ssl/certs/ca-certificates.crt"));
	assert_true(is_in(m, "etc/ca-certificates/extracted/tls-ca-bundle.pem"));
}

static void unmerged_usr_is_refused(void **state)
{
	struct machine *m = *state;

	put_mode(m, "lib/libc.so", "", 0755);
	assert_int_equal(build_with(m, (struct image_options){ 0 }), -ENOTSUP);
	assert_non_null(strstr(m->why.data, "/lib beside /usr"));
	assert_non_null(strstr(m->why.data, "import an image"));
	assert_int_not_equal(faccessat(m->dir, m->key, F_OK, 0), 0);
}

static void key_changes_with_the_software(void **state)
{
	struct machine *m = *state;
	char before[IMAGE_KEY_SIZE], after[IMAGE_KEY_SIZE];

	make_debian(m);
	assert_int_equal(image_key_at(m->machine, before), 0);
	assert_int_equal(strlen(before), IMAGE_KEY_SIZE - 1);
	assert_int_equal(image_key_at(m->machine, after), 0);
	assert_string_equal(before, after);
	put(m, "usr/share/doc/x", ""); /* nothing that counts */
	assert_int_equal(image_key_at(m->machine, after), 0);
	assert_string_equal(before, after);
	put_mode(m, "usr/bin/new", "", 0755);
	assert_int_equal(image_key_at(m->machine, after), 0);
	assert_string_not_equal(before, after);
	assert_int_equal(image_key_at(m->machine, before), 0);
	put(m, "var/lib/dpkg/status", "Package: b\n");
	assert_int_equal(image_key_at(m->machine, after), 0);
	assert_string_not_equal(before, after);
}

static void finished_image_is_kept(void **state)
{
	struct machine *m = *state;
	char first[IMAGE_KEY_SIZE];
	int stale;

	make_debian(m);
	build(m);
	memcpy(first, m->key, sizeof(first));
	stale = openat(m->root, "etc/mark", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(stale >= 0);
	close(stale);
	build(m);
	assert_string_equal(first, m->key);
	assert_true(is_in(m, "etc/mark"));
	/* what a builder that died left goes with the next build, a finished image never */
	assert_int_equal(mkdirat(m->dir, "images/.building-x", 0700), 0);
	assert_int_equal(mkdirat(m->dir, "images/.building-x/root", 0700), 0);
	put_mode(m, "usr/bin/new", "", 0755);
	build(m);
	assert_string_not_equal(first, m->key);
	assert_int_not_equal(faccessat(m->dir, "images/.building-x", F_OK, 0), 0);
	assert_int_equal(mkdirat(m->dir, "images", 0700), -1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(debian_conffiles),
		CASE(secrets_stay_out),
		CASE(owners_modes_times),
		CASE(links_in_the_image_lead_nowhere),
		CASE(mask_hides_what_is_closed),
		CASE(links_in_usr_stay_links),
		CASE(fedora),
		CASE(vendor_defaults_in_usr_etc),
		CASE(arch),
		CASE(unmerged_usr_is_refused),
		CASE(key_changes_with_the_software),
		CASE(finished_image_is_kept),
	};

	if (geteuid() != 0) {
		puts("1..0 # skip building an image needs root");
		return 77;
	}
	return cmocka_run_group_tests_name("image_build", tests, NULL, NULL);
}
