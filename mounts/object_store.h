/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects in one bucket of an S3-compatible server: the interface that sandbox-bucket stands on.
 * It knows nothing of files, directories, caches or FUSE.
 *
 * Every call blocks until the server has answered for good: what can be tried again (429, 5xx,
 * lost or stalled connections) is tried again with growing, random pauses until `retry_for_ms` is
 * over. So they are for worker threads, never for one that answers the kernel.
 *
 * Threads: one store serves any number of threads at once; each call has a struct object_call of
 * its own. Connections are kept and reused. The program ignores SIGPIPE. Nothing here forks.
 *
 * Ownership: all that is passed in stays the caller's and is read during the call only (settings
 * are copied). What comes back in pointers is the caller's, with the _free named there.
 *
 * Units: sizes and offsets in bytes, times in ms, mtime in microseconds since the epoch. Keys are
 * bytes ended by NUL, 1 to 1024 of them, not encoded in any way, relative to the bucket. ETags are
 * kept as the server writes them, with quotes always: compare them with strcmp(), give them back
 * unchanged.
 *
 * Errors, of every call (what a person should read is in object_call.error.text):
 *   -ENOENT        no such object, bucket or upload (error.code tells which)
 *   -EACCES        401 and 403: wrong keys, no right, clock off by too much (the sentence says so)
 *   -EEXIST        if_none_match, and the object is there
 *   -ESTALE        if_match, and the object is another one by now or gone
 *   -EINVAL        the request cannot be right: a bad key, a wrong region, 400 of all other kinds
 *   -ENAMETOOLONG  a key longer than 1024 bytes
 *   -EFBIG         larger than the server takes
 *   -EDQUOT, -ENOSPC   the server says that a quota, or its disk, is full
 *   -EOPNOTSUPP    the server does not have that operation (501, 405)
 *   -EREMOTE       redirected to somewhere else: never followed, the sentence says where to
 *   -EPROTO        an answer that is not S3
 *   -EIO           not answered in time, whatever was tried; a certificate that cannot be trusted
 *   -ECANCELED     cancelled, or the store was stopped
 *   -ENOMEM
 * A sink's or a descriptor's own error comes back as it is.
 */
#ifndef MOUNTS_OBJECT_STORE_H
#define MOUNTS_OBJECT_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	OBJECT_KEY_MAX = 1024,	  /* bytes, without the NUL */
	OBJECT_ETAG_SIZE = 136,	  /* with quotes and NUL; a server's longer one is -EPROTO */
	OBJECT_PAGE_MAX = 1000,	  /* entries of a page, keys of one object_delete_many() */
	OBJECT_PARTS_MAX = 10000, /* of one upload */
};
#define OBJECT_PART_MIN (5ull << 20) /* every part but the last (S3: EntityTooSmall) */
#define OBJECT_PART_MAX (5ull << 30) /* also of one object_put() */
#define OBJECT_SIZE_MAX (5ull << 40)

struct object_store;

/* Keys; access_key_id NULL or empty: requests are not signed (public buckets). */
struct object_credentials {
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token; /* NULL or empty: none */
};

enum object_style {
	OBJECT_STYLE_AUTO, /* virtual for amazonaws.com and bucket names that allow it, else path */
	OBJECT_STYLE_PATH, /* https://endpoint/bucket/key */
	OBJECT_STYLE_VIRTUAL, /* https://bucket.endpoint/key */
};

/* Who checks that a body arrives as it was sent: TLS, or a SHA-256 in the signature. */
enum object_payload {
	OBJECT_PAYLOAD_AUTO, /* hashed over http, not over https */
	OBJECT_PAYLOAD_HASHED,
	OBJECT_PAYLOAD_UNSIGNED,
};

/* All zero but bucket and endpoint or region is a working start. */
struct object_settings {
	const char *endpoint; /* "https://host[:port]" or "http://…"; NULL: AWS in that region */
	const char *region;   /* NULL: us-east-1; auto for Cloudflare R2 */
	const char *bucket;
	enum object_style style;
	enum object_payload payload;
	struct object_credentials credentials;
	const char *ca_file; /* PEM: trusted instead of the system's; NULL: the system's */
	const char *proxy;   /* URL of an HTTP proxy; NULL: none, whatever the environment says */
	int64_t connect_timeout_ms; /* 0: 10 s */
	int64_t stall_timeout_ms;  /* no byte either way so long: the connection is lost. 0: 20 s */
	int64_t answer_timeout_ms; /* the same where the server works long before it answers (copy,
				     * complete). 0: 5 min */
	int64_t retry_for_ms;	   /* 0: 30 s; negative: nothing is tried twice */
	uint64_t copy_max; /* larger objects are copied in parts. 0: 5 GiB, the most S3 takes */
	/*
	 * Asked for new keys when the server calls the present ones expired: fills *fresh with
	 * allocated strings (object_credentials_wipe()) and returns 0 or -errno. NULL: never asked.
	 * Called by any thread, by one at a time.
	 */
	int (*renew)(void *arg, struct object_credentials *fresh);
	void *renew_arg;
};

