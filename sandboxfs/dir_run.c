/* SPDX-License-Identifier: MIT */
/*
 * One run, by its number or by its name:
 *
 *	cmd in                     its text, its standard input
 *	out err exit log           what it said, how it ended
 *	state pid session started ended usage
 *	signal timeout             what can be done to it
 *	user cwd env/              what it starts with; for a name, to be set before cmd is written
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "keeper.h"
#include "named.h"
#include "store.h"
#include "stream.h"
#include "submit.h"
#include "wake.h"

/* --- what is so ------------------------------------------------------------------------------- */

uint64_t run_of(const struct ctx *ctx)
{
	const struct named *named;

	if (ctx->node.kind != DIR_NAMED && ctx->node.kind != DIR_NAMED_ENV)
		return ctx->node.item;
	named = named_by_id(ctx->box, ctx->node.item);
	return named ? named->run : 0;
}

/* own is -1 where there is none. box->lock held. */
static int64_t timeout_of(const struct box *box, int64_t own)
{
	return own >= 0 ? own : (int64_t)limit_to_wire(box_limit(box, LIMIT_TIMEOUT));
}

int run_now(struct ctx *ctx, struct run_record *rec)
{
	uint64_t number = run_of(ctx);
	const struct run *run = number ? box_live_run(ctx->box, number) : NULL;
	int r;

	if (!number)
		return ctx->node.kind == DIR_NAMED && named_by_id(ctx->box, ctx->node.item)
			       ? 0
			       : -ESTALE;
	r = store_run_read(ctx->box, number, rec);
	if (!run)
		return r < 0 ? -ESTALE : 1;
	rec->state = run->state;
	rec->code = run->code;
	rec->truncated |= run->truncated;
	rec->timeout_ms = timeout_of(ctx->box, run->timeout_ms);
	rec->pid = run->pid ? run->pid : rec->pid;
	rec->started_us = run->started_us ? run->started_us : rec->started_us;
	if (!run->ended)
		rec->usage = run->usage;
	snprintf(rec->session, sizeof(rec->session), "%s", run->session);
	snprintf(rec->name, sizeof(rec->name), "%s", run->name);
	return 1;
}

static int run_read(struct ctx *ctx, struct run_record *rec)
{
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = run_now(ctx, rec);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

static int run_cmd_show(struct ctx *ctx, struct text *out)
{
	const struct run *run;
	uint64_t number;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	number = run_of(ctx);
	run = box_live_run(ctx->box, number);
	if (run && run->script) { /* not yet with the keeper */
		text_add(out, run->script, run->script_len);
		number = 0;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	r = number ? store_run_script(ctx->box, number, 0, MAX_SCRIPT_BYTES, out) : 0;
	return r == -ENOMEM ? r : 0;
}

static int run_state_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r == 0)
		text_add_str(out, "new\n");
	else if (r > 0)
		text_printf(out, "%s%s\n", run_state_word(rec.state),
			    rec.truncated ? " truncated" : "");
	return MIN(r, 0);
}

static int run_pid_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r > 0 && rec.pid)
		text_printf(out, "%llu\n", (unsigned long long)rec.pid);
	return MIN(r, 0);
}

static void show_line(struct text *out, const char *value)
{
	text_add_escaped(out, value, strlen(value));
	text_add_char(out, '\n');
}

/* Empty for a run of its own. */
static int run_session_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	char name[64];
	int r = run_read(ctx, &rec);

	if (r > 0 && rec.session[0]) {
		pthread_mutex_lock(&ctx->box->lock);
		session_key_name(ctx->box, rec.session, name);
		pthread_mutex_unlock(&ctx->box->lock);
		show_line(out, name);
	}
	return MIN(r, 0);
}

static int show_time(struct text *out, int64_t us)
{
	if (us)
		text_printf(out, "%lld.%06lld\n", (long long)us / 1000000, (long long)us % 1000000);
	return 0;
}

static int run_started_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	return r <= 0 ? r : show_time(out, rec.started_us);
}

static int run_ended_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	return r <= 0 ? r : show_time(out, run_state_is_end(rec.state) ? rec.ended_us : 0);
}

/* --- what can be done --------------------------------------------------------------------------- */

