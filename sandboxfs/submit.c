/* SPDX-License-Identifier: MIT */
/*
 * Commands: from writes to `cmd` and `new` to a run, and the close that waits for it. Must not wait
 * itself: opens wait parked on the box, closes on the run. The rule when a command is complete is
 * in handle_is_complete(); what tells the cases apart was found by experiment, see CONTRIBUTING in README.
 * Lock: box->lock; /proc is read without it.
 */
#include "submit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/kv.h"
#include "box.h"
#include "caller.h"
#include "daemon.h"
#include "dirs.h"
#include "events.h"
#include "fuse_ops.h"
#include "keeper.h"
#include "named.h"
#include "perm.h"
#include "store.h"
#include "wake.h"

enum { MAX_COLLECTED = 64 << 20 }; /* of all open handles of a box */

bool submit_is_own(const struct handle *h)
{
	return h->node.kind == DIR_PROCS || h->node.kind == DIR_NAMED;
}

/* --- opening ----------------------------------------------------------------------------------- */

static void open_answer(struct park *park, int error)
{
	if (error)
		handle_abandon(park->req, park->handle, error);
	else
		handle_reply_open(park->req, park->handle);
}

static const struct park_type open_park = { start_look, open_answer, NULL };

void handle_note_opener(struct ctx *ctx, struct handle *h)
{
	struct caller opener;

	if (caller_read(ctx->pid, &opener) == 0) {
		h->opener = opener.tgid;
		h->opener_started = opener.started;
	}
}

static int cmd_open(struct ctx *ctx, struct handle *h)
{
	int r;

	handle_note_opener(ctx, h);
	pthread_mutex_lock(&ctx->box->lock);
	r = box_need_running(ctx, h, &open_park, NULL);
	pthread_mutex_unlock(&ctx->box->lock);
	return r;
}

/* The name of the handle's directory is free for a new run. box->lock held. 0 or -errno. */
static int named_is_free(struct box *box, uint32_t id)
{
	const struct named *named = named_by_id(box, id);
	const struct run *run = named && named->run ? box_live_run(box, named->run) : NULL;

	if (!named)
		return -ESTALE;
	return run && !run->ended ? -EBUSY : 0;
}

static int named_cmd_open(struct ctx *ctx, struct handle *h)
{
	int r;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	pthread_mutex_lock(&ctx->box->lock);
	r = named_is_free(ctx->box, ctx->node.item);
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EBUSY)
		tree_refuse(ctx,
			    "cmd: the run of this name has not ended; wait for its exit, write to "
			    "its signal, or rmdir it");
	return r < 0 ? r : cmd_open(ctx, h);
}

/* --- collecting and submitting ------------------------------------------------------------------- */

static int cmd_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	bool transaction = (h->flags & O_ACCMODE) == O_RDWR;
	int r = 0;

	pthread_mutex_lock(&ctx->box->lock);
	if (ctx->box->removed)
		r = -ESTALE;
	else if (h->submitted && transaction && transaction_may_begin(h))
		transaction_end(h); /* the next command begins */
	if (r == 0 && h->submitted)
		r = -EPIPE;
	if (r == 0 && h->refused)
		r = -h->refused;
	if (r == 0 && h->text.len + size > MAX_SCRIPT_BYTES) {
		h->refused = EFBIG; /* never half a script: the close records it as a failed run */
		r = -EFBIG;
	}
	if (r == 0 && ctx->box->collected + size > MAX_COLLECTED)
		r = -EDQUOT;
	if (r == 0) {
		text_add(&h->text, data, size);
		if (h->text.failed)
			r = -ENOMEM;
		else
			ctx->box->collected += size;
	}
	pthread_mutex_unlock(&ctx->box->lock);
	if (r == -EFBIG)
		tree_refuse(
			ctx,
			"a script may be 1 MiB at most; put it into files/ and run it from there");
	return r;
}

/* A submission that reached no keeper: a run that failed, for the record. box->lock held. */
static void record_refused(struct handle *h, struct run *run, int error)
{
	run->refused = error;
	run->state = RUN_FAILED;
	run->answered = run->ended = run->closed = true;
	store_run_refused(h->box, run, h->text.data, h->text.len);
	log_add_refused(h->box, run->session, run->number, h->text.data, h->text.len);
	why_add(&h->box->why, h->box->uid, "run %llu was not started: %s",
		(unsigned long long)run->number, strerror(error));
	event_run_ended(h->box, run, strerror(error));
	box_run_forget(h->box, run);
}

static void drop_text(struct handle *h)
{
	h->box->collected -= h->text.len;
	text_free(&h->text);
}