/* Why a call failed. text is one printable sentence without newline, and never holds a secret. */
struct object_error {
	int status;    /* of HTTP; 0: no answer */
	char code[64]; /* of S3 ("NoSuchKey"), or empty */
	char text[512];
};

/*
 * One call. All zero is right; error is filled when it fails and is empty otherwise. Of one thread
 * at a time, but cancel may be set by any thread: the call ends with -ECANCELED within about a
 * second (what it had asked of the server may still happen).
 */
struct object_call {
	const atomic_bool *cancel; /* NULL: never */
	int64_t retry_for_ms;	   /* 0: as in the settings; negative: nothing is tried twice */
	unsigned retries;	   /* added to: how often something was tried again */
	struct object_error error;
};

/*
 * A new store; makes no connection. -EINVAL for an endpoint, region or bucket name that cannot be
 * one (*error, may be NULL, says which).
 */
int object_store_new(struct object_store **store, const struct object_settings *settings,
		     struct object_error *error);
/* From now on every call, also those under way, ends with -ECANCELED. For any thread; at once. */
void object_store_stop(struct object_store *store);
/* Only when no call is under way. Keys are overwritten. NULL is fine. */
void object_store_free(struct object_store *store);
/* Other keys for all requests made from now on. 0 or -ENOMEM (the old ones stay). */
int object_store_set_credentials(struct object_store *store,
				 const struct object_credentials *credentials);
/* Overwrites and frees allocated strings and sets them to NULL. */
void object_credentials_wipe(struct object_credentials *credentials);

/* Since the store was made. */
struct object_stats {
	uint64_t requests; /* sent, each try counted */
	uint64_t retries;
	uint64_t bytes_in, bytes_out; /* of bodies */
};
void object_store_stats(struct object_store *store, struct object_stats *stats);
/* "https://host/bucket", for sentences and logs; lives as long as the store. */
const char *object_store_url(const struct object_store *store);

/* Is the bucket there, and may we list below prefix ("" for all)? For the moment of mounting. */
int object_store_check(struct object_store *store, struct object_call *call, const char *prefix);

/*
 * What is known of an object. meta is a field list (base/kv.h: "name=value\0…") of its user
 * metadata, names in lower case without "x-amz-meta-". NULL when there is none or it was not asked
 * for.
 */
struct object_info {
	uint64_t size; /* of the whole object */
	int64_t mtime_us;
	char etag[OBJECT_ETAG_SIZE];
	char content_type[128]; /* cut; "" if there is none */
	char *meta;
	size_t meta_len;
};
#define _cleanup_object_info_ __attribute__((cleanup(object_info_free)))
void object_info_free(struct object_info *info); /* what is inside; leaves it all zero */

int object_head(struct object_store *store, struct object_call *call, const char *key,
		struct object_info *info);

/*
 * A range of an object, into a buffer or a sink. A connection that is lost on the way is taken up
 * again behind the last byte that came (and only if the ETag is still the same, else -ESTALE): no
 * byte comes twice, none is skipped.
 */
struct object_get {
	const char *key;
	uint64_t offset;
	uint64_t length;      /* UINT64_MAX: to the end. 0 is 0 bytes and no request */
	const char *if_match; /* an ETag, or NULL. Checked by us as well: some servers ignore it */
	void *buffer;	      /* of length bytes, or NULL with a sink */
	/* Bytes in order; offset is in the object. Non-zero ends the call, which returns it. */
	int (*sink)(void *arg, const void *bytes, size_t len, uint64_t offset);
	void *sink_arg;
};
/*
 * Bytes received; fewer than length only where the object ends (0 from behind the end), or -errno;
 * what a buffer holds then is undefined. *info (may be NULL; its meta stays NULL) is filled unless
 * the length is 0 or the range lies behind the end.
 */
int64_t object_get(struct object_store *store, struct object_call *call,
		   const struct object_get *get, struct object_info *info);

/* What is sent: bytes, or length bytes of fd (by pread, its position is left alone) from offset on. */
struct object_body {
	const void *bytes; /* NULL: fd */
	int fd;
	uint64_t offset; /* in fd or in bytes */
	uint64_t length;
};

/*
 * A whole object. Conditions: if_none_match: only if there is none (-EEXIST); if_match: only if it
 * is still that one (-ESTALE). When an answer is lost and the condition then fails because our own
 * write has already happened, that is found out (by the MD5 in its ETag) and is success; only for
 * an empty object it stays -EEXIST.
 */
struct object_put {
	const char *key;
	struct object_body body;
	const char *content_type; /* NULL: application/octet-stream */
	const char *meta;	  /* field list as in struct object_info; values printable ASCII */
	size_t meta_len;
	bool if_none_match;
	const char *if_match;
};
int object_put(struct object_store *store, struct object_call *call, const struct object_put *put,
	       char etag[OBJECT_ETAG_SIZE]);

