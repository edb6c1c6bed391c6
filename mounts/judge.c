/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the end of a try means. Success is the HTTP status and nothing else; a refusal is read from
 * S3's error code first (API reference, "Error responses"), then from the status. No I/O, no locks.
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum { CLOCK_OFF_US = 900 * 1000000, PAUSE_ASKED_MAX_MS = 60000 }; /* S3 takes 15 minutes */

struct meaning {
	const char *code; /* of S3, or NULL */
	int status;	  /* 0: any */
	int error;
	bool again, renew;
};

/* The first row that fits counts. */
static const struct meaning meanings[] = {
	{ "NoSuchKey", 0, ENOENT, false, false },
	{ "NoSuchBucket", 0, ENOENT, false, false },
	{ "NoSuchUpload", 0, ENOENT, false, false },
	{ "ExpiredToken", 0, EACCES, false, true },
	{ "ExpiredTokenException", 0, EACCES, false, true },
	{ "TokenRefreshRequired", 0, EACCES, false, true },
	{ "InvalidToken", 0, EACCES, false, true },
	{ "InvalidAccessKeyId", 0, EACCES, false, true },
	{ "RequestTimeTooSkewed", 0, EACCES, false, false },
	{ "RequestExpired", 0, EACCES, false, false },
	{ "AuthorizationHeaderMalformed", 0, EINVAL, false, false },
	{ "QuotaExceeded", 0, EDQUOT, false, false },
	{ "QuotaExceededException", 0, EDQUOT, false, false },
	{ "InsufficientStorage", 0, ENOSPC, false, false },
	{ "XMinioStorageFull", 0, ENOSPC, false, false },
	{ "EntityTooLarge", 0, EFBIG, false, false },
	{ "KeyTooLongError", 0, ENAMETOOLONG, false, false },
	{ "NotImplemented", 0, EOPNOTSUPP, false, false },
	/* What got lost or damaged on the way to the server. */
	{ "RequestTimeout", 0, EIO, true, false },
	{ "BadDigest", 0, EIO, true, false },
	{ "IncompleteBody", 0, EIO, true, false },
	{ "XAmzContentSHA256Mismatch", 0, EIO, true, false },
	/* Two writers at once: one of them comes later. */
	{ "OperationAborted", 0, EIO, true, false },
	{ "ConditionalRequestConflict", 0, EIO, true, false },
	/* These also come in a document after a 200. */
	{ "InternalError", 0, EIO, true, false },
	{ "SlowDown", 0, EIO, true, false },
	{ "ServiceUnavailable", 0, EIO, true, false },
	{ "AccessDenied", 0, EACCES, false, false },
	{ "PreconditionFailed", 0, ESTALE, false, false },
	{ NULL, 401, EACCES, false, false },
	{ NULL, 403, EACCES, false, false },
	{ NULL, 404, ENOENT, false, false },
	{ NULL, 405, EOPNOTSUPP, false, false },
	{ NULL, 408, EIO, true, false },
	{ NULL, 409, EIO, true, false },
	{ NULL, 412, ESTALE, false, false },
	{ NULL, 413, EFBIG, false, false },
	{ NULL, 414, ENAMETOOLONG, false, false },
	{ NULL, 429, EIO, true, false },
	{ NULL, 500, EIO, true, false },
	{ NULL, 501, EOPNOTSUPP, false, false },
	{ NULL, 502, EIO, true, false },
	{ NULL, 503, EIO, true, false },
	{ NULL, 504, EIO, true, false },
	{ NULL, 507, ENOSPC, false, false },
};

int judge_code_errno(const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
		if (meanings[i].code && !strcmp(meanings[i].code, code))
			return meanings[i].error;
	return 0;
}

static const struct meaning *find_meaning(int status, const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		const struct meaning *m = &meanings[i];

		if (m->code ? !strcmp(m->code, code) : m->status == status)
			return m;
	}
	return NULL;
}

/* --- the error document ---------------------------------------------------------------------- */

struct refusal {
	char code[64], message[200], region[64], endpoint[200];
	bool is_error;
};

static int read_refusal(void *arg, const char *path, const char *text, size_t len)
{
	struct refusal *r = arg;
	/* A namespace prefix or a wrapping element (DeleteResult) is not expected here. */
	const struct {
		const char *path;
		char *to;
		size_t size;
	} rows[] = {
		{ "Error/Code", r->code, sizeof(r->code) },
		{ "Error/Message", r->message, sizeof(r->message) },
		{ "Error/Region", r->region, sizeof(r->region) },
		{ "Error/Endpoint", r->endpoint, sizeof(r->endpoint) },
	};

	(void)len;
	if (!strcmp(path, "Error"))
		r->is_error = true;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!strcmp(path, rows[i].path))
			text_escape(rows[i].to, rows[i].size, text);
	return 0;
}

static void parse_refusal(const struct request *request, struct refusal *refusal)
{
	const struct text *document = &request->answer.document;

	*refusal = (struct refusal){ 0 };
	if (document->len && xml_parse(document->data, document->len, read_refusal, refusal) < 0)
		*refusal = (struct refusal){ 0 };
}

/* --- sentences ------------------------------------------------------------------------------- */

static void say_clock(struct request *request, int code)
{
	int64_t off = (realtime_us() - request->answer.date_us) / 1000000;

	request_refuse(request, code,
		       "%s does not accept the time of this machine: its clock is %" PRId64
		       " s %s the server's",
		       request->store->origin, off < 0 ? -off : off,
		       off < 0 ? "behind" : "ahead of");
}

