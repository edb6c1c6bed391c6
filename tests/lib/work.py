# SPDX-License-Identifier: MIT
"""What the tests of ordinary work share: what tests/fetch got, and servers inside a box.

Boxes have no network but their loopback here (network.mode = none): a repository or registry is
served in the box itself, from files that were copied in.
"""
import os

from sbx import Failure, shutil, skip, wait_for

OPTIONS = {"network.mode": "none"}


def fetched(name, what):
    """Folder of what tests/fetch got; skips where it could not."""
    folder = os.path.join(os.environ.get("SBX_CACHE", ""), name)
    if not os.path.isdir(folder):
        skip(f"{what}, which could not be fetched")
    return folder


def need(*programs):
    """Programs of the machine, which a box of image host has as well."""
    for program in programs:
        if not shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"):
            skip(program)


def serve(box, name, script, port):
    """A run of its own that serves on loopback; returns when it answers."""
    os.mkdir(box.at("procs", name))
    box.write(f"procs/{name}/cmd", script)

    def answers():
        state = box.read(f"procs/{name}/state").split()[0]
        if state not in ("queued", "starting", "running"):
            raise Failure(f"{name} is {state}: {box.read(f'procs/{name}/log')[-800:]}")
        return box.run(f"(exec 3<>/dev/tcp/127.0.0.1/{port})")[2] == 0
    wait_for(answers, 20, f"{name} to answer")


def stop(box, name):
    os.rmdir(box.at("procs", name))
