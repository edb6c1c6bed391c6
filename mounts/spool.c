/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Spool files. Lock: spool.lock, a leaf.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "options.h"

enum {
	WAIT_SECONDS = 10,
	SPARE_FILES = 16, /* making and unmaking a file costs more than writing a small one */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t given;
	uint64_t used, gifts;
	int spare[SPARE_FILES];
	unsigned n_spare;
} spool = { .lock = PTHREAD_MUTEX_INITIALIZER, .given = PTHREAD_COND_INITIALIZER };

static int new_file(void)
{
	int fd = open(the_options.spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char name[4200];

	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return -errno;
	/* A filesystem without such files. */
	snprintf(name, sizeof(name), "%s/sandbox-bucket.XXXXXX", the_options.spool_dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

int spool_open(void)
{
	int fd = -1;

	pthread_mutex_lock(&spool.lock);
	if (spool.n_spare)
		fd = spool.spare[--spool.n_spare];
	pthread_mutex_unlock(&spool.lock);
	return fd >= 0 ? fd : new_file();
}

void spool_close(int *fd)
{
	if (*fd < 0)
		return;
	if (ftruncate(*fd, 0) == 0) {
		pthread_mutex_lock(&spool.lock);
		if (spool.n_spare < SPARE_FILES)
			spool.spare[spool.n_spare++] = take_fd(fd);
		pthread_mutex_unlock(&spool.lock);
	}
	close_fd(fd);
}

bool spool_take(uint64_t bytes)
{
	bool fits;

	pthread_mutex_lock(&spool.lock);
	fits = bytes <= the_options.spool_size && spool.used <= the_options.spool_size - bytes;
	if (fits)
		spool.used += bytes;
	pthread_mutex_unlock(&spool.lock);
	return fits;
}

void spool_give(uint64_t bytes)
{
	if (!bytes)
		return;
	pthread_mutex_lock(&spool.lock);
	spool.used -= bytes;
	spool.gifts++;
	pthread_cond_broadcast(&spool.given);
	pthread_mutex_unlock(&spool.lock);
}

bool spool_wait(void)
{
	struct timespec until;
	uint64_t gifts;
	bool given;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&spool.lock);
	gifts = spool.gifts;
	while (spool.gifts == gifts &&
	       pthread_cond_clockwait(&spool.given, &spool.lock, CLOCK_MONOTONIC, &until) == 0)
		;
	given = spool.gifts != gifts;
	pthread_mutex_unlock(&spool.lock);
	return given;
}

uint64_t spool_used(void)
{
	uint64_t used;

	pthread_mutex_lock(&spool.lock);
	used = spool.used;
	pthread_mutex_unlock(&spool.lock);
	return used;
}

void spool_punch(int fd, uint64_t from, uint64_t to)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		log_debug("spool: cannot punch a hole");
}
