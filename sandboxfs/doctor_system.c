/* SPDX-License-Identifier: MIT */
/*
 * What is around the kernel: who asks, settings, our own programs and their libraries, ids, shells,
 * the session manager. Only looks; the one program it starts is our own. No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "daemon.h"
#include "doctor_check.h"
#include "fuse_wire.h"
#include "keeper.h"
#include "network.h"
#include "privileges.h"
#include "runtime.h"

enum { FEW_FILES = 4096, FILES_OF_A_BOX = 4, EXIT_NOT_RUN = 126 };

void look_settings(const struct doctor *d, struct finding *f)
{
	char text[sizeof(d->settings_error.text) * 2];

	if (d->settings_error.text[0])
		finding_set(f, DOCTOR_MISSING, "%s",
			    text_escape(text, sizeof(text), d->settings_error.text));
	else if (d->settings)
		finding_set(f, DOCTOR_OK, "%s", d->settings);
	else
		finding_set(f, DOCTOR_OK, "defaults");
}

/* Do all ids from base on exist here? In a container there may be few. */
static bool are_mapped(const char *path, uint64_t base, uint64_t count)
{
	_cleanup_free_ char *map = doctor_read(path);

	for (char *line = map; line && *line; line = strchrnul(line, '\n'), line += *line == '\n') {
		unsigned long long first = strtoull(line, &line, 10), n;

		strtoull(line, &line, 10);
		n = strtoull(line, &line, 10);
		if (base >= first && base + count <= first + n)
			return true;
	}
	return !map; /* a kernel without user namespaces says that elsewhere */
}

void look_rights(const struct doctor *d, struct finding *f)
{
	_cleanup_text_ struct text needed = { 0 }, wanted = { 0 };
	int r;

	if (!d->root) {
		finding_set(f, DOCTOR_UNSEEN, "asked by uid %u; mounting needs root", geteuid());
		return;
	}
	if (!are_mapped("/proc/self/uid_map", 0, UINT32_MAX)) {
		finding_set(f, DOCTOR_MISSING, "root of a user namespace, not of the machine");
		finding_remedy(f, "run on the machine itself");
		return;
	}
	r = privileges_lacking(&needed, &wanted);
	if (r < 0)
		finding_set(f, DOCTOR_UNSEEN, "the capabilities cannot be read");
	else if (needed.len)
		finding_set(f, DOCTOR_MISSING, "root without %s", needed.data);
	else if (wanted.len)
		finding_set(f, DOCTOR_NOTE, "root without %s", wanted.data);
	else
		finding_set(f, DOCTOR_OK, "root with all it needs");
	if (f->state == DOCTOR_NOTE) {
		finding_cost(f, "no limit can be raised above what root was given");
		finding_remedy(f, "in a container: --cap-add SYS_RESOURCE");
	}
}

/* --- our programs ------------------------------------------------------------------------------- */

void look_programs(const struct doctor *d, struct finding *f)
{
	static const char *const programs[] = { KEEPER_PROGRAM, INIT_PROGRAM, IMAGE_PROGRAM,
						NET_PROGRAM };
	char path[4096];
	struct stat st;

	(void)d;
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		bool is_init = !strcmp(programs[i], INIT_PROGRAM);

		if (daemon_helper(programs[i], path, sizeof(path)) < 0 || stat(path, &st) < 0)
			finding_set(f, DOCTOR_MISSING, "%sno %s", f->found.len ? ", " : "",
				    programs[i]);
		else if (is_init && (st.st_mode & (S_IRGRP | S_IROTH)))
			finding_set(f, DOCTOR_MISSING, "%s%s has mode %04o and must have 0511",
				    f->found.len ? ", " : "", path, st.st_mode & 07777);
		else
			finding_set(f, f->state, "%s%s", f->found.len ? ", " : "", programs[i]);
	}
}

/* What our program says to --version, or why it does not start: its first line. -ENOEXEC is a
 * loader's end, which misses a library. */
