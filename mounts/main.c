/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sandbox-bucket: the command line. From here on: options.c reads the settings, object_store.h speaks
 * to the server, session.c mounts; fs_*.c answer the kernel with the help of node.c, names.c,
 * listing.c, changes.c (names), metadata.c (attributes), reader.c (reading), content.c, upload.c, spool.c
 * (writing), removals.c and rename.c. bucket.h has the order of locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/background.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "bucket.h"
#include "journal.h"
#include "keys.h"
#include "node.h"
#include "pool.h"
#include "removals.h"
#include "served.h"
#include "session.h"
#include "status.h"

struct object_store *the_store;
pthread_mutex_t tree_lock = PTHREAD_MUTEX_INITIALIZER;

struct command_line {
	bool foreground;
	const char *source, *mountpoint;
};

static void print_help(void)
{
	_cleanup_text_ struct text settings = { 0 };

	options_help(&settings);
	printf("Usage: sandbox-bucket [-f] [-o OPTION,...] s3://BUCKET[/PREFIX] MOUNTPOINT\n"
	       "       sandbox-bucket -h | -V\n\n"
	       "Mounts a bucket of an S3-compatible server. Without the settings credentials and\n"
	       "profile keys come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,\n"
	       "AWS_SESSION_TOKEN) or from ~/.aws/credentials.\n\n"
	       "  -f, --foreground  stay in the foreground, with the log on standard error\n"
	       "  -o OPTION,...     settings, and options of mount(8)\n"
	       "  -h, --help        this text\n"
	       "  -V, --version     the version\n\n"
	       "Settings [defaults]:\n%s",
	       settings.data ? settings.data : "");
}

static int check_settings(const struct command_line *line, struct credentials *keys,
			  struct options_error *err)
{
	struct object_error error = { 0 };
	int r = options_parse_source(&the_options, line->source, err);

	if (r < 0)
		return r;
	r = keys_load(keys, &the_options, &error);
	if (r < 0)
		snprintf(err->text, sizeof(err->text), "%s", error.text);
	return r < 0 ? r : options_check(&the_options, err);
}

static int read_arguments(int argc, char **argv, struct command_line *line,
			  struct options_error *err)
{
	static const struct option longs[] = {
		{ "foreground", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "fo:hV", longs, NULL)) != -1) {
		if (c == 'o')
			r = options_parse_list(&the_options, optarg, err);
		else if (c == 'f')
			line->foreground = true;
		else if (c == 'h')
			exit((print_help(), 0));
		else if (c == 'V')
			exit((puts("sandbox-bucket " SANDBOXFS_VERSION), 0));
		else
			exit(2);
	}
	if (r == 0 && optind + 2 != argc) {
		snprintf(err->text, sizeof(err->text),
			 "give s3://BUCKET/PREFIX and a MOUNTPOINT; see sandbox-bucket --help");
		r = -EINVAL;
	}
	if (r < 0)
		return r;
	line->source = argv[optind];
	line->mountpoint = argv[optind + 1];
	return 0;
}

/* --- the store ---------------------------------------------------------------------------------------- */

int bucket_failed(const char *what, const char *key, int error, const struct object_call *call)
{
	char shown[300];

	/* Not the object is missing but all of them: nobody may take that for an empty directory. */
	if (error == -ENOENT && !strcmp(call->error.code, "NoSuchBucket"))
		error = -EIO;
	if (error == -ENOENT || error == -ECANCELED || error == -EEXIST)
		return error == -ECANCELED ? -EIO : error;
	log_warn("%s %s: %s", what, text_escape(shown, sizeof(shown), key),
		 call->error.text[0] ? call->error.text : strerror(-error));
	status_note_error(call->error.text[0] ? call->error.text : strerror(-error));
	/* What a program that reads and writes files can make something of. */
	switch (error) {
	case -EINVAL:
	case -EPROTO:
	case -EREMOTE:
		return -EIO;
	default:
		return error;
	}
}

int bucket_list_failed(const char *key, int error, const struct object_call *call)
{
	/* readdir(3) takes ENOENT for the end of the directory. */
	return bucket_failed("list", key, error == -ENOENT ? -EIO : error, call);
}

