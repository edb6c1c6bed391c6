/* SPDX-License-Identifier: MIT */
/*
 * The tables. A row is added here only if every file that it can ever match is of a kind that
 * holds no secret on any machine; what a program writes for its administrator is not.
 */
#include "image/whitelist.h"

#include <fnmatch.h>
#include <string.h>

#include "image/filter.h"

#define TLS "programs check certificates with it"
#define LOADER "the dynamic loader's search path"
#define NAMES "names of numbers"
#define PACKAGES "the package manager inside works as outside"
#define LOCALE "language and time"
#define MARKUP "catalogues of document types, made by packages"

const struct whitelist_row whitelist[] = {
	/* links and the loader */
	{ "etc/alternatives", TAKE_LINKS, NULL, NULL, ANY, "hundreds of links in /usr lead here" },
	{ "etc/ld.so.cache", TAKE_FILE, NULL, NULL, ANY, LOADER },
	{ "etc/ld.so.conf", TAKE_ALTERED, NULL, NULL, ANY, LOADER },
	{ "etc/ld.so.conf.d", TAKE_NAMES, "*.conf", NULL, ANY, LOADER },
	/* names */
	{ "etc/nsswitch.conf", TAKE_FILE, NULL, filter_nsswitch, ANY, "without network accounts" },
	{ "etc/authselect", TAKE_NAMES, "nsswitch.conf", filter_nsswitch, RPM, "the same" },
	{ "etc/protocols", TAKE_FILE, NULL, NULL, ANY, NAMES },
	{ "etc/services", TAKE_FILE, NULL, NULL, ANY, NAMES },
	{ "etc/rpc", TAKE_FILE, NULL, NULL, ANY, NAMES },
	{ "etc/host.conf", TAKE_FILE, NULL, NULL, ANY, "how the resolver reads hosts" },
	/* the system's own name, language, time */
	{ "etc/os-release", TAKE_FILE, NULL, NULL, ANY, "which distribution this is" },
	{ "etc/lsb-release", TAKE_FILE, NULL, NULL, ANY, "which distribution this is" },
	{ "etc/debian_version", TAKE_FILE, NULL, NULL, DPKG, "which distribution this is" },
	{ "etc/issue", TAKE_FILE, NULL, NULL, DPKG, "which distribution this is" },
	{ "etc/redhat-release", TAKE_FILE, NULL, NULL, RPM, "which distribution this is" },
	{ "etc/system-release", TAKE_FILE, NULL, NULL, RPM, "which distribution this is" },
	{ "etc/fedora-release", TAKE_FILE, NULL, NULL, RPM, "which distribution this is" },
	{ "etc/arch-release", TAKE_FILE, NULL, NULL, PACMAN, "which distribution this is" },
	{ "etc/localtime", TAKE_FILE, NULL, NULL, ANY, LOCALE },
	{ "etc/timezone", TAKE_FILE, NULL, NULL, ANY, LOCALE },
	{ "etc/locale.alias", TAKE_FILE, NULL, NULL, ANY, LOCALE },
	{ "etc/locale.gen", TAKE_FILE, NULL, NULL, ANY, LOCALE },
	{ "etc/locale.conf", TAKE_FILE, NULL, NULL, ANY, LOCALE },
	{ "etc/default/locale", TAKE_FILE, NULL, NULL, DPKG, LOCALE },
	/* logging in */
	{ "etc/login.defs", TAKE_ALTERED, NULL, NULL, ANY, "ranges of ids for adduser" },
	{ "etc/default/useradd", TAKE_FILE, NULL, NULL, ANY, "defaults of useradd" },
	{ "etc/shells", TAKE_FILE, NULL, NULL, ANY, "which shells may be logged in with" },
	{ "etc/profile", TAKE_FILE, NULL, NULL, ANY, "login shells" },
	{ "etc/bashrc", TAKE_FILE, NULL, NULL, RPM, "interactive shells" },
	{ "etc/bash.bashrc", TAKE_FILE, NULL, NULL, PACMAN, "interactive shells" },
	{ "etc/inputrc", TAKE_FILE, NULL, NULL, ANY, "keys of interactive shells" },
	{ "etc/pam.d", TAKE_NAMES, "common-*", NULL, DPKG, "su, sudo, adduser; made by packages" },
	{ "etc/pam.d", TAKE_NAMES, NULL, NULL, RPM | PACMAN, "su, sudo, useradd" },
	{ "etc/authselect", TAKE_NAMES,
	  "system-auth password-auth postlogin fingerprint-auth smartcard-auth", NULL, RPM,
	  "pam.d links here" },
	{ "etc/security", TAKE_NAMES, "*.conf", NULL, RPM | PACMAN, "limits and ranges of PAM" },
	{ "etc/skel", TAKE_NAMES, ".bashrc .profile .bash_profile .bash_logout", NULL, RPM | PACMAN,
	  "what a new home begins with" },
	/* TLS; private keys lie beside these folders, never in them, and the guard looks anyway */
	{ "etc/ssl/certs", TAKE_TREE, NULL, NULL, ANY, TLS },
	{ "etc/ssl/openssl.cnf", TAKE_ALTERED, NULL, NULL, ANY, "openssl req needs one" },
	{ "etc/ssl/cert.pem", TAKE_FILE, NULL, NULL, ANY, TLS },
	{ "etc/ca-certificates.conf", TAKE_FILE, NULL, NULL, DPKG, TLS },
	{ "etc/ca-certificates/extracted", TAKE_TREE, NULL, NULL, PACMAN, TLS },
	{ "etc/pki/ca-trust/extracted", TAKE_TREE, NULL, NULL, RPM, TLS },
	{ "etc/pki/tls/certs", TAKE_LINKS, NULL, NULL, RPM, TLS },
	{ "etc/pki/tls/cert.pem", TAKE_FILE, NULL, NULL, RPM, TLS },
	{ "etc/pki/tls/ct_log_list.cnf", TAKE_FILE, NULL, NULL, RPM, TLS },
	{ "etc/pki/tls/openssl.cnf", TAKE_FILE, NULL, NULL, RPM, "openssl req needs one" },
	{ "etc/pki/tls/openssl.d", TAKE_NAMES, "*.conf", NULL, RPM, "openssl.cnf includes it" },
	{ "etc/pki/rpm-gpg", TAKE_NAMES, NULL, NULL, RPM, PACKAGES },
	{ "etc/crypto-policies/config", TAKE_FILE, NULL, NULL, RPM, TLS },
	{ "etc/crypto-policies/state", TAKE_NAMES, "current CURRENT.pol", NULL, RPM, TLS },
	{ "etc/crypto-policies/back-ends", TAKE_NAMES, "*.config", NULL, RPM, TLS },
	/* package managers; never their passwords */
	{ "etc/apt/sources.list", TAKE_FILE, NULL, filter_userinfo, DPKG, PACKAGES },
	{ "etc/apt/sources.list.d", TAKE_NAMES, "*.list *.sources", filter_userinfo, DPKG,
	  PACKAGES },
	{ "etc/apt/apt.conf", TAKE_FILE, NULL, filter_userinfo, DPKG, PACKAGES },
	{ "etc/apt/apt.conf.d", TAKE_NAMES, NULL, filter_userinfo, DPKG, PACKAGES },
	{ "etc/apt/preferences", TAKE_FILE, NULL, NULL, DPKG, PACKAGES },
	{ "etc/apt/preferences.d", TAKE_NAMES, NULL, NULL, DPKG, PACKAGES },
	{ "etc/apt/trusted.gpg", TAKE_FILE, NULL, NULL, DPKG, "public keys" },
	{ "etc/apt/trusted.gpg.d", TAKE_NAMES, "*.gpg *.asc", NULL, DPKG, "public keys" },
	{ "etc/apt/keyrings", TAKE_NAMES, "*.gpg *.asc", NULL, DPKG, "public keys" },
	{ "etc/dpkg/origins", TAKE_NAMES, NULL, NULL, DPKG, PACKAGES },
	{ "etc/dpkg/dpkg.cfg.d", TAKE_NAMES, NULL, NULL, DPKG, PACKAGES },
	{ "etc/debconf.conf", TAKE_FILE, NULL, NULL, DPKG, PACKAGES },
	{ "etc/dnf/dnf.conf", TAKE_FILE, NULL, filter_repository, RPM, PACKAGES },
	{ "etc/dnf/vars", TAKE_NAMES, NULL, NULL, RPM, PACKAGES },
	{ "etc/yum.repos.d", TAKE_NAMES, "*.repo", filter_repository, RPM, PACKAGES },
	{ "etc/zypp/zypp.conf", TAKE_FILE, NULL, NULL, RPM, PACKAGES },
	{ "etc/zypp/repos.d", TAKE_NAMES, "*.repo", filter_repository, RPM, PACKAGES },
	{ "etc/rpm", TAKE_NAMES, "macros* rpmrc", NULL, RPM, PACKAGES },
	{ "etc/pacman.conf", TAKE_FILE, NULL, filter_userinfo, PACMAN, PACKAGES },
	{ "etc/pacman.d/mirrorlist", TAKE_FILE, NULL, filter_userinfo, PACMAN, PACKAGES },
	{ "etc/makepkg.conf", TAKE_FILE, NULL, NULL, PACMAN, PACKAGES },
	/* what packages' scripts made for languages and tools */
	{ "etc/python3/debian_config", TAKE_FILE, NULL, NULL, DPKG, "byte-compiling of packages" },
	{ "etc/java", TAKE_NAMES, "*.conf", NULL, RPM, "the Java launchers" },
	{ "etc/mime.types", TAKE_FILE, NULL, NULL, ANY, "file types" },
	{ "etc/manpath.config", TAKE_FILE, NULL, NULL, DPKG, "man" },
	{ "etc/man_db.conf", TAKE_FILE, NULL, NULL, RPM | PACMAN, "man" },
	{ "etc/rmt", TAKE_FILE, NULL, NULL, DPKG, "a link of tar's" },
	{ "etc", TAKE_NAMES, "fpc*.cfg", NULL, DPKG, "the Pascal compiler's search path" },
	{ "etc/fonts/fonts.conf", TAKE_FILE, NULL, NULL, RPM | PACMAN, "fonts" },
	{ "etc/fonts/conf.d", TAKE_NAMES, "*.conf", NULL, ANY, "fonts" },
	{ "etc/OpenCL/vendors", TAKE_NAMES, "*.icd", NULL, ANY, "which libraries drive the GPU" },
	{ "etc/emacs/site-start.d", TAKE_NAMES, "*.el", NULL, DPKG, "made by packages" },
	{ "etc/xml", TAKE_NAMES, "catalog *.xml", NULL, ANY, MARKUP },
	{ "etc/sgml", TAKE_NAMES, "catalog *.cat", NULL, ANY, MARKUP },
	{ "etc/texmf", TAKE_TREE, NULL, NULL, ANY, "TeX, made by packages" },
	/* state below /var that is derived from packages and public */
	{ "var/lib/apt/extended_states", TAKE_FILE, NULL, NULL, DPKG, "which packages came along" },
	{ "var/lib/pam", TAKE_NAMES, NULL, NULL, DPKG, "pam-auth-update asks less" },
	{ "var/lib/ucf", TAKE_TREE, NULL, NULL, DPKG, "ucf asks less" },
	{ "var/lib/shells.state", TAKE_FILE, NULL, NULL, DPKG, "update-shells" },
	{ "var/lib/alternatives", TAKE_NAMES, NULL, NULL, RPM, "alternatives" },
	{ "var/lib/sgml-base", TAKE_NAMES, NULL, NULL, DPKG, MARKUP },
	{ "var/lib/xml-core", TAKE_NAMES, NULL, NULL, DPKG, MARKUP },
	{ "var/lib/aspell", TAKE_NAMES, NULL, NULL, ANY, "dictionaries" },
	{ "var/lib/dictionaries-common", TAKE_TREE, NULL, NULL, DPKG, "dictionaries" },
	{ "var/lib/ghostscript", TAKE_TREE, NULL, NULL, ANY, "fonts of ghostscript" },
	{ "var/lib/texmf", TAKE_TREE, NULL, NULL, ANY, "TeX's formats and file lists" },
};
const size_t whitelist_rows = ARRAY_SIZE(whitelist);