/* The live run; NULL: it has ended or was never started. box->lock held. */
static struct run *going(struct ctx *ctx)
{
	uint64_t number = run_of(ctx);
	struct run *run = number ? box_live_run(ctx->box, number) : NULL;

	return run && !run->closed ? run : NULL;
}

/* "TERM", "SIGTERM", "15", "RTMIN+3": its number, or -EINVAL. */
static int signal_parse(const char *word)
{
	const char *name = strncasecmp(word, "SIG", 3) ? word : word + 3;
	uint64_t n;

	if (parse_u64(word, 1, (uint64_t)SIGRTMAX, &n) == 0)
		return (int)n;
	for (int sig = 1; sig < NSIG; sig++) {
		const char *abbreviation = sigabbrev_np(sig);

		if (abbreviation && !strcasecmp(abbreviation, name))
			return sig;
	}
	if (!strcasecmp(name, "RTMIN"))
		return SIGRTMIN;
	if (!strcasecmp(name, "RTMAX"))
		return SIGRTMAX;
	if (!strncasecmp(name, "RTMIN+", 6) &&
	    parse_u64(name + 6, 0, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) == 0)
		return SIGRTMIN + (int)n;
	if (!strncasecmp(name, "RTMAX-", 6) &&
	    parse_u64(name + 6, 0, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) == 0)
		return SIGRTMAX - (int)n;
	return -EINVAL;
}

static const char nothing_left[] = "signal: nothing of this run is left to get a signal";

static void signal_answer(struct park *park, int error)
{
	if (error == ESRCH)
		why_add(&park->box->why, park->uid, "%s", nothing_left);
	if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_write(park->req, park->wait.size);
}

static const struct park_type signal_park = { reply_look, signal_answer, NULL };

/* Of a run whose streams are closed, something may live on: its keeper knows. */
static int send_signal(struct ctx *ctx, struct handle *h, int sig, size_t size)
{
	const struct park_wait wait = { .size = size, .tag = keeper_new_tag() };
	struct box *box = ctx->box;
	uint64_t number;
	int r = -ESRCH;

	pthread_mutex_lock(&box->lock);
	number = run_of(ctx);
	if (number && box->keeper)
		r = keeper_signal_tree(box, number, sig, wait.tag);
	if (r == 0)
		r = park_add(&box->parks, &box->lock, &signal_park, ctx->req, h, box, &wait);
	pthread_mutex_unlock(&box->lock);
	if (r == -ESRCH)
		tree_refuse(ctx, "%s", nothing_left);
	return r < 0 ? r : TREE_ANSWERED;
}

static int signal_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	char word[32], shown[64];
	int sig;

	snprintf(word, sizeof(word), "%.*s", (int)MIN(size, sizeof(word) - 1), data);
	sig = strlen(word) == MIN(size, sizeof(word) - 1) ? signal_parse(text_strip(word))
							  : -EINVAL;
	if (sig < 0) {
		tree_refuse(ctx,
			    "signal: there is no signal \"%s\"; write a name as TERM or a number",
			    text_escape(shown, sizeof(shown), word));
		return sig;
	}
	return send_signal(ctx, h, sig, size);
}

static const struct row_ops signal_ops = { .write = signal_write, .stream = true };

static int run_timeout_show(struct ctx *ctx, struct text *out)
{
	const struct named *named;
	struct run_record rec;
	char word[32];
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = run_now(ctx, &rec);
	named = ctx->node.kind == DIR_NAMED ? named_by_id(ctx->box, ctx->node.item) : NULL;
	if (r >= 0)
		text_printf(out, "%s\n",
			    format_duration(word, named ? timeout_of(ctx->box, named->timeout_ms)
							: rec.timeout_ms));
	pthread_mutex_unlock(&ctx->box->lock);
	return MIN(r, 0);
}

