/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The process that reads keys. A section of the ini file may be root's alone to read, so it stays root
 * then, with the one capability that reading takes; a user's own files it reads as that user. It must
 * not touch the network. Lock: keys are asked for by one thread at a time (object_settings.renew).
 */
#include "keyreader.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "keys.h"
#include "privilege.h"

enum {
	PACKET_MAX = 32 << 10,
	PATIENCE_S = 20, /* for files on another machine */
};

static struct {
	int sock;
	pid_t pid;
	uint8_t asked; /* number of the last question */
} reader = { .sock = -1 };

/* --- the process ---------------------------------------------------------------------------------------- */

static int find(struct credentials *out, const struct options *opt, uid_t uid,
		struct object_error *error)
{
	int r;

	if (opt->credentials)
		return credentials_from_ini(out, opt->config, opt->credentials, uid, error);
	r = credentials_from_profile(out, opt->profile, uid, error);
	if (r != -ENOENT || opt->profile)
		return r;
	*out = (struct credentials){ 0 };
	*error = (struct object_error){ 0 };
	return 0;
}

static void add(struct text *t, const char *key, const char *value)
{
	if (value)
		field_add(t, key, value);
}

static void answer(int sock, uint8_t number, const struct options *opt, uid_t uid)
{
	_cleanup_credentials_ struct credentials c = { 0 };
	struct object_error error = { 0 };
	struct text t = { 0 };
	int r = find(&c, opt, uid, &error);

	field_add_u64(&t, "number", number);
	field_add_u64(&t, "error", (uint64_t)-r);
	if (r < 0) {
		field_add(&t, "why", error.text[0] ? error.text : strerror(-r));
	} else {
		add(&t, "access_key_id", c.keys.access_key_id);
		add(&t, "secret_access_key", c.keys.secret_access_key);
		add(&t, "session_token", c.keys.session_token);
		add(&t, "endpoint", c.endpoint);
		add(&t, "region", c.region);
		field_add(&t, "users", c.endpoint_is_users ? "yes" : "no");
		field_add_u64(&t, "style", c.style);
	}
	if (!t.failed)
		send(sock, t.data, t.len, MSG_NOSIGNAL);
	if (t.data)
		explicit_bzero(t.data, t.len);
	text_free(&t);
}

/* A user's files are opened as that user, whatever is on the way to them. */
static int become_user(uid_t uid)
{
	const struct passwd *user;

	errno = 0;
	user = getpwuid(uid);
	if (!user)
		return errno == ENOMEM ? -ENOMEM : -ENOENT;
	if (initgroups(user->pw_name, user->pw_gid) < 0 ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

static _Noreturn void serve(int sock, const struct options *opt, uid_t uid)
{
	uint8_t number;
	int r = 0;

	prctl(PR_SET_NAME, "bucket-keys");
	if (!opt->credentials && uid != 0)
		r = become_user(uid);
	/* Of somebody who is not in the user database there are no files. */
	if (r == -ENOENT)
		r = privilege_drop((uid_t)-2);
	else if (r == 0)
		r = privilege_confine(opt->credentials ? 1ull << CAP_DAC_READ_SEARCH : 0);
	if (r < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
		log_error("the process that reads keys: %s", strerror(r < 0 ? -r : errno));
		_exit(1);
	}
	while (recv(sock, &number, 1, 0) == 1)
		answer(sock, number, opt, uid);
	_exit(0);
}

/* --- asking it ------------------------------------------------------------------------------------------ */

static int take(char **to, const char *fields, size_t len, const char *key)
{
	const char *value = field_get(fields, len, key);

	if (!value)
		return 0;
	*to = strdup(value);
	return *to ? 0 : -ENOMEM;
}

static int take_all(struct credentials *out, const char *fields, size_t len)
{
	const char *users = field_get(fields, len, "users");

	*out = (struct credentials){ 0 };
	if (take((char **)&out->keys.access_key_id, fields, len, "access_key_id") < 0 ||
	    take((char **)&out->keys.secret_access_key, fields, len, "secret_access_key") < 0 ||
	    take((char **)&out->keys.session_token, fields, len, "session_token") < 0 ||
	    take(&out->endpoint, fields, len, "endpoint") < 0 ||
	    take(&out->region, fields, len, "region") < 0) {
		credentials_free(out);
		return -ENOMEM;
	}
	out->endpoint_is_users = users && !strcmp(users, "yes");
	out->style = (enum object_style)field_get_u64(fields, len, "style", 0);
	return 0;
}

/* Its length; answers to older questions, which took too long, are passed over. */
static ssize_t receive(char *packet, size_t size)
{
	for (;;) {
		ssize_t n = recv(reader.sock, packet, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
		if (field_get_u64(packet, (size_t)n, "number", UINT64_MAX) == reader.asked)
			return n;
		explicit_bzero(packet, (size_t)n);
	}
}

static int ask(struct credentials *out, struct object_error *error)
{
	char packet[PACKET_MAX];
	ssize_t n;
	int r;

	reader.asked++;
	if (send(reader.sock, &reader.asked, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		n = -EPIPE;
	else
		n = receive(packet, sizeof(packet));
	if (n < 0) {
		snprintf(error->text, sizeof(error->text), "the keys cannot be read: %s",
			 n == -ETIMEDOUT ? "the files do not answer" : "their reader has ended");
		return (int)n;
	}
	r = -(int)field_get_u64(packet, (size_t)n, "error", EPROTO);
	if (r < 0)
		snprintf(error->text, sizeof(error->text), "%s",
			 field_get(packet, (size_t)n, "why"));
	else
		r = take_all(out, packet, (size_t)n);
	explicit_bzero(packet, (size_t)n);
	return r;
}

int key_reader_start(const struct options *opt, uid_t uid)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		/* Nothing of the mount is its business. */
		if (dup2(pair[1], STDERR_FILENO + 1) < 0 ||
		    syscall(SYS_close_range, STDERR_FILENO + 2, ~0U, 0) < 0)
			_exit(1);
		serve(STDERR_FILENO + 1, opt, uid);
	}
	close(pair[1]);
	if (pid < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
		int r = -errno;

		close(pair[0]);
		return r;
	}
	reader.sock = pair[0];
	reader.pid = pid;
	keys_ask(ask);
	return 0;
}

void key_reader_stop(void)
{
	if (reader.sock < 0)
		return;
	/* Who is just asking it gets the end of the conversation. */
	shutdown(reader.sock, SHUT_RDWR);
	while (waitpid(reader.pid, NULL, 0) < 0 && errno == EINTR)
		;
}
