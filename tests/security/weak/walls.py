# SPDX-License-Identifier: MIT
"""The walls of a box, each as what has to be replaced in the sources for it to be gone, and the
cases that must notice. Where one wall stands behind another, both are taken away.

edits: (file, old text, new text[, how often the old one is there])
noticed: {test file: names of cases that must fail, `*` to run all of it}
works: a case of security/inside that must not fail, where the usual one has to
"""
START, CHILD = "runtime/keeper/start.c", "runtime/keeper/child.c"
DEVICES, ROOTFS = "runtime/keeper/devices.c", "runtime/keeper/rootfs.c"
IDMAP, INIT = "runtime/keeper/idmap.c", "runtime/init/init.c"
TABLE = "runtime/seccomp/table.h"
INSIDE, FILTER, BOMBS = "security/inside", "security/filter", "security/bombs"
RACES, TREES, LIFE = "security/races", "security/trees", "security/life"
RULES, NAMES = "runtime/net/rules.c", "runtime/import/names.c"
UNPACK, CONFINE = "runtime/import/unpack.c", "runtime/import/confine.c"
CGROUPS = ["runtime/keeper/cgroup_v1.c", "runtime/keeper/cgroup_v2.c"]
LIMITS, REACH, HOSTILE = "limits/live", "net/reach", "images/hostile"

NO_FILTER = (CHILD, '	{ "load the system call filter", load_filters },\n', "")
ALL_CAPABILITIES = (CHILD, '	{ "cut the capabilities", cut_capabilities },\n', "")
# Without a user namespace nothing is mapped, and the machine's mounts must be kept out of it.
NO_USER_NAMESPACE = [
    (START, ".flags = CLONE_NEWUSER | ", ".flags = "),
    (START, "idmap_write(s->proc_child, 0, s->set->uid_base)", "0"),
    (IDMAP, "(userns >= 0 ? MOUNT_ATTR_IDMAP : 0)", "0"),
    (ROOTFS, "	s->stage_dir = mount_new(",
     '	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)\n		return -errno;\n'
     "	s->stage_dir = mount_new("),
]
KEEP_ALL = ("sandboxfs/privileges.c", "	for (int c = 0; c <= (int)CAP_LAST_CAP; c++) {",
            "	for (int c = 0; c < 0; c++) {")


def stage(step, function):
    """A start without one of its stages."""
    return (CHILD, f'	{{ "{step}", {function} }},\n', "")


