/* SPDX-License-Identifier: MIT */
/*
 * `sandboxfs doctor`: the table of all checks, and the command line around it. To add a check: a row
 * here, a function in the doctor_*.c that it belongs to, a case in tests/cli/doctor. Must not change
 * anything on the machine (doctor_check.h). One thread, no locks.
 */
#include "doctor.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "doctor_check.h"

#define NO_BOX "no box can start"
#define OUTSIDE "a newer kernel; in a container: run on the machine itself"

static const struct doctor_check checks[] = {
	{ "Setup", "rights", true, look_rights, "nothing can be mounted and no box made",
	  "sudo sandboxfs …; a container needs them given (--privileged)" },
	{ "Setup", "settings", true, look_settings, "sandboxfs does not start",
	  "correct the file; sandboxfs.ini(5) has every key" },
	{ "Setup", "programs", true, look_programs, NO_BOX,
	  "build all of it (make), or install all of it (make install)" },
	{ "Setup", "libraries", true, look_libraries, "neither images nor " NO_BOX, NULL },
	{ "Setup", "ids", true, look_ids, "files of boxes and files of theirs would have one owner",
	  "choose other ids by uid_base and uid_count" },
	{ "Setup", "image host", true, look_image_host,
	  "boxes cannot be made from the machine's own software",
	  "use an imported image: image = NAME" },
	{ "Setup", "buckets", false, look_buckets, "nothing can be mounted by mounts/ of a box",
	  "build all of it (make), or install all of it (make install)" },
	{ "Setup", "shell", false, look_shell, NULL, NULL },
	{ "Setup", "open files", false, look_open_files,
	  "each running box takes a few of the daemon's descriptors: fewer boxes at a time",
	  "ulimit -Hn 1048576 before the start; LimitNOFILE= in a unit" },
	{ "Setup", "logout", false, look_logout,
	  "a daemon started by hand ends with the login session; its boxes go on",
	  "systemctl enable --now sandboxfs@…, or KillUserProcesses=no in "
	  "/etc/systemd/logind.conf" },

	{ "Kernel", "kernel", true, look_kernel, "no overlay on id-mapped mounts: " NO_BOX,
	  "Linux 5.19 or newer" },
	{ "Kernel", "clone3", true, look_clone3, NO_BOX, OUTSIDE },
	{ "Kernel", "pidfd", true, look_pidfd, NO_BOX, OUTSIDE },
	{ "Kernel", "close_range", true, look_close_range, NO_BOX, OUTSIDE },
	{ "Kernel", "openat2", true, look_openat2, NO_BOX, OUTSIDE },
	{ "Kernel", "mount calls", true, look_mount_api, NO_BOX, OUTSIDE },
	{ "Kernel", "memfd seals", false, look_memfd,
	  "programs in boxes that share sealed memory fail; sandboxfs does without", OUTSIDE },
	{ "Kernel", "seccomp", true, look_seccomp, NO_BOX, "a kernel with CONFIG_SECCOMP_FILTER" },
	{ "Kernel", "namespaces", true, look_namespaces, NO_BOX,
	  "a kernel with all of them (CONFIG_…_NS)" },
	{ "Kernel", "namespace limits", true, look_namespace_limits,
	  "so many boxes at a time at the most", NULL },
	{ "Kernel", "security modules", false, look_lsm,
	  "sandboxfs is not tested with it: its rules may forbid mounts of boxes",
	  "setenforce 0 shows whether it is the reason" },

	{ "Filesystems", "FUSE device", true, look_fuse_device, "nothing can be mounted", NULL },
	{ "Filesystems", "FUSE", true, look_fuse, "nothing can be mounted",
	  "a kernel with FUSE: modprobe fuse" },
	{ "Filesystems", "FUSE passthrough", false, look_passthrough,
	  "file data in files/ goes through the daemon: reading from the cache takes ten times as "
	  "long",
	  "Linux 6.9 or newer; passthrough = yes" },
	{ "Filesystems", "FUSE epoch", false, look_fuse_epoch,
	  "each look at a name in files/ asks the daemon, also while nothing runs in the box",
	  "Linux 6.16 or newer" },
	{ "Filesystems", "overlay", true, look_overlay, NO_BOX,
	  "a kernel with overlay: modprobe overlay" },
	{ "Filesystems", "overlay layers", false, look_layers, "images of more layers make no box",
	  "Linux 6.7 or newer, or an image of fewer layers" },
	{ "Filesystems", "/proc", true, look_proc, NO_BOX, "a kernel with CONFIG_PROC_FS" },
	{ "Filesystems", "id-mapped state", true, look_idmap_state, NO_BOX,
	  "put state_dir on ext4, xfs or btrfs (tmpfs: from Linux 6.6 on)" },
	{ "Filesystems", "id-mapped /usr", true, look_idmap_usr,
	  "boxes cannot be made from the machine's own software",
	  "/usr on ext4, xfs, btrfs, erofs or squashfs; or use an imported image: image = NAME" },

	{ "State", "state directory", true, look_state_dir, NO_BOX,
	  "put state_dir on ext4, xfs or btrfs with space" },
	{ "State", "state features", true, look_state_features, NO_BOX,
	  "put state_dir on ext4, btrfs, or xfs made with ftype=1" },
	{ "State", "state mount", false, look_state_flags, NULL,
	  "mount the filesystem without, or put state_dir elsewhere" },
	{ "State", "project quotas", false, look_project_quota,
	  "the space of a box cannot be limited by the filesystem itself",
	  "ext4: tune2fs -O project,quota while unmounted, then the mount option prjquota; xfs: "
	  "pquota" },
	{ "State", "loop devices", false, look_loop,
	  "the space of a box cannot be limited by an image of its own", NULL },

	{ "Cgroups", "cgroups", true, look_cgroups, NO_BOX, NULL },
	{ "Cgroups", "controllers", true, look_controllers,
	  "what they count is not limited, or not shown", NULL },
	{ "Cgroups", "kill", false, look_cgroup_kill,
	  "boxes are ended process by process, which takes longer",
	  "Linux 5.14 and cgroups of version 2" },
	{ "Cgroups", "freeze", false, look_cgroup_freeze, "boxes cannot be frozen",
	  "Linux 5.2 and cgroups of version 2, or the freezer controller" },

	{ "Network", "nftables", true, look_nftables,
	  "boxes have loopback alone; one for which net/mode private was chosen does not start",
	  "a kernel with nftables and NAT: modprobe nf_tables nft_chain_nat; or network.mode = "
	  "none" },
	{ "Network", "veth", true, look_veth,
	  "boxes have loopback alone; one for which net/mode private was chosen does not start",
	  "a kernel with veth: modprobe veth; or network.mode = none" },
	{ "Network", "forwarding", false, look_firewall,
	  "what boxes send out may be dropped on its way",
	  "a rule that accepts what comes from boxes and what answers it" },

	{ "For tests", "KVM", false, look_kvm,
	  "make test-v2 emulates a machine, which takes longer", "hardware virtualisation" },
};

