/* SPDX-License-Identifier: MIT */
/*
 * sandbox-net: the networks of one state directory's boxes. See network.h for how it is started.
 *
 *   peers.c    the daemon, keepers          rules.c     the packet filter, as texts for nft
 *   boxes.c    links and rules of boxes     link.c      links, addresses, routes
 *   slots.c    which places are free        forward.c   the machine's forwarding switches
 *   router.c   what all boxes share
 *   log.c      net/log                      resolver.c, dns*.c   the name server, a confined child
 *   heir.c     what is done after a kill
 *
 * It holds the machine's privileges, so it parses nothing of a box but packet headers, by fixed
 * offsets (log.c). One thread, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "forward.h"
#include "keeper/box.h"
#include "keeper/caps.h"
#include "keeper/cgroup.h"
#include "net.h"
#include "network.h"

enum { LOCK_MS = 5000, LOCK_LOOK_US = 2000 };

static struct net net = { .host_ns = -1, .router_ns = -1, .state_dir = -1 };

/* The last one may be on its way out. Held until the process ends. */
static int take_lock(void)
{
	int64_t deadline = monotonic_ms() + LOCK_MS;
	int fd = openat(net.state_dir, NET_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || monotonic_ms() > deadline) {
			close(fd);
			return -EBUSY;
		}
		usleep(LOCK_LOOK_US);
	}
	return 0;
}

/* Out of the caller's session and cgroups, as keepers go (keeper/cgroup.h). */
static void leave_caller(void)
{
	struct failure why = { 0 };
	char path[64];

	if (setsid() < 0 && errno != EPERM)
		log_warn("make a session: %s", strerror(errno));
	snprintf(path, sizeof(path), "sandboxfs/%08x/net",
		 (unsigned int)hash_bytes(net.state_path, strlen(net.state_path)));
	if (cgroup_leave_caller(path, &why) < 0)
		log_warn("%s", why.text);
}

static void rejoin_caller(const char *state_path)
{
	char path[64];

	snprintf(path, sizeof(path), "sandboxfs/%08x/net",
		 (unsigned int)hash_bytes(state_path, strlen(state_path)));
	cgroup_leave_keepers(path);
}

/* Once: what drops packets of boxes is nobody's fault, but hard to find. */
static void tell_obstacles(void)
{
	_cleanup_text_ struct text found = { 0 };
	char *save = NULL;

	if (rules_find_obstacles(net.host_nft, net.host_link, &found) < 0 || !found.len)
		return;
	for (char *line = strtok_r(found.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		peers_warn(&net, "%s", line);
}

static int serve(const char *state_path, const char *subnet)
{
	int r;

	net.state_path = state_path;
	net.state_dir = open(state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = net.state_dir < 0 ? -errno : take_lock();
	if (r < 0) {
		log_error("%s: %s", state_path, strerror(-r));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	leave_caller();
	r = caps_cut_net();
	if (r < 0) {
		log_error("cut the capabilities: %s", strerror(-r));
		return 1;
	}
	forward_restore();
	net.refresh.fire = boxes_refresh;
	r = loop_open(&net.loop);
	if (r == 0)
		r = heir_start(&net);
	if (r == 0)
		r = peers_start(&net);
	if (r < 0)
		return 1;
	if (router_make(&net, subnet) < 0) {
		/* Boxes get this as the reason. */
		log_warn("no box can have a network: %s", net.failed);
		peers_unable(&net);
	} else {
		tell_obstacles();
		boxes_refresh(&net.refresh);
	}
	r = loop_serve(&net.loop);
	boxes_free(&net);
	router_free(&net);
	heir_stop(&net);
	rejoin_caller(state_path);
	peers_stop(&net); /* last: the daemon takes it for the end of all the rest */
	loop_close(&net.loop);
	return r < 0;
}

static int check(void)
{
	_cleanup_text_ struct text found = { 0 };
	const struct link_end one = { .name = "a", .ns = -1 }, other = { .name = "b", .ns = -1 };
	struct mnl_socket *nl = link_open(0);
	struct nft_ctx *nft = rules_open();
	int r;

	if (!nl || !nft || rules_find_obstacles(nft, "sbx+", &found) < 0)
		text_add_str(&found,
			     "nf_tables is not there, or may not be used: boxes can only have "
			     "network mode none\n");
	link_close(nl);
	rules_close(nft);
	/* In a namespace that nobody sees. */
	if (unshare(CLONE_NEWNET) < 0) {
		text_add_str(&found, "no network namespace can be made: root is needed\n");
	} else {
		nl = link_open(0);
		r = nl ? link_make_pair(nl, &one, &other, BOX_MTU) : -errno;
		if (r < 0)
			text_printf(&found, "no veth link can be made (%s): load the module veth\n",
				    strerror(-r));
		link_close(nl);
	}
	if (found.len)
		fputs(found.data, stdout);
	return found.len != 0;
}

int main(int argc, char **argv)
{
	log_init("sandbox-net", LOG_LEVEL_INFO);
	if (argc == 2 && !strcmp(argv[1], "--check"))
		return check();
	if (argc == 2 && !strcmp(argv[1], "--restore"))
		return (forward_restore(), 0);
	if (argc == 3 && !strcmp(argv[1], NET_HEIR)) {
		heir_wait();
		rejoin_caller(argv[2]);
		return 0;
	}
	if (argc == 3)
		return serve(argv[1], argv[2]);
	fputs("sandbox-net is started by sandboxfs\n", stderr);
	return 2;
}
