/* SPDX-License-Identifier: MIT */
/* A run's record as text. Pure; no I/O, no locks. */
#include "keeper/record.h"

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kv.h"

void record_add_usage(struct text *t, uint64_t wall_us, const struct usage *usage,
		      void (*add)(struct text *t, const char *key, uint64_t value))
{
	const struct {
		const char *key;
		uint64_t value;
	} figures[] = {
		{ "cpu_user", usage->cpu_user_us },    { "cpu_system", usage->cpu_system_us },
		{ "memory_peak", usage->memory_peak }, { "read", usage->read },
		{ "written", usage->written },
	};

	add(t, "wall", wall_us);
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		if (figures[i].value != UINT64_MAX)
			add(t, figures[i].key, figures[i].value);
	}
}

void record_write(struct text *t, const struct record *record)
{
	record_add(t, "session", record->session);
	if (record->name && *record->name)
		record_add(t, "name", record->name);
	if (record->user && *record->user)
		record_add(t, "user", record->user);
	if (record->cwd)
		record_add(t, "cwd", record->cwd);
	if (record->timeout_ms)
		record_add_u64(t, "timeout", record->timeout_ms);
	if (record->timeout_is_default)
		record_add(t, "timeout_default", "yes");
	record_add(t, "state", run_state_word(record->state));
	record_add(t, "token", record->token);
	if (record->pid > 0)
		record_add_u64(t, "pid", record->pid);
	if (record->started_us)
		record_add_u64(t, "started", record->started_us);
	if (record->truncated && !run_state_is_end(record->state))
		record_add(t, "truncated", "yes");
	if (!run_state_is_end(record->state))
		return;
	record_add_u64(t, "exit", record->code);
	record_add_u64(t, "ended", record->ended_us);
	record_add_u64(t, "out_end", record->end_size[STREAM_OUT]);
	record_add_u64(t, "err_end", record->end_size[STREAM_ERR]);
	record_add(t, "truncated", record->truncated ? "yes" : "no");
	if (record->usage)
		record_add_usage(t, MAX(record->ended_us - record->started_us, 0), record->usage,
				 record_add_u64);
}
