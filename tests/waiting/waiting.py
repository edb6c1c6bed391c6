# SPDX-License-Identifier: MIT
"""What the tests of waiting share: boxes in which commands wait for a word, and what waits on them."""
import os
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../lib"))
import sbx  # noqa: E402
from sbx import *  # noqa: E402,F403

HERE = os.path.dirname(os.path.realpath(__file__))


def compiled(m):
    """The client of waiters.c."""
    program = os.path.join(m.folder, "waiters")
    if not os.path.exists(program):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            skip("there is no C compiler")
        sh([compiler, "-O1", "-pthread", "-o", program, os.path.join(HERE, "waiters.c")],
           timeout=60, check_code=0)
    return program


def start(path, script):
    """Writes a script and does not wait for its command."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, script.encode() + b"\n")
    os.close(fd)


def fill(path):
    """Writes to a run's `in` until no more fits."""
    fd = os.open(path, os.O_WRONLY)
    block = b"x" * (1 << 16)
    os.write(fd, block)  # waits for the pipe itself
    os.close(fd)
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(fd, block)
    except BlockingIOError:
        pass
    os.close(fd)


class Waiting(Box):
    """A box with a session's command, and a run `web` whose standard input is full, both of which
    begin once it is told to go."""

    def __init__(self, m, name, code=7):
        super().__init__(m, name)
        self.exit = code
        os.mkdir(self.path)
        self.cmd("mkfifo /tmp/session /tmp/web /tmp/filled")
        for run in ("gate", "web"):
            os.mkdir(self.at("procs", run))
        self.write("procs/gate/cmd", "read x; echo >/tmp/session & echo >/tmp/web; wait\n")
        start(self.at("cmd"), f"read x </tmp/session; echo out {name}; echo err {name} >&2; "
              f"(exit {code})")
        self.write("procs/web/cmd",
                   "read x </tmp/web; tr -d x | sort -n | tr -d ' ' | tr '\\n' ' '\n")
        # The first writer's end would be the end of file.
        self.held = os.open(self.at("procs/web/in"), os.O_WRONLY)
        fill(self.at("procs/web/in"))
        self.wait_running(1)

    def go(self):
        self.write("procs/gate/in", "\n")
        self.close()

    def close(self):
        if self.held >= 0:
            os.close(self.held)
        self.held = -1


def boxes(m, prefix, count):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda i: Waiting(m, f"{prefix}{i}", i % 100), range(count)))


def each(function, items):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(function, items))


def status(m):
    """(requests that wait, bytes they cost, bytes the daemon has) as .sandboxfs/status tells."""
    text = read(m.at(".sandboxfs/status"))
    found = re.search(r"^waiting requests: (\d+) of \d+, (\d+) KiB\nmemory of the daemon: (\d+) KiB",
                      text, re.M)
    check(found, text[-600:])
    waiting, cost, memory = map(int, found.groups())
    return waiting, cost << 10, memory << 10


def anonymous(pid):
    with contextlib.suppress(OSError):
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) << 10
    return 0


def keepers():
    """{pid: bytes it has for itself}"""
    return {p: anonymous(p) for p, line in processes().items() if "sandbox-keeper" in line}


def stuck():
    """Threads that wait where no signal reaches them (state D), seen twice in a row."""
    def now():
        found = {}
        for pid in processes():
            with contextlib.suppress(OSError):
                for tid in os.listdir(f"/proc/{pid}/task"):
                    with contextlib.suppress(OSError):
                        text = read(f"/proc/{pid}/task/{tid}/stat")
                        if text.rsplit(")", 1)[1].split()[0] == "D":
                            found[int(tid)] = text.split(")")[0]
        return found
    before = now()
    time.sleep(0.3)
    return {tid: name for tid, name in now().items() if tid in before}
