/* SPDX-License-Identifier: MIT */
/*
 * `sandboxfs shell`: a client of the tree like any other, which opens BOXDIR/tty. Must not leave the
 * person's terminal in raw mode, in the alternate screen or without a cursor, whatever ends it
 * (SIGKILL aside): every way out goes through restore(), also that of a crash.
 *
 * Three threads: one carries what the box shows to standard output, one types keys, the main one
 * reads keys and takes signals. Locks: shell.modes_lock, queue.lock, both leaves.
 */
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/term_modes.h"
#include "base/text.h"
#include "tty_ioctl.h"

enum {
	DEFAULT_ESCAPE = 0x1d, /* Ctrl-] */
	NO_ESCAPE = -1,
	END_OF_INPUT = 4,     /* Ctrl-D */
	QUIET_MS = 100,	      /* nothing shown for so long: then the end of input is typed, */
	QUIET_MAX_MS = 30000, /* again and again, ever more rarely */
	LAST_WORDS_MS = 1000, /* for the reason why the terminal is gone */
	LAST_KEYS_MS = 200,   /* for what was typed before the key that detaches */
};

/* How it came to an end. */
enum outcome { GOING_ON, ENDED, DETACHED, LOST, SIGNALLED };

static struct {
	const char *box, *session, *user;
	int escape; /* character, or NO_ESCAPE */
	int tty;
	int finished; /* eventfd: the screen's thread is at its end */
	int signals;
	atomic_int error;     /* of the screen's last read; 0 end of file */
	atomic_llong busy_ms; /* when something was shown or typed last */
	atomic_bool mute;     /* what comes is for nobody any more */
	pthread_mutex_t modes_lock;
	struct term_modes modes; /* of our terminal, as the box has set them */
} shell = { .escape = DEFAULT_ESCAPE, .tty = -1, .modes_lock = PTHREAD_MUTEX_INITIALIZER };

/* Keys on their way: a thread of its own types them, so that signals are taken also while the box
 * takes no keys. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	char keys[64 << 10];
	size_t len;
	bool refused; /* the terminal takes no more */
	int moved;    /* eventfd: some have been typed */
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

/* --- our own terminal -------------------------------------------------------------------------- */

static struct termios original;
static volatile sig_atomic_t raw;

/* Safe in a signal handler. */
static void restore_line(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
	raw = 0;
}

static void make_raw(void)
{
	struct termios modes;

	if (tcgetattr(STDIN_FILENO, &modes) < 0)
		return;
	original = modes;
	cfmakeraw(&modes);
	modes.c_cc[VMIN] = 1;
	modes.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &modes) == 0)
		raw = 1;
}

/* Takes back what programs in the box have made of the screen. */
static void restore_screen(void)
{
	_cleanup_text_ struct text t = { 0 };

	atomic_store(&shell.mute, true);
	if (!isatty(STDOUT_FILENO))
		return;
	pthread_mutex_lock(&shell.modes_lock);
	term_modes_add_reset(&shell.modes, &t);
	shell.modes = (struct term_modes){ 0 };
	pthread_mutex_unlock(&shell.modes_lock);
	if (t.len)
		write_full(STDOUT_FILENO, t.data, t.len);
}

static void restore(void)
{
	restore_screen();
	restore_line();
}

