# SPDX-License-Identifier: MIT
"""For tests of programs with windows: a screen that nobody sees, keys, what windows there are.

What a window shows is not asked: a test looks at the files behind it. To see it while working on a
test, run the test by hand with SBX_SHOTS=FOLDER: each step leaves a picture there.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../lib"))
import sbx  # noqa: E402
from sbx import *  # noqa: E402,F403

__all__ = [*sbx.__all__, "DAEMON", "PICTURE", "Screen", "need", "popular"]

DAEMON = sbx.DAEMON
# Something that a thumbnailer takes: a grey square of 64 by 64 pixels.
PICTURE = b"P5 64 64 255\n" + b"\x80" * 4096


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            skip(program)


def popular(m, name):
    """A box that has everything: sessions, a run with a name, one without, a session at work."""
    box = m.box(name)
    box.ok("mkdir d; echo x > d/f; echo out; echo err >&2")
    os.mkdir(box.at("sessions/idle"))
    os.mkdir(box.at("sessions/busy"))
    os.mkdir(box.at("procs/web"))
    box.write("procs/web/cmd", "echo listening; exec cat\n")
    box.write("procs/new", "exec sleep 1000\n")
    fd = os.open(box.at("sessions/busy/cmd"), os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"sleep 1000\n")
    os.close(fd)
    wait_for(lambda: box.read("sessions/busy/state") == "running\n", what="a busy session")
    return box


class Screen:
    """An X server of its own, and one program on it, which has a session bus of its own."""

    def __init__(self, m, *program):
        need("Xvfb", "xdotool", "dbus-run-session", program[0])
        self.home = os.path.join(m.folder, "home-" + program[0])
        for name in ("run", ".config", ".cache"):
            os.makedirs(os.path.join(self.home, name), mode=0o700, exist_ok=True)
        self.name = program[0]
        self.shots = 0
        r, w = os.pipe()
        # Without -noreset it drops who is just connecting when the last client of all goes.
        self.server = subprocess.Popen(  # pylint: disable=consider-using-with
            ["Xvfb", "-displayfd", str(w), "-screen", "0", "800x600x24", "-nolisten", "tcp",
             "-noreset"], pass_fds=[w], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(w)
        with os.fdopen(r) as answer:
            display = answer.readline().strip()
        check(display, "Xvfb did not start")
        self.env = {"DISPLAY": ":" + display, "HOME": self.home, "GSETTINGS_BACKEND": "memory",
                    "XDG_RUNTIME_DIR": self.home + "/run", "NO_AT_BRIDGE": "1", "PATH": sbx.SAFE_PATH,
                    "LC_ALL": "C.UTF-8"}
        self.log = self.home + "/log"
        with open(self.log, "wb") as log:
            self.program = subprocess.Popen(  # pylint: disable=consider-using-with
                ["dbus-run-session", "--", *program], env=self.env, cwd=self.home, stdout=log, stderr=log)

    def xdotool(self, *words):
        return sh(["xdotool", *words], env=self.env)

    def windows(self):
        """{title: number} of the windows to be seen."""
        found = {}
        for number in self.xdotool("search", "--onlyvisible", "--name", ".").out.split():
            found[self.xdotool("getwindowname", number).out.strip()] = number
        return found

    def shot(self):
        folder = os.environ.get("SBX_SHOTS")
        if folder:
            self.shots += 1
            sh(["import", "-window", "root", f"{folder}/{self.shots:02}.png"], env=self.env)

    def focus(self, pattern, timeout=15):
        """Waits for a window with such a title, which has the keys then."""
        seen = {}

        def there():
            check(self.program.poll() is None, f"the program has ended: {read(self.log)[-400:]}")
            seen.clear()
            seen.update(self.windows())
            found = [number for title, number in seen.items() if re.fullmatch(pattern, title)]
            return found and self.xdotool("windowfocus", "--sync", found[0]).code == 0
        try:
            wait_for(there, timeout, f"the window {pattern!r}")
        except Failure as e:
            self.shot()
            raise Failure(f"{e}; there are {list(seen)}") from None
        self.settle()
        self.shot()

    def work(self):
        """CPU time of each thread of the program; None while one runs."""
        found = {}
        for pid in [p for p, c in processes().items() if c.split()[0] == self.name]:
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    words = read(f"/proc/{pid}/task/{thread}/stat").rsplit(")", 1)[1].split()
                    if words[0] in "RD":
                        return None
                    found[thread] = words[11:13]
        return found

    def settle(self):
        """A title changes before the folder is listed: waits until the program has nothing to do."""
        last = []

        def idle():
            last.append(self.work())
            del last[:-40]
            return len(last) == 40 and last[0] and all(w == last[0] for w in last)
        wait_for(idle, 15, f"{self.name} to come to rest")

    def gone(self, pattern, timeout=15):
        wait_for(lambda: not [t for t in self.windows() if re.fullmatch(pattern, t)], timeout,
                 f"the window {pattern!r} to close")

    def keys(self, *names):
        self.xdotool("key", "--delay", "20", *names)

    def type(self, text):
        self.xdotool("type", "--delay", "5", text)

    def end(self):
        for process in (self.program, self.server):
            process.terminate()
            process.wait(timeout=slow(10))
