/* SPDX-License-Identifier: MIT */
/*
 * Work to be done in a box and on the host, for tests/bench. Static, so both run the same code.
 *
 *	work cpu | work calls
 *
 * It prints the microseconds of CPU, the kernel's share included, that the work took: on a busy
 * machine the clock on the wall tells nothing.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HASH_ROUNDS = 200 * 1000 * 1000, CALL_ROUNDS = 60 * 1000, FILE_EVERY = 4 };

static int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t compute(void)
{
	uint64_t x = 1;

	for (int i = 0; i < HASH_ROUNDS; i++)
		x = (x ^ (uint64_t)i) * 0x100000001b3ull;
	return x;
}

/* What programs ask of the kernel: small reads and writes, and files, of a filesystem that is the
 * same on both sides: what an overlay costs is another question. */
static uint64_t call(void)
{
	uint64_t done = 0;
	struct stat st;
	char buf[64] = "";
	int ends[2];

	if (pipe(ends) < 0)
		return 0;
	for (int i = 0; i < CALL_ROUNDS; i++) {
		done += write(ends[1], buf, sizeof(buf)) > 0;
		done += read(ends[0], buf, sizeof(buf)) > 0;
		done += getppid() >= 0;
		done += fcntl(ends[0], F_GETFD) >= 0;
		if (i % FILE_EVERY == 0) {
			int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

			done += fstat(fd, &st) == 0;
			done += write(fd, buf, sizeof(buf)) > 0;
			close(fd);
			done += stat("/dev/null", &st) == 0;
		}
	}
	return done;
}

int main(int argc, char **argv)
{
	const int calls = argc > 1 && !strcmp(argv[1], "calls");
	const int64_t begin = cpu_us();
	const uint64_t result = calls ? call() : compute();
	const int64_t took = cpu_us() - begin;

	printf("%lld %llx\n", (long long)took, (unsigned long long)result);
	return 0;
}
