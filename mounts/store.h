/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside of object_store: the store itself, one request, its answer, and what each of the files
 * below gives to the others. Nothing outside of it includes this.
 *
 *   object_store.c   settings, keys, life and end of a store
 *   object_read.c    head, get              what is asked, and what a success has to bring
 *   object_list.c    listings, check
 *   object_write.c   put, copy
 *   object_delete.c  one, or many at once
 *   object_upload.c  multipart uploads
 *   request.c        one request: tried, judged, tried again
 *   judge.c          what an answer, or none, means: an errno, a sentence, whether to try again
 *   libs3.c          requests that move objects' bytes go through libs3
 *   compose.c        URL and headers of a request, signed (sign.c)
 *   wire.c           the libcurl boundary: TLS, timeouts, bytes both ways
 *   answer.c, xml.c  what came back: headers; documents
 *
 * Locks: store->lock guards keys, idle handles and waiting; nothing is done under it that can
 * wait. renew_lock is held over the settings' renew(), and is taken before it.
 */
#ifndef MOUNTS_STORE_H
#define MOUNTS_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/text.h"
#include "object_store.h"

enum {
	WIRE_IDLE_MAX = 16,	   /* handles kept, each with its connections */
	ANSWER_MAX = 16 << 20,	   /* bytes of a document */
	ANSWER_META_MAX = 8 << 10, /* of user metadata (S3: 2 KiB) */
};

/* Keys are never changed, only replaced: a request holds a reference while it signs. */
struct store_keys {
	atomic_uint refs;
	char *id, *secret, *token; /* id NULL: unsigned */
};

struct object_store {
	/* Fixed from the beginning on. */
	char *bucket, *region, *ca_file, *proxy;
	char *origin; /* "https://host:port" */
	char *host;   /* as in the Host header */
	char *base;   /* path before "/key": "/bucket", encoded, or "" */
	char *url;    /* for people */
	bool tls, hash_payload;
	int64_t connect_timeout_ms, stall_timeout_ms, answer_timeout_ms, retry_for_ms;
	uint64_t copy_max;
	int (*renew)(void *arg, struct object_credentials *fresh);
	void *renew_arg;

	atomic_bool stopped;
	atomic_bool bare_etags; /* the server wants If-Match of a PUT without quotes */
	atomic_ullong requests, retries, bytes_in, bytes_out;

	pthread_mutex_t renew_lock;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* stopped; CLOCK_MONOTONIC */
	struct store_keys *keys;
	uint64_t generation;	   /* of keys */
	void *idle[WIRE_IDLE_MAX]; /* wire.c */
	unsigned n_idle;
};

/* The present keys and their number. */
struct store_keys *store_keys_get(struct object_store *store, uint64_t *generation);
void store_keys_put(struct store_keys *keys);

/* --- one request ----------------------------------------------------------------------------- */

/* What a try means. */
struct verdict {
	int code; /* 0 or -errno */
	bool again;
	bool renew;	  /* other keys may help */
	int64_t pause_ms; /* the server asked for so long at the least */
};

/* What came back, of one try. */
struct answer {
	int status; /* 0: none */
	char etag[OBJECT_ETAG_SIZE];
	char region[64];    /* x-amz-bucket-region */
	char location[256]; /* of a redirect */
	char content_type[128];
	bool etag_too_long;
	bool has_length, has_range;
	uint64_t length;			      /* Content-Length */
	uint64_t range_start, range_end, range_total; /* Content-Range, end exclusive */
	int64_t mtime_us, date_us;		      /* Last-Modified, Date; 0: none */
	int64_t retry_after_ms;
	struct text meta;     /* x-amz-meta-* as a field list */
	struct text document; /* a body that is not an object's */
	bool cut;	      /* the document was longer than it may be */
};
void answer_free(struct answer *answer);
/* Copies an ETag, with the quotes that some servers leave out. False: empty, too long. */
bool answer_copy_etag(char etag[OBJECT_ETAG_SIZE], const char *text);
/* name is changed to lower case. keep_meta: also user metadata. */
void answer_take_header(struct answer *answer, char *name, const char *value, bool keep_meta);
/* Empties it for the next try. */
void answer_reset(struct answer *answer);

/* How a try ended on the way. */
enum wire_end {
	WIRE_ANSWERED,
	WIRE_LOST,  /* no or half an answer: can be tried again */
	WIRE_STALE, /* a kept connection was closed meanwhile: try again at once */
	WIRE_CANCELLED,
	WIRE_FAILED, /* will not get better: request->failure */
};

struct request {
	struct object_store *store;
	struct object_call *call;
	const char *method;
	const char *key;	     /* NULL: the bucket itself */
	struct text params, headers; /* field lists, not encoded; headers without host, date, … */
	const struct object_body *body; /* NULL: none */
	bool slow;			/* the server may work long before it answers */
	bool keep_meta;			/* take user metadata from the answer */

	/* Takes an object's bytes as they come; without it a body is a document. -errno ends the try. */
	int (*take)(struct request *request, const void *bytes, size_t len);
	/* Before each try: headers that depend on how far it came. 0 or -errno. May be NULL. */
	int (*prepare)(struct request *request);
	/* Looks at a 2xx answer: 0, or -errno by request_refuse() or judge_document(). May be NULL. */
	int (*accept)(struct request *request, struct verdict *verdict);
	/* Sends one try: libs3_… or wire_perform. */
	enum wire_end (*perform)(struct request *request);
	void *arg; /* of the three above */

