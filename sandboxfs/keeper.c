/* SPDX-License-Identifier: MIT */
/*
 * Keepers: starting, asking, ending. What they say is handled in keeper_events.c.
 * Locks: box->lock held by the callers; blocks_lock is a leaf.
 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "box_disk.h"
#include "daemon.h"
#include "events.h"
#include "image.h"
#include "images.h"
#include "keeper_private.h"
#include "mount.h"
#include "net.h"
#include "spawn.h"
#include "store.h"

enum { ADOPT_MS = 5000 };

/* --- asking ------------------------------------------------------------------------------------- */

uint64_t keeper_new_tag(void)
{
	static atomic_uint_least64_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

static int send_message(struct box *box, const struct msg *m, const void *payload, const int *fds,
			int n_fds)
{
	struct keeper *k = box->keeper;

	if (!k || msg_send(&k->link, m, payload, fds, n_fds) < 0)
		return -EIO;
	k->n_sent++;
	if (msg_wants_write(&k->link) && k->watched)
		daemon_watch_change(&k->watch, EPOLLIN | EPOLLOUT);
	return 0;
}

int keeper_request(struct box *box, enum msg_type type, uint64_t tag, int64_t v0,
		   const struct text *fields)
{
	const struct msg m = {
		.type = type, .tag = tag, .v = { v0 }, .len = fields ? fields->len : 0
	};

	if (fields && fields->failed)
		return -ENOMEM;
	return send_message(box, &m, fields ? fields->data : NULL, NULL, 0);
}

int keeper_submit(struct box *box, struct run *run, struct text *fields, const char *script,
		  size_t len)
{
	struct msg m = { .type = MSG_SUBMIT,
			 .run = run->number,
			 .tag = KEEPER_RUN_TAG | run->number,
			 .v = { (int64_t)fields->len } };

	text_add(fields, script, len);
	if (fields->failed)
		return -ENOMEM;
	m.len = fields->len;
	return send_message(box, &m, fields->data, NULL, 0);
}

int keeper_run_request(struct box *box, enum msg_type type, uint64_t run, int64_t v0, int64_t v1)
{
	const struct msg m = { .type = type, .run = run, .v = { v0, v1 } };

	return send_message(box, &m, NULL, NULL, 0);
}

int keeper_signal_tree(struct box *box, uint64_t run, int sig, uint64_t tag)
{
	const struct msg m = {
		.type = MSG_SIGNAL, .flags = MSG_SIGNAL_TREE, .tag = tag, .run = run, .v = { sig }
	};

	return send_message(box, &m, NULL, NULL, 0);
}

int keeper_terminal_size(struct box *box, uint64_t number, uint16_t rows, uint16_t columns)
{
	const struct msg m = { .type = MSG_TERMINAL_SIZE, .v = { (int64_t)number, rows, columns } };

	return send_message(box, &m, NULL, NULL, 0);
}

int keeper_limit(struct box *box, enum limit which, uint64_t value, uint64_t tag)
{
	_cleanup_text_ struct text fields = { 0 };

	field_add_u64(&fields, limit_types[which].field, limit_to_wire(value));
	return keeper_request(box, MSG_LIMIT, tag, 0, &fields);
}

int keeper_freeze_idle(struct box *box)
{
	const struct msg m = { .type = MSG_FREEZE, .flags = MSG_FREEZE_IDLE };

	return send_message(box, &m, NULL, NULL, 0);
}

int keeper_run_ask(struct box *box, enum msg_type type, uint64_t tag, uint64_t run)
{
	const struct msg m = { .type = type, .tag = tag, .run = run };

	return send_message(box, &m, NULL, NULL, 0);
}

/* --- starting ----------------------------------------------------------------------------------- */

/* Its end of the socket, or -errno. */
static int spawn_keeper(void)
{
	char program[4096], *argv[] = { KEEPER_PROGRAM, NULL };
	char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	int pair[2];
	int r = daemon_helper(KEEPER_PROGRAM, program, sizeof(program));

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, pair[1], KEEPER_SOCKET_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, KEEPER_SOCKET_FD + 1);
	r = spawn_unblocked(program, &actions, argv, envp);
	close(pair[1]);
	if (r == 0)
		return pair[0];
	close(pair[0]);
	return r;
}

