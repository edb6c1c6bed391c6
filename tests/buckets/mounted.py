# SPDX-License-Identifier: MIT
"""For tests of sandbox-bucket through its mount, against a real server that a test file starts once.

    from mounted import *

    @case
    def something():
        with Mounted(bucket()) as m:
            write_file(m / "f", b"x"); eq(m.get("f"), b"x")

    main()
"""
import atexit
import os
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
import rgw  # noqa: E402
import s3  # noqa: E402
import sbx  # noqa: E402
from gate import Gate  # noqa: E402
from sbx import (Client, Failure, case, check, contextlib, errno, eq, fcntl, matches, mounted_at, raises,  # noqa: E402
                 re, read, sh, signal, skip, slow, stat, time, wait_for)

__all__ = ["Client", "Failure", "Gate", "MIB", "Mounted", "bucket", "case", "check", "contextlib", "eq", "errno",
           "fcntl", "main", "matches", "noise", "os", "raises", "random", "re", "read", "s3", "sbx", "server", "sh", "shutil", "signal",
           "skip", "slow", "stat", "subprocess", "sys", "time", "wait_for", "write_file", "read_file"]

PROGRAM = os.path.join(sbx.BUILD, "sandbox-bucket")
MIB = 1 << 20
sbx.isolate()  # here, as it begins the program anew
SCRATCH = os.environ.get("TEST_TMP") or tempfile.mkdtemp(prefix="sandboxfs-buckets.", dir="/var/tmp")


class Running:
    """What a case needs of the server that its parent started."""
    url = "http://127.0.0.1:1"
    access_key = secret_key = None
    port = 0


server = Running()


def noise(size, seed=0):
    """Bytes that do not repeat, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def write_file(path, data):
    with open(path, "wb", buffering=0) as f:
        view = memoryview(data)
        while view:
            view = view[f.write(view):]


def client(url=None):
    return s3.Client(url or server.url, server.access_key, server.secret_key)


def bucket(made=[0]):  # pylint: disable=dangerous-default-value
    made[0] += 1
    name = f"b{os.getpid()}-{made[0]}"
    client().request("PUT", name)
    return name


class Mounted:
    """One process of sandbox-bucket. m / "name" is a path below the mount point."""

    def __init__(self, name, prefix="", url=None, env=None, **options):
        self.bucket, self.prefix, self.options = name, prefix, dict(options)
        self.folder = os.path.join(SCRATCH, f"m{os.getpid()}.{time.monotonic_ns()}")
        self.path, self.spool = self.folder + "/mnt", self.folder + "/spool"
        os.makedirs(self.path)
        os.makedirs(self.spool)
        self.log = self.folder + "/log"
        self.url, self.env = url or server.url, env or {}
        self.s3 = client()
        self.proc = None

    def __truediv__(self, name):
        return self.path + "/" + name

    def argv(self, *more):
        options = dict(endpoint=self.url, spool_dir=self.spool, **self.options)
        source = f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
        return [PROGRAM, *more, "-o", ",".join(f"{k}={v}" for k, v in options.items()), source, self.path]

    def environment(self):
        san = os.path.join(self.folder, "san")
        env = {"PATH": sbx.SAFE_PATH, "AWS_ACCESS_KEY_ID": server.access_key,
               "AWS_SECRET_ACCESS_KEY": server.secret_key}
        env["ASAN_OPTIONS"] = f"log_path={san}:exitcode=99:detect_stack_use_after_return=0"
        env["UBSAN_OPTIONS"] = f"log_path={san}:print_stacktrace=1"
        env["LSAN_OPTIONS"] = f"log_path={san}"
        env["TSAN_OPTIONS"] = f"log_path={san}:exitcode=99"
        return {**env, **self.env}

    def start(self):
        before = read(self.log).count("ready") if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self.argv("-f"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=self.environment(), cwd="/", start_new_session=True)

        def up():
            if self.proc.poll() is not None:
                raise Failure(f"sandbox-bucket ended with {self.proc.returncode}: {self.log_tail()}")
            return mounted_at(self.path) and read(self.log).count("ready") > before
        wait_for(up, 30, "the mount")
        return self

    def log_tail(self):
        return " / ".join(read(self.log).splitlines()[-12:]) if os.path.exists(self.log) else ""

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        subprocess.run(["umount", "-l", self.path], check=True)

    def umount(self):
        """The clean end; what it says by its exit code is checked."""
        wait_for(lambda: subprocess.run(["umount", self.path], check=False, stderr=subprocess.DEVNULL)
                 .returncode == 0, 10, "umount")
        self.ended()

    def ended(self, code=0):
        try:
            got = self.proc.wait(slow(30))
        except subprocess.TimeoutExpired:
            raise Failure("unmounted, and sandbox-bucket is still there") from None
        eq(got, code, "exit code; " + self.log_tail() + self.sanitizer())
        eq(os.listdir(self.spool), [], "left in the spool")
        check(not mounted_at(self.path), "still mounted")

    def sanitizer(self):
        return "".join(read(os.path.join(self.folder, n)) for n in os.listdir(self.folder) if n.startswith("san."))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            if self.proc.poll() is None and mounted_at(self.path):
                self.umount()
            check(not self.sanitizer(), self.sanitizer())
            return
        print("its log ends with: " + self.log_tail() + self.sanitizer(), flush=True)
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)

    # What is in the bucket, behind the mount's back; names below the prefix.
    def key(self, name):
        return (self.prefix + "/" if self.prefix else "") + name

    def get(self, name):
        return self.s3.get(self.bucket, self.key(name))

    def put(self, name, data):
        return self.s3.put(self.bucket, self.key(name), data)

    def keys(self):
        return self.s3.keys(self.bucket)


def main(real=True):
    """The server, the cases, the end of both; without one if not real."""
    if not os.environ.get("TEST_TMP"):  # by hand
        atexit.register(lambda me=os.getpid(): shutil.rmtree(SCRATCH, ignore_errors=True) if me == os.getpid() else 0)
    if not real:
        Running.access_key, Running.secret_key = "AKIANOBODY", "nothing"
        sbx.main(mount=False)
    rgw.serve_file(Running, SCRATCH, lambda: sbx.main(mount=False))
