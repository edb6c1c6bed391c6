/* SPDX-License-Identifier: MIT */
/*
 * Swaps what stands under a dozen names as fast as it can: files, folders, symbolic links that
 * lead out, FIFOs, sockets and device nodes, so that whoever walks there from outside meets another
 * object than the one looked at. Run in a box by tests/security/races, and on the machine, as the
 * control, where the same must lead a program astray.
 *
 *     storm SECONDS OUTSIDE [links]
 *
 * works in the present folder: names x0 … x7 and, where x0 … x3 are folders, y0 … y3 in them.
 * Every folder has a file `secret` ("inside"), and so has OUTSIDE, a folder of the machine's
 * ("ESCAPED"), to which the links lead: absolute, by leading and inner `..`, by magic links of
 * /proc. A folder in the way of `..` (pit/…) moves up and down. With `links` only folders and links
 * come: names that a control can be tried on without waiting for ever in a FIFO.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TOP = 8, FOLDERS = 4, INNER = 4, SLOTS = TOP + FOLDERS * INNER, DEPTH = 14, BATCH = 64 };

static const char *outside;
static bool links_only;
static uint64_t seed = 88172645463325252u;
static char slots[SLOTS][16];

static unsigned int any(unsigned int n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned int)(seed >> 33) % n;
}

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, 0666);

	if (fd < 0)
		return;
	/* A full disk is one more thing that may happen. */
	if (write(fd, text, strlen(text)) < 0)
		errno = 0;
	close(fd);
}

static void put_link(const char *path)
{
	char target[PATH_MAX], ups[3 * DEPTH + 1] = "";
	const char *tail = any(2) ? "" : "/secret";

	for (unsigned int n = any(DEPTH); n; n--)
		strcat(ups, "../");
	switch (any(6)) {
	case 0:
		snprintf(target, sizeof(target), "%s%s", outside, tail);
		break;
	case 1:
		snprintf(target, sizeof(target), "%s%s%s", ups, outside + 1, tail);
		break;
	case 2:
		snprintf(target, sizeof(target), "x%u/%s%s%s", any(TOP), ups, outside + 1, tail);
		break;
	case 3:
		snprintf(target, sizeof(target), "/proc/self/root%s%s", outside, tail);
		break;
	case 4:
		snprintf(target, sizeof(target), "/proc/1/cwd/%s%s%s", ups, outside + 1, tail);
		break;
	default:
		snprintf(target, sizeof(target), "x%u", any(TOP));
	}
	if (symlink(target, path) < 0)
		errno = 0; /* the name is taken again, or its folder gone */
}

static void put_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (sock >= 0) {
		/* Fails where the name is taken again. */
		if (bind(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
			errno = 0;
		close(sock);
	}
}

static void put_folder(const char *path)
{
	char inner[64];

	if (mkdir(path, 0777) < 0)
		return;
	snprintf(inner, sizeof(inner), "%s/secret", path);
	put_file(inner, "inside\n");
}

/* Something new under that name. */
static void put_any(const char *path)
{
	switch (links_only ? any(5) : any(9)) {
	case 0:
	case 1:
	case 2:
		put_folder(path);
		break;
	case 3:
	case 4:
		put_link(path);
		break;
	case 5:
		put_file(path, "inside\n");
		break;
	case 6:
		mkfifo(path, 0666);
		break;
	case 7:
		put_socket(path);
		break;
	default:
		/* The only number that a box may make; the machine's root has it as well. */
		mknod(path, S_IFCHR | 0666, makedev(0, 0));
	}
}

static void take_away(const char *path, int depth)
{
	char inner[64];

	if (unlink(path) == 0 || errno != EISDIR || depth > 3)
		return;
	for (int i = 0; i < TOP; i++) {
		snprintf(inner, sizeof(inner), "%s/%c%d", path, i < INNER ? 'y' : 'x', i);
		take_away(inner, depth + 1);
	}
	snprintf(inner, sizeof(inner), "%s/secret", path);
	unlink(inner);
	rmdir(path);
}

/*
 * pit/a/b/c and what lies in it, up and down again: who went in comes out somewhere else. From
 * below, as many `..` as are in the link lead to the top of the box's folder; from above, to the
 * folder that holds the mount, where OUTSIDE is.
 */
static void move_pit(void)
{
	static bool up;
	char target[PATH_MAX];

	if (mkdir("pit", 0777) == 0 && mkdir("pit/a", 0777) == 0 && mkdir("pit/a/b", 0777) == 0) {
		put_folder("pit/a/b/c");
		snprintf(target, sizeof(target), "../../../../..%s/secret", strrchr(outside, '/'));
		if (symlink(target, "pit/a/b/c/l") < 0)
			errno = 0;
	}
	if (up)
		rename("c", "pit/a/b/c");
	else
		rename("pit/a/b/c", "c");
	up = !up;
}

static void step(void)
{
	const char *one = slots[any(SLOTS)], *other = slots[any(SLOTS)];
	struct stat st;

	if (any(8) == 0) {
		take_away(one, 0);
		put_any(one);
		return;
	}
	if (any(32) == 0)
		move_pit();
	if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0 || errno != ENOENT)
		return;
	if (lstat(one, &st) < 0)
		put_any(one);
	if (lstat(other, &st) < 0)
		put_any(other);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double end;
	int n = 0;

	if (argc < 3 || argv[2][0] != '/') {
		fprintf(stderr, "usage: storm SECONDS /OUTSIDE [links]\n");
		return 2;
	}
	end = now() + strtod(argv[1], NULL);
	outside = argv[2];
	links_only = argc > 3;
	umask(0);
	for (int i = 0; i < TOP; i++)
		snprintf(slots[n++], sizeof(slots[0]), "x%d", i);
	for (int i = 0; i < FOLDERS * INNER; i++)
		snprintf(slots[n++], sizeof(slots[0]), "x%d/y%d", i / INNER, i % INNER);
	for (int i = 0; i < SLOTS; i++)
		put_any(slots[i]);
	while (now() < end) {
		for (int i = 0; i < BATCH; i++)
			step();
	}
	return 0;
}
