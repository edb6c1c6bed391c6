/* SPDX-License-Identifier: MIT */
/*
 * sandbox-net's side of the name server: its sockets, its process, what it has heard. What it says
 * is a stranger's word: numbers are checked, and addresses open nothing that is not public
 * (boxes.c). One thread, no locks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "dns.h"
#include "net.h"
#include "network.h"

enum {
	NOBODY = 65534,
	AGAIN_MS = 200,
	BACKLOG = 64,
	MAX_FILES = 2048,
	MAX_MEMORY = 256 << 20, /* address space of the name server */
};

static struct net *owner;
static struct loop_source link_source = { .fd = -1 };
static struct loop_timer again;
static int udp = -1, tcp = -1;
static pid_t child;

/* --- its process -------------------------------------------------------------------------------- */

/* Descriptors 3, 4, 5 and no other; nobody's, in the machine's namespace. */
static int confine(int link)
{
	const struct rlimit none = { 0, 0 }, memory = { MAX_MEMORY, MAX_MEMORY };
	struct rlimit files;
	int fds[] = { link, udp, tcp };

	if (setns(owner->host_ns, CLONE_NEWNET) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = fcntl(fds[i], F_DUPFD, 16);
		if (fds[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (dup2(fds[i], 3 + (int)i) < 0)
			return -errno;
	}
	if (syscall(SYS_close_range, 3 + ARRAY_SIZE(fds), ~0U, 0) < 0 || chdir("/") < 0)
		return -errno;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	if (setrlimit(RLIMIT_AS, &memory) < 0)
		return -errno;
#else
	(void)memory;
#endif
	/* Not to be raised without CAP_SYS_RESOURCE. */
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	files.rlim_cur = files.rlim_max = MIN(files.rlim_max, (rlim_t)MAX_FILES);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
	    setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    setrlimit(RLIMIT_NPROC, &none) < 0)
		return -errno;
	return 0;
}

static void child_main(int link, pid_t parent)
{
	sigset_t none;
	int r;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log_init("sandbox-net names", LOG_LEVEL_INFO);
	r = confine(link);
	if (r < 0) {
		log_error("confine the name server: %s", strerror(-r));
		_exit(1);
	}
	/* A change of ids clears it, so only now. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	prctl(PR_SET_DUMPABLE, 0);
	dns_main(3, 4, 5, owner->ipv6);
}

static int spawn(void)
{
	pid_t parent = getpid();
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	child = fork();
	if (child == 0)
		child_main(pair[1], parent);
	r = child < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	link_source.fd = pair[0];
	return loop_add(&owner->loop, &link_source, EPOLLIN);
}

static void reap(void)
{
	loop_remove(&owner->loop, &link_source);
	close_fd(&link_source.fd);
	if (child > 0) {
		kill(child, SIGKILL);
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	child = 0;
}

static void spawn_again(struct loop_timer *timer)
{
	if (spawn() < 0)
		loop_timer_set(&owner->loop, timer, AGAIN_MS);
}

/* --- what it says ------------------------------------------------------------------------------- */

static void take(const struct dns_heard *heard)
{
	unsigned int slot = heard->from.family ? router_slot(owner, &heard->from) : 0;
	struct net_box *box = slot ? owner->by_slot[slot] : NULL;
	struct dns_order order = { .serial = heard->serial };

	if (heard->asks) {
		order.code = box && box_may_ask(box, heard->name) ? 0 : DNS_REFUSED;
		if (order.code && box)
			box_log_refused(box, heard->name);
	} else if ((!heard->from.family || box) &&
		   box_learn(owner, box, heard->name, heard->addresses, heard->n, heard->ttl) < 0) {
		order.code = DNS_SERVFAIL;
	}
	if (heard->serial)
		send_packet(link_source.fd, &order, sizeof(order), NULL, 0);
}

static bool is_sound(struct dns_heard *heard)
{
	if (heard->n > DNS_MAX_ADDRESSES || heard->name[sizeof(heard->name) - 1])
		return false;
	for (uint32_t i = 0; i < heard->n; i++) {
		struct net_address *a = &heard->addresses[i];

		if (a->family != AF_INET && a->family != AF_INET6)
			return false;
		a->prefix = a->family == AF_INET ? 32 : 128;
	}
	return true;
}

static void on_link(struct loop_source *source, uint32_t events)
{
	struct dns_heard heard;
	int none = 0;
	ssize_t n = recv_packet(source->fd, &heard, sizeof(heard), NULL, &none);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(heard) || !is_sound(&heard)) {
		log_error("the name server has ended; starting it again");
		reap();
		loop_timer_set(&owner->loop, &again, AGAIN_MS);
		return;
	}
	take(&heard);
}

void resolver_ask(struct net *net, const char *name)
{
	struct dns_order order = { 0 };

	(void)net;
	if (link_source.fd < 0 || strlen(name) >= sizeof(order.name))
		return;
	memcpy(order.name, name, strlen(name));
	send_packet(link_source.fd, &order, sizeof(order), NULL, 0);
}

/* --- start and end ------------------------------------------------------------------------------ */

static int listen_on(int type, int *out)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;

	if (fd < 0)
		return -errno;
	*out = fd;
	inet_pton(AF_INET, NET_RESOLVER, &a.sin_addr);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		return -errno;
	return 0;
}

int resolver_start(struct net *net)
{
	int r = listen_on(SOCK_DGRAM, &udp);

	owner = net;
	link_source.ready = on_link;
	again.fire = spawn_again;
	if (r == 0)
		r = listen_on(SOCK_STREAM, &tcp);
	return r < 0 ? r : spawn();
}

void resolver_stop(struct net *net)
{
	if (!owner)
		return;
	loop_timer_clear(&net->loop, &again);
	if (link_source.fd >= 0)
		reap();
	close_fd(&udp);
	close_fd(&tcp);
}
