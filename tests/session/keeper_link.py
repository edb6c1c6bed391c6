# SPDX-License-Identifier: MIT
"""A daemon's side of runtime/protocol.h, enough of it for tests: starts a sandbox-keeper (or
connects to a running one), submits scripts and waits for their ends."""
import array
import os
import re
import select
import socket
import struct
import subprocess
import time

HEADER = struct.Struct("<IIQQqqqqII")
FRAGMENT = 64 << 10
(HELLO, START, SUBMIT, CANCEL, SIGNAL, WATCH, SETENV, CHDIR, STOP, KILL, FREEZE, THAW,
 DESTROY, SESSION_OPEN, SESSION_CLOSE, SESSION_RESET, END, TIMEOUT, USAGE, INPUT, INPUT_END,
 TERMINAL, TERMINAL_SIZE, REFUSED, NETWORK, LIMIT, BUCKET, BUCKET_END, BUCKET_FLUSH,
 BUCKET_STATUS) = range(1, 31)
(WELCOME, REPLY, STATE, RUN, GROWN, SESSION, WHY, RUN_USAGE, INPUT_FD, TERMINAL_FD,
 TERMINAL_END, IDLE, BUCKET_STATE, BUCKET_TEXT) = range(64, 78)
SLOW = float(os.environ.get("SBX_SLOW", "1"))
RUN_WORDS = ("queued starting running exited signalled timeout oom failed lost").split()
BOX_WORDS = "new starting running frozen stopping stopped failed".split()
CLOSED, TRUNCATED, EOF = 1, 2, 1
TREE = 1


def fields(**values):
    return b"".join(k.replace("__", ".").encode() + b"=" + str(v).encode() + b"\0"
                    for k, v in values.items())


class Run:
    def __init__(self, number):
        self.number, self.state, self.code = number, None, None
        self.sizes, self.closed, self.truncated, self.history = (0, 0), False, False, []

    @property
    def ended(self):
        return self.state in RUN_WORDS[3:]


class Link:
    """A connection; messages are taken in by wait()."""

    def __init__(self, sock):
        self.sock = sock
        self.tag = 0
        self.replies, self.runs, self.sessions, self.grown, self.whys = {}, {}, {}, [], []
        self.states, self.welcome, self.closed = [], None, False
        self.partial = b""
        self.streams, self.terminal_ends = {}, {}  # by tag: (number, socket); by number: code

        self.usage, self.inputs, self.fds = {}, {}, []
        self.buckets, self.texts = {}, []  # by name: (state, why)

    @property
    def session(self):
        return self.sessions.get("default", {})

    def send(self, kind, run=0, v=(), payload=b"", fd=None, flags=0):
        self.tag += 1
        v = tuple(v) + (0,) * (4 - len(v))
        for at in range(0, max(len(payload), 1), FRAGMENT):
            head = HEADER.pack(kind, flags, self.tag, run, *v, len(payload), at)
            anc = [] if fd is None or at else [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                                 array.array("i", [fd]))]
            self.sock.sendmsg([head + payload[at:at + FRAGMENT]], anc)
        return self.tag

    def take(self, timeout):
        """One packet; False when none came in time or the link is closed."""
        if self.closed or not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return False
        data, anc, _, _ = self.sock.recvmsg(HEADER.size + FRAGMENT, socket.CMSG_SPACE(64))
        for _, _, raw in anc:
            self.fds += array.array("i", raw)
        if not data:
            self.closed = True
            return False
        kind, flags, tag, run, v0, v1, v2, v3, length, at = HEADER.unpack(data[:HEADER.size])
        self.partial = (self.partial if at else b"") + data[HEADER.size:]
        if len(self.partial) == length:
            self.note(kind, flags, tag, run, (v0, v1, v2, v3), self.partial)
            self.partial = b""
            for fd in self.fds:
                os.close(fd)
            self.fds = []
        return True

    def note(self, kind, flags, tag, run, v, payload):
        if kind == REPLY:
            self.replies[tag] = (v[0], payload.decode())
        elif kind == RUN:
            r = self.runs.setdefault(run, Run(run))
            r.state, r.code, r.sizes = RUN_WORDS[v[0]], v[1], v[2:4]
            assert not r.closed, "a message after the last one of run %d" % run
            r.closed, r.truncated = bool(flags & CLOSED), bool(flags & TRUNCATED)
            r.history.append(r.state)
        elif kind == SESSION:
            said = {"pid": v[0], "env": {}}
            for f in payload.split(b"\0")[:-1]:
                key, value = f.decode("utf-8", "replace").split("=", 1)
                if key.startswith("env."):
                    said["env"][key[4:]] = value
                else:
                    said[key] = value
            self.sessions[said["session"]] = said
        elif kind == GROWN:
            self.grown.append((run, v[0], v[1], bool(flags & EOF)))
        elif kind == TERMINAL_FD:
            self.streams[tag] = (v[0], socket.socket(fileno=self.fds.pop()))
        elif kind == TERMINAL_END:
            self.terminal_ends[v[0]] = v[1]
        elif kind == WHY:
            self.whys.append(payload.decode())
        elif kind == STATE:
            self.states.append((BOX_WORDS[v[0]], payload.decode()))
        elif kind == RUN_USAGE:
            self.usage[run] = {k: int(x) for k, x in (
                f.decode().split("=", 1) for f in payload.split(b"\0")[:-1])}
        elif kind == INPUT_FD:
            self.inputs[run] = self.fds.pop()
        elif kind == BUCKET_STATE:
            said = dict(f.decode().split("=", 1) for f in payload.split(b"\0")[:-1])
            self.buckets[said["bucket"]] = v[0], said.get("why", "")
        elif kind == BUCKET_TEXT:
            self.texts.append(payload.decode())
        elif kind == WELCOME:
            self.welcome = v

    def wait(self, condition, timeout=5.0):
        until = time.monotonic() + timeout
        while not condition():
            if not self.take(until - time.monotonic()):
                if self.closed or time.monotonic() >= until:
                    return condition()
        return True

    def request(self, *args, timeout=5.0, **kwargs):
        """Sends, waits for the reply, returns (errno, sentence)."""
        tag = self.send(*args, **kwargs)
        assert self.wait(lambda: tag in self.replies, timeout * SLOW), "no reply"
        return self.replies[tag]