static int ask_version(const char *name, char *line, size_t size)
{
	char program[4096];
	char *argv[] = { program, (char *)"--version", NULL };
	char *envp[] = { (char *)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	struct pollfd p = { .events = POLLIN };
	int ends[2], status = 0, r = daemon_helper(name, program, sizeof(program));
	ssize_t n = 0;
	pid_t pid;

	line[0] = '\0';
	if (r < 0)
		return r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	r = -posix_spawn(&pid, program, &actions, NULL, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	close_fd(&ends[1]);
	p.fd = ends[0];
	if (r == 0) {
		if (poll(&p, 1, 10000) > 0)
			n = read(ends[0], line, size - 1);
		else
			kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (!WIFEXITED(status) || WEXITSTATUS(status) >= EXIT_NOT_RUN)
			r = -ENOEXEC;
	}
	close_fd(&ends[0]);
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return r;
}

void look_libraries(const struct doctor *d, struct finding *f)
{
	static const char *const formats[] = { "zlib", "liblzma", "libzstd" };
	static const struct {
		const char *program, *library;
	} dynamic[] = { { NET_PROGRAM, "libnftables" }, { IMAGE_PROGRAM, "libarchive" } };
	char line[512], escaped[1024];

	(void)d;
	finding_set(f, DOCTOR_OK, "libfuse %s", fuse_pkgversion());
	for (size_t i = 0; i < ARRAY_SIZE(dynamic); i++) {
		int r = ask_version(dynamic[i].program, line, sizeof(line));

		text_escape(escaped, sizeof(escaped), line);
		if (r == 0)
			continue;
		finding_set(f, DOCTOR_MISSING, "; %s does not start: %s", dynamic[i].program,
			    *escaped ? escaped : strerror(-r));
		finding_install(f, dynamic[i].library);
		return;
	}
	finding_set(f, DOCTOR_OK, ", %s", escaped);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (!strstr(line, formats[i]))
			finding_set(f, DOCTOR_WARN, " without %s", formats[i]);
	}
	if (f->state == DOCTOR_WARN) {
		finding_cost(f, "images packed in that way cannot be imported");
		finding_remedy(f, "a libarchive that was built with it");
	}
}

/* --- ids ---------------------------------------------------------------------------------------- */

/* Adds who has ids among ours: lines of "name:x:first:…" or, with has_count, "name:first:count". */
static void note_owners(struct text *owners, const char *path, bool has_count, uint64_t base,
			uint64_t count)
{
	_cleanup_free_ char *text = doctor_read(path);
	char *save = NULL, name[80];

	for (char *line = strtok_r(text ? text : (char[]){ "" }, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':'), *at = colon;
		unsigned long long first, n = 1;

		if (at && !has_count)
			at = strchr(at + 1, ':');
		if (!at)
			continue;
		first = strtoull(at + 1, &at, 10);
		if (has_count && *at == ':')
			n = strtoull(at + 1, NULL, 10);
		*colon = '\0';
		if (first < base + count && base < first + n)
			text_printf(owners, "%s%s in %s", owners->len ? ", " : "",
				    text_escape(name, sizeof(name), line), path);
	}
}

void look_ids(const struct doctor *d, struct finding *f)
{
	uint64_t base = d->options->uid_base, count = d->options->uid_count;
	_cleanup_text_ struct text owners = { 0 };
	char now[24] = "";
	int used;

	if (!are_mapped("/proc/self/uid_map", base, count) ||
	    !are_mapped("/proc/self/gid_map", base, count)) {
		finding_set(f, DOCTOR_MISSING,
			    "%llu to %llu are not all there in this user namespace",
			    (unsigned long long)base, (unsigned long long)(base + count - 1));
		finding_remedy(f,
			       "choose uid_base and uid_count among those of /proc/self/uid_map");
		return;
	}
	used = keeper_blocks_in_use((uid_t)base, count);
	if (used < 0 && d->root) {
		finding_set(f, DOCTOR_MISSING, "what boxes have cannot be claimed: %s",
			    strerror(-used));
		finding_remedy(f, "see that root can write to /run/sandboxfs");
		return;
	}
	note_owners(&owners, "/etc/subuid", true, base, count);
	note_owners(&owners, "/etc/subgid", true, base, count);
	note_owners(&owners, "/etc/passwd", false, base, count);
	note_owners(&owners, "/etc/group", false, base, count);
	if (used > 0) /* a user may not know */
		snprintf(now, sizeof(now), "; %d now", used);
	if (owners.len)
		finding_set(f, DOCTOR_WARN, "%llu to %llu also belong to %s",
			    (unsigned long long)base, (unsigned long long)(base + count - 1),
			    owners.data);
	else
		finding_set(f, DOCTOR_OK, "%llu to %llu: %llu boxes at a time, of all mounts%s",
			    (unsigned long long)base, (unsigned long long)(base + count - 1),
			    (unsigned long long)(count / BOX_IDS - 1), now);
}

/* --- shells and the image ----------------------------------------------------------------------- */

void look_buckets(const struct doctor *d, struct finding *f)
{
	char line[200], shown[400];
	int r = ask_version(BUCKET_PROGRAM, line, sizeof(line));

	(void)d;
	if (r == -ENOENT)
		finding_set(f, DOCTOR_WARN, "no " BUCKET_PROGRAM);
	else if (r < 0)
		finding_set(f, DOCTOR_WARN, BUCKET_PROGRAM " does not start: %s",
			    *line ? text_escape(shown, sizeof(shown), line) : strerror(-r));
	else
		finding_set(f, DOCTOR_OK, "%s", text_escape(shown, sizeof(shown), line));
}

void look_shell(const struct doctor *d, struct finding *f)
{
	(void)d;
	if (access("/usr/bin/bash", X_OK) == 0) {
		finding_set(f, DOCTOR_OK, "bash");
		return;
	}
	if (access("/bin/sh", X_OK) == 0) {
		finding_set(f, DOCTOR_WARN, "sh only");
		finding_cost(f, "boxes of image host have sh for their sessions");
	} else {
		finding_set(f, DOCTOR_WARN, "neither bash nor sh");
		finding_cost(f, "boxes of image host run no command");
	}
	finding_install(f, "bash");
}

void look_image_host(const struct doctor *d, struct finding *f)
{
	bool wanted = !strcmp(d->options->image, "host");
	char key[IMAGE_KEY_SIZE];
	struct stat st;
	int r;

	if (lstat("/bin", &st) < 0 || !S_ISLNK(st.st_mode)) {
		finding_set(f, wanted ? DOCTOR_MISSING : DOCTOR_WARN, "/bin is no link to usr/bin");
		finding_install(f, "usrmerge");
		return;
	}
	r = image_host_key(key);
	if (r < 0)
		finding_set(f, wanted ? DOCTOR_MISSING : DOCTOR_WARN,
			    "the machine's software cannot be looked at: %s", strerror(-r));
	else
		finding_set(f, DOCTOR_OK, "can be made of the software in /usr");
}

/* --- sessions ----------------------------------------------------------------------------------- */

/* The last "KillUserProcesses=" of a file: 1, 0, or the value before. */
static int kills_at_logout(const char *path, int before)
{
	_cleanup_free_ char *text = doctor_read(path);
	char *save = NULL;

	for (char *line = strtok_r(text ? text : (char[]){ "" }, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *at = text_strip(line);
		bool value;

		if (strncmp(at, "KillUserProcesses", 17))
			continue;
		at = text_strip(at + 17);
		if (*at == '=' && parse_bool(text_strip(at + 1), &value) == 0)
			before = value;
	}
	return before;
}

static int is_conf(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 5 && !strcmp(e->d_name + len - 5, ".conf");
}

/* As logind.conf(5) has it, but for a file of /etc that hides one of the same name. */
static bool logind_kills(void)
{
	static const char *const tops[] = { "/usr/lib/systemd", "/run/systemd", "/etc/systemd" };
	char path[600];
	int kills = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		snprintf(path, sizeof(path), "%s/logind.conf", tops[i]);
		kills = kills_at_logout(path, kills);
	}
	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		struct dirent **names;
		int n;

		snprintf(path, sizeof(path), "%s/logind.conf.d", tops[i]);
		n = scandir(path, &names, is_conf, alphasort);
		for (int k = 0; k < n; k++) {
			snprintf(path, sizeof(path), "%s/logind.conf.d/%s", tops[i],
				 names[k]->d_name);
			kills = kills_at_logout(path, kills);
			free(names[k]);
		}
		if (n >= 0)
			free(names);
	}
	return kills > 0;
}

