/* SPDX-License-Identifier: MIT */
/*
 * Thousands of clients that wait, for tests/waiting. Compiled by the test, run outside of boxes.
 *
 *	waiters PLAN BOX…
 *
 * PLAN is the words FILE:COUNT, as "out:60,procs/web/in:20". For each BOX one process, in it a
 * thread for each COUNT that opens BOX/FILE by itself and waits in it: in a read up to the end of
 * file, or, where FILE ends in "in", in a write of one line, padded to 4 KiB, and the close.
 * It says "open N" when N threads are about to wait. When all are done it prints how each ended:
 *
 *	BOX FILE N RESULT   RESULT: what was read, blanks as _; "wrote"; or an errno's name
 *
 * and ends with 0; with 2 if there are not so many threads to be had.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FILES = 16, LINE = 4096, RESULT = 160 };

struct waiter {
	pthread_t thread;
	const char *file;
	unsigned int number; /* among those of the file */
	char result[RESULT];
};

static struct {
	const char *file;
	unsigned int count;
} plan[MAX_FILES];
static unsigned int n_plan, n_waiters;
static const char *box;
static atomic_uint *ready; /* shared by all processes */
static sem_t *turn;	   /* to print */

static void say_errno(struct waiter *w)
{
	snprintf(w->result, sizeof(w->result), "%s", strerrorname_np(errno));
}

static void wait_in_read(struct waiter *w, int fd)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, w->result + len, sizeof(w->result) - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0) {
		say_errno(w);
		return;
	}
	w->result[len] = '\0';
	for (char *c = w->result; *c; c++) {
		if (*c == ' ' || *c == '\n')
			*c = '_';
	}
}

static void wait_in_write(struct waiter *w, int fd)
{
	static __thread char line[LINE];

	memset(line, 'x', sizeof(line));
	snprintf(line + LINE - 7, 7, "%6u", w->number);
	line[LINE - 1] = '\n';
	if (write(fd, line, LINE) == LINE)
		snprintf(w->result, sizeof(w->result), "wrote");
	else
		say_errno(w);
}

static void *wait_in(void *arg)
{
	struct waiter *w = arg;
	size_t len = strlen(w->file);
	int writes = len > 2 && strcmp(w->file + len - 3, "/in") == 0;
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", box, w->file);
	fd = open(path, (writes ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	atomic_fetch_add(ready, 1);
	if (fd < 0)
		say_errno(w);
	else if (writes)
		wait_in_write(w, fd);
	else
		wait_in_read(w, fd);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static int one_box(void)
{
	struct waiter *all = calloc(n_waiters, sizeof(*all)), *w = all;
	const char *name = strrchr(box, '/');
	pthread_attr_t attr;

	if (!all || pthread_attr_init(&attr) != 0 ||
	    pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + LINE) != 0)
		return 1;
	for (unsigned int i = 0; i < n_plan; i++) {
		for (unsigned int k = 0; k < plan[i].count; k++, w++) {
			*w = (struct waiter){ .file = plan[i].file, .number = k };
			errno = pthread_create(&w->thread, &attr, wait_in, w);
			if (errno) {
				fprintf(stderr, "%s: thread %u: %m\n", box,
					(unsigned int)(w - all));
				_exit(2); /* not to wait for the others */
			}
		}
	}
	for (unsigned int i = 0; i < n_waiters; i++)
		pthread_join(all[i].thread, NULL);
	sem_wait(turn);
	for (unsigned int i = 0; i < n_waiters; i++)
		printf("%s %s %u %s\n", name ? name + 1 : box, all[i].file, all[i].number,
		       all[i].result[0] ? all[i].result : "-");
	fflush(stdout);
	sem_post(turn);
	free(all);
	return 0;
}

static void read_plan(char *text)
{
	for (char *word = strtok(text, ","); word && n_plan < MAX_FILES; word = strtok(NULL, ",")) {
		char *colon = strchr(word, ':');

		if (!colon)
			continue;
		*colon = '\0';
		plan[n_plan].file = word;
		plan[n_plan].count = (unsigned int)strtoul(colon + 1, NULL, 10);
		n_waiters += plan[n_plan++].count;
	}
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int main(int argc, char **argv)
{
	unsigned int wanted;
	int status, failed = 0;

	if (argc < 3)
		return 64;
	read_plan(argv[1]);
	wanted = n_waiters * (unsigned int)(argc - 2);
	ready = shared(sizeof(*ready));
	turn = shared(sizeof(*turn));
	if (!ready || !turn || sem_init(turn, 1, 1) < 0)
		return 1;
	for (int i = 2; i < argc; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0) {
			box = argv[i];
			setvbuf(stdout, NULL, _IOFBF, 1 << 16);
			exit(one_box());
		}
	}
	while (atomic_load(ready) < wanted) {
		if (waitpid(-1, &status, WNOHANG) > 0 && status != 0)
			return 2;
		usleep(2000);
	}
	printf("open %u\n", wanted);
	fflush(stdout);
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed ? 2 : 0;
}