static void crashed(int sig)
{
	restore_line();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void tell_size(void)
{
	struct winsize size;
	struct tty_size told;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 &&
	    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	if (!size.ws_row || !size.ws_col)
		return;
	told = (struct tty_size){ size.ws_row, size.ws_col };
	ioctl(shell.tty, TTY_SET_SIZE, &told);
}

/* --- the screen -------------------------------------------------------------------------------- */

/* What the box writes goes out as it comes. */
static void *carry_screen(void *arg)
{
	char buf[16 << 10];
	ssize_t n;

	(void)arg;
	for (;;) {
		n = read(shell.tty, buf, sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			break;
		atomic_store(&shell.busy_ms, monotonic_ms());
		pthread_mutex_lock(&shell.modes_lock);
		term_modes_feed(&shell.modes, buf, (size_t)n);
		pthread_mutex_unlock(&shell.modes_lock);
		if (atomic_load(&shell.mute) || write_full(STDOUT_FILENO, buf, (size_t)n) < 0)
			break; /* nobody looks any more */
	}
	shell.error = n < 0 ? errno : 0;
	eventfd_write(shell.finished, 1);
	return NULL;
}

/* --- keys -------------------------------------------------------------------------------------- */

/* Types what is queued; may wait as long as the box takes nothing. */
static void *carry_queue(void *arg)
{
	char keys[4096];
	size_t len;
	ssize_t n;

	(void)arg;
	for (;;) {
		pthread_mutex_lock(&queue.lock);
		while (!queue.len)
			pthread_cond_wait(&queue.filled, &queue.lock);
		len = MIN(queue.len, sizeof(keys));
		memcpy(keys, queue.keys, len);
		pthread_mutex_unlock(&queue.lock);
		n = write(shell.tty, keys, len);
		if (n < 0 && errno == EINTR)
			continue;
		pthread_mutex_lock(&queue.lock);
		if (n < 0)
			queue.refused = true;
		else
			memmove(queue.keys, queue.keys + n, queue.len -= (size_t)n);
		pthread_mutex_unlock(&queue.lock);
		atomic_store(&shell.busy_ms, monotonic_ms());
		eventfd_write(queue.moved, 1);
		if (n < 0)
			return NULL;
	}
}

/* Room for more; LOST when the terminal takes nothing any more (its reader knows why). */
static enum outcome queue_room(size_t *room)
{
	bool refused;

	pthread_mutex_lock(&queue.lock);
	*room = sizeof(queue.keys) - queue.len;
	refused = queue.refused;
	pthread_mutex_unlock(&queue.lock);
	return refused ? LOST : GOING_ON;
}

static void type_keys(const char *keys, size_t len)
{
	pthread_mutex_lock(&queue.lock);
	memcpy(queue.keys + queue.len, keys, len);
	queue.len += len;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

/* Keys from a person, or a script from a pipe; at most room. *eof: there are no more. */
static enum outcome carry_keys(size_t room, bool *eof)
{
	char keys[4096], *escape = NULL;
	ssize_t n = read(STDIN_FILENO, keys, MIN(room, sizeof(keys)));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return GOING_ON;
	if (n <= 0) {
		*eof = true;
		return raw ? SIGNALLED : GOING_ON; /* our own terminal was hung up */
	}
	if (raw && shell.escape != NO_ESCAPE)
		escape = memchr(keys, shell.escape, (size_t)n);
	type_keys(keys, escape ? (size_t)(escape - keys) : (size_t)n);
	return escape ? DETACHED : GOING_ON;
}

/*
 * The end of a piped script: typed as a person would, whenever nothing has been shown for a while,
 * since what reads the terminal at one moment may take it and leave the next reader without.
 */
static void type_end(int64_t *quiet_ms)
{
	static const char end = END_OF_INPUT;

	if (monotonic_ms() - atomic_load(&shell.busy_ms) < *quiet_ms)
		return;
	*quiet_ms = MIN(*quiet_ms * 2, (int64_t)QUIET_MAX_MS);
	type_keys(&end, 1);
}

static void stop_for_a_while(void)
{
	bool was_raw = raw;

	restore_line();
	raise(SIGSTOP);
	if (was_raw) {
		make_raw();
		tell_size();
	}
}

static enum outcome take_signal(int *sig)
{
	struct signalfd_siginfo info;

	if (read(shell.signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return GOING_ON;
	switch (info.ssi_signo) {
	case SIGWINCH:
		tell_size();
		return GOING_ON;
	case SIGTSTP:
		stop_for_a_while();
		return GOING_ON;
	default:
		*sig = (int)info.ssi_signo;
		return SIGNALLED;
	}
}

static void type_last_keys(void)
{
	struct pollfd p = { .fd = queue.moved, .events = POLLIN };
	int64_t until = monotonic_ms() + LAST_KEYS_MS;
	eventfd_t ignored;
	size_t room;

	while (queue_room(&room) == GOING_ON && room < sizeof(queue.keys) &&
	       poll(&p, 1, (int)MAX(until - monotonic_ms(), (int64_t)0)) > 0)
		eventfd_read(queue.moved, &ignored);
}

static enum outcome serve(int *sig)
{
	enum { FINISHED, SIGNAL, MOVED, KEYS };
	struct pollfd p[] = {
		[FINISHED] = { .fd = shell.finished, .events = POLLIN },
		[SIGNAL] = { .fd = shell.signals, .events = POLLIN },
		[MOVED] = { .fd = queue.moved, .events = POLLIN },
		[KEYS] = { .fd = STDIN_FILENO, .events = POLLIN },
	};
	int64_t quiet_ms = QUIET_MS;
	bool eof = false;
	eventfd_t ignored;
	size_t room;

	for (;;) {
		enum outcome outcome = queue_room(&room);

		p[KEYS].fd = eof || !room ? -1 : STDIN_FILENO;
		if (poll(p, ARRAY_SIZE(p), eof ? QUIET_MS : -1) < 0 && errno != EINTR)
			return LOST;
		if (p[FINISHED].revents)
			return shell.error ? LOST : ENDED;
		if (p[MOVED].revents)
			eventfd_read(queue.moved, &ignored);
		if (p[SIGNAL].revents)
			outcome = take_signal(sig);
		else if (outcome == GOING_ON && p[KEYS].revents)
			outcome = carry_keys(room, &eof);
		else if (eof && room == sizeof(queue.keys))
			type_end(&quiet_ms);
		if (outcome != GOING_ON)
			return outcome;
	}
}

/* --- beginning and end -------------------------------------------------------------------------- */

/* The box's last sentence on what was refused. */
static void print_why(void)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	char *last;

	if (asprintf(&path, "%s/why", shell.box) < 0 ||
	    read_file_at(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
		return;
	text_strip(text);
	last = strrchr(text, '\n');
	if (*text)
		fprintf(stderr, "sandboxfs shell: %s\n", last ? last + 1 : text);
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "sandboxfs shell: %s: %s\n", what, strerror(error));
	if (error != ENOENT && error != ENOTDIR && error != EACCES)
		print_why();
	return 1;
}

/* Makes the session if it is not there, for that user. 0 or the exit status. */
static int make_session(void)
{
	_cleanup_free_ char *dir = NULL, *path = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&dir, "%s/sessions/%s", shell.box, shell.session) < 0 ||
	    asprintf(&path, "%s/user", dir) < 0)
		return fail(shell.box, ENOMEM);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return fail(dir, errno);
	if (!shell.user)
		return 0;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%s\n", shell.user) < 0)
		return fail(path, errno);
	return 0;
}

static int open_tty(void)
{
	_cleanup_free_ char *path = NULL;
	int r = shell.session ? make_session() : 0;

	if (r)
		return r;
	if (shell.session)
		r = asprintf(&path, "%s/sessions/%s/tty", shell.box, shell.session);
	else
		r = asprintf(&path, "%s/tty", shell.box);
	if (r < 0)
		return fail(shell.box, ENOMEM);
	do {
		shell.tty = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	} while (shell.tty < 0 && errno == EINTR);
	return shell.tty < 0 ? fail(path, errno) : 0;
}

static int take_signals(void)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
	const struct sigaction action = { .sa_handler = crashed };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		sigaction(deadly[i], &action, NULL);
	shell.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	shell.finished = eventfd(0, EFD_CLOEXEC);
	queue.moved = eventfd(0, EFD_CLOEXEC);
	return shell.signals < 0 || shell.finished < 0 || queue.moved < 0 ? fail("signals", errno)
									  : 0;
}

static int finish(enum outcome outcome, int sig)
{
	int32_t code = 1;

	switch (outcome) {
	case ENDED:
		if (ioctl(shell.tty, TTY_EXIT_CODE, &code) < 0)
			return 1;
		return code;
	case DETACHED:
		if (shell.session)
			fprintf(stderr,
				"\r\n[detached; `sandboxfs shell -s %s %s` comes back to it]\n",
				shell.session, shell.box);
		else
			fprintf(stderr, "\r\n[hung up]\n");
		return 0;
	case SIGNALLED:
		return sig ? 128 + sig : 1;
	default:
		fprintf(stderr, "\r\nsandboxfs shell: the terminal is gone: %s\n",
			strerror(shell.error ? shell.error : EIO));
		return 1;
	}
}

/* Threads are still in their read and their write: nothing may be torn down beside them. */
static _Noreturn void leave(int code)
{
	restore();
	fflush(NULL);
	_exit(code);
}

static int run(void)
{
	enum outcome outcome;
	pthread_t screen, keys;
	struct pollfd p;
	int r, sig = 0;

	/* Before raw mode: what keeps the box from starting is said as usual, and Ctrl-C ends it. */
	r = open_tty();
	if (r == 0)
		r = take_signals();
	if (r)
		return r;
	atomic_store(&shell.busy_ms, monotonic_ms());
	if (isatty(STDIN_FILENO))
		make_raw();
	atexit(restore);
	tell_size();
	if (pthread_create(&screen, NULL, carry_screen, NULL) != 0 ||
	    pthread_create(&keys, NULL, carry_queue, NULL) != 0)
		leave(fail("start a thread", EAGAIN));
	pthread_detach(screen);
	pthread_detach(keys);
	outcome = serve(&sig);
	if (outcome == DETACHED)
		type_last_keys();
	if (outcome == LOST) {
		/* Keys were refused: the reader, which sees what was shown till then, knows why. */
		p = (struct pollfd){ .fd = shell.finished, .events = POLLIN };
		if (poll(&p, 1, LAST_WORDS_MS) > 0 && !shell.error)
			outcome = ENDED;
	}
	restore();
	leave(finish(outcome, sig));
}

/* --- the command line --------------------------------------------------------------------------- */

static void print_help(void)
{
	fputs("Usage: sandboxfs shell [-s SESSION [-u USER]] [-e CHAR] BOXDIR\n\n"
	      "A terminal in a box. The shell ends with this program; with -s it is that of a\n"
	      "session, and goes on when you detach (press Ctrl-]) or the connection drops.\n\n"
	      "  -s, --session NAME  the session's terminal; the session is made if it is not "
	      "there\n"
	      "  -u, --user USER     as this user of the box, for a session that has no shell yet\n"
	      "  -e, --escape CHAR   the key that detaches: a character, ^X for Ctrl-X, or none\n"
	      "  -h, --help          this text\n",
	      stdout);
}

/* "^]", "x", "none". */
static bool parse_escape(const char *s)
{
	if (!strcmp(s, "none"))
		shell.escape = NO_ESCAPE;
	else if (s[0] == '^' && s[1] >= '?' && s[1] <= '~' && !s[2])
		shell.escape = s[1] == '?' ? 0x7f : s[1] & 0x1f;
	else if (s[0] && !s[1])
		shell.escape = (unsigned char)s[0];
	else
		return false;
	return true;
}

static int usage(const char *what)
{
	fprintf(stderr, "sandboxfs shell: %s; see sandboxfs shell --help\n", what);
	return 2;
}

int shell_command(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "session", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "escape", required_argument, NULL, 'e' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "s:u:e:h", longs, NULL)) != -1) {
		if (c == 'h')
			return print_help(), 0;
		if (c == 's')
			shell.session = optarg;
		else if (c == 'u')
			shell.user = optarg;
		else if (c != 'e')
			return 2;
		else if (!parse_escape(optarg))
			return usage("-e takes a character, ^X or none");
	}
	if (optind + 1 != argc)
		return usage("give one BOXDIR");
	if (shell.session && !name_is_valid(shell.session))
		return usage("that is no name for a session");
	if (shell.user && !shell.session)
		return usage("-u needs -s: the user belongs to the session");
	shell.box = argv[optind];
	return run();
}
