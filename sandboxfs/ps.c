/* SPDX-License-Identifier: MIT */
/*
 * `ps`: the processes of a box, from its cgroup and the host's /proc. Must not ask the box, nor wait
 * for a bucket whose files it has mapped: command lines, which are memory of the process, are read by
 * proc_commands.c. What a process says of itself (name, command line) is escaped. Lock: box->lock for
 * the path only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "dirs.h"
#include "keeper.h"
#include "proc_commands.h"

enum { MAX_PROCESSES = 65536, MAX_CGROUP_DEPTH = 3, MAX_COMMAND = PROC_COMMAND_BYTES - 2 };

struct process {
	pid_t pid, ppid; /* on the host */
	pid_t box_pid;
	uid_t uid; /* in the box */
	char state;
	uint64_t cpu_ms, rss_bytes;
	int64_t started_s; /* since the epoch */
	bool executing;	   /* is just becoming another program */
};

struct process_list {
	struct process *all;
	size_t n, size;
	uid_t uid_base;
	int64_t booted_s;
	char *passwd; /* of the box; may be NULL */
};

static bool list_grow(struct process_list *list)
{
	struct process *bigger;

	if (list->n < list->size)
		return true;
	list->size = list->size ? list->size * 2 : 64;
	bigger = realloc(list->all, list->size * sizeof(*bigger));
	if (!bigger)
		return false;
	list->all = bigger;
	return true;
}

static void parse_status(char *text, struct process *p, uid_t uid_base)
{
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "State:", 6))
			p->state = line[strspn(line + 6, " \t") + 6];
		else if (!strncmp(line, "PPid:", 5))
			p->ppid = (pid_t)strtol(line + 5, NULL, 10);
		else if (!strncmp(line, "Uid:", 4))
			p->uid = (uid_t)strtoul(line + 4, NULL, 10) - uid_base;
		else if (!strncmp(line, "VmExe:", 6))
			p->executing = !strtoul(line + 6, NULL, 10);
		else if (!strncmp(line, "NSpid:", 6)) {
			char *last = strrchr(line, '\t');

			p->box_pid = last ? (pid_t)strtol(last, NULL, 10) : 0;
		}
	}
}

static void parse_stat(const char *text, struct process *p, int64_t booted_s)
{
	const char *rest = strrchr(text, ')');
	unsigned long long field[25] = { 0 };
	long hz = sysconf(_SC_CLK_TCK);

	for (int i = 3; rest && i < 25; i++) {
		rest = strchr(rest + 1, ' ');
		if (rest)
			field[i] = strtoull(rest + 1, NULL, 10);
	}
	p->cpu_ms = (field[14] + field[15]) * 1000 / (uint64_t)hz;
	p->started_s = booted_s + (int64_t)(field[22] / (uint64_t)hz);
	p->rss_bytes = field[24] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_process(struct process_list *list, pid_t pid)
{
	_cleanup_free_ char *status = NULL, *stat = NULL;
	struct process *p;
	char path[64];

	if (!list_grow(list))
		return;
	p = &list->all[list->n];
	*p = (struct process){ .pid = pid };
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0)
		return; /* ended meanwhile */
	parse_status(status, p, list->uid_base);
	/* While it reads its new program a reader of this file waits for that, too (caller.c). */
	if (!p->executing) {
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (read_file_at(AT_FDCWD, path, 65536, &stat, NULL) < 0)
			return;
		parse_stat(stat, p, list->booted_s);
	}
	list->n++;
}

static void add_cgroup(struct process_list *list, const char *path, int depth)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	_cleanup_free_ char *procs = NULL;
	char *line, *save = NULL;
	struct dirent *e;

	if (!dir)
		return;
	if (read_file_at(dirfd(dir), "cgroup.procs", 1 << 22, &procs, NULL) == 0) {
		for (line = strtok_r(procs, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save)) {
			if (list->n < MAX_PROCESSES)
				add_process(list, (pid_t)strtol(line, NULL, 10));
		}
	}
	while (depth && (e = readdir(dir))) {
		char sub[4096];

		if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
		    snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= (int)sizeof(sub))
			continue;
		add_cgroup(list, sub, depth - 1);
	}
}

pid_t ps_first(const char *cgroup)
{
	_cleanup_closedir_ DIR *dir = opendir(cgroup);
	_cleanup_free_ char *procs = NULL;
	pid_t pid = 0;
	struct dirent *e;

	if (dir && read_file_at(dirfd(dir), "cgroup.procs", 1 << 22, &procs, NULL) == 0)
		pid = (pid_t)strtol(procs, NULL, 10);
	while (dir && pid <= 0 && (e = readdir(dir))) {
		char sub[512];

		if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
		    snprintf(sub, sizeof(sub), "%s/%s", cgroup, e->d_name) < (int)sizeof(sub))
			pid = ps_first(sub);
	}
	return MAX(pid, 0);
}

static int compare_pids(const void *a, const void *b)
{
	return ((const struct process *)a)->box_pid - ((const struct process *)b)->box_pid;
}

