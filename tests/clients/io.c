/* SPDX-License-Identifier: MIT */
/*
 * A client in C: put, get, talk, twice, line (see tests/lib/clients.py), by bare system calls.
 * Must not buffer anything and must look at every result. It has no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_entry(int flags)
{
	const char *path = getenv("F");
	int fd = path ? open(path, flags | O_CLOEXEC) : -1;

	if (fd < 0)
		die("open");
	return fd;
}

static void put(int fd)
{
	const char *text = getenv("T");

	if (dprintf(fd, "%s\n", text ? text : "") < 0)
		die("write");
}

static void get(int fd)
{
	char buf[512];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (write(STDOUT_FILENO, buf, (size_t)n) != n)
			die("write to stdout");
	}
	if (n < 0)
		die("read");
}

static void get_line(int fd)
{
	char c;

	while (read(fd, &c, 1) == 1) {
		if (write(STDOUT_FILENO, &c, 1) != 1)
			die("write to stdout");
		if (c == '\n')
			return;
	}
	die("read");
}

int main(int argc, char **argv)
{
	const char *verb = argc == 2 ? argv[1] : "";
	int fd;

	if (!strcmp(verb, "put")) {
		fd = open_entry(O_WRONLY);
		put(fd);
	} else if (!strcmp(verb, "get")) {
		fd = open_entry(O_RDONLY);
		get(fd);
	} else if (!strcmp(verb, "line")) {
		fd = open_entry(O_RDONLY);
		get_line(fd);
	} else if (!strcmp(verb, "talk") || !strcmp(verb, "twice")) {
		fd = open_entry(O_RDWR);
		for (int i = 0; i <= !strcmp(verb, "twice"); i++) {
			put(fd);
			get(fd);
		}
	} else {
		fprintf(stderr, "usage: io put|get|talk|twice|line\n");
		return 2;
	}
	if (close(fd) < 0)
		die("close");
	return 0;
}
