/* SPDX-License-Identifier: MIT */
/*
 * A bucket's process: starting it by base/bucket.h, speaking to it, its end. What it says is bounded
 * and looked at, as it speaks with servers that may be anybody's. Must not wait for it. One thread,
 * no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "keeper/bucket.h"
#include "runtime.h"

/*
 * Ids that are nobody's: far above the machine's users and the ranges that containers are given by
 * custom; eight bits for the mount below those of the box's block.
 */
#define PROCESS_IDS UINT32_C(0x80000000)
#define OTHER_PROCESS_IDS UINT32_C(0x40000000) /* for boxes that live up there */

enum { MAX_LOOKED_AT = 256, ABOVE_GIVEN = 16, SOCKET_BYTES = 4 * BUCKET_PACKET_MAX };

static uid_t process_uid(const struct bucket *b)
{
	uid_t base = b->k->set.uid_base;

	return (base < PROCESS_IDS ? PROCESS_IDS : OTHER_PROCESS_IDS) | (base >> 16) << 8 | b->slot;
}

/* --- what it is started with --------------------------------------------------------------------- */

/* Beside the keeper when built; installed, the keeper is in PREFIX/libexec/sandboxfs. */
static int find_program(char *path, size_t size)
{
	static const char *const folders[] = { "", "../../bin/" };
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len < 0)
		return -errno;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		slash[1] = '\0';
	for (size_t i = 0; slash && i < ARRAY_SIZE(folders); i++) {
		snprintf(path, size, "%s%s" BUCKET_PROGRAM, self, folders[i]);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* What a process of another id left there is this one's now; only plain files are its own. */
static int own_files(int folder, uid_t uid)
{
	int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	struct stat st;

	if (!dir) {
		close_fd(&copy);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
			remove_tree_at(folder, entry->d_name);
		else if (fchownat(folder, entry->d_name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	return 0;
}

static int open_spool(const struct bucket *b)
{
	_cleanup_close_ int all = -1, own = -1;
	uid_t uid = process_uid(b);
	int r;

	if (mkdirat(b->k->box_dir, BOX_BUCKETS, 0700) < 0 && errno != EEXIST)
		return -errno;
	all = open_how_at(b->k->box_dir, BOX_BUCKETS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, 0);
	if (all < 0)
		return all;
	if (mkdirat(all, b->name, 0700) < 0 && errno != EEXIST)
		return -errno;
	own = open_how_at(all, b->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, 0);
	if (own < 0)
		return own;
	r = own_files(own, uid);
	if (r == 0 && (fchown(own, uid, uid) < 0 || fchmod(own, 0700) < 0))
		r = -errno;
	return r < 0 ? r : take_fd(&own);
}

void bucket_remove_spool(struct bucket *b)
{
	char path[sizeof(BOX_BUCKETS) + NAME_MAX + 2];

	snprintf(path, sizeof(path), BOX_BUCKETS "/%s", b->name);
	if (remove_tree_at(b->k->box_dir, path) < 0)
		log_warn("%s cannot be removed", path);
}

/* fds become BUCKET_CONTROL_FD and those behind it. */
static int spawn(const char *program, const int fds[3], pid_t *pid)
{
	char *const argv[] = { (char *)BUCKET_PROGRAM, (char *)"--served", NULL };
	char *const envp[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], BUCKET_CONTROL_FD + i);
	r = -posix_spawn(pid, program, &actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* --- its words ------------------------------------------------------------------------------------ */

int bucket_server_say(struct bucket *b, const char *word, uint64_t number)
{
	_cleanup_text_ struct text t = { 0 };

	if (b->control.fd < 0)
		return -ENOTCONN;
	field_add(&t, "say", word);
	field_add_u64(&t, "tag", number);
	return t.failed ? -ENOMEM : send_packet(b->control.fd, t.data, t.len, NULL, 0);
}

/* inside=PATH for each bucket right in this one's files: nothing falls through to what is below. */
static void add_inside(const struct bucket *b, struct text *t)
{
	for (const struct bucket *other = b->k->buckets.first; other; other = other->next) {
		if (other->in == b)
			field_add(t, "inside", other->target + strlen(b->target) + 1);
	}
}

int bucket_server_say_inside(struct bucket *b, uint64_t number)
{
	_cleanup_text_ struct text t = { 0 };

	if (b->control.fd < 0)
		return -ENOTCONN;
	field_add(&t, "say", BUCKET_SAY_INSIDE);
	field_add_u64(&t, "tag", number);
	add_inside(b, &t);
	return t.failed ? -ENOMEM : send_packet(b->control.fd, t.data, t.len, NULL, 0);
}

/* Only descriptors of its own mount count, so it learns of nothing else. */
static bool is_held(const struct bucket *b, uint64_t pid, uint64_t ino)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[64], wanted_ino[40], wanted_mount[40];
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%llu/fdinfo", (unsigned long long)pid);
	snprintf(wanted_ino, sizeof(wanted_ino), "\nino:\t%llu\n", (unsigned long long)ino);
	snprintf(wanted_mount, sizeof(wanted_mount), "\nmnt_id:\t%llu\n",
		 (unsigned long long)b->mount_id);
	dir = opendir(path);
	for (int n = 0; dir && n < MAX_LOOKED_AT && (entry = readdir(dir)); n++) {
		_cleanup_free_ char *text = NULL;

		if (entry->d_name[0] != '.' &&
		    read_file_at(dirfd(dir), entry->d_name, 1 << 14, &text, NULL) == 0 &&
		    strstr(text, wanted_ino) && strstr(text, wanted_mount))
			return true;
	}
	return false;
}

void bucket_answer_held(struct bucket *b, const char *fields, size_t len)
{
	bool held = is_held(b, field_get_u64(fields, len, "pid", 0),
			    field_get_u64(fields, len, "ino", 0));
	_cleanup_text_ struct text t = { 0 };

	if (b->control.fd < 0)
		return;
	field_add(&t, "say", BUCKET_SAY_HOLDERS);
	field_add_u64(&t, "tag", field_get_u64(fields, len, "tag", 0));
	field_add(&t, "held", held ? "yes" : "no");
	if (!t.failed)
		send_packet(b->control.fd, t.data, t.len, NULL, 0);
}

static int say_settings(struct bucket *b, int sock)
{
	struct text t = { 0 };
	int r;

	field_add(&t, "say", BUCKET_SAY_SETTINGS);
	text_add(&t, b->fields.data, b->fields.len);
	field_add_u64(&t, "process_uid", process_uid(b));
	field_add_u64(&t, "owner", b->k->set.uid_base);
	add_inside(b, &t);
	r = t.failed ? -ENOMEM : send_packet(sock, t.data, t.len, NULL, 0);
	if (t.data)
		explicit_bzero(t.data, t.len);
	text_free(&t);
	return r;
}

/* False when nothing more is there. b may be gone afterwards. */
static bool receive_one(struct bucket *b)
{
	static char packet[BUCKET_PACKET_MAX];
	int none = 0;
	ssize_t n = recv_packet(b->control.fd, packet, sizeof(packet), NULL, &none);

	if (n == -EINTR || n == -EMSGSIZE)
		return true;
	if (n <= 0) {
		if (n != -EAGAIN) /* its death is seen by its pidfd */
			loop_remove(&b->k->loop, &b->control);
		return false;
	}
	if (packet[n - 1] == '\0')
		bucket_heard(b, packet, (size_t)n);
	return true;
}

static void control_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	receive_one(container_of(source, struct bucket, control));
}

static void death_ready(struct loop_source *source, uint32_t events)
{
	struct bucket *b = container_of(source, struct bucket, death);

	(void)events;
	/* Its last words first: why. */
	while (b->control.fd >= 0 && receive_one(b))
		;
	bucket_server_died(b);
}

/* --- its life ------------------------------------------------------------------------------------- */

static int watch(struct bucket *b, int *sock, pid_t pid)
{
	int r;

	b->death.fd = pidfd_open(pid, 0);
	if (b->death.fd < 0)
		return -errno;
	b->death.ready = death_ready;
	b->control = (struct loop_source){ take_fd(sock), control_ready };
	r = loop_add(&b->k->loop, &b->death, EPOLLIN);
	return r < 0 ? r : loop_add(&b->k->loop, &b->control, EPOLLIN);
}

static int start_with(struct bucket *b, int fuse, int spool, int pair[2])
{
	const int room = SOCKET_BYTES;
	char program[PATH_MAX + 64];
	int fds[3] = { pair[1], fuse, spool }, r;
	siginfo_t info;
	pid_t pid;

	r = find_program(program, sizeof(program));
	for (int i = 0; i < 3 && r == 0; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, ABOVE_GIVEN);
		if (fds[i] < 0) {
			r = -errno;
			while (i-- > 0)
				close(fds[i]);
			return r;
		}
	}
	if (r < 0)
		return r;
	/* What it has room for depends on the sender's buffer. */
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	r = set_nonblock(pair[0]);
	if (r == 0)
		r = say_settings(b, pair[0]);
	if (r == 0)
		r = spawn(program, fds, &pid);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	if (r < 0)
		return r;
	r = watch(b, &pair[0], pid);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitid(P_PID, (id_t)pid, &info, WEXITED);
		bucket_server_close(b);
	}
	return r;
}

int bucket_server_start(struct bucket *b, int fuse)
{
	_cleanup_close_ int spool = open_spool(b);
	int pair[2], r = spool < 0 ? spool : 0;

	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (r == 0) {
		r = start_with(b, fuse, spool, pair);
		close_fd(&pair[0]);
		close(pair[1]);
	}
	if (r < 0)
		snprintf(b->why, sizeof(b->why), "start " BUCKET_PROGRAM ": %s", strerror(-r));
	return r;
}

void bucket_server_kill(struct bucket *b)
{
	if (b->death.fd >= 0)
		pidfd_send_signal(b->death.fd, SIGKILL, NULL, 0);
}

bool bucket_server_close(struct bucket *b)
{
	siginfo_t info = { 0 };

	if (b->control.fd >= 0) {
		loop_remove(&b->k->loop, &b->control);
		close_fd(&b->control.fd);
	}
	if (b->death.fd < 0)
		return true;
	loop_remove(&b->k->loop, &b->death);
	waitid(P_PIDFD, (id_t)b->death.fd, &info, WEXITED | WNOHANG);
	close_fd(&b->death.fd);
	return info.si_code == CLD_EXITED && info.si_status == 0;
}