static int take_refusal(struct handle *h)
{
	int error = h->refused;

	h->refused = 0;
	return error;
}

/*
 * The run of this handle's directory, and the fields of MSG_SUBMIT. NULL and *error: there can be
 * none. box->lock held.
 */
static struct run *new_run(struct handle *h, struct text *fields, int *error)
{
	struct box *box = h->box;
	struct session *session = NULL;
	struct named *named = NULL;
	struct run *run;

	if (h->node.kind == DIR_NAMED) {
		*error = named_is_free(box, h->node.item);
		named = *error ? NULL : named_by_id(box, h->node.item);
	} else if (h->node.kind != DIR_PROCS) {
		session = session_by_id(box, h->node.kind == DIR_SESSION ? h->node.item : 0);
		*error = session ? 0 : -ESTALE;
	}
	if (*error)
		return NULL;
	run = box_run_new(box, session, named ? named->name : "");
	if (!run) {
		*error = -ENOMEM;
		return NULL;
	}
	if (session) {
		field_add(fields, "session", session->key);
		return run;
	}
	field_add(fields, "own", "yes");
	env_start_fields(&box->sessions->env, box_user_is_root(box, named ? named->user : ""),
			 fields);
	if (named)
		named_fields(named, fields);
	/* The first of a kind counts. */
	if (box->image_user)
		field_add(fields, "user", box->image_user);
	if (box->image_cwd)
		field_add(fields, "cwd", box->image_cwd);
	if (named) {
		run->timeout_ms = named->timeout_ms;
		named->run = run->number;
		store_name_save(box, named);
	}
	return run;
}

static int hand_over(struct handle *h, struct run *run, struct text *fields)
{
	struct box *box = h->box;
	struct session *session;

	if (h->refused)
		return take_refusal(h);
	if (box->removed)
		return ESTALE;
	if (box_live_runs(box) > the_options.max_runs)
		return EDQUOT;
	if (box->state == BOX_FROZEN)
		keeper_request(box, MSG_THAW, 0, 0, NULL);
	else if (box->state != BOX_RUNNING)
		return EIO; /* it died or was stopped since the open */
	session = run->session[0] ? session_by_key(box, run->session) : NULL;
	if (session && session_open(box, session) < 0)
		return EIO;
	return -keeper_submit(box, run, fields, h->text.data, h->text.len);
}

/* An empty command beside the sessions is the image's own. box->lock held. */
static void use_image_command(struct handle *h)
{
	const char *command = h->box->image_command;

	if (!command || strspn(h->text.data, " \t\n") != h->text.len)
		return;
	h->box->collected -= h->text.len;
	text_reset(&h->text);
	text_add_str(&h->text, command);
	text_add_char(&h->text, '\n');
	h->box->collected += h->text.len;
}

int submit(struct handle *h)
{
	_cleanup_text_ struct text fields = { 0 };
	int error = 0;
	struct run *run = new_run(h, &fields, &error);

	h->submitted = true;
	if (submit_is_own(h))
		use_image_command(h);
	if (!run) {
		why_add(&h->box->why, h->box->uid, "%s: the command was not taken: %s",
			h->row->name,
			error == -EBUSY ? "the run of this name has not ended" : strerror(-error));
		drop_text(h);
		return error;
	}
	h->run = run_ref(run);
	h->run_number = run->number;
	run->script = malloc(h->text.len + 1);
	if (run->script) {
		memcpy(run->script, h->text.data, h->text.len);
		run->script_len = h->text.len;
	}
	event_run_title(run, h->text.data, h->text.len);
	error = hand_over(h, run, &fields);
	if (error)
		record_refused(h, run, error);
	drop_text(h);
	return -error;
}

/* --- the close that waits -------------------------------------------------------------------------- */

static int close_error(const struct run *run)
{
	if (run->refused)
		return run->refused;
	return run->state == RUN_LOST || run->state == RUN_FAILED ? EIO : 0;
}

static enum park_verdict close_look(struct park *park)
{
	const struct run *run = park->wait.run;

	if (!run->ended)
		return PARK_WAIT;
	park->error = close_error(run);
	return PARK_ANSWER;
}

bool run_has_started(const struct run *run)
{
	return run->answered && run->state != RUN_QUEUED && run->state != RUN_STARTING;
}

/* A run of its own: whether it has started, and if not, why. */
static enum park_verdict started_look(struct park *park)
{
	const struct run *run = park->wait.run;

	if (!run_has_started(run))
		return PARK_WAIT;
	park->error = close_error(run);
	return PARK_ANSWER;
}

/* With O_NONBLOCK only whether it was taken is waited for. */
static enum park_verdict taken_look(struct park *park)
{
	const struct run *run = park->wait.run;

