/* SPDX-License-Identifier: MIT */
/*
 * sandbox-image host [--mask PATH]… [--add PATH]… DIR: makes sure that DIR holds the image `host`
 * of the machine's present software, and prints its key.
 * sandbox-image import [--storage-base ID] … DIR: unpacks the archive on standard input.
 * Only the command line is read here.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/image.h"
#include "import/archive.h"
#include "import/import.h"
#include "runtime.h"

enum {
	MAX_EXTRA = 256,
	OPTION_MACHINE = 1,
	OPTION_MASK,
	OPTION_ADD,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_STORAGE_BASE,
	OPTION_MAX_BYTES,
	OPTION_MAX_FILES,
	OPTION_CONTROL,
};

static const struct option long_options[] = {
	{ "machine", required_argument, NULL, OPTION_MACHINE },
	{ "mask", required_argument, NULL, OPTION_MASK },
	{ "add", required_argument, NULL, OPTION_ADD },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ 0 },
};

static void print_usage(FILE *to)
{
	fputs("usage: sandbox-image host [--mask PATH]... [--add PATH]... DIR\n"
	      "Builds DIR/KEY, the image `host` of this machine's present software, if it is not\n"
	      "there, and prints KEY.\n"
	      "  --mask PATH     hide PATH, which lies below /usr, from the boxes\n"
	      "  --add PATH      copy PATH, which lies below /etc, into the image as it is\n"
	      "  --machine PATH  take the folder PATH for the machine's root (default /)\n"
	      "usage: sandbox-image import [OPTION]... DIR <ARCHIVE\n"
	      "Unpacks a root filesystem's tar, or an image's archive as docker save and OCI have\n"
	      "it, into a new folder in DIR, and prints what it is.\n"
	      "  --storage-base ID    first of the 65536 ids that own the files; needed\n"
	      "  --max-bytes NUMBER   of all files (default 16 GiB)\n"
	      "  --max-files NUMBER   (default a million)\n"
	      "  --control FD         give up when the other end of FD is closed\n"
	      "usage: sandbox-image --version\n"
	      "Prints the libraries that unpack archives.\n",
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

static int import_main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "storage-base", required_argument, NULL, OPTION_STORAGE_BASE },
		{ "max-bytes", required_argument, NULL, OPTION_MAX_BYTES },
		{ "max-files", required_argument, NULL, OPTION_MAX_FILES },
		{ "control", required_argument, NULL, OPTION_CONTROL },
		{ 0 },
	};
	struct import_options options = { .max_bytes = UINT64_C(16) << 30,
					  .max_files = 1000000,
					  .control = -1 };
	uint64_t number;
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case OPTION_STORAGE_BASE:
			r = parse_u64(optarg, BOX_IDS, UINT32_MAX - BOX_IDS, &number);
			options.storage_base = (uid_t)number;
			break;
		case OPTION_MAX_BYTES:
			r = parse_u64(optarg, 1, INT64_MAX, &options.max_bytes);
			break;
		case OPTION_MAX_FILES:
			r = parse_u64(optarg, 1, INT64_MAX, &options.max_files);
			break;
		case OPTION_CONTROL:
			r = parse_u64(optarg, 3, 1 << 20, &number);
			options.control = (int)number;
			break;
		default:
			r = -1;
		}
	}
	if (r < 0 || argc - optind != 2 || !options.storage_base) {
		print_usage(stderr);
		return 1;
	}
	options.dir = argv[optind + 1];
	return import_run(&options);
}

int main(int argc, char **argv)
{
	const char *masks[MAX_EXTRA], *adds[MAX_EXTRA];
	struct image_options options = { .machine = "/", .masks = masks, .adds = adds };
	int option;

	if (argc > 1 && !strcmp(argv[1], "import"))
		return import_main(argc, argv);
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
		case OPTION_VERSION:
			puts(archive_libraries());
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