/*
 * A second look at everything that is copied by rule: whatever a row above may one day match by
 * mistake, these stay outside. (Conffiles as published are exempt: they are no secret.)
 */
static const struct never_row never[] = {
	{ "etc/*shadow*", "password hashes" },
	{ "etc/passwd*", "the machine's users; a file of its own is generated" },
	{ "etc/group*", "the machine's users; a file of its own is generated" },
	{ "etc/sub[ug]id*", "the machine's users" },
	{ "etc/sudoers*", "who may become root on the machine" },
	{ "etc/security/opasswd*", "password hashes" },
	{ "etc/ssh/ssh_host_*", "the machine's ssh keys" },
	{ "etc/ssl/private*", "private keys" },
	{ "etc/pki/tls/private*", "private keys" },
	{ "etc/pki/ca-trust/source*", "the administrator's folder" },
	{ "etc/pki/entitlement*", "subscription keys" },
	{ "etc/pacman.d/gnupg*", "a private signing key" },
	{ "etc/machine-id*", "identifies the machine" },
	{ "etc/hostid", "identifies the machine" },
	{ "etc/krb5.keytab*", "a key of the machine" },
	{ "*.keytab", "a key" },
	{ "*.key", "a key" },
	{ "etc/munge*", "a cluster's key" },
	{ "etc/docker*", "registry keys" },
	{ "etc/containers*", "registry passwords" },
	{ "etc/kubernetes*", "cluster keys" },
	{ "etc/wireguard*", "private keys" },
	{ "etc/openvpn*", "private keys" },
	{ "etc/NetworkManager*", "passwords of networks" },
	{ "etc/network*", "passwords of networks" },
	{ "etc/netplan*", "passwords of networks" },
	{ "etc/apt/auth.conf*", "passwords of package sources" },
	{ "etc/zypp/credentials.d*", "passwords of package sources" },
	{ "etc/gitconfig", "may hold tokens" },
	{ "etc/npmrc", "may hold tokens" },
	{ "etc/pip.conf", "may hold tokens" },
	{ "etc/wgetrc", "may hold passwords" },
	{ "etc/ldap*", "may hold passwords" },
	{ "etc/sssd*", "may hold passwords" },
	{ "etc/samba*", "may hold passwords" },
	{ "etc/cifs*", "passwords of shares" },
	{ "etc/fstab", "names and passwords of shares" },
	{ "etc/crypttab", "names of key files" },
	{ "etc/nvme*", "identifies the machine" },
	{ "etc/iscsi*", "passwords of disks" },
	{ "etc/cron*", "what the machine does" },
	{ "etc/profile.d*", "local scripts: paths, proxies, tokens" },
	{ "etc/environment*", "proxies, tokens" },
	{ "etc/postgresql/*", "clusters of the machine" },
	{ "etc/mysql/*", "clusters of the machine" },
	{ "etc/letsencrypt*", "private keys" },
	{ "etc/cloud*", "credentials of the machine" },
	{ "etc/boto.cfg", "credentials of the machine" },
	{ "etc/google*", "credentials of the machine" },
	{ "var/cache/debconf/*", "passwords that packages asked for" },
	{ "var/lib/cloud*", "credentials of the machine" },
};

/* Folders below usr where an administrator keeps local configuration, tokens of registries too. */
const struct mask_row default_masks[] = {
	{ "usr/etc", true, "local configuration" },
	{ "usr/local/etc", false, "local configuration" },
};
const size_t default_masks_rows = ARRAY_SIZE(default_masks);

const char *whitelist_never(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (fnmatch(never[i].pattern, path, 0) == 0)
			return never[i].why;
	return NULL;
}
