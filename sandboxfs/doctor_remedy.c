/* SPDX-License-Identifier: MIT */
/*
 * What helps on this very distribution: the command that installs a package. And small files, read
 * as they are. No locks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "doctor_check.h"

enum { MAX_FILE = 1 << 20 };

char *doctor_read(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *data = fd < 0 ? NULL : malloc(MAX_FILE + 1);
	ssize_t n = data ? read_full(fd, data, MAX_FILE) : -1;

	if (n < 0) {
		free(data);
		return NULL;
	}
	data[n] = '\0';
	return data;
}

long long doctor_read_number(const char *path)
{
	_cleanup_free_ char *text = doctor_read(path);
	char *end;
	long long n = text ? strtoll(text, &end, 10) : -1;

	return text && end == text ? -1 : n;
}

/* --- os-release(5) ------------------------------------------------------------------------------ */

/* The value of "KEY=value" without its quotes; empty if there is none. */
static void release_value(const char *key, char *out, size_t size)
{
	_cleanup_free_ char *text = doctor_read("/etc/os-release");
	size_t len = strlen(key);
	char *save = NULL;

	if (!text)
		text = doctor_read("/usr/lib/os-release");
	*out = '\0';
	for (char *line = strtok_r(text ? text : (char[]){ "" }, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = line + len + 1;

		if (strncmp(line, key, len) || line[len] != '=')
			continue;
		value += *value == '"' || *value == '\'';
		snprintf(out, size, "%.*s", (int)strcspn(value, "\"'"), value);
	}
}

const char *doctor_distribution(void)
{
	static char escaped[256];
	char name[128];

	release_value("PRETTY_NAME", name, sizeof(name));
	return text_escape(escaped, sizeof(escaped), *name ? name : "Linux");
}

/* --- packages ----------------------------------------------------------------------------------- */

enum family { DEBIAN, FEDORA, ARCH, ALPINE, SUSE, N_FAMILIES };

static const struct {
	const char *ids; /* ID and ID_LIKE of os-release(5), blank before and behind each */
	const char *command;
} families[N_FAMILIES] = {
	[DEBIAN] = { " debian ubuntu ", "apt-get install" },
	[FEDORA] = { " fedora rhel centos ", "dnf install" },
	[ARCH] = { " arch archlinux ", "pacman -S" },
	[ALPINE] = { " alpine ", "apk add" },
	[SUSE] = { " suse opensuse sles ", "zypper install" },
};

static const struct {
	const char *what;
	const char *names[N_FAMILIES]; /* NULL: has none, or always has it */
} packages[] = {
	{ "bash", { "bash", "bash", "bash", "bash", "bash" } },
	{ "libarchive",
	  { "libarchive13", "libarchive", "libarchive", "libarchive", "libarchive13" } },
	{ "libnftables", { "libnftables1", "nftables", "nftables", "nftables", "libnftables1" } },
	{ "usrmerge", { "usrmerge", NULL, NULL, NULL, NULL } },
};

/* Is one of the words of list among the ids of a family? N_FAMILIES: none. */
static enum family family_of(const char *list)
{
	char words[128], word[40], *save = NULL;

	snprintf(words, sizeof(words), "%s", list);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		snprintf(word, sizeof(word), " %s ", w);
		for (int i = 0; i < N_FAMILIES; i++) {
			if (strstr(families[i].ids, word))
				return (enum family)i;
		}
	}
	return N_FAMILIES;
}

static enum family this_family(void)
{
	char value[128];
	enum family family;

	release_value("ID", value, sizeof(value));
	family = family_of(value);
	if (family == N_FAMILIES) {
		release_value("ID_LIKE", value, sizeof(value));
		family = family_of(value);
	}
	return family;
}

void finding_install(struct finding *f, const char *what)
{
	enum family family = this_family();

	for (size_t i = 0; i < ARRAY_SIZE(packages); i++) {
		if (strcmp(packages[i].what, what))
			continue;
		if (family < N_FAMILIES && packages[i].names[family])
			finding_remedy(f, "%s %s", families[family].command,
				       packages[i].names[family]);
		else
			finding_remedy(f, "install %s, however this distribution calls it", what);
	}
}