static void say_region(struct request *request, int code, const char *region)
{
	request_refuse(request, code, "%s is in region %s, not %s: set region = %s",
		       request->store->url, region, request->store->region, region);
}

static void say_refusal(struct request *request, int code, const struct refusal *refusal)
{
	const struct object_store *store = request->store;

	request_refuse(request, code, "%d%s%s%s%s from %s", request->answer.status,
		       refusal->code[0] ? " " : "", refusal->code, refusal->message[0] ? ": " : "",
		       refusal->message, store->url);
}

/* Elsewhere: wrong region, or wrong endpoint. Never followed: the keys are for this one. */
static int judge_redirect(struct request *request, const struct refusal *refusal)
{
	const struct answer *answer = &request->answer;
	const char *region = answer->region[0] ? answer->region : refusal->region;

	if (region[0] && strcmp(region, request->store->region)) {
		say_region(request, -EINVAL, region);
		return -EINVAL;
	}
	request_refuse(request, -EREMOTE, "%s sends us to %s (%d), where we do not follow",
		       request->store->url,
		       refusal->endpoint[0]  ? refusal->endpoint
		       : answer->location[0] ? answer->location
					     : "nowhere",
		       answer->status);
	return -EREMOTE;
}

static bool clock_is_off(const struct request *request, const struct refusal *refusal)
{
	int64_t off = realtime_us() - request->answer.date_us;

	if (!strcmp(refusal->code, "RequestTimeTooSkewed") ||
	    !strcmp(refusal->code, "RequestExpired"))
		return request->answer.date_us != 0;
	return request->answer.status == 403 && request->answer.date_us &&
	       (off > CLOCK_OFF_US || off < -CLOCK_OFF_US);
}

/* A status of 300 and above, or an error document after 200. */
static void judge_refusal(struct request *request, const struct refusal *refusal,
			  struct verdict *verdict)
{
	const struct answer *answer = &request->answer;
	const struct meaning *m = find_meaning(answer->status, refusal->code);
	bool if_none_match =
		request->headers.len &&
		memmem(request->headers.data, request->headers.len, "if-none-match=", 14);

	snprintf(request->call->error.code, sizeof(request->call->error.code), "%s", refusal->code);
	verdict->code = m ? -m->error : answer->status >= 500 ? -EIO : -EINVAL;
	verdict->again = m ? m->again : answer->status >= 500;
	verdict->renew = m && m->renew;
	if (verdict->again)
		verdict->pause_ms = MIN(answer->retry_after_ms, PAUSE_ASKED_MAX_MS);
	if (verdict->code == -ESTALE && if_none_match)
		verdict->code = -EEXIST;
	if (answer->status / 100 == 3 && answer->status != 304)
		verdict->code = judge_redirect(request, refusal);
	else if (clock_is_off(request, refusal))
		say_clock(request, verdict->code);
	else if (refusal->region[0] && answer->status == 400 &&
		 strcmp(refusal->region, request->store->region))
		say_region(request, verdict->code, refusal->region);
	else if (answer->document.len && !refusal->is_error && answer->status / 100 == 4)
		verdict->code =
			request_refuse(request, answer->status == 404 ? -EPROTO : verdict->code,
				       "%d from %s, and it does not speak S3", answer->status,
				       request->store->origin);
	else
		say_refusal(request, verdict->code, refusal);
}

/* --- no answer ------------------------------------------------------------------------------- */

static void judge_silence(struct request *request, enum wire_end end, struct verdict *verdict)
{
	if (end == WIRE_CANCELLED) {
		verdict->code = request_refuse(request, -ECANCELED, "cancelled");
		return;
	}
	if (end == WIRE_FAILED) {
		verdict->code = request->failure;
		/* What prepare() refused has its sentence. */
		if (request->lost_why[0] || !request->call->error.text[0])
			request_refuse(request, verdict->code, "%s",
				       request->lost_why[0] ? request->lost_why
							    : strerror(-request->failure));
		return;
	}
	verdict->code = -EIO;
	verdict->again = true;
	request_refuse(request, -EIO, "no whole answer from %s: %s", request->store->origin,
		       request->lost_why[0] ? request->lost_why : "the connection was lost");
}

void judge(struct request *request, enum wire_end end, struct verdict *verdict)
{
	const struct answer *answer = &request->answer;
	struct refusal refusal;

	request->call->error.status = answer->status;
	if (end != WIRE_ANSWERED) {
		judge_silence(request, end, verdict);
		return;
	}
	if (answer->status / 100 != 2) {
		parse_refusal(request, &refusal);
		judge_refusal(request, &refusal, verdict);
		return;
	}
	/* An answer that came before the body was sent whole says nothing of the rest. */
	if (request->body && request->body_sent < request->body->length) {
		verdict->code =
			request_refuse(request, -EIO, "%s answered before it had everything",
				       request->store->origin);
		verdict->again = true;
	} else if (answer->cut) {
		verdict->code = request_refuse(request, -EPROTO, "an endless document from %s",
					       request->store->origin);
	}
}

int judge_document(struct request *request, struct verdict *verdict)
{
	struct refusal refusal;

	parse_refusal(request, &refusal);
	if (refusal.is_error) {
		judge_refusal(request, &refusal, verdict);
	} else {
		verdict->code =
			request_refuse(request, -EPROTO, "a document from %s that is not S3's",
				       request->store->origin);
		verdict->again = false;
	}
	return verdict->code;
}
