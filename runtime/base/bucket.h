/* SPDX-License-Identifier: MIT */
/*
 * How a keeper starts sandbox-bucket for a mount in a box, and what they say to each other.
 *
 * `sandbox-bucket --served` (no other argument, an empty environment) with descriptors 0 = /dev/null,
 * 1 and 2 = the log, and those below. It is started as root with CAP_DAC_READ_SEARCH, SETUID and SETGID
 * and makes itself that of BUCKET_SAY_SETTINGS' process_uid= once it has the keys.
 *
 * Each packet on BUCKET_CONTROL_FD is a field list (base/kv.h), of BUCKET_PACKET_MAX bytes at the
 * most, whose first field is say=WORD. A request has tag=NUMBER, and gets exactly one answer with the
 * same; several may be under way. What is unknown is ignored. When the keeper's end is closed, the
 * process saves everything and ends.
 */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

enum {
	BUCKET_CONTROL_FD = 3, /* SOCK_SEQPACKET */
	BUCKET_FUSE_FD = 4,    /* /dev/fuse of a mount that is there already */
	BUCKET_SPOOL_FD = 5,   /* the folder for data on its way, which belongs to process_uid */

	BUCKET_PACKET_MAX = 64 << 10,
};

/* --- keeper to sandbox-bucket --- */

/*
 * The first packet: the fields of a mounted bucket (runtime.h) but target=, and process_uid= (uid and
 * gid to run as), owner= (uid and gid of all files), and inside=PATH for each directory below the
 * mount's root that another bucket is mounted on, or is to be: ENOTCONN for all that is done in it here.
 */
#define BUCKET_SAY_SETTINGS "settings"
/* inside=PATH for each such directory from now on. */
#define BUCKET_SAY_INSIDE "inside"
/* Answer: text=, the payload of MSG_BUCKET_TEXT. */
#define BUCKET_SAY_STATUS "status"
/* Answer when all is in the bucket that was written till now. */
#define BUCKET_SAY_FLUSH "flush"
/* May the mount be taken away? Answer: error=EBUSY and why= if something would be lost. */
#define BUCKET_SAY_END "end"
/* The mount is gone, or going: saves everything, answers and ends, with exit status 0 if all is saved. */
#define BUCKET_SAY_SAVE "save"

/* To BUCKET_SAY_HELD: tag=, held=yes or no. */
#define BUCKET_SAY_HOLDERS "holders"

/* --- sandbox-bucket to keeper --- */

/* Has process pid= a descriptor of the file ino= of this mount? tag= is of the asker's. */
#define BUCKET_SAY_HELD "held"

/* tag=, error=ERRNO (0: done), why=SENTENCE if not 0. */
#define BUCKET_SAY_ANSWER "answer"
/* The bucket has answered one request, and the mount does from now on. */
#define BUCKET_SAY_READY "ready"
/* Instead: error=, why=. It ends. */
#define BUCKET_SAY_FAILED "failed"

#endif