/* Counts from the run's start, also when it is changed later. */
static int run_timeout_store(struct ctx *ctx, const char *value)
{
	struct named *named;
	struct run *run;
	uint64_t most = the_options.max_limits.of[LIMIT_TIMEOUT];
	char shown[32];
	int64_t ms;
	int r = parse_duration_ms(value, &ms);

	if (r < 0) {
		tree_refuse(ctx, "timeout: a duration as 500ms, 10s, 5m, or 0 for none");
		return -EINVAL;
	}
	if (limit_of_wire((uint64_t)ms) > most && ctx->uid != 0) {
		tree_refuse(ctx, "timeout: more than %s only root may set (max_timeout)",
			    limit_format(LIMIT_TIMEOUT, most, shown));
		return -EPERM;
	}
	pthread_mutex_lock(&ctx->box->lock);
	named = ctx->node.kind == DIR_NAMED ? named_by_id(ctx->box, ctx->node.item) : NULL;
	run = going(ctx);
	if (run && !run->ended) {
		r = keeper_run_request(ctx->box, MSG_TIMEOUT, run->number, ms, 0);
		if (r == 0)
			run->timeout_ms = ms;
	} else if (!named) {
		r = -ESRCH;
	}
	if (r == 0 && named) {
		named->timeout_ms = ms;
		r = store_name_save(ctx->box, named);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -ESRCH)
		tree_refuse(ctx, "timeout: this run has ended");
	return r;
}

/* --- what it starts with -------------------------------------------------------------------------- */

static int run_user_show(struct ctx *ctx, struct text *out)
{
	const struct named *named;
	const struct session *s;
	struct run_record rec;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = run_now(ctx, &rec);
	named = ctx->node.kind == DIR_NAMED ? named_by_id(ctx->box, ctx->node.item) : NULL;
	if (r > 0 && !rec.user[0] && (s = session_by_key(ctx->box, rec.session)))
		snprintf(rec.user, sizeof(rec.user), "%s", s->user);
	if (named)
		snprintf(rec.user, sizeof(rec.user), "%s", named->user);
	pthread_mutex_unlock(&ctx->box->lock);
	if (r >= 0)
		show_line(out, r == 0 && !named ? "" : box_user(ctx->box, rec.user));
	return MIN(r, 0);
}

bool entry_user_may_be(struct ctx *ctx, const char *value)
{
	if (box_user_may_be(ctx->box, value))
		return true;
	tree_refuse(ctx, "user: a name of the box's /etc/passwd, or a number below %d", BOX_IDS);
	return false;
}