	/* Of the present try. */
	uint64_t body_sent;
	int failure;	    /* -errno of our own: a sink, a descriptor, memory */
	char lost_why[256]; /* why there was no answer */
	struct answer answer;

	unsigned tries;
	bool unsure;	   /* a try whose outcome is not known went before the last one */
	bool came_further; /* the present try brought bytes: patience begins anew */
	bool renewed;
	uint64_t generation; /* of the keys it was signed with */
};
#define _cleanup_request_ __attribute__((cleanup(request_free)))

void request_init(struct request *request, struct object_store *store, struct object_call *call,
		  const char *method, const char *key);
/* The same for a key, which is looked at: 0, -EINVAL, -ENAMETOOLONG with the sentence. Free it anyway. */
int request_begin(struct request *request, struct object_store *store, struct object_call *call,
		  const char *method, const char *key);
void request_free(struct request *request);
void request_param(struct request *request, const char *name, const char *value);
void request_header(struct request *request, const char *name, const char *value);
/* Adds content-type and x-amz-meta-*. 0, or -EINVAL for what no header can hold. */
int request_describe(struct request *request, const char *content_type, const char *meta,
		     size_t meta_len);
/* If-Match and If-None-Match: *. */
void request_condition(struct request *request, const char *if_match, bool if_none_match);
bool request_cancelled(const struct request *request);
/* Tries until there is an answer for good. 0 for an accepted 2xx, else -errno and call->error. */
int request_run(struct request *request);
/* The same for a DELETE, by libs3: what is not there is deleted. */
int request_run_delete(struct request *request);
/* Sets the sentence of a failure that we found ourselves and returns code. */
int request_refuse(struct request *request, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Copies the answer's ETag, which a success must have: 0 or -EPROTO. */
int request_take_etag(struct request *request, char etag[OBJECT_ETAG_SIZE]);
/* A key that S3 can have: 0, -EINVAL, -ENAMETOOLONG, with the sentence. */
int request_check_key(struct object_call *call, const char *key);
/* "/bucket/key", encoded, for x-amz-copy-source. */
void request_copy_source(struct request *request, const char *from, const char *if_match);
/*
 * For accept(): the text of an element of the answer's document ("" if it is empty), or
 * judge_document(). The second for an ETag.
 */
int request_take_element(struct request *request, struct verdict *verdict, const char *path,
			 char *value, size_t size);
int request_take_etag_element(struct request *request, struct verdict *verdict, const char *path,
			      char etag[OBJECT_ETAG_SIZE]);
/*
 * After a condition failed, or an upload was gone, on a try that followed one without a clear
 * outcome: is the object there the one that we have written? md5 is what its ETag begins with,
 * n_parts 0 for one that was put. Fills etag then.
 */
bool request_was_ours(struct request *request, const char *md5, unsigned n_parts, uint64_t size,
		      char etag[OBJECT_ETAG_SIZE]);
/* Fills from an answer; meta is moved there. */
void request_fill_info(struct request *request, struct object_info *info);
/* Bytes of the body for the wire: how many, 0 at the end, -errno. */
ssize_t request_read_body(struct request *request, void *buf, size_t size);

/* --- what it means --------------------------------------------------------------------------- */

/* Judges a try and writes call->error (emptied for a success). */
void judge(struct request *request, enum wire_end end, struct verdict *verdict);
/* The same for an error document that came with a 2xx (copy, complete). Returns the code. */
int judge_document(struct request *request, struct verdict *verdict);
/* The errno of an error code as in a batch's answer, positive; 0 for one that is not known. */
int judge_code_errno(const char *code);

/*
 * URL and headers (a field list, with the session token: overwrite it) of a try, signed with the
 * present keys. 0 or -errno.
 */
int compose_request(struct request *request, struct text *url, struct text *headers);

/* --- ways to the server ---------------------------------------------------------------------- */

/* Plain libcurl. */
enum wire_end wire_perform(struct request *request);
/* Ends what the store's own handles hold. */
void wire_close(struct object_store *store);
/* libs3 does the request between these two: what it sets and calls on this thread is put right. */
void wire_shim_begin(struct request *request);
/* why: what libs3 said, for the case that it never came to libcurl. */
enum wire_end wire_shim_end(struct request *request, const char *why);
/* libcurl and libs3, once for all stores. 0 or -ENOMEM. */
int libs3_get(void);
void libs3_put(void);

enum wire_end libs3_get_object(struct request *request);
enum wire_end libs3_head_object(struct request *request);
enum wire_end libs3_put_object(struct request *request);
enum wire_end libs3_copy_object(struct request *request);
enum wire_end libs3_delete_object(struct request *request);

/* --- documents ------------------------------------------------------------------------------- */

/*
 * Calls fn at the end of each element: its path ("ListBucketResult/Contents/Key") and the text
 * directly in it. fn's first non-zero return ends it and is returned. -EPROTO for what is not
 * well-formed, has a DTD, or is nested too deeply; -ENOMEM.
 */
int xml_parse(const char *document, size_t len,
	      int (*fn)(void *arg, const char *path, const char *text, size_t text_len), void *arg);
/* Adds text as character data; false (nothing added) if XML cannot hold it. */
bool xml_add_escaped(struct text *out, const char *s);
/* "2026-01-31T23:59:59.000Z" in microseconds; 0 if it is none. */
int64_t xml_time_us(const char *s);

#endif