	if (!run->answered)
		return PARK_WAIT;
	park->error = run->refused;
	return PARK_ANSWER;
}

static void close_answer(struct park *park, int error)
{
	fuse_reply_err(park->req, error);
}

/* The waiting writer got a signal: pass on what means something to a command. */
static enum park_verdict close_interrupted(struct park *park)
{
	struct run *run = park->wait.run;
	int sig = caller_signal(park->tid);

	switch (sig) {
	case 0:
		return PARK_WAIT;
	case SIGTSTP:
	case SIGSTOP:
		park->error = 0;
		return PARK_ANSWER; /* the command goes on */
	case SIGKILL:
		sig = SIGHUP;
		break;
	default:
		break;
	}
	if (submit_is_own(park->handle))
		keeper_signal_tree(park->box, run->number, sig, 0);
	else if (run->state == RUN_QUEUED)
		keeper_run_request(park->box, MSG_CANCEL, run->number, 0, 0);
	else
		keeper_run_request(park->box, MSG_SIGNAL, run->number, sig, 0);
	park->error = EINTR;
	return PARK_ANSWER;
}

static const struct park_type close_park = { close_look, close_answer, close_interrupted };
static const struct park_type started_park = { started_look, close_answer, close_interrupted };
static const struct park_type taken_park = { taken_look, close_answer, close_interrupted };

bool handle_is_complete(struct ctx *ctx, struct handle *h, bool *wait)
{
	struct caller closer;

	*wait = true;
	if (caller_read(ctx->pid, &closer) < 0)
		return !h->opener || ctx->pid == 0; /* outside our pid namespace */
	if (closer.executing)
		return false; /* nobody may wait there: whoever looks at that process would too */
	if (closer.tgid != h->opener || closer.started != h->opener_started)
		return false;
	if (closer.signalled) {
		h->killed = true;
		return false;
	}
	/* A close inside exit cannot be interrupted, not even by SIGKILL. */
	*wait = !closer.exiting;
	return !caller_holds(closer.tgid, h->ino);
}

/* In a transaction the write itself has told, and nothing else reads the result. */
static bool void_transaction(const struct handle *h)
{
	return h->refused && (h->flags & O_ACCMODE) == O_RDWR;
}

static const struct park_type *close_type(const struct handle *h)
{
	if (h->flags & O_NONBLOCK)
		return &taken_park;
	return submit_is_own(h) ? &started_park : &close_park;
}

static int cmd_flush(struct ctx *ctx, struct handle *h)
{
	struct park_wait waits = { 0 };
	struct box *box = ctx->box;
	bool pending, wait;
	int r = 0;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	pthread_mutex_lock(&box->lock);
	pending = h->text.len && !h->submitted && !void_transaction(h);
	pthread_mutex_unlock(&box->lock);
	if (!pending || !handle_is_complete(ctx, h, &wait))
		return 0;
	pthread_mutex_lock(&box->lock);
	if (!h->submitted && h->text.len)
		r = submit(h);
	if (r == 0 && h->run && wait && !h->run->ended) {
		waits.run = h->run;
		r = park_add(&h->run->parks, &box->lock, close_type(h), ctx->req, h, box, &waits);
		if (r == 0)
			r = TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

/* The last descriptor is gone, closed by anyone: nobody can wait any more. */
static void cmd_release(struct handle *h)
{
	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return;
	pthread_mutex_lock(&h->box->lock);
	if (h->text.len && !h->submitted && !h->killed && !void_transaction(h))
		submit(h);
	drop_text(h);
	transaction_end(h);
	pthread_mutex_unlock(&h->box->lock);
}

const struct row_ops cmd_ops = {
	.open = cmd_open,
	.read = transaction_read,
	.write = cmd_write,
	.flush = cmd_flush,
	.release = cmd_release,
	.poll = transaction_poll,
	.stream = true,
};

const struct row_ops new_ops = {
	.open = cmd_open,
	.read = transaction_read,
	.write = cmd_write,
	.flush = cmd_flush,
	.release = cmd_release,
	.poll = transaction_poll,
	.stream = true,
};

/* Opened for reading alone it shows the text of the name's newest run. */
static int named_cmd_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	if ((h->flags & O_ACCMODE) != O_RDONLY)
		return transaction_read(ctx, h, size, offset);
	return handle_reply_rendered(ctx, h, size, offset);
}

const struct row_ops named_cmd_ops = {
	.open = named_cmd_open,
	.read = named_cmd_read,
	.write = cmd_write,
	.flush = cmd_flush,
	.release = cmd_release,
	.poll = transaction_poll,
	.stream = true,
};