static int named_user_store(struct ctx *ctx, const char *value)
{
	struct named *named;
	int r = -ESTALE;

	if (!entry_user_may_be(ctx, value))
		return -EINVAL;
	pthread_mutex_lock(&ctx->box->lock);
	named = named_by_id(ctx->box, ctx->node.item);
	if (named) {
		box_user_note(ctx->box, named->user, value);
		r = store_name_save(ctx->box, named);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

/* Where it began; empty before. */
static int run_cwd_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	int r = run_read(ctx, &rec);

	if (r > 0 && rec.cwd[0])
		show_line(out, rec.cwd);
	return MIN(r, 0);
}

static int named_cwd_show(struct ctx *ctx, struct text *out)
{
	const struct named *named;

	pthread_mutex_lock(&ctx->box->lock);
	named = named_by_id(ctx->box, ctx->node.item);
	if (named)
		show_line(out, named->cwd ? named->cwd : "/workspace");
	pthread_mutex_unlock(&ctx->box->lock);
	return named ? 0 : -ESTALE;
}

static int named_cwd_store(struct ctx *ctx, const char *value)
{
	struct named *named;
	int r = -ESTALE;

	if (value[0] != '/' || strlen(value) >= 4096) {
		tree_refuse(ctx, "cwd: an absolute path in the box, as /workspace");
		return -EINVAL;
	}
	pthread_mutex_lock(&ctx->box->lock);
	named = named_by_id(ctx->box, ctx->node.item);
	if (named) {
		r = string_replace(&named->cwd, value);
		if (r == 0)
			r = store_name_save(ctx->box, named);
	}
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

/* --- tables --------------------------------------------------------------------------------------- */

static int run_attr(struct ctx *ctx, struct stat *st)
{
	bool exists;

	(void)st;
	pthread_mutex_lock(&ctx->box->lock);
	if (ctx->node.kind == DIR_NAMED)
		exists = named_by_id(ctx->box, ctx->node.item);
	else
		exists = box_run_exists(ctx->box, ctx->node.item);
	pthread_mutex_unlock(&ctx->box->lock);
	return exists ? 0 : -ESTALE;
}

/* What a run has under its number and under its name alike. */
#define RUN_ROWS                                                                                 \
	{ "in", S_IFREG | 0200, ROW_FRESH, .ops = &input_ops,                                    \
	  .help = "standard input of a run of its own; the last close is its end" },             \
		{ "out", S_IFREG | 0400, .ops = &run_out_ops, .size = run_out_size,              \
		  .help = "standard output, of background jobs as well" },                       \
		{ "err", S_IFREG | 0400, .ops = &run_err_ops, .size = run_err_size,              \
		  .help = "standard error" },                                                    \
		{ "exit", S_IFREG | 0400, .ops = &run_exit_ops, .size = run_exit_size,           \
		  .help = "exit code; waits for the end" },                                      \
		{ "log", S_IFREG | 0400, .ops = &run_log_ops, .size = run_log_size,              \
		  .help = "both streams in the order in which they arrived; never waits" },      \
		{ "state", S_IFREG | 0400, ROW_SIZED, .show = run_state_show,                    \
		  .help = "new queued starting running exited signalled timeout oom failed "     \
			  "lost" },                                                              \
		{ "pid", S_IFREG | 0400, ROW_SIZED, .show = run_pid_show,                        \
		  .help = "process in the box that runs it" },                                   \
		{ "session", S_IFREG | 0400, ROW_SIZED, .show = run_session_show,                \
		  .help = "its session; empty for a run of its own" },                           \
		{ "started", S_IFREG | 0400, ROW_SIZED, .show = run_started_show,                \
		  .help = "seconds since the epoch" },                                           \
		{ "ended", S_IFREG | 0400, ROW_SIZED, .show = run_ended_show,                    \
		  .help = "likewise" },                                                          \
		{ "usage", S_IFREG | 0400, .ops = &usage_ops, .show = run_usage_show,            \
		  .help = "time, memory and bytes of disk that it has used" },                   \
		{ "signal", S_IFREG | 0200, ROW_FRESH, .ops = &signal_ops,                       \
		  .help = "write TERM, 9 …: every process it started gets it" },                 \
	{                                                                                        \
		"timeout", S_IFREG | 0600, ROW_SIZED, .show = run_timeout_show,                  \
						      .store = run_timeout_store,                \
						      .help = "how long it may run; 0: for ever" \
	}

static const struct row run_rows[] = {
	{ "cmd", S_IFREG | 0400, ROW_SIZED, .show = run_cmd_show, .help = "its text" },
	RUN_ROWS,
	{ "user", S_IFREG | 0400, ROW_SIZED, .show = run_user_show, .help = "who runs it" },
	{ "cwd", S_IFREG | 0400, ROW_SIZED, .show = run_cwd_show, .help = "where it began" },
	{ "env", S_IFDIR | 0700, .dir = DIR_RUN_ENV, .help = "what was set for it alone" },
};

const struct dir_type dir_run = {
	.rows = run_rows,
	.n_rows = ARRAY_SIZE(run_rows),
	.mode = 0700,
	.attr = run_attr,
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "a run's record cannot be changed",
};

static const struct row named_rows[] = {
	{ "cmd", S_IFREG | 0600, ROW_SIZED, .show = run_cmd_show, .ops = &named_cmd_ops,
	  .help = "write a command: it runs under this name, again once it has ended" },
	RUN_ROWS,
	{ "user", S_IFREG | 0600, ROW_SIZED, .show = run_user_show, .store = named_user_store,
	  .help = "who runs it; to be set before cmd is written" },
	{ "cwd", S_IFREG | 0600, ROW_SIZED, .show = named_cwd_show, .store = named_cwd_store,
	  .help = "where it starts; likewise" },
	{ "env", S_IFDIR | 0700, .dir = DIR_NAMED_ENV, .help = "its environment; likewise" },
};

const struct dir_type dir_named = {
	.rows = named_rows,
	.n_rows = ARRAY_SIZE(named_rows),
	.mode = 0700,
	.attr = run_attr,
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "write the command to cmd",
};