def hash_bytes(data):
    """That of runtime/base/text.h."""
    h, ones = 0xcbf29ce484222325, (1 << 64) - 1
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & ones
    h = h + 0x9e3779b97f4a7c15 & ones
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9 & ones
    h = (h ^ (h >> 27)) * 0x94d049bb133111eb & ones
    return h ^ (h >> 31)


class Keeper(Link):
    """A keeper of our own with a box in folder."""

    def __init__(self, program, folder, settings, environ=None):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = open(os.path.join(folder, "keeper.log"), "ab")
        self.process = subprocess.Popen(
            [program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ,
            close_fds=False, preexec_fn=lambda: os.dup2(theirs.fileno(), 3))
        theirs.close()
        super().__init__(ours)
        self.folder = folder
        self.number = 0
        log.close()
        dirfd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.start = self.request(START, payload=settings, fd=dirfd, timeout=20)
        os.close(dirfd)

    def submit(self, script, session="default", number=None, **options):
        """A command of a session, or with session=None a run of its own."""
        self.number = number = number or self.number + 1
        head = fields(session=session, **options) if session else fields(own="yes", **options)
        if isinstance(script, str):
            script = script.encode()
        error, why = self.request(SUBMIT, run=number, v=(len(head),), payload=head + script)
        if error:
            raise OSError(error, why)
        return self.runs[number]

    def own(self, script, **options):
        return self.submit(script, session=None, **options)

    def input(self, run):
        """A descriptor to write its standard input to, ours; or the errno."""
        error, _ = self.request(INPUT, run=run.number)
        return -error if error else self.inputs.pop(run.number)

    def run(self, script, timeout=5.0, **options):
        """Runs a command to its end; the run may still be open."""
        run = self.submit(script, **options)
        self.wait(lambda: run.ended, timeout * SLOW)
        return run

    def path(self, run, name):
        return os.path.join(self.folder, "runs", str(run.number), name)

    def read(self, run, name, size=None):
        """A file of a run; a stream that nothing was written to has none."""
        try:
            with open(self.path(run, name), "rb") as f:
                return f.read() if size is None else f.read(size)
        except FileNotFoundError:
            if name not in ("out", "err") or not os.path.isdir(self.path(run, "")):
                raise
            return b""

    def record(self, run):
        """{} of one that has none yet."""
        for _ in range(1000):
            data = self.read(run, "record")
            seal = re.search(rb"^sum = ([0-9a-f]{16})\n", data, re.MULTILINE)
            if seal and int(seal[1], 16) == hash_bytes(data[:seal.start()]):
                return dict(line.split(" = ", 1)
                            for line in data[:seal.start()].decode().splitlines()[1:])
        raise AssertionError(f"a record that is not whole: {data!r}")

    def end(self, kind=DESTROY, v=()):
        reply = self.request(kind, v=v, timeout=15)
        self.process.wait(10)
        self.sock.close()
        return reply
