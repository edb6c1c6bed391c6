/* SPDX-License-Identifier: MIT */
/*
 * sandbox-image host [--mask PATH]… [--add PATH]… DIR: makes sure that DIR holds the image `host`
 * of the machine's present software, and prints its key. Only the command line is read here.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/image.h"
#include "runtime.h"

enum { MAX_EXTRA = 256, OPTION_MACHINE = 1, OPTION_MASK, OPTION_ADD, OPTION_HELP };

static const struct option long_options[] = {
	{ "machine", required_argument, NULL, OPTION_MACHINE },
	{ "mask", required_argument, NULL, OPTION_MASK },
	{ "add", required_argument, NULL, OPTION_ADD },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

static void print_usage(FILE *to)
{
	fputs("usage: sandbox-image host [--mask PATH]... [--add PATH]... DIR\n"
	      "Builds DIR/KEY, the image `host` of this machine's present software, if it is not\n"
	      "there, and prints KEY.\n"
	      "  --mask PATH     hide PATH, which lies below /usr, from the boxes\n"
	      "  --add PATH      copy PATH, which lies below /etc, into the image as it is\n"
	      "  --machine PATH  take the folder PATH for the machine's root (default /)\n",
	      to);
}

/* True if path is below the folder top and has no "." and ".." in it; skips the leading slash. */
static bool strip_below(const char **path, const char *top)
{
	const char *p = *path + strspn(*path, "/");
	size_t len = strlen(top);
	bool below = **path == '/' && !strncmp(p, top, len) && p[len] == '/' && p[len + 1];

	*path = p;
	for (; below && *p; p += strcspn(p, "/"), p += *p == '/') {
		size_t part = strcspn(p, "/");

		if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && !strncmp(p, "..", 2)))
			below = false;
	}
	return below;
}

static int add_path(const char **list, size_t *n, const char *path, const char *top)
{
	const char *given = path;

	if (!strip_below(&path, top)) {
		fprintf(stderr, "sandbox-image: %s is not a plain path below /%s\n", given, top);
		return -1;
	}
	if (*n == MAX_EXTRA) {
		fprintf(stderr, "sandbox-image: more than %d paths given\n", MAX_EXTRA);
		return -1;
	}
	list[(*n)++] = path;
	return 0;
}

static int build_and_print(const struct image_options *options, const char *dir)
{
	_cleanup_text_ struct text why = { 0 };
	char key[IMAGE_KEY_SIZE];

	if (geteuid() != 0) {
		fputs("sandbox-image: only root can build the image `host`, because its files\n"
		      "keep their owners: run it as root\n",
		      stderr);
		return 1;
	}
	umask(0);
	if (image_build(options, dir, key, &why) < 0) {
		fprintf(stderr, "sandbox-image: %s\n", why.data ? why.data : "out of memory");
		return 1;
	}
	if (printf("%s\n", key) < 0 || fflush(stdout) == EOF) {
		perror("sandbox-image: cannot print the key");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *masks[MAX_EXTRA], *adds[MAX_EXTRA];
	struct image_options options = { .machine = "/", .masks = masks, .adds = adds };
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case OPTION_MACHINE:
			options.machine = optarg;
			break;
		case OPTION_MASK:
			if (add_path(masks, &options.n_masks, optarg, "usr") < 0)
				return 1;
			break;
		case OPTION_ADD:
			if (add_path(adds, &options.n_adds, optarg, "etc") < 0)
				return 1;
			break;
		case OPTION_HELP:
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 1;
		}
	}
	if (argc - optind != 2 || strcmp(argv[optind], "host") != 0) {
		print_usage(stderr);
		return 1;
	}
	return build_and_print(&options, argv[optind + 1]);
}
