#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real S3 server for the tests: one Ceph monitor, one OSD in memory and one RADOS gateway, all of
it below one directory, on 127.0.0.1 of a network namespace of one's own, where ports are free.

    import rgw

    server = rgw.Server(directory)      # after rgw.own_network(), or in a namespace that has nothing else
    server.bucket("data")
    server.url, server.access_key, server.secret_key
    server.stop()

By hand: python3 tests/buckets/rgw.py DIRECTORY [BUCKET…] [-- COMMAND…] starts it, makes the buckets and runs
the command (or a shell) with S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set; the server
ends with it.

It checks signatures (V2 and V4: see gate.py for one that takes V4 only), payload hashes, conditions
and part sizes. What it needs: the packages radosgw ceph-mon ceph-osd ceph-base ceph-common.
"""
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import s3  # noqa: E402  pylint: disable=wrong-import-position

PROGRAMS = ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool", "ceph"]
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LIBC = ctypes.CDLL(None, use_errno=True)

CONF = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {dir}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
auth allow insecure global id reclaim = false
run dir = {dir}/run
log file = {dir}/log/$name.log
log to stderr = false
admin socket = {dir}/run/$name.asok
pid file = {dir}/run/$name.pid
mon data = {dir}/mon
osd data = {dir}/osd0
osd objectstore = memstore
memstore device bytes = {bytes}
osd memory target = 1073741824
mon cluster log file = {dir}/log/cluster.log
# Nothing but the tests uses it: no waiting for a second monitor, for laggards or for quiet moments.
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1
rgw gc obj min wait = 0
rgw gc processor period = 5
rgw gc processor max time = 5
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {dir}/rgw
rgw enable usage log = false
rgw dns name = localhost
rgw thread pool size = 64
rgw init timeout = 120
"""


def missing():
    """The first program that is not installed, or None."""
    for program in PROGRAMS:
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return program
    return None


