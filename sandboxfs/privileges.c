/* SPDX-License-Identifier: MIT */
/*
 * Capabilities of the daemon. Boxes do not depend on them: who makes a user namespace has all
 * capabilities in it, whatever the maker's bounding set is. No locks.
 */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

static const struct {
	unsigned int capability;
	const char *why;
} kept[] = {
	{ CAP_SYS_ADMIN, "mount, id-mapped mounts, namespaces, backing files of passthrough" },
	{ CAP_SETUID, "act with a box's ids; maps of user namespaces" },
	{ CAP_SETGID, "likewise" },
	{ CAP_SETPCAP, "keepers cut their own capabilities" },
	{ CAP_SETFCAP, "user namespaces that map root; capabilities of copied files" },
	{ CAP_CHOWN, "files of boxes and images" },
	{ CAP_FOWNER, "likewise" },
	{ CAP_FSETID, "likewise" },
	{ CAP_MKNOD, "whiteouts in images" },
	{ CAP_DAC_OVERRIDE, "state of boxes; what a box's own root could do in files/" },
	{ CAP_DAC_READ_SEARCH, "likewise, and file handles" },
	{ CAP_KILL, "ending boxes" },
	{ CAP_SYS_PTRACE, "descriptors and working directories in /proc" },
	{ CAP_SYS_CHROOT, "entering a box's mounts" },
	{ CAP_SYS_RESOURCE, "many descriptors, large pipes" },
	{ CAP_NET_ADMIN, "the boxes' network: links, rules, switches" },
};

int privileges_drop(void)
{
	if (capng_get_caps_process() < 0)
		return -EPERM;
	for (int c = 0; c <= (int)CAP_LAST_CAP; c++) {
		bool keep = false;

		for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
			keep |= kept[i].capability == (unsigned int)c;
		if (!keep)
			capng_update(CAPNG_DROP,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE |
					     CAPNG_BOUNDING_SET,
				     (unsigned int)c);
	}
	return capng_apply(CAPNG_SELECT_BOTH) == 0 ? 0 : -EPERM;
}

int privileges_lacking(struct text *needed, struct text *wanted)
{
	if (capng_get_caps_process() < 0)
		return -EPERM;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		struct text *t = kept[i].capability == CAP_SYS_RESOURCE ? wanted : needed;

		if (!capng_have_capability(CAPNG_EFFECTIVE, kept[i].capability))
			text_printf(t, "%scap_%s (%s)", t->len ? ", " : "",
				    capng_capability_to_name(kept[i].capability), kept[i].why);
	}
	return 0;
}