/* --- findings ----------------------------------------------------------------------------------- */

static void add_formatted(struct text *t, const char *fmt, va_list ap)
{
	char *line = NULL;

	if (vasprintf(&line, fmt, ap) < 0)
		return;
	text_add_str(t, line);
	free(line);
}

void finding_set(struct finding *f, enum doctor_state state, const char *fmt, ...)
{
	va_list ap;

	f->state = state;
	va_start(ap, fmt);
	add_formatted(&f->found, fmt, ap);
	va_end(ap);
}

void finding_cost(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_formatted(&f->cost, fmt, ap);
	va_end(ap);
}

void finding_remedy(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_formatted(&f->remedy, fmt, ap);
	va_end(ap);
}

void finding_free(struct finding *f)
{
	text_free(&f->found);
	text_free(&f->cost);
	text_free(&f->remedy);
}

/* --- the command -------------------------------------------------------------------------------- */

static void print_usage(FILE *to)
{
	fputs("Usage: sandboxfs doctor [--json] [-c FILE] [-o KEY=VALUE,…]\n\n"
	      "Checks this machine: what there is, what an absence costs, what helps. Changes "
	      "nothing.\n"
	      "Exit status: 0 boxes can run here, 1 something essential is missing.\n\n"
	      "  --json             the same as JSON\n"
	      "  -c, --config FILE  settings (default: " DEFAULT_CONFIG " if it is there)\n"
	      "  -o KEY=VALUE,…     settings, over those of the file\n"
	      "  -h, --help         this text\n",
	      to);
}

struct command {
	bool json;
	const char *config;
	int exit_code; /* -1: go on */
};

static struct command read_arguments(int argc, char **argv, struct options *opt,
				     struct options_error *err)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static const char shorts[] = "c:o:h";
	struct command command = { .exit_code = -1 };
	int c;

	/* The file first, wherever -c stands: -o goes over it. */
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == 'j')
			command.json = true;
		else if (c == 'c')
			command.config = optarg;
		else if (c == 'h')
			return print_usage(stdout), command.exit_code = 0, command;
		else if (c == '?')
			return print_usage(stderr), command.exit_code = 2, command;
	}
	if (optind != argc)
		return print_usage(stderr), command.exit_code = 2, command;
	if (!command.config && access(DEFAULT_CONFIG, F_OK) == 0)
		command.config = DEFAULT_CONFIG;
	if (command.config)
		options_read_file(opt, command.config, err);
	optind = 1;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		struct options_error wrong = { .text = "" };

		if (c == 'o' && options_parse_list(opt, optarg, &wrong) < 0) {
			log_error("%s", wrong.text);
			command.exit_code = 2;
		}
	}
	if (!err->text[0])
		options_check(opt, err);
	return command;
}

static bool wants_colour(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

static int examine(const struct doctor *d, bool json)
{
	struct finding findings[ARRAY_SIZE(checks)] = { 0 };
	bool boxes_run;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i].look(d, &findings[i]);
	boxes_run = doctor_boxes_run(checks, findings, ARRAY_SIZE(checks));
	if (json)
		r = doctor_print_json(d, checks, findings, ARRAY_SIZE(checks));
	else
		doctor_print(checks, findings, ARRAY_SIZE(checks), wants_colour());
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		finding_free(&findings[i]);
	if (r < 0 || fflush(stdout) == EOF) {
		log_error("cannot print: %s", strerror(r < 0 ? -r : errno));
		return 1;
	}
	return boxes_run ? 0 : 1;
}

int doctor_command(int argc, char **argv)
{
	struct options options;
	struct doctor doctor = { .options = &options, .root = geteuid() == 0 };
	struct command command;
	int code;

	if (options_init(&options) < 0) {
		log_error("%s", strerror(ENOMEM));
		options_free(&options);
		return 1;
	}
	command = read_arguments(argc, argv, &options, &doctor.settings_error);
	doctor.settings = command.config;
	code = command.exit_code >= 0 ? command.exit_code : examine(&doctor, command.json);
	options_free(&options);
	return code;
}