/*
 * Server-side copy within the bucket. size is that of the source: above copy_max it is done in
 * parts. if_match is of the source. Without replace the source's metadata and content type are
 * kept, with it they become those given (a copy onto itself is how metadata is changed). etag is
 * the new object's.
 * -ESTALE by if_match: some servers find out only afterwards, so `to` may have been written.
 */
struct object_copy {
	const char *from, *to;
	uint64_t size;
	const char *if_match;
	const char *content_type;
	const char *meta;
	size_t meta_len;
	bool replace;
};
int object_copy(struct object_store *store, struct object_call *call,
		const struct object_copy *copy, char etag[OBJECT_ETAG_SIZE]);

/* 0 also when it was not there: S3 does not say. */
int object_delete(struct object_store *store, struct object_call *call, const char *key);
/*
 * Any number of keys, 1000 in one request. errors, of n, gets 0 or -errno for each. Returns 0 when
 * all are gone, else the first key's error, or the error of the request (then that of all keys
 * that were not reached).
 */
int object_delete_many(struct object_store *store, struct object_call *call,
		       const char *const *keys, size_t n, int *errors);

/*
 * One page of a listing (ListObjectsV2), entries in the order of their keys' bytes within the page.
 * A prefix entry stands for all keys that begin with it; its other fields are 0 and "".
 */
struct object_entry {
	const char *key; /* NUL-terminated; may hold anything, also a NUL: see key_len */
	size_t key_len;
	const char *etag;
	uint64_t size;
	int64_t mtime_us;
	bool is_prefix;
};
struct object_page {
	struct object_entry *entries;
	size_t n;
	char *next; /* give to the next call; NULL: this was the last page */
	char *memory;
	int64_t asked_ms; /* the caller's */
};
#define _cleanup_object_page_ __attribute__((cleanup(object_page_free)))
void object_page_free(struct object_page *page); /* what is inside; leaves it all zero */

struct object_list {
	const char *prefix;    /* NULL or "": all */
	const char *delimiter; /* "/" for one directory; NULL: none */
	const char
		*start_after; /* only keys behind this one, or NULL; ignored when next is given */
	const char *next;     /* from the page before, or NULL */
	unsigned max;	      /* 0: 1000, the most there is */
};
int object_list(struct object_store *store, struct object_call *call,
		const struct object_list *list, struct object_page *page);

/*
 * Multipart uploads. Parts may be sent in any order and at once; Cloudflare R2 wants all but the
 * last of the same size, and S3 at least OBJECT_PART_MIN. An upload that is neither completed nor
 * aborted stays on the server and costs: list and abort.
 */
struct object_upload {
	const char *key;
	const char *content_type; /* these three as in object_put */
	const char *meta;
	size_t meta_len;
};
/* *id is the caller's to free. */
int object_upload_start(struct object_store *store, struct object_call *call,
			const struct object_upload *upload, char **id);

struct object_part {
	uint64_t size; /* of its body */
	char etag[OBJECT_ETAG_SIZE];
};
/* number from 1 to OBJECT_PARTS_MAX; fills *part. The same number again replaces that part. */
int object_upload_part(struct object_store *store, struct object_call *call, const char *key,
		       const char *id, unsigned number, const struct object_body *body,
		       struct object_part *part);
/* A part that is a range of an object of the same bucket. if_match of the source, or NULL. */
int object_upload_part_copy(struct object_store *store, struct object_call *call, const char *key,
			    const char *id, unsigned number, const char *from, uint64_t offset,
			    uint64_t length, const char *if_match, struct object_part *part);

struct object_complete {
	const char *key;
	const char *id;
	const struct object_part *parts; /* parts[0] is number 1 */
	unsigned n;
	bool if_none_match;
	const char *if_match;
};
/*
 * The object is there, whole, when this returns 0, also when the answer was lost on the way and the
 * object found to be ours. Otherwise the upload may still exist: abort it.
 */
int object_upload_complete(struct object_store *store, struct object_call *call,
			   const struct object_complete *complete, char etag[OBJECT_ETAG_SIZE]);
/* 0 also when there is no such upload. */
int object_upload_abort(struct object_store *store, struct object_call *call, const char *key,
			const char *id);

struct object_upload_entry {
	const char *key;
	size_t key_len;
	const char *id;
	int64_t started_us;
};
struct object_upload_page {
	struct object_upload_entry *entries;
	size_t n;
	char *next_key, *next_id; /* give to the next call; both NULL: this was the last page */
	char *memory;
};
#define _cleanup_object_upload_page_ __attribute__((cleanup(object_upload_page_free)))
void object_upload_page_free(struct object_upload_page *page);
/* Uploads under way below prefix. next_key and next_id of the page before, or NULL. */
int object_upload_list(struct object_store *store, struct object_call *call, const char *prefix,
		       const char *next_key, const char *next_id, struct object_upload_page *page);

#endif