/*
 * One keeper is kept ready, so that a box need not wait for a process to be made. It knows nothing
 * yet, and ends when its socket does.
 */
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static int spare = -1;
static bool spare_wanted = true;

static void refill_spare(void)
{
	int sock = -1;
	bool wanted;

	pthread_mutex_lock(&spare_lock);
	wanted = spare_wanted && spare < 0;
	pthread_mutex_unlock(&spare_lock);
	if (wanted)
		sock = spawn_keeper();
	if (sock < 0)
		return;
	pthread_mutex_lock(&spare_lock);
	if (spare_wanted && spare < 0)
		spare = take_fd(&sock);
	pthread_mutex_unlock(&spare_lock);
	close_fd(&sock);
}

/* A keeper's socket: the spare one, or of a new one. */
static int take_keeper(void)
{
	struct pollfd p = { .events = POLLIN };

	pthread_mutex_lock(&spare_lock);
	p.fd = take_fd(&spare);
	pthread_mutex_unlock(&spare_lock);
	/* One that waits has nothing to say: if it has, it is gone. */
	if (p.fd >= 0 && poll(&p, 1, 0) != 0)
		close_fd(&p.fd);
	return p.fd >= 0 ? p.fd : spawn_keeper();
}

void keeper_end_spare(void)
{
	pthread_mutex_lock(&spare_lock);
	spare_wanted = false;
	close_fd(&spare);
	pthread_mutex_unlock(&spare_lock);
}

static void host_name(const struct box *box, char out[64])
{
	size_t n = 0;

	for (const char *p = box->name; *p && n < 63; p++) {
		bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			  (*p >= '0' && *p <= '9') || (n && *p == '-');

		if (ok)
			out[n++] = *p;
		else if (n && out[n - 1] != '-')
			out[n++] = '-';
	}
	while (n && out[n - 1] == '-')
		n--;
	if (!n)
		n = (size_t)snprintf(out, 64, "box");
	out[n] = '\0';
}

/* A path of the box's cgroup that no other daemon's boxes can have. */
void keeper_cgroup_name(const struct box *box, char *out, size_t size)
{
	const char *path = store_path();

	snprintf(out, size, "sandboxfs/%08x/%u", (unsigned int)hash_bytes(path, strlen(path)),
		 box->id);
}

static void zone_name(char *out, size_t size)
{
	static const char prefix[] = "/usr/share/zoneinfo/";
	char target[256];
	ssize_t n = readlink("/etc/localtime", target, sizeof(target) - 1);
	const char *p;

	out[0] = '\0';
	if (n <= 0)
		return;
	target[n] = '\0';
	p = strstr(target, prefix);
	if (p)
		snprintf(out, size, "%s", p + strlen(prefix));
}

static void start_fields(const struct box *box, const char *image_dir, struct text *t)
{
	char hostname[64], cgroup[128], zone[200];
	struct limits limits;

	host_name(box, hostname);
	keeper_cgroup_name(box, cgroup, sizeof(cgroup));
	zone_name(zone, sizeof(zone));
	field_add_u64(t, "box", box->id);
	field_add(t, "name", box->name);
	field_add(t, "hostname", hostname);
	field_add(t, "token", box->token);
	field_add_u64(t, "uid_base", keeper_block_base(box->block));
	field_add_u64(t, "storage_base", keeper_block_base(0));
	field_add(t, "image", box->image);
	if (image_dir)
		field_add(t, "image_dir", image_dir);
	if (box->image_user)
		field_add(t, "user", box->image_user);
	field_add(t, "cgroup", cgroup);
	box_limits(box, &limits);
	limits_add_fields(t, &limits);
	field_add(t, "disk_method", disk_method_word(the_options.disk_method));
	field_add_u64(t, "keep_runs", the_options.keep_runs);
	field_add(t, "cwd", box->sessions->cwd);
	if (zone[0])
		field_add(t, "tz", zone);
	if (box->net_private)
		field_add(t, "network", box->net_chosen ? "private" : "if-any");
	env_start_fields(&box->sessions->env, box_user_is_root(box, ""), t);
	mounts_start_fields(box, t);
}

