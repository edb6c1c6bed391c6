/* SPDX-License-Identifier: MIT */
/*
 * What the runtime promises to the daemon besides protocol.h: how a keeper is started, the fields
 * of MSG_START, the files of a box's folder, and the key of the `host` image.
 *
 * A keeper: execve of `sandbox-keeper` (no arguments) with descriptor 3 = its end of a
 * SOCK_SEQPACKET socketpair, 0 = /dev/null, 1 and 2 = the log. It does nothing before MSG_START
 * (a daemon may keep some ready), and exits when the socket ends before that. From MSG_START on it
 * outlives the daemon: it leaves the session and the cgroups of its maker and listens on the
 * socket file KEEPER_SOCKET in the box's folder for the next daemon. It holds an exclusive
 * flock(2) on KEEPER_LOCK in that folder as long as it lives.
 *
 * Fields of MSG_START (field list, base/kv.h):
 *   box=NUMBER        the box's number, never reused
 *   name=NAME         for logs
 *   hostname=NAME
 *   token=HEX         of this start; written into run records, so that a record whose token is not
 *                     that of the living keeper is of a run that was lost
 *   uid_base=N        first host uid and gid of the box's own block of 65536
 *   storage_base=N    first uid and gid of the block that owns the box's files on disk
 *   image=NAME        what the box is made from: host, or an imported image
 *   image_dir=PATH    of `host`: the folder of its key, holding root/ and usrmask/; else a folder
 *                     of layers, whose files belong to the storage block
 *   layers=N:N…       of an imported image: names in image_dir, the highest layer first
 *   user=NAME         whom commands run as where nothing else is said: NAME or UID of the box, and
 *                     perhaps :GROUP; absent or empty is root
 *   cgroup=NAME/NAME  path of the box's cgroup below each controller's root (v1) or the cgroup2
 *                     root or delegated subtree (v2)
 *   memory=BYTES, …   the limits: the fields of limit.h, 0 or absent = no limit
 *   disk_method=WORD  what holds those of the disk, see disk/disk.h
 *   keep_runs=N       how many ended runs stay on disk at the least
 *   network=private   the box gets a link from sandbox-net (network.h); if-any: or starts without
 *                     where the machine can have none, and says why; else loopback only
 *   env.NAME=VALUE    the whole environment that the session's shell starts with
 *   cwd=PATH          working directory of the session's shell (else /workspace)
 *   tz=PATH           the host's zone file below /usr/share/zoneinfo, may be absent
 *   bucket.NAME=TEXT  a bucket that is mounted before anything runs in the box; TEXT is a record
 *                     (base/kv.h) of the fields below but bucket. The box starts also if its server
 *                     does not answer: the mount is there, what is asked of it fails, and it is tried
 *                     again (MSG_BUCKET_STATE). A target that cannot be mounted on: likewise, and the
 *                     box starts without it
 *
 * Fields of a mounted bucket (MSG_BUCKET, bucket.NAME):
 *   bucket=NAME       1 to 63 bytes, as a box's name
 *   source=s3://BUCKET[/PREFIX]
 *   target=PATH       absolute, without "." and ".." and links; directories that are not there are
 *                     made. Not the box's / nor in its /proc /sys /dev /run/box: -EINVAL
 *   readonly=yes      default no
 *   uid=UID           host uid of whom the box belongs to: whose keys may be used
 *   config=PATH       the ini file, and
 *   credentials=NAME  its section [credentials NAME]; which must allow uid. Else
 *   profile=NAME      that profile of uid's ~/.aws/credentials. Else
 *   access_key_id= secret_access_key= session_token=
 *                     keys of the daemon's environment, if uid is its own. Else uid's default
 *                     profile, if it has one; else requests are not signed
 *   endpoint=URL      the user's own wish, and so may
 *   endpoints=PATTERNS  must allow it (as in the ini file), also if it is the profile's: -EACCES.
 *                     Absent or empty: none is allowed
 *   region= style=    the user's wish
 *   memory= spool_size=  bytes (SIZE of sandbox-bucket): read ahead and kept; waiting for upload
 *   set.KEY=VALUE     further settings of sandbox-bucket(1) that the daemon answers for, such as
 *                     set.ttl, set.retry_for, set.ca_file
 * A section that has an endpoint or region fixes it: another endpoint= or region= is -EINVAL. What is
 * unknown is ignored.
 *
 * Files of a box's folder (made by the daemon with mode 0700, root's):
 *   BOX_META          the daemon's settings of the box (see sandboxfs/store.h)
 *   workspace/        its /workspace; root of it owned by storage_base
 *   system/           upper, work, usr-upper, usr-work: the overlays' folders, made by the keeper
 *                     at start; removing it puts the system back to the image
 *   runs/N/           one folder a run: RUN_SCRIPT, RUN_OUT, RUN_ERR, RUN_ORDER, RUN_GAPS,
 *                     RUN_RECORD; one that was removed is called RUN_GONE_PREFIX N first
 *   logs/SESSION      index of a session's transcript (log_index.h)
 *   buckets/NAME/     where what is written to a bucket lies until it is in it, and what is left to
 *                     be cleaned up there after a crash; belongs to the mount's process
 *   DISK_IMAGE        where it is there workspace/ and system/ are in it (disk/disk.h)
 *   KEEPER_SOCKET, KEEPER_LOCK
 *
 * RUN_RECORD is a record (base/kv.h): session (empty: a run of its own), name, user, cwd, state, exit, pid
 * (in the box), started, ended (µs since the epoch), out_end, err_end (sizes when the command
 * ended), token, truncated (yes/no), timeout (ms, 0 never), timeout_default (yes: it is that of the
 * box's limit); and once it has ended, what it and all
 * it started used until then: wall, cpu_user, cpu_system (µs), memory_peak, read, written (bytes,
 * the last two of block devices); what the machine cannot tell is absent.
 * It is written when the run is queued or starts, and over that when it ends: it is sealed
 * (record_seal() in base/kv.h), and what follows the seal is an older one's.
 * RUN_OUT and RUN_ERR are there once something was written to them. A folder, its script and its
 * record are used for another run once the folder has lost its number (keeper/folders.h); the files
 * of output never.
 * RUN_ORDER tells how out and err interleave: u64 little-endian words, length << 1 | stream, each
 * written when a stream takes over from the other and before its first byte is; what is not
 * covered yet belongs to the stream that has bytes left. It is absent while only one stream wrote
 * (a run that first wrote to out and never to err has none).
 * RUN_GAPS is there once something of the output was taken away (output_gap.h).
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stddef.h>

#define KEEPER_PROGRAM "sandbox-keeper"
#define INIT_PROGRAM "sandbox-init"
#define IMAGE_PROGRAM "sandbox-image"
#define BUCKET_PROGRAM "sandbox-bucket"
#define KEEPER_SOCKET "keeper.sock"
#define KEEPER_LOCK "keeper.lock"
#define BOX_META "meta"
#define BOX_BUCKETS "buckets"
#define RUN_SCRIPT "cmd"
#define RUN_OUT "out"
#define RUN_ERR "err"
#define RUN_ORDER "order"
#define RUN_GAPS "gaps"
#define RUN_RECORD "record"
#define RUN_GONE_PREFIX ".gone-"
#define DEFAULT_SESSION "default"

enum {
	KEEPER_SOCKET_FD = 3,
	BOX_IDS = 65536, /* uids and gids of a block */
	MAX_SCRIPT_BYTES = 1 << 20,
};

/*
 * `sandbox-image import --storage-base ID DIR` unpacks the image archive on its standard input into
 * DIR/FOLDER/0, DIR/FOLDER/1…, a layer each, owned by the storage block, and prints a record (base/kv.h)
 * that describes it (runtime/import/reader.c), with folder = FOLDER; or error = ERRNO and why =
 * SENTENCE, and exits 1 leaving nothing behind. It holds a flock(2) on FOLDER while it works, and
 * gives up when the other end of the descriptor of --control is closed.
 *
 * `sandbox-image host DIR` builds DIR/KEY/{root,usrmask,log} for the machine's present software if
 * it is not there (in a temporary name, renamed into place) and removes unused temporaries.
 * Exit 0 and KEY on standard output, or 1 and a sentence on standard error.
 *
 * image_host_key() computes the same KEY (hex) from a few stat calls; cheap enough for each start.
 */
enum { IMAGE_KEY_SIZE = 33 };
int image_host_key(char key[IMAGE_KEY_SIZE]);

#endif