void look_logout(const struct doctor *d, struct finding *f)
{
	(void)d;
	if (logind_kills())
		finding_set(f, DOCTOR_WARN, "logind has KillUserProcesses=yes");
	else if (access("/run/systemd/system", F_OK) == 0)
		finding_set(f, DOCTOR_OK, "systemd leaves alone what a user started");
	else
		finding_set(f, DOCTOR_OK, "no systemd, nobody ends what a user started");
}

/* --- the rest ----------------------------------------------------------------------------------- */

void look_open_files(const struct doctor *d, struct finding *f)
{
	enum doctor_state state = DOCTOR_OK;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
		finding_set(f, DOCTOR_UNSEEN, "%s", strerror(errno));
		return;
	}
	if (files.rlim_max < FEW_FILES)
		state = DOCTOR_WARN;
	else if (files.rlim_max < d->options->max_boxes * FILES_OF_A_BOX)
		state = DOCTOR_NOTE;
	finding_set(f, state, "%llu for a process", (unsigned long long)files.rlim_max);
}

void look_kvm(const struct doctor *d, struct finding *f)
{
	(void)d;
	if (access("/dev/kvm", F_OK) == 0)
		finding_set(f, DOCTOR_OK, "/dev/kvm");
	else
		finding_set(f, DOCTOR_NOTE, "no /dev/kvm; boxes need none");
}

void look_lsm(const struct doctor *d, struct finding *f)
{
	_cleanup_free_ char *list = doctor_read("/sys/kernel/security/lsm");
	char escaped[256];

	(void)d;
	if (doctor_read_number("/sys/fs/selinux/enforce") == 1)
		finding_set(f, DOCTOR_WARN, "SELinux enforces");
	else if (list)
		finding_set(f, DOCTOR_OK, "%s",
			    text_escape(escaped, sizeof(escaped), text_strip(list)));
	else
		finding_set(f, DOCTOR_OK, "no SELinux");
}
