/* SPDX-License-Identifier: MIT */
/*
 * The parts of `sandboxfs doctor` to each other: a check is a row of the table in doctor.c and one
 * function that looks and says what it found. A check changes nothing on the machine: what has to be
 * tried is tried by a child in namespaces of its own, with which it goes (doctor_probe()). The kernel
 * may load a module of its own for what is tried (overlay, nf_tables, veth). One thread, no locks.
 */
#ifndef SANDBOXFS_DOCTOR_CHECK_H
#define SANDBOXFS_DOCTOR_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/text.h"
#include "options.h"

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_NOTE,	/* good to know, nothing to do */
	DOCTOR_WARN,	/* boxes run, something is worse than it could be */
	DOCTOR_MISSING, /* in an essential check: no box can run */
	DOCTOR_UNSEEN,	/* who asks may not look */
	N_DOCTOR_STATES
};

/* What all checks share; theirs to read. */
struct doctor {
	const struct options *options;
	struct options_error settings_error; /* of the ini file; text is empty if there is none */
	const char *settings;		     /* path of the ini file, NULL: none */
	bool root;			     /* asked by the machine's root? */
};

/* What a check found. Free with finding_free(). */
struct finding {
	enum doctor_state state;
	struct text found;  /* one sentence, without a full stop */
	struct text cost;   /* in the place of the row's, where not empty */
	struct text remedy; /* likewise */
};

struct doctor_check {
	const char *section, *name;
	bool essential; /* DOCTOR_MISSING here means that no box can run */
	void (*look)(const struct doctor *d, struct finding *f);
	const char *cost;   /* what its absence costs */
	const char *remedy; /* what helps; NULL if look() says it */
};

/* --- saying what was found (doctor.c) ----------------------------------------------------------- */

/* Sets the state and adds to what was found. */
void finding_set(struct finding *f, enum doctor_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Add to the cost and the remedy of this very finding. */
void finding_cost(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void finding_remedy(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void finding_free(struct finding *f);

/* --- this distribution (doctor_remedy.c) -------------------------------------------------------- */

/* "Debian GNU/Linux 12 (bookworm)", escaped; "Linux" if unknown. Static. */
const char *doctor_distribution(void);
/* Adds the command that installs a package, known by what it has ("bash"), as a remedy. */
void finding_install(struct finding *f, const char *what);

/* A whole small file, following links; NULL if it cannot be read. free() it. */
char *doctor_read(const char *path);
/* The first number in a file, or -1. */
long long doctor_read_number(const char *path);
/* The running kernel's version as major << 16 | minor. */
unsigned int doctor_kernel_version(void);
#define KERNEL(major, minor) ((unsigned int)(major) << 16 | (minor))

/* --- trying things (doctor_probe.c) ------------------------------------------------------------- */

enum { PROBE_TEXT = 480 };

struct probe_result {
	int error;	       /* 0 or -errno */
	char step[32];	       /* where: "unshare", "map", "run" */
	char text[PROBE_TEXT]; /* what run() said */
};

/* Runs in the child: 0 or -errno; may fill result->text. */
typedef int probe_run(struct probe_result *result, void *arg);

/*
 * Calls run(…, arg) in a child in new namespaces (CLONE_NEW… of unshare(2)), with its mounts
 * reaching nobody; with CLONE_NEWUSER it is root in there, with the ids of a box where we may map
 * them, with CLONE_NEWPID process 1. Ends it after some seconds (-ETIMEDOUT). Returns
 * result->error.
 */
int doctor_probe(const struct doctor *d, int namespaces, probe_run *run, void *arg,
		 struct probe_result *result);
/* A descriptor of a new user namespace with the ids of a box. Root's only; -errno. */
int doctor_userns(const struct doctor *d);
/* Did it fail for want of the rights that the machine's root has? */
bool doctor_is_denied(const struct doctor *d, const struct probe_result *result);

/* --- the checks --------------------------------------------------------------------------------- */

typedef void doctor_look(const struct doctor *d, struct finding *f);

doctor_look look_settings, look_rights, look_programs, look_libraries, look_ids, look_shell,
	look_buckets, look_image_host, look_logout, look_open_files, look_kvm,
	look_lsm; /* doctor_system.c */
doctor_look look_kernel, look_clone3, look_openat2, look_pidfd, look_close_range, look_memfd,
	look_mount_api, look_seccomp, look_namespaces, look_namespace_limits; /* doctor_kernel.c */
doctor_look look_proc, look_overlay, look_layers, look_idmap_state,
	look_idmap_usr;							    /* doctor_mount.c */
doctor_look look_fuse_device, look_fuse, look_passthrough, look_fuse_epoch; /* doctor_fuse.c */
doctor_look look_cgroups, look_controllers, look_cgroup_kill,
	look_cgroup_freeze; /* doctor_cgroup.c */
doctor_look look_state_dir, look_state_features, look_state_flags, look_project_quota,
	look_loop;				     /* doctor_disk.c */
doctor_look look_nftables, look_veth, look_firewall; /* doctor_net.c */

/* An existing folder: the state directory, or where it would be made. Fills path. */
int doctor_state_folder(const struct doctor *d, char *path, size_t size);

/* --- showing it (doctor_report.c) --------------------------------------------------------------- */

/* The table for people, with colours where wanted. */
void doctor_print(const struct doctor_check *checks, const struct finding *findings, size_t n,
		  bool colour);
/* The same as one JSON object. -ENOMEM. */
int doctor_print_json(const struct doctor *d, const struct doctor_check *checks,
		      const struct finding *findings, size_t n);
/* Is nothing essential missing? */
bool doctor_boxes_run(const struct doctor_check *checks, const struct finding *findings, size_t n);

#endif
