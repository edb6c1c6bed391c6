# SPDX-License-Identifier: MIT
"""Terminals for tests: an open BOX/tty, and a program on a pseudo-terminal of ours."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../lib"))
from sbx import *  # noqa: E402,F403
from sbx import DAEMON  # noqa: E402,F401

SET_SIZE, EXIT_CODE = 0x40045B01, 0x80045B02


class Terminal:
    """What both have in common: fd is read and written."""
    runs = 0

    def __init__(self, fd):
        self.fd, self.seen, self.over = fd, b"", False

    def take(self, timeout):
        """False when nothing came in time, or at the end."""
        if self.over or not select.select([self.fd], [], [], max(timeout, 0))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError as e:
            if e.errno not in (errno.EIO, errno.ESTALE, errno.ENOTCONN):
                raise
            data = b""
        self.seen += data
        self.over = not data
        return not self.over

    def expect(self, pattern, timeout=10):
        deadline = time.monotonic() + slow(timeout)
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if not self.take(deadline - time.monotonic()):
                raise Failure(f"no {pattern!r} in {self.seen[-500:]!r}")

    def type(self, text):
        os.write(self.fd, text)

    def run(self, command, timeout=10):
        """A command at the shell's prompt; what it shows."""
        Terminal.runs += 1
        self.type(b"%s; echo END''OF%d\r" % (command.encode(), Terminal.runs))
        out = self.expect(rb"(?s)(.*)ENDOF%d\r\n" % Terminal.runs, timeout).group(1)
        return out.decode("utf-8", "replace")

    def wait_end(self, timeout=10):
        deadline = time.monotonic() + slow(timeout)
        while not self.over:
            if not self.take(deadline - time.monotonic()) and not self.over:
                raise Failure(f"it is still open; {self.seen[-300:]!r}")

    def close(self):
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Tty(Terminal):
    """BOX/tty, or that of a session."""

    def __init__(self, box, path="tty", flags=0):
        super().__init__(os.open(box.at(path), os.O_RDWR | flags))

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, SET_SIZE, struct.pack("HH", rows, columns))

    def code(self):
        return struct.unpack("i", fcntl.ioctl(self.fd, EXIT_CODE, b"\0" * 4))[0]


class OnPty(Terminal):
    """A program with a terminal of its own, as a person has it; 24 rows, 80 columns."""

    def __init__(self, argv, cwd=None, env=None):
        master, self.slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.proc = subprocess.Popen(argv, cwd=cwd, stdin=self.slave, stdout=self.slave,
                                     stderr=self.slave, env=env, start_new_session=True,
                                     preexec_fn=self.take_control)
        super().__init__(master)

    def take_control(self):
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def wait(self, timeout=10):
        """Its exit code."""
        deadline = time.monotonic() + slow(timeout)
        while self.proc.poll() is None:
            self.take(0.01)
            check(time.monotonic() < deadline, f"it has not ended; {self.seen[-300:]!r}")
        while self.take(0):
            pass
        return self.proc.returncode

    def close(self):
        super().close()
        os.close(self.slave)


def in_foreground(line):
    """A process with that command line runs, and its terminal's keys are for it."""
    for pid, command in processes().items():
        if command == line:
            state, _, group, _, _, keys = read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[:6]
            return state != "T" and group == keys
    return False


def box_processes(box, word):
    """Lines of `ps` with that word."""
    return [line for line in box.read("ps").splitlines()[1:] if word in line]