def own_network():
    """From here on this process and its children have a network of their own: loopback, up."""
    if LIBC.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """Up when the constructor returns; RuntimeError with what the log says when it does not come up."""

    def __init__(self, directory, port=7480, memory=8 << 30, timeout=120):
        self.dir = os.path.abspath(directory)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.access_key, self.secret_key = "AKIATESTTESTTEST0001", "testtesttesttesttesttesttesttesttest0001"
        self.pid = os.getpid()
        self.deadline = time.monotonic() + timeout
        for name in ("mon", "osd0", "run", "log", "rgw"):
            os.makedirs(os.path.join(self.dir, name))
        open(self.path("pids"), "w").close()
        conf = os.path.join(self.dir, "ceph.conf")
        with open(conf, "w") as f:
            f.write(CONF.format(dir=self.dir, fsid=uuid.uuid4(), port=port, bytes=memory))
        self.env = dict(os.environ, CEPH_CONF=conf, LC_ALL="C.UTF-8",
                        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        try:
            self.cluster()
            self.gateway()
        except BaseException:
            self.stop()
            raise

    def path(self, name):
        return os.path.join(self.dir, name)

    def tool(self, *argv):
        got = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=max(1, self.deadline - time.monotonic()), check=False)
        if got.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {got.stderr.strip()[-2000:]}")
        return got.stdout

    def daemon(self, *argv):
        """Started, and its pid kept in a file: the test case that restarts one is a child of who stops it."""
        ours = os.getpid() == self.pid
        with open(self.path("log/" + argv[0] + ".out"), "wb") as out:
            child = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     start_new_session=True, preexec_fn=die_with_parent if ours else None)
        with open(self.path("pids"), "a") as f:
            f.write(f"{argv[0]} {child.pid}\n")
        return child

    def pids(self, name=""):
        """Of what we started and what still runs: a pid may be another's by now."""
        found = []
        with open(self.path("pids")) as f:
            lines = f.read().splitlines()
        for line in lines:
            program, pid = line.split()
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if f"CEPH_CONF={self.dir}/".encode() in f.read() and program.startswith(name):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def end(self, name=""):
        for pid in reversed(self.pids(name)):
            os.kill(pid, signal.SIGKILL)
        while self.pids(name):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.005)

    def cluster(self):
        keyring, osd = self.path("keyring"), str(uuid.uuid4())
        self.tool("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name, caps in (("client.admin", "mon osd mgr"), ("client.rgw", "mon osd"), ("osd.0", "osd")):
            argv = ["ceph-authtool", keyring, "--gen-key", "-n", name]
            for cap in caps.split():
                argv += ["--cap", cap, "allow *"]
            if name == "osd.0":
                argv += ["--cap", "mon", "allow profile osd"]
            self.tool(*argv)
        fsid = next(line.split()[-1] for line in open(self.path("ceph.conf")) if line.startswith("fsid"))
        self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                  "[v2:127.0.0.1:3300,v1:127.0.0.1:6789]", "--enable-all-features", self.path("monmap"))
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.path("monmap"), "--keyring", keyring)
        self.daemon("ceph-mon", "-f", "-i", "a")
        self.tool("ceph", "osd", "new", osd)
        self.tool("ceph", "auth", "import", "-i", keyring)
        self.tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.daemon("ceph-osd", "-f", "-i", "0")

    def gateway(self):
        self.start_gateway()
        self.tool("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
                  f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")

    def answers(self):
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.url, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def logs(self):
        text = ""
        for name in sorted(os.listdir(self.path("log"))):
            with open(self.path("log/" + name), errors="replace") as f:
                text += f"\n--- {name}\n" + f.read()[-1500:]
        return text

    def client(self, endpoint=None):
        """Requests of our own, for preparing and checking (s3.py)."""
        return s3.Client(endpoint or self.url, self.access_key, self.secret_key)

    def bucket(self, name):
        self.client().request("PUT", name)

    def user(self, name, access_key, secret_key):
        """Another account, which has no rights in the first one's buckets."""
        self.tool("radosgw-admin", "-n", "client.rgw", "user", "create", f"--uid={name}",
                  f"--display-name={name}", f"--access-key={access_key}", f"--secret-key={secret_key}")

    def start_gateway(self):
        child = self.daemon("radosgw", "-f", "-n", "client.rgw")
        while not self.answers():
            if child.poll() is not None or time.monotonic() > self.deadline:
                raise RuntimeError(f"radosgw did not come up: {self.logs()}")
            time.sleep(0.05)

    def kill(self):
        """The gateway dies at once; restart() brings it back with everything that was in it."""
        self.end("radosgw")

    def restart(self, timeout=60):
        self.deadline = time.monotonic() + timeout
        self.start_gateway()

    def stop(self):
        """All of it ends, by the pids we noted; nothing of it is worth a clean end."""
        self.end()


def serve_file(into, folder, run):
    """A server for one test file: its url, keys and port are attributes of `into` while run() runs. The
    file is skipped where there can be none."""
    if os.geteuid() != 0:
        print("skip all # these tests mount: root is needed")
        sys.exit(77)
    if missing():
        print(f"skip all # {missing()} is not installed")
        sys.exit(77)
    own_network()
    folder = os.path.join(folder, f"rgw.{os.getpid()}")
    server = Server(folder)
    try:
        for name in ("url", "access_key", "secret_key", "port"):
            setattr(into, name, getattr(server, name))
        into.real = server
        run()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    argv = sys.argv[1:]
    if not argv or argv[0].startswith("-"):
        sys.exit(__doc__)
    command = argv[argv.index("--") + 1:] if "--" in argv else [os.environ.get("SHELL", "/bin/sh")]
    names = argv[1:argv.index("--")] if "--" in argv else argv[1:]
    if missing():
        sys.exit(f"rgw.py: {missing()} is not installed")
    own_network()
    server = Server(argv[0])
    try:
        for name in names:
            server.bucket(name)
        sys.exit(subprocess.call(command, env=dict(os.environ, S3_ENDPOINT=server.url,
                                                   AWS_ACCESS_KEY_ID=server.access_key,
                                                   AWS_SECRET_ACCESS_KEY=server.secret_key)))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
