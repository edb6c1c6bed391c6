/* SPDX-License-Identifier: MIT */
/* The texts of the `host` image: accounts, nsswitch, URLs, package lists, the never-list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "image/accounts.h"
#include "image/conffiles.h"
#include "image/filter.h"
#include "image/machine.h"
#include "image/packages.h"
#include "image/whitelist.h"

static const char passwd[] = "root:x:0:0:The Boss:/var/roothome:/bin/bash\n"
			     "www-data:x:33:33::/var/www:/usr/sbin/nologin\n"
			     "alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n"
			     "nobody:$6$hash:65534:65534::/nonexistent:/bin/false\n"
			     "+nis::::::\n"
			     "short:x:5\n"
			     "badid:x:-1:0::/:/bin/sh\n"
			     "huge:x:99999999999999999999:0::/:/bin/sh\n"
			     ":x:7:7::/:/bin/sh\n"
			     "last:x:999:999::/:/bin/sh";
static const char group[] = "root:x:0:\nsudo:x:27:alice,bob\nalice:x:1000:\nshadow:!:42:\n"
			    "nogroup:x:65534:mallory\n";

#define assert_text(t, wanted) assert_string_equal((t).data ? (t).data : "", wanted)

static void passwd_keeps_system_accounts(void **state)
{
	_cleanup_text_ struct text out = { 0 };

	(void)state;
	accounts_make_passwd(&out, passwd);
	assert_text(out, "root:x:0:0:The Boss:/root:/bin/bash\n"
			 "www-data:x:33:33::/var/www:/usr/sbin/nologin\n"
			 "nobody:x:65534:65534::/nonexistent:/bin/false\n"
			 "last:x:999:999::/:/bin/sh\n");
}

static void group_loses_members(void **state)
{
	_cleanup_text_ struct text out = { 0 };

	(void)state;
	accounts_make_group(&out, group);
	assert_text(out, "root:x:0:\nsudo:x:27:\nshadow:x:42:\nnogroup:x:65534:\n");
	assert_int_equal(accounts_find_gid(group, "shadow"), 42);
	assert_int_equal(accounts_find_gid(group, "shad"), 0);
	assert_int_equal(accounts_find_gid(group, "alice"), 0);
}

static void shadow_has_no_password(void **state)
{
	_cleanup_text_ struct text out = { 0 }, gout = { 0 };

	(void)state;
	accounts_make_shadow(&out, "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n");
	assert_text(out, "root:*:19000:0:99999:7:::\n");
	accounts_make_gshadow(&gout, group);
	assert_text(gout, "root:*::\nsudo:*::\nshadow:*::\nnogroup:*::\n");
}

static void empty_accounts(void **state)
{
	_cleanup_text_ struct text out = { 0 };

	(void)state;
	accounts_make_passwd(&out, "");
	accounts_make_group(&out, "\n\n:\n:::::::\n");
	assert_int_equal(out.len, 0);
}

static void check_filter(int (*filter)(struct text *out, const char *in), const char *in,
			 const char *wanted)
{
	_cleanup_text_ struct text out = { 0 };

	assert_int_equal(filter(&out, in), 0);
	assert_text(out, wanted);
}

static void nsswitch_loses_network_sources(void **state)
{
	(void)state;
	check_filter(filter_nsswitch,
		     "# comment: sss\n"
		     "passwd:         files sss systemd\n"
		     "shadow:\tsss\n"
		     "hosts:          mymachines resolve [!UNAVAIL=return] files myhostname dns\n"
		     "hosts: files mdns4_minimal [NOTFOUND=return] dns # trailing sss\n"
		     "automount:      sss\n"
		     "group: sss [SUCCESS=merge] files\n"
		     "sudoers: files sss\n"
		     "\n"
		     "netgroup: nis",
		     "# comment: sss\n"
		     "passwd:         files systemd\n"
		     "shadow: files\n"
		     "hosts:          files myhostname dns\n"
		     "hosts: files mdns4_minimal [NOTFOUND=return] dns\n"
		     "group: files\n"
		     "sudoers: files\n"
		     "\n");
	check_filter(filter_nsswitch, "", "");
	check_filter(filter_nsswitch, "passwd:", "passwd: files\n");
	check_filter(filter_nsswitch, "passwd: [", "passwd: files\n");
	check_filter(filter_nsswitch, "no colon here", "no colon here\n");
}

static void urls_lose_passwords(void **state)
{
	(void)state;
	check_filter(filter_userinfo, "deb https://user:pw@host/debian bookworm main\n",
		     "deb https://host/debian bookworm main\n");
	check_filter(filter_userinfo, "deb [arch=amd64] http://token@host:8080/x@y stable\n",
		     "deb [arch=amd64] http://host:8080/x@y stable\n");
	check_filter(filter_userinfo, "URIs: https://a:b@c@host/ http://plain/\n",
		     "URIs: https://host/ http://plain/\n");
	check_filter(filter_userinfo, "Acquire::http::Proxy \"http://u:p@proxy:3128/\";\n",
		     "Acquire::http::Proxy \"http://proxy:3128/\";\n");
	check_filter(filter_userinfo, "https://user:pa/ss@host/x\n", "https://host/x\n");
	check_filter(filter_userinfo, "http://host:8080/foo@bar\n", "http://host:8080/foo@bar\n");
	check_filter(filter_userinfo, "http://[::1]:80/a@b\n", "http://[::1]:80/a@b\n");
	check_filter(filter_userinfo, "mail me@host, no URL\n", "mail me@host, no URL\n");
	check_filter(filter_userinfo, "x://", "x://");
	check_filter(filter_userinfo, "x://@", "x://");
}

static void repositories_lose_passwords(void **state)
{
	(void)state;
	check_filter(filter_repository,
		     "[a]\nbaseurl=https://u:p@host/$releasever\nusername = me\nPassword=secret\n"
		     "  sslclientkey=/etc/x\ngpgcheck=1\nproxy_password=x",
		     "[a]\nbaseurl=https://host/$releasever\ngpgcheck=1\n");
}

static int join_conffile(void *ctx, const char *path, const char *md5)
{
	text_printf(ctx, "%s=%.4s\n", path, md5);
	return 0;
}

#define MD5_A "0123456789abcdef0123456789abcdef"
#define MD5_B "fedcba9876543210fedcba9876543210"

static void conffiles_are_parsed(void **state)
{
	_cleanup_text_ struct text out = { 0 };
	char status[] = "Package: a\nStatus: install ok installed\nConffiles:\n"
			" /etc/one " MD5_A "\n"
			" /etc/with blank " MD5_B "\n"
			" /etc/old " MD5_A " obsolete\n"
			" /etc/gone " MD5_A " remove-on-upgrade\n"
			" /etc/new newconffile\n"
			" /opt/x " MD5_A "\n"
			" /etc/../root/x " MD5_A "\n"
			" /etc/short 0123\n"
			"Description: x\n /etc/fake " MD5_A "\n\n"
			"Package: b\nConffiles:\n /etc/two " MD5_B;

	(void)state;
	assert_int_equal(conffiles_parse(status, join_conffile, &out), 0);
	assert_text(out, "etc/one=0123\netc/with blank=fedc\netc/two=fedc\n");
}

static void conffiles_back_to_back(void **state)
{
	_cleanup_text_ struct text out = { 0 };
	char status[] = "X: y\nConffiles:\n /etc/a " MD5_A "\nConffiles:\n /etc/b " MD5_B "\n";
	char empty[] = "", odd[] = "\nConffiles:\n";

	(void)state;
	conffiles_parse(status, join_conffile, &out);
	conffiles_parse(empty, join_conffile, &out);
	conffiles_parse(odd, join_conffile, &out);
	assert_text(out, "etc/a=0123\netc/b=fedc\n");
}

static int join_path(void *ctx, const char *path)
{
	text_printf(ctx, "%s\n", path);
	return 0;
}

static void package_lists_are_parsed(void **state)
{
	_cleanup_text_ struct text out = { 0 };
	char dpkg[] = "/.\n/etc\n/etc/cron.d\n/usr\n/usr/bin\n/var/lib/x\n/var/../etc/y";
	char pacman[] = "%FILES%\netc/\netc/foo/\nusr/\nvar/lib/y/\n\n%BACKUP%\n";

	(void)state;
	assert_int_equal(packages_parse_list(dpkg, join_path, &out), 0);
	assert_int_equal(packages_parse_list(pacman, join_path, &out), 0);
	assert_text(out, "etc/cron.d\nvar/lib/x\netc\netc/foo\nvar/lib/y\n");
}

static void distributions_are_told_apart(void **state)
{
	(void)state;
	assert_true(os_release_names("NAME=x\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
				     "suse"));
	assert_true(os_release_names("ID=suse", "suse"));
	assert_false(os_release_names("NAME=suse\nID=suselike\n", "suse"));
	assert_false(os_release_names("", "suse"));
	assert_false(os_release_names("ID_LIKE=\"a", "suse"));
}

static void secrets_are_never_listed(void **state)
{
	static const char *const secrets[] = {
		"etc/shadow",
		"etc/shadow-",
		"etc/gshadow",
		"etc/machine-id",
		"etc/sudoers.d/admin",
		"etc/ssh/ssh_host_ed25519_key",
		"etc/npmrc",
		"etc/pip.conf",
		"etc/gitconfig",
		"etc/munge/munge.key",
		"etc/docker/key.json",
		"etc/apt/auth.conf.d/x.conf",
		"etc/ssl/private/a",
		"etc/pki/tls/private/b.key",
		"etc/krb5.keytab",
		"etc/subuid",
		"etc/pacman.d/gnupg/x",
		"var/cache/debconf/passwords.dat",
	};
	static const char *const harmless[] = {
		"etc/ssl/certs/ca-certificates.crt",
		"etc/apt/sources.list",
		"etc/services",
		"etc/nsswitch.conf",
		"etc/pam.d/common-auth",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
		if (!whitelist_never(secrets[i]))
			fail_msg("%s may be copied", secrets[i]);
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		if (whitelist_never(harmless[i]))
			fail_msg("%s may not be copied", harmless[i]);
	/* and no row of the whitelist is dead because of that list */
	for (size_t i = 0; i < whitelist_rows; i++)
		if (whitelist_never(whitelist[i].path))
			fail_msg("%s is listed and never copied", whitelist[i].path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passwd_keeps_system_accounts),
		cmocka_unit_test(group_loses_members),
		cmocka_unit_test(shadow_has_no_password),
		cmocka_unit_test(empty_accounts),
		cmocka_unit_test(nsswitch_loses_network_sources),
		cmocka_unit_test(urls_lose_passwords),
		cmocka_unit_test(repositories_lose_passwords),
		cmocka_unit_test(conffiles_are_parsed),
		cmocka_unit_test(conffiles_back_to_back),
		cmocka_unit_test(package_lists_are_parsed),
		cmocka_unit_test(distributions_are_told_apart),
		cmocka_unit_test(secrets_are_never_listed),
	};

	return cmocka_run_group_tests_name("image_text", tests, NULL, NULL);
}
