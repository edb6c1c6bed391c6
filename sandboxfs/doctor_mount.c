/* SPDX-License-Identifier: MIT */
/*
 * Whether a box's filesystems can be mounted: proc, overlay, id-mapped clones. All of it happens on
 * a tmpfs in a mount namespace of a child's, or as detached mounts that nobody else sees. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "doctor_check.h"

enum { MANY_LAYERS = 64 };

/* Every machine has it, and the child needs nothing of it any more. */
#define SOMEWHERE "/usr"

#define IN_A_BOX (CLONE_NEWUSER | CLONE_NEWNS)

/* What the checks of this file have in common: there is none without a user namespace. */
static void explain(const struct doctor *d, struct finding *f, const struct probe_result *result,
		    const char *what)
{
	if (doctor_is_denied(d, result))
		finding_set(f, DOCTOR_UNSEEN, "this user may make no user namespace");
	else if (strcmp(result->step, "run"))
		finding_set(f, DOCTOR_UNSEEN, "not tried, for want of namespaces: %s",
			    strerror(-result->error));
	else
		finding_set(f, DOCTOR_MISSING, "%s: %s", what, strerror(-result->error));
}

/* --- /proc -------------------------------------------------------------------------------------- */

static int mount_proc(struct probe_result *result, void *arg)
{
	(void)result;
	(void)arg;
	return mount("proc", SOMEWHERE, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno
											    : 0;
}

void look_proc(const struct doctor *d, struct finding *f)
{
	struct probe_result result;
	int r = doctor_probe(d, IN_A_BOX | CLONE_NEWPID, mount_proc, NULL, &result);

	if (r == 0) {
		finding_set(f, DOCTOR_OK, "a new one can be mounted in a user namespace");
		return;
	}
	explain(d, f, &result, "a new one cannot be mounted in a user namespace");
	if (r == -EPERM && f->state == DOCTOR_MISSING)
		finding_remedy(
			f, "the kernel allows it only while the machine's own /proc is whole. "
			   "Something is mounted over a part of it, as in containers (findmnt -R "
			   "/proc): unmount that, or run on the machine itself");
}

/* --- overlay ------------------------------------------------------------------------------------ */

static int set_layer(int fs, const char *key, const char *value)
{
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* As a box's: with userxattr, layers given one by one where there are many. */
static int mount_overlay(int n_layers)
{
	_cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	_cleanup_close_ int mnt = -1;
	char name[16];
	int r = fs < 0 ? -errno : 0;

	if (r == 0 && fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
		r = -errno;
	for (int i = 0; i < n_layers && r == 0; i++) {
		snprintf(name, sizeof(name), "%d", i);
		if (mkdir(name, 0755) < 0)
			r = -errno;
		else
			r = set_layer(fs, n_layers > 1 ? "lowerdir+" : "lowerdir", name);
	}
	if (r == 0 && (mkdir("upper", 0755) < 0 || mkdir("work", 0755) < 0))
		r = -errno;
	if (r == 0)
		r = set_layer(fs, "upperdir", "upper");
	if (r == 0)
		r = set_layer(fs, "workdir", "work");
	if (r == 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = -errno;
	if (r < 0)
		return r;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0)
		return -errno;
	/* One that comes up read-only has not come up. */
	return mkdirat(mnt, "written", 0755) < 0 ? -errno : 0;
}

static int try_overlay(struct probe_result *result, void *arg)
{
	int *n_layers = arg;

	(void)result;
	if (mount("none", SOMEWHERE, "tmpfs", 0, "size=1m") < 0 || chdir(SOMEWHERE) < 0)
		return -errno;
	return mount_overlay(*n_layers);
}

void look_overlay(const struct doctor *d, struct finding *f)
{
	struct probe_result result;
	int one = 1, r = doctor_probe(d, IN_A_BOX, try_overlay, &one, &result);

	if (r == 0) {
		finding_set(f, DOCTOR_OK, "can be mounted in a user namespace");
		return;
	}
	explain(d, f, &result, "cannot be mounted in a user namespace");
	if (r == -ENODEV)
		finding_remedy(f,
			       "this kernel has no overlay: modprobe overlay, or another kernel");
}

void look_layers(const struct doctor *d, struct finding *f)
{
	struct probe_result result;
	int one = 1, many = MANY_LAYERS;

	if (doctor_probe(d, IN_A_BOX, try_overlay, &many, &result) == 0)
		finding_set(f, DOCTOR_OK, "%d can be stacked", MANY_LAYERS);
	else if (doctor_probe(d, IN_A_BOX, try_overlay, &one, &result) == 0)
		finding_set(f, DOCTOR_WARN, "only as many as fit into 255 bytes: about 50");
	else
		finding_set(f, DOCTOR_UNSEEN, "not tried, for want of an overlay");
}

/* --- id-mapped mounts --------------------------------------------------------------------------- */

/* A detached clone of the folder with a box's ids: seen by nobody, gone with its descriptor. */
static int clone_with_ids(const char *path, int userns)
{
	_cleanup_close_ int tree =
		open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };

	if (tree < 0)
		return -errno;
	return mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static void look_idmap(const struct doctor *d, struct finding *f, const char *path)
{
	_cleanup_close_ int userns = -1;
	int r;

	if (!d->root) {
		finding_set(f, DOCTOR_UNSEEN, "%s: only root may try", path);
		return;
	}
	userns = doctor_userns(d);
	if (userns < 0) {
		finding_set(f, DOCTOR_UNSEEN, "not tried, for want of a user namespace: %s",
			    strerror(-userns));
		return;
	}
	r = clone_with_ids(path, userns);
	if (r < 0)
		finding_set(f, DOCTOR_MISSING, "%s: %s: %s", path,
			    r == -EINVAL ? "its filesystem cannot do it" : "cannot be mounted",
			    strerror(-r));
	else
		finding_set(f, DOCTOR_OK, "%s can be mounted with a box's ids", path);
}

void look_idmap_state(const struct doctor *d, struct finding *f)
{
	char path[4096];

	if (doctor_state_folder(d, path, sizeof(path)) < 0)
		finding_set(f, DOCTOR_UNSEEN, "not tried, for want of a state directory");
	else
		look_idmap(d, f, path);
}

void look_idmap_usr(const struct doctor *d, struct finding *f)
{
	look_idmap(d, f, "/usr");
	if (f->state == DOCTOR_MISSING && strcmp(d->options->image, "host") != 0)
		f->state = DOCTOR_WARN;
}