WALLS = {
    # ---- What a process of the box may ask the kernel for ----
    "filter": {"edits": [NO_FILTER], "noticed": {INSIDE: "*", FILTER: "refused_rows_are_refused"}},
    "filter and capabilities": {
        "edits": [NO_FILTER, ALL_CAPABILITIES], "noticed": {INSIDE: "* mount_tmpfs setns_net"}},
    "filter, capabilities, user namespace and the daemon's own": {
        "edits": [NO_FILTER, ALL_CAPABILITIES, *NO_USER_NAMESPACE, KEEP_ALL],
        "noticed": {INSIDE: "* mknod_null ids_are_high_and_disjoint write_init_mem acct settimeofday "
                            "syslog vhangup read_kernel_addresses"}},
    "upper halves of arguments": {
        "edits": [(TABLE, "#define SECCOMP_LOW32 UINT64_C(0xffffffff)",
                   "#define SECCOMP_LOW32 UINT64_MAX")],
        "noticed": {INSIDE: "tiocsti_high_bits tioclinux_high_bits"}},
    "flags of clone and unshare": {
        "edits": [(TABLE, "#define SECCOMP_NAMESPACES UINT64_C(0x7e020000)",
                   "#define SECCOMP_NAMESPACES UINT64_C(0x02020000)")],
        "noticed": {INSIDE: "unshare_user clone_user clone_user_high_bits unshare_user_high_bits"}},
    "clone3": {
        "edits": [(TABLE, "	REFUSE(clone3, ENOSYS),\n", ""),
                  (TABLE, "	ALLOW(execve),\n", "	ALLOW(clone3),\n	ALLOW(execve),\n")],
        "noticed": {INSIDE: "clone3_plain clone3_user"}},
    "refused arguments of ioctl": {
        "edits": [(TABLE, "	REFUSE_IF(ioctl, EPERM, { 1, SECCOMP_LOW32, 0x5412 }), /* TIOCSTI */\n", ""),
                  (TABLE, "	REFUSE_IF(ioctl, EPERM, { 1, SECCOMP_LOW32, 0x541c }), /* TIOCLINUX */\n",
                   "")],
        "noticed": {INSIDE: "tiocsti tiocsti_high_bits tioclinux tioclinux_high_bits"}},
    "personality": {
        "edits": [(TABLE, "	ALLOW_IF(personality, { 0, SECCOMP_LOW32, 8 }),",
                   "	ALLOW(personality),")],
        "noticed": {INSIDE: "personality_aslr personality_exec personality_high_bits"}},
    "families of sockets": {
        "edits": [(TABLE, "	ALLOW_IF(socket, { 0, SECCOMP_LOW32, 2 }),  /* AF_INET */",
                   "	ALLOW(socket),"),
                  (TABLE, "	ALLOW_IF(socketpair, { 0, SECCOMP_LOW32, 1 }),", "	ALLOW(socketpair),")],
        "noticed": {INSIDE: "socket_vsock socket_alg socket_of_another_family "
                            "socket_of_another_netlink socketpair_tipc"}},
    "asynchronous I/O": {
        "edits": [(TABLE, "	REFUSE(io_setup, ENOSYS),\n", ""),
                  (TABLE, "	ALLOW(execve),\n", "	ALLOW(io_setup),\n	ALLOW(execve),\n")],
        "noticed": {BOMBS: "what_the_kernel_counts_by_user"}},
    "counts by user": {
        "edits": [(START, "caps_count_as(s->set->uid_base)", "caps_count_as(0)")],
        "noticed": {BOMBS: "what_the_kernel_counts_by_user"}},
    "core dumps": {
        "edits": [stage("forbid core dumps", "forbid_core_dumps")],
        "noticed": {INSIDE: "exceed_core_limit"}},
    "core dumps and filter": {
        "edits": [stage("forbid core dumps", "forbid_core_dumps"), NO_FILTER],
        "noticed": {INSIDE: "exceed_core_limit raise_core_limit lower_core_limit"}},

    # ---- What it has at its start ----
    # (That the filter's absence alone shows no key is in the first build above.)
    "keyring": {
        "edits": [stage("join a session keyring", "join_keyring"), NO_FILTER],
        "noticed": {INSIDE: "key_of_the_machine"}},
    "descriptors": {
        "edits": [(CHILD, "	return syscall(SYS_close_range, INIT_PROGRAM_FD + 1, ~0U, 0) < 0 ? -errno : 0;",
                   "	return 0;"),
                  ("sandboxfs/keeper.c",
                   "	posix_spawn_file_actions_addclosefrom_np(&actions, KEEPER_SOCKET_FD + 1);\n", "")],
        "noticed": {INSIDE: "inherited_descriptor"}},
    "descriptors of init": {
        "edits": [(INIT, "MSG_CMSG_CLOEXEC | MSG_DONTWAIT", "MSG_DONTWAIT")],
        "noticed": {INSIDE: "a_command_has_three_descriptors"}},
    "groups": {
        "edits": [(CHILD, "setgroups(0, NULL) < 0 || ", "")],
        "noticed": {INSIDE: "groups_hold_none_of_the_machine"}},
    "signals to init": {
        "edits": [(INIT, "	sigfillset(&all);\n",
                   "	sigemptyset(&all);\n	signal(SIGTERM, _exit);\n")],
        "noticed": {INSIDE: "pid_1_takes_no_signal_from_inside"}},
    "ids of its own": {
        "edits": [("sandboxfs/keeper_blocks.c", "1 + (last_block + i - 1) % (n_blocks - 1);", "1;"),
                  ("sandboxfs/keeper_blocks.c",
                   "		if (blocks[b] != FREE)\n			continue;\n		r = claim(b);\n",
                   "		r = blocks[b] == FREE ? claim(b) : blocks[b];\n")],
        "noticed": {INSIDE: "ids_are_high_and_disjoint", LIFE: "ids_used_again"}},
    "memory of init": {
        "edits": [(INIT, "prctl(PR_SET_DUMPABLE, 0) < 0 || ", ""),
                  ("Makefile", "&& chmod 0511 $@", "&& chmod 0755 $@"),
                  (START, "(st.st_mode & (S_IRGRP | S_IROTH | S_IWGRP | S_IWOTH)) ||", "")],
        "noticed": {INSIDE: "ptrace_attach_init ptrace_seize_init read_init_mem write_init_mem "
                            "open_init_exe pidfd_getfd_init list_init_fd"}},
    "rights of the keeper": {
        "edits": [(START, '	{ "give up privileges", give_up_privileges },\n', "")],
        "noticed": {INSIDE: "what_serves_the_box_keeps_few_rights"}},
    "rights of the daemon": {
        "edits": [KEEP_ALL],
        "noticed": {INSIDE: "what_serves_the_box_keeps_few_rights"}},

    # ---- Namespaces ----
    "network namespace": {
        "edits": [stage("make the network namespace", "make_network"),
                  (START, "	int r = s->set->network ? network_wait(s->box->network, s->why) : 0;",
                   "	int r = 0;")],
        "noticed": {INSIDE: "all_namespaces_are_its_own two_boxes_share_no_namespace only_loopback "
                            "connect_to_the_machine connect_to_abstract_socket "
                            "nothing_beyond_loopback"}},
    "uts namespace": {
        "edits": [(START, "CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC", "CLONE_NEWNS | CLONE_NEWIPC"),
                  stage("set the host name", "set_host_name")],
        "noticed": {INSIDE: "all_namespaces_are_its_own host_name_is_its_own"}},
    "ipc namespace": {
        "edits": [(START, "CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC", "CLONE_NEWNS | CLONE_NEWUTS")],
        "noticed": {INSIDE: "all_namespaces_are_its_own a_box_sees_nothing_of_another"}},
    "cgroup namespace": {
        "edits": [stage("make the cgroup namespace", "hide_cgroups")],
        "noticed": {INSIDE: "all_namespaces_are_its_own no_cgroup_is_shown"}},
    "time namespace": {
        "edits": [(START, "			 CLONE_NEWTIME | CLONE_PIDFD,", "			 CLONE_PIDFD,")],
        "noticed": {INSIDE: "all_namespaces_are_its_own"}},
    "pid namespace": {
        "edits": [*NO_USER_NAMESPACE, (START, "CLONE_NEWPID | CLONE_NEWNS", "CLONE_NEWNS"),
                  (INIT, "	if (getpid() != 1)\n", "	if (getpid() < 1)\n")],
        "works": "dev_holds_the_known_nodes",
        "noticed": {INSIDE: "see_a_process_of_the_machine pid_1_is_init "
                            "processes_of_the_machine_are_invisible"}},

    # ---- The root, /proc, /dev ----
    "root": {
        "edits": [(ROOTFS, """	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	if (!is_alone(s))
""", """	if (chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	if (s->root < 0 && !is_alone(s))
""")],
        "noticed": {INSIDE: "climb_out_of_chroot"}},
    "masks of /proc": {
        "edits": [stage("mask /proc", "devices_mask_proc")],
        "noticed": {INSIDE: "read_keys read_key_users read_interrupts read_timer_list"}},
    "masks of /proc, capabilities and user namespace": {
        "edits": [stage("mask /proc", "devices_mask_proc"), NO_FILTER, ALL_CAPABILITIES,
                  *NO_USER_NAMESPACE],
        "noticed": {INSIDE: "* read_kmsg write_hostname write_core_pattern write_ip_forward write_anything_in_proc_sys "
                            "write_anything_in_proc_irq write_anything_in_proc_bus "
                            "write_anything_in_proc_fs"}},
    "looking at device files": {
        "edits": [(DEVICES, """S_ISCHR(st.st_mode) &&
		    st.st_rdev == makedev(nodes[i].major, nodes[i].minor))""", "st.st_mode)")],
        "noticed": {INSIDE: "a_device_file_that_is_none_is_refused"}},
    "no sysfs, no cgroups": {
        "edits": [(ROOTFS, "	return mount_attach(s->trees[TREE_CONTROL], run, \"box\");",
                   "	mount_attach_dir(open_tree(AT_FDCWD, \"/sys\", OPEN_TREE_CLONE | AT_RECURSIVE),\n"
                   "			 s->root, \"sys\");\n"
                   "	return mount_attach(s->trees[TREE_CONTROL], run, \"box\");")],
        "noticed": {INSIDE: "no_cgroup_is_shown mounts_are_the_known_ones list_sys list_cgroups"}},
    "no folder of the machine": {
        "edits": [(ROOTFS, "	return mount_attach(s->trees[TREE_CONTROL], run, \"box\");",
                   "	mount_attach_dir(open_tree(AT_FDCWD, \"/var/tmp\", OPEN_TREE_CLONE | "
                   "AT_RECURSIVE),\n			 s->root, \"var/tmp\");\n"
                   "	return mount_attach(s->trees[TREE_CONTROL], run, \"box\");")],
        "noticed": {INSIDE: "file_of_the_machine file_by_root_of_processes file_by_cwd_of_processes"}},
    "the old root": {
        "edits": [(ROOTFS, '	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)',
                   '	if (chdir("/") < 0)'),
                  (ROOTFS, "	if (!is_alone(s))", "	if (s->root < 0 && !is_alone(s))")],
        "noticed": {INSIDE: "root_has_nothing_above"}},
    "devices": {
        "edits": [(DEVICES, '{ "tty", 5, 0 },\n};', '{ "tty", 5, 0 },\n	{ "kmsg", 1, 11 },\n};')],
        "noticed": {INSIDE: "dev_holds_the_known_nodes"}},
    "devices on disk": {
        "edits": [(START, '"workspace", userns, MOUNT_ATTR_NODEV)', '"workspace", userns, 0)')],
        "noticed": {INSIDE: "mounts_are_the_known_ones", TREES: "devices_do_nothing_outside"}},

    # ---- files/ and root, from outside ----
    "mount of the tree": {
        "edits": [("sandboxfs/fuse_wire.c", "MS_NOSUID | MS_NODEV, data)", "0, data)")],
        "noticed": {TREES: "set_user_id_is_nothing_outside"}},
    "names are not followed": {
        "edits": [("sandboxfs/files_lookup.c", "openat(at->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)",
                   "openat(at->fd, name, O_PATH | O_CLOEXEC)")],
        "noticed": {RACES: "cat cp_recursive tar", TREES: "magic_links_lead_nowhere"}},
    "targets of links": {
        "edits": [("sandboxfs/files_symlink.c",
                   "	r = symlink_show(c->vol->kind, inode_depth(resolver.dir), target, resolve_in_box, "
                   "&resolver,\n			 out);",
                   "	(void)resolve_in_box;\n	memcpy(out, target, (size_t)n + 1);\n	r = 0;")],
        "noticed": {RACES: "cat grep_recursive stat_and_ls cp_recursive cp_archive find tar rsync rm "
                           "change write python",
                    TREES: "magic_links_lead_nowhere", "files/links": "hostile_corpus"}},
    "places of folders": {
        "edits": [("sandboxfs/files_inode.c",
                   "	if (inode && S_ISDIR(inode->type) && inode->parent != dir) {",
                   "	if (inode && inode->parent != dir && inode->veiled) {")],
        "noticed": {RACES: "up_again", "files/links": "no_way_out_while_the_box_moves_directories"}},
    "FIFOs": {
        "edits": [("sandboxfs/files_lookup.c", "	if (S_ISFIFO(found->stx.stx_mode))\n",
                   "	if (S_ISFIFO(found->stx.stx_mode) && found->veiled)\n")],
        "noticed": {TREES: "a_fifo_hangs_nobody"}},
    "leases": {
        "edits": [("sandboxfs/files_open.c", "flags | O_NONBLOCK | O_CLOEXEC)", "flags | O_CLOEXEC)")],
        "noticed": {TREES: "a_lease_never_given_up_hangs_nobody"}},
    "set-user-id bits": {
        "edits": [("sandboxfs/files_lookup.c", "		mode &= ~(S_ISUID | S_ISGID);",
                   "		mode &= 07777 | S_IFMT;")],
        "noticed": {TREES: "set_user_id_is_nothing_outside",
                    INSIDE: "set_user_id_counts_inside_only"}},
    "attributes of the system": {
        "edits": [("sandboxfs/files_ops_meta.c",
                   '	bool is_user = !strncmp(name, "user.", 5) && name[5];',
                   "	bool is_user = name[0];")],
        "noticed": {TREES: "file_capabilities_are_nothing_outside"}},
    "numbers of devices": {
        "edits": [("sandboxfs/files_lookup.c", "		.st_nlink = stx->stx_nlink,",
                   "		.st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),\n"
                   "		.st_nlink = stx->stx_nlink,")],
        "noticed": {TREES: "devices_do_nothing_outside"}},
    "mounts that are not entered": {
        "edits": [("sandboxfs/files_lookup.c", "	found->veiled = true;\n",
                   "	found->veiled = false;\n	if (!found->remote)\n		return;\n")],
        "noticed": {TREES: "magic_links_lead_nowhere"}},
    "volumes apart": {
        "edits": [("sandboxfs/files_ops_dir.c", "	    inode_of(ino)->vol != inode_of(new_parent)->vol) {",
                   "	    !inode_of(ino)->vol) {")],
        "noticed": {TREES: "hard_links_stay_in_the_box"}},
    "ids of the box": {
        "edits": [("sandboxfs/files_ids.c",
                   "	syscall(SYS_setfsgid, id_base);\n	syscall(SYS_setfsuid, id_base);\n",
                   "	(void)id_base;\n"),
                  ("sandboxfs/files_ids.c",
                   "	return entered && (uid_t)syscall(SYS_setfsuid, -1) == daemon_ids.fsuid ? 0 : -EPERM;",
                   "	return entered ? 0 : 0;")],
        "noticed": {"tree/files": "owner_is_root_inside"}},
    "escapes": {
        "edits": [("runtime/base/text.c", "		if (n && !utf8_is_control(bytes, n) && !utf8_is_bidi",
                   "		n = n ? n : 1;\n		if (true || !utf8_is_bidi")],
        "noticed": {LIFE: "what_it_calls_itself_is_shown_harmless"}},
    "the folder of boxes": {
        "edits": [("sandboxfs/store.c", "	if (mkdirat(boxes_dir, temp, 0700) < 0)",
                   "	if (mkdirat(boxes_dir, temp, 0755) < 0)")],
        "noticed": {INSIDE: "a_box_of_anothers_ids_on_disk_is_shut"}},

    # ---- Limits: four times what was said, as none at all would bring the machine down ----
    "limit of processes": {
        "edits": [(f, "	if (pids != LIMIT_NONE)\n		snprintf(value",
                   "	if (pids != LIMIT_NONE)\n		pids *= 4;\n	if (pids != LIMIT_NONE)\n"
                   "		snprintf(value") for f in CGROUPS],
        "noticed": {LIMITS: "pids_at_once pids_below_those_there_are"}},
    "limit of memory": {
        "edits": [(CGROUPS[0], "	if (bytes != LIMIT_NONE)\n		snprintf(value",
                   "	if (bytes != LIMIT_NONE)\n		bytes *= 4;\n	if (bytes != LIMIT_NONE)\n"
                   "		snprintf(value"),
                  (CGROUPS[1], "	int r = none ? 0 : make_room(dir, bytes, why);\n",
                   "	int r = none ? 0 : make_room(dir, bytes, why);\n\n	bytes *= 4;\n")],
        "noticed": {LIMITS: "memory_at_once"}},
    "limit of processors": {
        "edits": [(f, "(unsigned long long)milli * (CPU_PERIOD_US / 1000)",
                   "(unsigned long long)milli * (CPU_PERIOD_US / 100)") for f in CGROUPS],
        "noticed": {LIMITS: "cpus_at_once"}},
    "limit of open files": {
        "edits": [("runtime/keeper/open_files.c", "out->rlim_cur = out->rlim_max = value;",
                   "out->rlim_cur = out->rlim_max = value * 4;")],
        "noticed": {LIMITS: "files_at_once"}},
    "limit of disk": {
        "edits": [("runtime/disk/disk.c", "	*out = *limits;\n",
                   "	*out = *limits;\n	out->bytes *= 4;\n	out->inodes *= 4;\n"),
                  ("runtime/disk/quota.c", "= limits->bytes / DISK_BLOCK",
                   "= limits->bytes * 4 / DISK_BLOCK"),
                  ("runtime/disk/quota.c", "= limits->inodes,", "= limits->inodes * 4,")],
        "noticed": {"limits/disk": "bytes_hold inodes_hold"}},
    "limit of output": {
        "edits": [("runtime/keeper/run_output.c", "	if (size <= limit)\n", "	if (size || limit)\n")],
        "noticed": {"limits/output": "halves flood"}},
    "limit of all output": {
        "edits": [("runtime/keeper/output_total.c", "	return total->live + total->ended;",
                   "	return total->limit ? 0 : total->live;")],
        "noticed": {"limits/output_total": "oldest_goes_first live_runs_keep_both_ends"}},
    "most of a limit": {
        "edits": [("sandboxfs/dir_limits.c", "	if (value > most && ctx->uid != 0) {",
                   "	if (value > most && ctx->uid == (uid_t)-1) {")],
        "noticed": {"limits/rights": "beyond_is_refused_while_it_runs_as_well"}},

    # ---- Users of the mount ----
    "modes of boxes": {
        "edits": [("sandboxfs/perm.c", "	if (uid == 0)\n		return true;\n	if (uid == owner)",
                   "	if (uid != owner)\n		return true;\n	if (uid == owner)")],
        "noticed": {"users/two_users": "nothing_of_the_others",
                    "limits/rights": "each_entry_by_the_mode_of_the_box "
                                     "an_open_handle_does_not_outlive_the_right"}},
    "owners of boxes": {
        "edits": [("sandboxfs/dir_root.c",
                   "	if (ctx->uid != the_options.root_owner && !perm_owns(&of_box))\n",
                   "	if (ctx->uid == (uid_t)-1)\n")],
        "noticed": {"users/two_users": "nothing_of_the_others"}},
    "who adds images": {
        "edits": [("sandboxfs/dir_images.c", "	return ctx->uid == 0 ||", "	return ctx->uid != 1 ||")],
        "noticed": {"images/boxes": "names_and_rights"}},

    # ---- Network ----
    "ranges that are not public": {
        "edits": [(RULES, r'"  ip daddr @private4 goto r_private\n"', '""')],
        "noticed": {REACH: "refused_10.5.5.5 refused_192.168.9.9 refused_100.70.1.1"}},
    "ranges that are never": {
        "edits": [(RULES, r"  ip daddr @never4 goto r_never\n", "")],
        "noticed": {REACH: "refused_169.254.169.254 refused_168.63.129.16 what_is_never_allowed"}},
    # In the router, and twice on the machine.
    "the machine's addresses": {
        "edits": [(RULES, r"  ip daddr @host4 goto r_host\n", ""),
                  (RULES, r'"  iifname \"%s\" fib daddr type != unicast drop\n }\n"',
                   r'"  iifname \"%s\" accept\n }\n"'),
                  (RULES, r'"  iifname \"%s\" drop\n }\n"', r'"  iifname \"%s\" accept\n }\n"')],
        "noticed": {REACH: "refused_198.41.7.2:8081 refused_198.41.8.2:8081"}},
    "boxes among themselves": {
        "edits": [(RULES, r'"  oifname != \"up\" goto r_box\n"', r'"  oifname != \"up\" accept\n"')],
        "noticed": {REACH: "nobody_comes_in"}},
    "false sources": {
        "edits": [(RULES, r'"  iifname \"sbx*\" fib saddr . iif oif missing drop\n }\n"', r'" }\n"')],
        "noticed": {REACH: "a_false_source_is_dropped"}},

    # ---- Images from archives ----
    "names in archives": {
        "edits": [(NAMES, "		if (n == 2 && !memcmp(path, \"..\", 2))\n			return -EINVAL;\n", ""),
                  (NAMES, ", BENEATH)", ", 0)", 2)],
        "noticed": {HOSTILE: "dotdot link_then_file link_then_folder_and_file"}},
    "devices in archives": {
        "edits": [(UNPACK, 'if (strcmp(parent, "dev") != 0 && strncmp(parent, "dev/", 4) != 0)',
                   "if (!*path && parent)")],
        "noticed": {HOSTILE: "device device_of_etc_dev"}},
    "ids in archives": {
        "edits": [(UNPACK, "if (e->uid < 0 || e->uid >= BOX_IDS || e->gid < 0 || e->gid >= BOX_IDS)",
                   "if (e->uid < 0)")],
        "noticed": {HOSTILE: "owner"}},
    "filter of the reader": {
        "edits": [(CONFINE, "		r = load_filter();", "		r = 0;")],
        "noticed": {HOSTILE: "the_reader_is_fenced"}},
    "capabilities of the reader": {
        "edits": [(CONFINE, "		r = cut_capabilities();", "		r = 0;")],
        "noticed": {HOSTILE: "the_reader_is_fenced"}},
    "folder of the reader": {
        "edits": [(CONFINE, "		r = enter_tree(tree);", "		r = fchdir(tree);")],
        "noticed": {HOSTILE: "the_reader_is_fenced"}},
}
EXCUSED = {}
