# SPDX-License-Identifier: MIT
"""Cases that are functions: what tests of a keeper have in common. A case takes a running box, k, or
_ if it makes its own; what it returns is why it was skipped."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import traceback

import boxes
from keeper_link import HELLO, Link

CASES = []


def case(function):
    CASES.append(function)
    return function


def eq(got, wanted, what=""):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


def ended(keeper, run, timeout=8):
    assert keeper.wait(lambda: run.ended, timeout * boxes.SLOW), "run %d goes on: %s" % (
        run.number, run.state)
    return run


def closed(keeper, run, timeout=8):
    assert keeper.wait(lambda: run.closed, timeout * boxes.SLOW), "run %d is open" % run.number
    return run


def text(keeper, run, name="out"):
    return keeper.read(run, name).decode()


def reconnect(keeper):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = os.getcwd()
    os.chdir(keeper.folder)
    sock.connect("keeper.sock")
    os.chdir(here)
    link = Link(sock)
    eq(link.request(HELLO, v=(1,)), (0, ""), "HELLO")
    return link


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def main(name):
    """Runs the cases, each with a box of its own if it takes one as k."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    why = boxes.missing()
    if why:
        print("skip %s # %s" % (name, why))
        return 77
    failed = 0
    for function in CASES:
        if part not in function.__name__:
            continue
        label = function.__name__.replace("_", " ")
        k = None
        try:
            if function.__code__.co_varnames[0] == "k":
                k = boxes.start()
                eq(k.start, (0, ""), "start")
                for name in getattr(function, "folders", []):
                    os.mkdir(os.path.join(k.folder, name))
            skipped = function(k)
            print("skip %s # %s" % (label, skipped) if skipped else "ok %s" % label)
        except Exception:
            failed += 1
            why = traceback.format_exc().strip().splitlines()
            print("not ok %s - %s" % (label, " / ".join(w.strip() for w in why[-4:])))
        finally:
            if k and k.process.poll() is None:
                k.process.send_signal(signal.SIGTERM)
                try:
                    k.process.wait(8)
                except subprocess.TimeoutExpired:
                    print("not ok %s - the keeper does not end" % label)
                    k.process.kill()
            if k:
                with open(k.folder + "/keeper.log") as f:
                    log = f.read()
                if "Sanitizer" in log or "runtime error" in log:
                    failed += 1
                    print("not ok %s - %s" % (label, log[-3000:]))
                shutil.rmtree(k.folder, ignore_errors=True)
        sys.stdout.flush()
    return 1 if failed else 0