static int send_start(struct box *box, const char *image_dir)
{
	_cleanup_text_ struct text fields = { 0 };
	_cleanup_close_ int dir = store_box_dir(box);
	struct msg m = { .type = MSG_START, .tag = KEEPER_START_TAG };
	int fds[] = { dir, keeper_block_lock(box->block) };
	int r;

	if (dir < 0)
		return dir;
	start_fields(box, image_dir, &fields);
	r = image_dir ? 0 : images_start_fields(box->image, &fields);
	if (r < 0 || fields.failed)
		return r < 0 ? r : -ENOMEM;
	m.len = fields.len;
	return send_message(box, &m, fields.data, fds, ARRAY_SIZE(fds));
}

static void new_token(char token[17])
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		random = hash_u64((uint64_t)monotonic_us());
	snprintf(token, 17, "%016llx", (unsigned long long)random);
}

static void start_failed(struct box *box, int error, const char *what)
{
	char reason[320];

	snprintf(reason, sizeof(reason), "%s: %s", what, strerror(error));
	box->start_errno = error;
	keeper_block_free(box);
	box_set_state(box, BOX_FAILED, reason);
}

struct keeper *keeper_new(struct box *box)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	msg_link_init(&k->link, -1);
	k->box = box_ref(box);
	k->watch.fd = -1;
	k->watch.ready = keeper_ready;
	return k;
}

void keeper_free(struct keeper *k)
{
	if (k->watched)
		daemon_watch_remove(&k->watch);
	msg_link_close(&k->link);
	box_put(k->box);
	free(k);
}

int keeper_watch(struct keeper *k)
{
	int r;

	k->watch.fd = k->link.sock;
	r = daemon_watch_add(&k->watch, EPOLLIN | (msg_wants_write(&k->link) ? EPOLLOUT : 0));
	k->watched = r == 0;
	return r;
}

static void launch(struct box *box, const char *image_dir)
{
	const char *what = "start its keeper";
	struct keeper *k = keeper_new(box);
	int r = box->net_private ? net_prepare(box, &what) : 0;
	int sock = k && r == 0 ? take_keeper() : -1;

	if (r == 0)
		r = k ? MIN(sock, 0) : -ENOMEM;
	if (r == 0) {
		msg_link_init(&k->link, sock);
		box->keeper = k;
		new_token(box->token);
		store_save(box);
		box_volumes_starting(box);
		r = send_start(box, image_dir);
	}
	if (r == 0)
		r = keeper_watch(k);
	if (r < 0) {
		box->keeper = NULL;
		if (k)
			keeper_free(k);
		start_failed(box, -r, what);
	}
}

/* The box is on its way: now there is time to make the next one's keeper. */
void keeper_started(void)
{
	daemon_run_later(refill_spare);
}

/* The folder of image host; *dir is empty for an imported one, which is always ready. */
static int find_image(struct box *box, char *dir, size_t dir_size, char *why, size_t why_size)
{
	if (!strcmp(box->image, "host"))
		return image_current(box->image_key, dir, dir_size, why, why_size);
	dir[0] = box->image_key[0] = '\0';
	if (images_is_ready(box->image))
		return 0;
	snprintf(why, why_size, "there is no image %s", box->image);
	return -ENOENT;
}

