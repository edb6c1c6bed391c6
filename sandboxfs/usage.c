/* SPDX-License-Identifier: MIT */
/*
 * `usage` of a run: a receipt, one "name value" a line. Of a live run it is asked for at the open,
 * which waits, parked, for the keeper (never for the box). Lock: box->lock.
 */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "box.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "keeper.h"
#include "store.h"
#include "wake.h"

static void asked_answer(struct park *park, int error)
{
	/* A run that has ended meanwhile has its record. */
	if (error == ESTALE)
		handle_abandon(park->req, park->handle, error);
	else
		handle_reply_open(park->req, park->handle);
}

static const struct park_type asked_park = { reply_look, asked_answer, NULL };

static int usage_open(struct ctx *ctx, struct handle *h)
{
	const struct park_wait wait = { .tag = keeper_new_tag() };
	struct box *box = ctx->box;
	const struct run *run;
	int r = 0;

	pthread_mutex_lock(&box->lock);
	run = box_live_run(box, run_of(ctx));
	if (run && !run->ended && box->keeper) {
		r = keeper_run_ask(box, MSG_USAGE, wait.tag, run->number);
		if (r == 0)
			r = park_add(&box->parks, &box->lock, &asked_park, ctx->req, h, box, &wait);
		if (r == 0)
			r = TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

static void add_seconds(struct text *out, const char *name, uint64_t us)
{
	if (us != UINT64_MAX)
		text_printf(out, "%s %llu.%06llu\n", name, (unsigned long long)us / 1000000,
			    (unsigned long long)us % 1000000);
}

static void add_bytes(struct text *out, const char *name, uint64_t bytes)
{
	if (bytes != UINT64_MAX)
		text_printf(out, "%s %llu\n", name, (unsigned long long)bytes);
}

int run_usage_show(struct ctx *ctx, struct text *out)
{
	struct run_record rec;
	struct run_usage *u = &rec.usage;
	int r;

	pthread_mutex_lock(&ctx->box->lock);
	r = run_now(ctx, &rec);
	pthread_mutex_unlock(&ctx->box->lock);
	if (r <= 0)
		return r;
	add_seconds(out, "wall", u->wall_us);
	add_seconds(out, "cpu",
		    u->cpu_user_us == UINT64_MAX || u->cpu_system_us == UINT64_MAX
			    ? UINT64_MAX
			    : u->cpu_user_us + u->cpu_system_us);
	add_seconds(out, "cpu.user", u->cpu_user_us);
	add_seconds(out, "cpu.system", u->cpu_system_us);
	add_bytes(out, "memory.peak", u->memory_peak);
	add_bytes(out, "io.read", u->read);
	add_bytes(out, "io.written", u->written);
	return 0;
}

const struct row_ops usage_ops = { .open = usage_open, .read = handle_reply_rendered };
