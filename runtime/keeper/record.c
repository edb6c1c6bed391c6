/* SPDX-License-Identifier: MIT */
/* A run's record as text. Pure; no I/O, no locks. */
#include "keeper/record.h"

#include "base/kv.h"

void record_write(struct text *t, const struct record *record)
{
	record_add(t, "session", record->session);
	record_add(t, "state", run_state_word(record->state));
	record_add(t, "token", record->token);
	if (record->pid > 0)
		record_add_u64(t, "pid", record->pid);
	if (record->started_us)
		record_add_u64(t, "started", record->started_us);
	if (!run_state_is_end(record->state))
		return;
	record_add_u64(t, "exit", record->code);
	record_add_u64(t, "ended", record->ended_us);
	record_add_u64(t, "out_end", record->end_size[STREAM_OUT]);
	record_add_u64(t, "err_end", record->end_size[STREAM_ERR]);
	record_add(t, "truncated", record->truncated ? "yes" : "no");
}