static int open_store(const struct credentials *keys, struct options_error *err)
{
	struct object_settings s = {
		.endpoint = the_options.endpoint,
		.region = the_options.region,
		.bucket = the_options.bucket,
		.style = the_options.style,
		.ca_file = the_options.ca_file,
		.proxy = the_options.proxy,
		.connect_timeout_ms = the_options.connect_timeout_ms,
		.stall_timeout_ms = the_options.stall_timeout_ms,
		.retry_for_ms = the_options.retry_for_ms,
		.credentials = keys->keys,
		.renew = keys_renew,
		.renew_arg = &the_options,
	};
	struct object_error error = { 0 };
	struct object_call call = { 0 };
	int r = object_store_new(&the_store, &s, &error);

	if (r == 0) {
		r = object_store_check(the_store, &call, the_options.prefix);
		error = call.error;
	}
	if (r < 0)
		snprintf(err->text, sizeof(err->text), "%s",
			 error.text[0] ? error.text : strerror(-r));
	return r;
}

/* --- background ---------------------------------------------------------------------------------------- */

/* The mount answers: the terminal is no longer ours. */
static void leave_terminal(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int file = -1;

	if (the_options.log_file)
		file = open(the_options.log_file,
			    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (file >= 0 || null >= 0)
		dup2(file >= 0 ? file : null, STDERR_FILENO);
	if (chdir("/") < 0)
		log_warn("chdir /: %s", strerror(errno));
}

static void on_ready(void)
{
	log_info("ready");
	if (!background_is_awaited())
		return;
	leave_terminal();
	background_ready();
}

static void block_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/*
 * A mount that a killed process left there is taken away first; only statvfs() is sure to notice it,
 * as the kernel still knows the directory's attributes. NULL and errno for what is no directory.
 */
static char *find_mountpoint(const char *path)
{
	struct statvfs fs;
	struct stat st;
	int r = statvfs(path, &fs);

	if (r == 0 || errno == ENOTCONN)
		r = r < 0 && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -1 : stat(path, &st);
	if (r == 0 && !S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		r = -1;
	}
	return r < 0 ? NULL : realpath(path, NULL);
}

/* Everything that stands on the store, from its first request to its last. */
int bucket_serve(struct credentials *keys, int (*session)(void *arg), void *arg,
		 struct options_error *err)
{
	int r;

	block_signals();
	/*
	 * Memory of large buffers goes back to the system at once; not that of libcurl's, which each
	 * request wants anew (session.c gives it back when nothing is going on).
	 */
	mallopt(M_MMAP_THRESHOLD, 1 << 18);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
	mallopt(M_ARENA_MAX, 4);
	pool_init((unsigned)the_options.jobs);
	r = open_store(keys, err);
	credentials_free(keys);
	if (r == 0)
		r = nodes_init();
	if (r < 0)
		return r;
	journal_open();
	r = session(arg);
	removals_stop();
	pool_stop();
	nodes_free();
	journal_close();
	return r;
}

struct mounting {
	const char *source, *mountpoint;
};

static int mount_and_serve(void *arg)
{
	const struct mounting *m = arg;

	return session_run(m->source, m->mountpoint, on_ready);
}

static int run(const struct command_line *line, struct credentials *keys, struct options_error *err)
{
	_cleanup_free_ char *mountpoint = find_mountpoint(line->mountpoint);
	struct mounting mounting = { line->source, mountpoint };
	int r;

	if (!mountpoint) {
		r = -errno;
		snprintf(err->text, sizeof(err->text), "%s: %s", line->mountpoint, strerror(-r));
		return r;
	}
	if (!line->foreground) {
		r = background_enter();
		if (r < 0)
			return r;
	}
	return bucket_serve(keys, mount_and_serve, &mounting, err);
}

int main(int argc, char **argv)
{
	struct command_line line = { 0 };
	_cleanup_credentials_ struct credentials keys = { 0 };
	struct options_error err = { .text = "" };
	int r;

	log_init("sandbox-bucket", LOG_LEVEL_INFO);
	if (argc == 2 && !strcmp(argv[1], "--served"))
		served_main();
	r = options_init(&the_options);
	if (r == 0)
		r = read_arguments(argc, argv, &line, &err);
	if (r == 0)
		r = check_settings(&line, &keys, &err);
	if (r == 0)
		r = run(&line, &keys, &err);
	if (r < 0)
		log_error("%s", err.text[0] ? err.text : strerror(-r));
	object_store_free(the_store);
	options_free(&the_options);
	return r < 0 ? 1 : 0;
}