/* The box's user names. Its /etc/passwd is hostile: a regular file, never waited for. */
static char *box_passwd(int root)
{
	_cleanup_close_ int fd =
		root < 0 ? -1
			 : open_how_at(root, "etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
				       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	struct stat st;
	char *text;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 1 << 20)
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	n = text ? read_full(fd, text, (size_t)st.st_size) : -1;
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static void read_processes(struct box *box, struct process_list *list, bool names)
{
	_cleanup_free_ char *stat = NULL;
	char cgroup[512];
	int root = -1;
	char *btime;

	*list = (struct process_list){ 0 };
	pthread_mutex_lock(&box->lock);
	strcpy(cgroup, box->keeper ? box->cgroup : "");
	list->uid_base = keeper_block_base(box->block);
	if (names && box->live_root[FILES_ROOT] >= 0)
		root = fcntl(box->live_root[FILES_ROOT], F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&box->lock);
	list->passwd = box_passwd(root);
	close_fd(&root);
	if (!cgroup[0])
		return;
	if (read_file_at(AT_FDCWD, "/proc/stat", 1 << 22, &stat, NULL) == 0) {
		btime = strstr(stat, "\nbtime ");
		list->booted_s = btime ? strtoll(btime + 7, NULL, 10) : 0;
	}
	add_cgroup(list, cgroup, MAX_CGROUP_DEPTH);
	if (list->n)
		qsort(list->all, list->n, sizeof(*list->all), compare_pids);
}

static pid_t box_pid_of(const struct process_list *list, pid_t host_pid)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->all[i].pid == host_pid)
			return list->all[i].box_pid;
	}
	return 0;
}

static void add_user(const struct process_list *list, uid_t uid, struct text *out)
{
	for (const char *line = list->passwd; line; line = strchr(line, '\n')) {
		const char *colon;

		line += *line == '\n';
		colon = strchr(line, ':');
		if (!colon || colon[1] != 'x' || colon[2] != ':')
			continue;
		if (strtoul(colon + 3, NULL, 10) == uid && colon - line <= 32) {
			_cleanup_text_ struct text name = { 0 };

			text_add_escaped(&name, line, (size_t)(colon - line));
			text_printf(out, " %-10s", name.data ? name.data : "");
			return;
		}
	}
	text_printf(out, " %-10u", uid);
}

static void add_command(pid_t pid, char *command, size_t len, struct text *out)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	if (len) {
		size_t shown = MIN(len, (size_t)MAX_COMMAND);

		shown -= shown && !command[shown - 1];
		for (size_t i = 0; i < shown; i++) {
			if (!command[i])
				command[i] = ' ';
		}
		text_add_escaped(out, command, shown);
		if (shown + 1 < len)
			text_add_str(out, "…");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (read_file_at(AT_FDCWD, path, 4096, &text, &len) == 0 && len) {
		text_add_char(out, '[');
		text_add_escaped(out, text, len - (text[len - 1] == '\n'));
		text_add_char(out, ']');
	}
}

/* Of those that can be asked; NULL: out of memory. */
static struct proc_command *read_commands(const struct process_list *list)
{
	struct proc_command *commands = calloc(list->n + 1, sizeof(*commands));

	for (size_t i = 0; commands && i < list->n; i++)
		commands[i].pid = list->all[i].executing ? 0 : list->all[i].pid;
	if (commands)
		proc_commands_read(commands, list->n);
	return commands;
}

int ps_show(struct ctx *ctx, struct text *out)
{
	_cleanup_free_ struct proc_command *commands = NULL;
	struct process_list list;

	read_processes(ctx->box, &list, true);
	commands = read_commands(&list);
	text_printf(out, "%7s %7s %-10s %s %9s %9s %-19s %s\n", "PID", "PPID", "USER", "S", "CPU",
		    "MEMORY", "STARTED", "COMMAND");
	for (size_t i = 0; i < list.n; i++) {
		const struct process *p = &list.all[i];
		time_t started = p->started_s;
		struct tm tm;
		char stamp[32];

		localtime_r(&started, &tm);
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
		text_printf(out, "%7d %7d", p->box_pid, box_pid_of(&list, p->ppid));
		add_user(&list, p->uid, out);
		text_printf(out, " %c %8.2fs %8lluK %s ", p->state, (double)p->cpu_ms / 1000,
			    (unsigned long long)p->rss_bytes / 1024, stamp);
		if (commands)
			add_command(p->pid, commands[i].text, commands[i].len, out);
		text_add_char(out, '\n');
	}
	free(list.all);
	free(list.passwd);
	return 0;
}

void ps_totals(struct box *box, struct ps_totals *totals)
{
	struct process_list list;

	read_processes(box, &list, false);
	*totals = (struct ps_totals){ .processes = (unsigned int)list.n };
	for (size_t i = 0; i < list.n; i++) {
		totals->memory_bytes += list.all[i].rss_bytes;
		totals->cpu_ms += list.all[i].cpu_ms;
	}
	free(list.all);
	free(list.passwd);
}
