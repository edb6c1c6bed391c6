/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What reads one object: head, and get with a lost connection taken up again where it broke.
 * Blocking; no locks: all state is the call's.
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

static int head_accept(struct request *request, struct verdict *verdict)
{
	char etag[OBJECT_ETAG_SIZE];

	(void)verdict;
	if (!request->answer.has_length)
		return request_refuse(request, -EPROTO, "no size in the answer from %s",
				      request->store->origin);
	return request_take_etag(request, etag);
}

int object_head(struct object_store *store, struct object_call *call, const char *key,
		struct object_info *info)
{
	_cleanup_request_ struct request request;
	int r = request_begin(&request, store, call, "HEAD", key);

	*info = (struct object_info){ 0 };
	if (r < 0)
		return r;
	request.keep_meta = true;
	request.accept = head_accept;
	request.perform = libs3_head_object;
	r = request_run(&request);
	if (r == 0)
		request_fill_info(&request, info);
	return r;
}

/* --- get ------------------------------------------------------------------------------------- */

struct get_state {
	const struct object_get *get;
	uint64_t received;
	char etag[OBJECT_ETAG_SIZE]; /* of the first try that brought something, or "" */
};

static bool is_whole(const struct get_state *state)
{
	return state->get->offset == 0 && state->get->length == UINT64_MAX && !state->received;
}

/* Asks for what is not here yet. */
static int get_prepare(struct request *request)
{
	const struct get_state *state = request->arg;
	const struct object_get *get = state->get;
	uint64_t from = get->offset + state->received;
	char range[64];

	text_reset(&request->headers);
	if (get->length != UINT64_MAX && state->received == get->length)
		return -EALREADY; /* only the end of the answer was lost */
	if (get->length == UINT64_MAX)
		snprintf(range, sizeof(range), "bytes=%" PRIu64 "-", from);
	else
		snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, from,
			 get->offset + get->length - 1);
	if (!is_whole(state))
		request_header(request, "range", range);
	request_condition(request, state->etag[0] ? state->etag : get->if_match, false);
	return 0;
}

/* The answer's headers: are these the bytes that were asked for, of that object? */
static int check_answer(struct request *request, struct get_state *state)
{
	const struct answer *answer = &request->answer;
	const struct object_get *get = state->get;
	const char *wanted = state->etag[0] ? state->etag : get->if_match;
	char etag[OBJECT_ETAG_SIZE];
	int r = request_take_etag(request, etag);

	if (r < 0)
		return r;
	if (wanted && strcmp(wanted, etag))
		return request_refuse(request, -ESTALE, "it is another object by now");
	memcpy(state->etag, etag, sizeof(etag));
	if (is_whole(state)
		    ? answer->status != 200
		    : !answer->has_range || answer->range_start != get->offset + state->received)
		return request_refuse(request, -EPROTO, "another range than the one asked for");
	return 0;
}

static int get_take(struct request *request, const void *bytes, size_t len)
{
	struct get_state *state = request->arg;
	const struct object_get *get = state->get;
	int r = 0;

	if (!request->came_further) /* the first bytes of this try */
		r = check_answer(request, state);
	if (r < 0)
		return r;
	if (len > get->length - state->received)
		return request_refuse(request, -EPROTO, "more than was asked for");
	if (get->buffer)
		memcpy((char *)get->buffer + state->received, bytes, len);
	else
		r = get->sink(get->sink_arg, bytes, len, get->offset + state->received);
	if (r)
		return r;
	state->received += len;
	request->came_further = true;
	return 0;
}

static int get_accept(struct request *request, struct verdict *verdict)
{
	struct get_state *state = request->arg;
	const struct answer *answer = &request->answer;
	uint64_t end = state->get->offset + state->received;

	if (!request->came_further) {
		int r = check_answer(request, state);

		if (r < 0)
			return r;
	}
	if (answer->has_range && end < answer->range_end) {
		verdict->again = true;
		return request_refuse(request, -EIO, "fewer bytes than promised");
	}
	return 0;
}

int64_t object_get(struct object_store *store, struct object_call *call,
		   const struct object_get *get, struct object_info *info)
{
	struct get_state state = { .get = get };
	_cleanup_request_ struct request request;
	int r = request_begin(&request, store, call, "GET", get->key);

	if (info)
		*info = (struct object_info){ 0 };
	if (r < 0 || !get->length)
		return r;
	if (get->length != UINT64_MAX && get->offset + get->length < get->offset)
		return request_refuse(&request, -EINVAL, "a range behind the end of numbers");
	request.arg = &state;
	request.prepare = get_prepare;
	request.take = get_take;
	request.accept = get_accept;
	request.perform = libs3_get_object;
	r = request_run(&request);
	if (r == -EALREADY || (r < 0 && request.answer.status == 416)) {
		call->error = (struct object_error){ 0 };
		return (int64_t)state.received;
	}
	if (r < 0)
		return r;
	if (info) {
		request_fill_info(&request, info);
		if (!request.answer.has_range && !request.answer.has_length)
			info->size = state.received;
	}
	return (int64_t)state.received;
}
