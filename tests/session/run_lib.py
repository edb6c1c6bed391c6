# SPDX-License-Identifier: MIT
"""What the tests of runs and of their process trees share: looks at a keeper's runs, processes and
cgroups, and the loop over cases."""
import contextlib
import glob
import os
import subprocess
import time
import traceback

import boxes
from keeper_link import END

SLOW = boxes.SLOW


def eq(got, wanted, what=""):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


def ended(k, run, timeout=8):
    assert k.wait(lambda: run.ended, timeout * SLOW), "run %d goes on: %s" % (run.number, run.state)
    return run


def closed(k, run, timeout=8):
    assert k.wait(lambda: run.closed, timeout * SLOW), "run %d is open" % run.number
    return run


def running(k, run):
    assert k.wait(lambda: run.state != "starting", 5 * SLOW), "run %d does not start" % run.number
    eq(run.state, "running")
    return run


def text(k, run, name="out"):
    return k.read(run, name).decode()


def outcome(k, run):
    """As it was said, and as it is recorded."""
    closed(k, run)
    record = k.record(run)
    eq((record["state"], int(record["exit"])), (run.state, run.code), "the record")
    return run.state, run.code


def wait_for(what, timeout=8.0):
    until = time.monotonic() + timeout * SLOW
    while not what():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.005)


def wait_text(k, run, wanted, name="out"):
    wait_for(lambda: k.wait(lambda: False, 0.01) or wanted in text(k, run, name))


def pids_of(k):
    return {pid for folder in cgroups(k) for path in glob.glob(folder + "/cgroup.procs")
            for pid in open(path).read().split()}


def alive(k, mark):
    """How many processes of the box have mark in their command line, seen from outside."""
    n = 0
    for pid in pids_of(k):
        with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid) as f:
            n += mark in f.read()
    return n


def cgroups(k):
    """All folders of the box's cgroup."""
    name = "%s/%s" % (boxes.CGROUP, k.box)
    tops = glob.glob("/sys/fs/cgroup/" + name) + glob.glob("/sys/fs/cgroup/*/" + name)
    return tops + [p for top in tops for p in glob.glob(top + "/*/")]


def group_folders(k):
    """Those of groups, by name; one is always ready for the next run."""
    return sorted({os.path.basename(p.rstrip("/")) for p in cgroups(k)} - {str(k.box), "init"})


def end(k, run, timeout=8):
    start = time.monotonic()
    eq(k.request(END, run=run.number, timeout=timeout), (0, ""), "END")
    return time.monotonic() - start


def shell_lives(k):
    """The session goes on with the shell that was given a variable before."""
    run = k.run('echo "$kept"')
    eq((run.code, text(k, run)), (0, "yes\n"), "the shell afterwards")


def main(cases, part):
    """Runs those whose name has part in it; a case that takes k gets a keeper with a fresh box."""
    why = boxes.missing()
    if why:
        print("skip runs # %s" % why)
        return 77
    failed = 0
    for function in cases:
        if part not in function.__name__:
            continue
        label = function.__name__.replace("_", " ")
        k = None
        try:
            if function.__code__.co_varnames[0] == "k":
                k = boxes.start()
                eq(k.start, (0, ""), "start")
            skipped = function(k)
            print("skip %s # %s" % (label, skipped) if skipped else "ok %s" % label, flush=True)
        except Exception:
            failed += 1
            why = traceback.format_exc().strip().splitlines()
            print("not ok %s - %s" % (label, " / ".join(w.strip() for w in why[-4:])), flush=True)
        finally:
            if k and k.process.poll() is None:
                k.process.kill()
                k.process.wait()
                subprocess.call([os.path.join(boxes.BUILD, "sandbox-keeper"), "--remove-cgroup",
                                 "%s/%d" % (boxes.CGROUP, k.box)])
    return 1 if failed else 0
