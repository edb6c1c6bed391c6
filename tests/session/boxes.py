# SPDX-License-Identifier: MIT
"""Boxes for tests that speak to a keeper themselves, without a daemon."""
import atexit
import contextlib
import glob
import os
import secrets
import subprocess
import tempfile

import keeper_link

BUILD = os.environ.get("SBX_BUILD") or os.path.realpath(
    os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../build"))
SLOW = float(os.environ.get("SBX_SLOW", "1"))
TMP = os.environ.get("TEST_TMP") or tempfile.mkdtemp(prefix="sbx-session-")
# Test files run side by side in pid namespaces of their own: a pid would not tell them apart.
CGROUP = "sbxtest-" + secrets.token_hex(4)
STORAGE_BASE = 1900544000
UID_BASE = 1900609536
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_made = {"image": None, "boxes": 0}


@atexit.register
def remove_cgroups():
    """What stands above the boxes' own cgroups: a daemon's to remove, here ours."""
    for folder in glob.glob("/sys/fs/cgroup/" + CGROUP) + glob.glob("/sys/fs/cgroup/*/" + CGROUP):
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def missing():
    """Why nothing can be tested here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if os.environ.get("SBX_KEEPER"):
        return None
    for program in ("sandbox-keeper", "sandbox-init", "sandbox-image"):
        if not os.access(os.path.join(BUILD, program), os.X_OK):
            return "build/%s is not built" % program
    return None


def image():
    if not _made["image"]:
        folder = os.path.join(TMP, "images")
        os.makedirs(folder, exist_ok=True)
        key = subprocess.run([os.path.join(BUILD, "sandbox-image"), "host", folder], check=True,
                             stdout=subprocess.PIPE).stdout.decode().strip()
        _made["image"] = os.path.join(folder, key)
    return _made["image"]


def start(folder=None, environ=None, **settings):
    """A running box; Keeper.start is (0, "") or the refusal."""
    _made["boxes"] += 1
    number = _made["boxes"]
    if folder is None:
        folder = tempfile.mkdtemp(prefix="box-", dir=TMP)
        os.mkdir(os.path.join(folder, "workspace"))
        os.chown(os.path.join(folder, "workspace"), STORAGE_BASE, STORAGE_BASE)
    program = os.environ.get("SBX_KEEPER") or os.path.join(BUILD, "sandbox-keeper")
    values = dict(box=number, name="test-%d" % number, hostname="test", token="%016x" % number,
                  uid_base=UID_BASE + 65536 * (number % 1000), storage_base=STORAGE_BASE,
                  image="host", image_dir="/" if os.environ.get("SBX_KEEPER") else image(),
                  cgroup="%s/%d" % (CGROUP, number), memory=0, pids=0, cpus_milli=0,
                  keep_runs=100, cwd="/workspace", env__PATH=PATH, env__HOME="/root",
                  env__LANG="C.UTF-8")
    values.update(settings)
    keeper = keeper_link.Keeper(program, folder, keeper_link.fields(**values), environ)
    keeper.box = number
    return keeper


def use_shell(keeper, shell):
    """Makes the session's shell bash, dash or busybox ash. False if the box has it not."""
    if shell == "bash":
        return True
    have = {"dash": "test -x /usr/bin/dash", "ash": "test -x /usr/bin/busybox"}[shell]
    if keeper.run(have).code != 0:
        return False
    link = {"dash": "dash", "ash": "busybox"}[shell]
    run = keeper.run("ln -sf %s /usr/bin/sh && rm -f /usr/bin/bash && exit 0" % link)
    return run.code == 0
