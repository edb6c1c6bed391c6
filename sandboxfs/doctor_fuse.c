/* SPDX-License-Identifier: MIT */
/*
 * FUSE as this kernel speaks it: mounted in a mount namespace of a child's, where its first request
 * tells the version and what it offers; nobody answers it. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "doctor_check.h"
#include "fuse_kernel.h"

enum { FUSE_MAJOR = 10, FUSE_MINOR = 229, INIT_MS = 3000, REQUEST_SIZE = 1 << 16 };

#define DEVICE "/dev/fuse"

/* What the kernel said, once for all checks. */
static struct {
	bool asked;
	struct probe_result result;
	unsigned int major, minor;
	unsigned long long flags;
} kernel;

static int hear_init(int dev, struct probe_result *result)
{
	static char request[REQUEST_SIZE] __attribute__((aligned(8)));
	const struct wire_init_in *in = (const void *)(request + sizeof(struct fuse_in_header));
	struct pollfd p = { .fd = dev, .events = POLLIN };
	unsigned long long flags;
	ssize_t len;

	if (poll(&p, 1, INIT_MS) <= 0)
		return -ETIMEDOUT;
	len = read(dev, request, sizeof(request));
	if (len < 0)
		return -errno;
	/* Kernels before 5.17 send the first four numbers only. */
	if ((size_t)len < sizeof(struct fuse_in_header) + 4 * sizeof(uint32_t))
		return -EPROTO;
	flags = in->flags;
	if (flags & WIRE_INIT_EXT)
		flags |= (unsigned long long)in->flags2 << 32;
	snprintf(result->text, sizeof(result->text), "%u %u %llu", in->major, in->minor, flags);
	return 0;
}

static int mount_fuse(struct probe_result *result, void *arg)
{
	_cleanup_close_ int dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	char options[128];

	(void)arg;
	if (dev < 0)
		return -errno;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	if (mount("doctor", "/usr", "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return -errno;
	return hear_init(dev, result);
}

static const struct probe_result *ask(const struct doctor *d)
{
	char *at = kernel.result.text;

	if (kernel.asked)
		return &kernel.result;
	kernel.asked = true;
	/* Root needs no user namespace, as the daemon needs none. */
	if (doctor_probe(d, CLONE_NEWNS | (d->root ? 0 : CLONE_NEWUSER), mount_fuse, NULL,
			 &kernel.result) == 0) {
		kernel.major = (unsigned int)strtoul(at, &at, 10);
		kernel.minor = (unsigned int)strtoul(at, &at, 10);
		kernel.flags = strtoull(at, NULL, 10);
	}
	return &kernel.result;
}

void look_fuse_device(const struct doctor *d, struct finding *f)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (stat(DEVICE, &st) < 0) {
		finding_set(f, DOCTOR_MISSING, DEVICE ": %s", strerror(errno));
		finding_remedy(f,
			       "modprobe fuse; in a container: hand it in (--device " DEVICE ")");
		return;
	}
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(FUSE_MAJOR, FUSE_MINOR)) {
		finding_set(f, DOCTOR_MISSING, DEVICE " is not the FUSE device");
		finding_remedy(f, "rm " DEVICE "; mknod " DEVICE " c %d %d", FUSE_MAJOR,
			       FUSE_MINOR);
		return;
	}
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		finding_set(f, DOCTOR_OK, DEVICE);
	} else if (errno == EACCES && !d->root) {
		finding_set(f, DOCTOR_UNSEEN, DEVICE " is there; this user may not open it");
	} else {
		finding_set(f, DOCTOR_MISSING, DEVICE ": %s", strerror(errno));
		finding_remedy(
			f, "modprobe fuse; in a container: allow the device (--device " DEVICE ")");
	}
}

static bool spoke(const struct doctor *d, struct finding *f)
{
	const struct probe_result *result = ask(d);

	if (result->error == 0)
		return true;
	finding_set(f, DOCTOR_UNSEEN, "the kernel could not be asked: %s",
		    strerror(-result->error));
	return false;
}

void look_fuse(const struct doctor *d, struct finding *f)
{
	const struct probe_result *result = ask(d);

	if (result->error == 0) {
		finding_set(f, DOCTOR_OK, "the kernel speaks version %u.%u", kernel.major,
			    kernel.minor);
	} else if (!d->root) {
		spoke(d, f);
	} else {
		finding_set(f, DOCTOR_MISSING, "cannot be mounted: %s", strerror(-result->error));
		if (result->error == -EPERM)
			finding_remedy(
				f, "a container needs the right to mount (CAP_SYS_ADMIN), or run "
				   "on the machine itself");
	}
}

void look_passthrough(const struct doctor *d, struct finding *f)
{
	if (!spoke(d, f))
		return;
	if (!(kernel.flags & WIRE_INIT_PASSTHROUGH))
		finding_set(f, DOCTOR_WARN, "the kernel does not offer it (Linux 6.9 does)");
	else if (!d->options->passthrough)
		finding_set(f, DOCTOR_NOTE, "there, and switched off: passthrough = no");
	else
		finding_set(f, DOCTOR_OK,
			    "file data in files/ is read and written by the kernel itself");
}

void look_fuse_epoch(const struct doctor *d, struct finding *f)
{
	if (!spoke(d, f))
		return;
	if (kernel.minor < WIRE_MINOR_INC_EPOCH)
		finding_set(f, DOCTOR_NOTE, "not in version %u.%u (Linux 6.16 has it)",
			    kernel.major, kernel.minor);
	else
		finding_set(f, DOCTOR_OK, "names and attributes of an idle box are cached");
}