static void start_with_image(struct box *box)
{
	char dir[4096], why[256];
	int r = find_image(box, dir, sizeof(dir), why, sizeof(why));

	if (r == -EAGAIN)
		return; /* keeper_image_ready() goes on */
	if (r < 0) {
		start_failed(box, -r, why);
		return;
	}
	box->block = keeper_block_take();
	if (!box->block) {
		start_failed(box, EAGAIN, "no block of user ids is free (uid_count)");
		return;
	}
	launch(box, *dir ? dir : NULL);
}

void keeper_start(struct box *box)
{
	box_set_state(box, BOX_STARTING, NULL);
	start_with_image(box);
}

static int continue_start(struct box *box, void *ctx)
{
	struct park *ready = NULL;

	(void)ctx;
	pthread_mutex_lock(&box->lock);
	if (box->state == BOX_STARTING && !box->keeper && !box->removed) {
		start_with_image(box);
		ready = park_collect(&box->parks, 0, NULL);
	}
	pthread_mutex_unlock(&box->lock);
	park_answer(ready);
	return 0;
}

void keeper_image_ready(void)
{
	boxes_each(false, continue_start, NULL);
}

/* --- finding a living one again ---------------------------------------------------------------- */

static int connect_keeper(const struct box *box)
{
	_cleanup_close_ int dir = store_box_dir(box);
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (dir < 0 || sock < 0)
		return dir < 0 ? dir : -errno;
	/* The path of the state directory may be longer than a socket's can be. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir, KEEPER_SOCKET);
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return take_fd(&sock);
}

/* The defaults may have changed since it was started. */
static void tell_limits(struct box *box)
{
	for (int i = 0; i < N_LIMITS; i++)
		keeper_limit(box, (enum limit)i, box_limit(box, (enum limit)i),
			     KEEPER_LIMIT_TAG | (uint64_t)i);
	box_disk_adopted(box);
}

int keeper_adopt(struct box *box)
{
	const struct msg hello = { .type = MSG_HELLO,
				   .tag = KEEPER_START_TAG,
				   .v = { PROTOCOL_VERSION } };
	int64_t deadline = monotonic_ms() + ADOPT_MS;
	struct keeper *k;
	int sock = connect_keeper(box);
	int r = 0;

	if (sock < 0)
		return sock;
	k = keeper_new(box);
	if (!k) {
		close(sock);
		return -ENOMEM;
	}
	msg_link_init(&k->link, sock);
	box->keeper = k;
	keeper_block_adopt(box->block);
	r = send_message(box, &hello, NULL, NULL, 0);
	while (r == 0 && !k->ready) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int64_t left = deadline - monotonic_ms();

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			r = -ETIMEDOUT;
		else
			r = keeper_take_messages(k);
	}
	if (r == 0) {
		tell_limits(box);
		r = keeper_watch(k);
	}
	if (r < 0) {
		box->keeper = NULL;
		keeper_free(k);
	}
	return r;
}

/* --- ending ------------------------------------------------------------------------------------- */

int keeper_stop(struct box *box, int64_t timeout_ms, uint64_t tag, const char *why)
{
	int r;

	if (!box->keeper) {
		if (box->state == BOX_STARTING) /* it waits for the image */
			box_set_state(box, BOX_STOPPED, NULL);
		return 0;
	}
	r = keeper_request(box, MSG_STOP, tag, timeout_ms, NULL);
	if (r == 0)
		box_set_state(box, BOX_STOPPING, why);
	return r;
}

void keeper_destroy(struct box *box)
{
	if (!box->keeper)
		return;
	keeper_request(box, MSG_DESTROY, 0, 0, NULL);
	box->keeper->said_goodbye = true; /* its end is what we asked for */
}

void keeper_leave(struct box *box)
{
	if (!box->keeper)
		return;
	keeper_free(take_ptr(box->keeper));
}
